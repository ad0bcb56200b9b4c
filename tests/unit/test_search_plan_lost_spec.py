"""A search that has its winner, or has failed, and whose spec is not understood any more."""

from __future__ import annotations

from tests.unit.test_search_plan_ends import TWICE, failing, following, searched


def test_a_failure_stands_though_the_spec_is_not_understood_any_more() -> None:
    world = failing()
    world.edit(parallelTrials=50)
    world.settle()
    world.obey("x-trial-2")
    world.settle()
    assert world.says("Failed")[:2] == ("True", "MaxFailedTrialsReached")
    assert world.automl["status"]["failure"]["reason"] == "MaxFailedTrialsReached"
    assert world.says("DataReady")[0] == "True", "its data was checked"


def test_a_winner_stands_though_the_spec_is_not_understood_any_more() -> None:
    world = following()
    world.run("x-then-1", 0.2)
    world.edit(parallelTrials=5)
    world.settle()
    assert world.says("Complete")[0] == "False", "a job on the winner runs"
    assert world.says("Running")[2].endswith("; x-then-1 runs on the winner")
    world.complete("x-then-1", 0.8)
    world.settle()
    kind, reason, message = world.says("Complete")
    assert (kind, reason) == ("True", "SearchCompleted")
    assert message.startswith("x-trial-1 is the best of 3 trials with mAP50 0.7000; nothing more")
    assert "must not exceed maxTrials" in message
    status = world.automl["status"]
    assert status["best"]["number"] == 1
    assert status["artifacts"]
    assert "failure" not in status
    assert [(each["name"], each["phase"]) for each in status["then"]] == [("x-then-1", "Complete")]
    assert world.says("DataReady")[0] == "True"
    assert "x-then-2" not in world.dinojobs, "nothing more is made"


def test_and_its_report_is_waited_for() -> None:
    world = searched(then=TWICE)
    world.edit(parallelTrials=5)
    world.settle()
    assert world.says("Running")[2].endswith("; the report is written")
    world.report(failed="the bucket is gone")
    world.settle()
    message = world.says("Complete")[2]
    assert "no report was written (InternalError: the bucket is gone); nothing more" in message
    assert not any(name.startswith("x-then") for name in world.dinojobs)


def test_and_what_runs_on_it_is_held_with_it() -> None:
    world = following()
    world.run("x-then-1", 0.2)
    world.edit(parallelTrials=5, suspend=True)
    world.settle()
    assert world.says("Suspended")[:2] == ("False", "Suspending")
    world.obey("x-then-1")
    world.settle()
    assert world.says("Suspended")[0] == "True"
    world.edit(suspend=False)
    world.settle()
    assert not world.dinojobs["x-then-1"]["spec"]["runPolicy"]["suspend"]
    world.obey("x-then-1")
    world.fail("x-then-1")
    world.settle()
    assert "; x-then-1 failed; nothing more" in world.says("Complete")[2]
