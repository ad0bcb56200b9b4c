"""A search from its first trial to its last word, and what may happen on the way."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from dino_api.names import Label
from dino_api.search.record import SearchRecord
from dino_operator.plan.annotations import Annotation
from dino_operator.plan.observed.children import Refusal
from dino_operator.plan.observed.resource import DinoAutoML, DinoJob
from dino_operator.plan.search import decide, status
from dino_operator.plan.search.after import report
from dino_operator.plan.search.decide import view_of
from dino_operator.plan.search.trials.outcomes import of_row, parameters_of
from tests.unit.search_builders import DROPOUT, a_search, a_trial
from tests.unit.search_world import SearchWorld, names


def four_trials(**spec: object) -> SearchWorld:
    """The baseline has 0.5, trials 1 and 2 run."""
    world = SearchWorld(**spec)
    world.baseline(0.5)
    for name in ("x-trial-1", "x-trial-2"):
        world.run(name, 0.2, 0.3)
    world.settle()
    return world


def test_one_preflight_for_all() -> None:
    world = SearchWorld()
    world.settle()
    assert names(world.dinojobs.values()) == ["x-trial-0"]
    assert world.says("Running")[1] == "Checking"
    assert world.automl["status"]["phase"] == "Preparing"
    world.check()
    world.settle()
    assert names(world.dinojobs.values()) == ["x-trial-0", "x-trial-1"], "two at a time"
    assert world.says("DataReady") == ("True", "DataChecked", "10 images")
    assert world.automl["status"]["dataset"]["images"] == 10
    notes = world.job(1)["metadata"]["annotations"]
    assert notes[Annotation.DATA_CHECKED_BY.value] == "x-trial-0"
    assert Annotation.DATA_CHECKED_BY.value not in world.job(0)["metadata"]["annotations"]


def test_a_trial_is_the_template_with_what_was_drawn() -> None:
    world = SearchWorld()
    world.baseline()
    assert world.job(0)["spec"]["experiment"]["train"]["num_epochs"] == 10
    job = world.job(1)
    drawn = json.loads(job["metadata"]["annotations"][Annotation.PARAMETERS.value])
    assert set(drawn) == {"train.optim.lr", "model.dropout_ratio"}
    assert job["spec"]["experiment"]["train"]["optim"]["lr"] == drawn["train.optim.lr"]
    assert job["spec"]["action"] == "train"
    assert job["spec"]["automlPolicy"] == "Disabled"
    assert job["spec"]["output"] == {"uri": "s3://results/x/trials/1"}
    assert job["spec"]["datasets"]["train"][0]["uri"] == "s3://data/train"
    assert job["metadata"]["labels"][Label.AUTOML_UID.value] == "uid-x"
    assert job["metadata"]["ownerReferences"][0]["kind"] == "DinoAutoML"


def test_what_is_odd_is_told_once_by_an_event() -> None:
    world = SearchWorld(algorithm={"name": "tpe", "startupTrials": 8}, maxTrials=4)
    world.settle()
    (said,) = world.events
    assert said.startswith("SearchDoubtful: spec.algorithm.startupTrials: leaves tpe none of the 4")
    assert "warning:" not in said
    world.check()
    world.settle()
    assert len(world.events) == 1
    (posted,) = SearchWorld(algorithm={"name": "tpe"}).plan().events
    assert posted.warning
    world.automl["metadata"]["generation"] = 2
    (again,) = world.plan().events
    assert again == posted, "of the same name: the API server keeps one"


def test_a_search_of_a_release_that_asked_for_no_validation_goes_on() -> None:
    world = SearchWorld()
    del world.automl["spec"]["template"]["datasets"]["validation"]
    world.baseline(0.5)
    for number in (0, 1):
        data = world.job(number)["spec"]["datasets"]
        assert data["validation"] == data["train"], "the API server takes the trial"
    assert "is the training data" in world.events[0]


@pytest.mark.parametrize("begun", [False, True])
def test_a_trial_that_the_api_server_does_not_take_ends_the_search(begun: bool) -> None:
    world = four_trials() if begun else SearchWorld()
    if begun:
        world.complete("x-trial-1", 0.4)
    before = len(world.dinojobs)
    resource, children = world.look()
    said = "the API server refuses DinoJob x-trial-3: spec.datasets: is missing"
    refusal = Refusal("create", "DinoJob", "x-trial-3", 422, "Invalid", "spec.datasets: is missing")
    refused = replace(children, refusal=refusal)
    world.carry_out(decide.plan(resource, refused, world.now, world.settings))
    assert len(world.dinojobs) == before, "and is not made again"
    for job in world.live():
        world.obey(job["metadata"]["name"])
    world.settle()
    if begun:
        world.report()
        world.settle()
    assert len(world.dinojobs) == before
    assert world.says("Failed") == ("True", "InvalidSpec", said)
    assert world.automl["status"]["failure"]["remedy"]


def test_a_draw_notes_what_it_knew() -> None:
    world = four_trials()
    world.complete("x-trial-2", 0.4)
    world.settle()
    assert world.job(2)["metadata"]["annotations"][Annotation.KNEW.value] == "0"
    assert world.job(3)["metadata"]["annotations"][Annotation.KNEW.value] == "0,2"


def test_kueues_labels_reach_the_trials() -> None:
    world = SearchWorld()
    world.automl["metadata"]["labels"] = {"kueue.x-k8s.io/priority-class": "low"}
    world.settle()
    assert world.job(0)["metadata"]["labels"]["kueue.x-k8s.io/priority-class"] == "low"


def test_a_report_that_someone_else_holds_back_is_not_waited_for_for_ever() -> None:
    """Kueue takes every Job of a namespace, where it is told to."""
    world = four_trials()
    for number in (1, 2, 3):
        world.complete(f"x-trial-{number}", 0.4)
        world.settle()
    for job in world.jobs.values():
        job["spec"]["suspend"] = True
    world.settle()
    assert world.says("Complete")[0] == "False"
    world.wait(report.SECONDS)
    world.settle()
    assert world.says("Complete")[0] == "True"
    assert "no report was written (someone else has suspended Job" in world.says("Complete")[2]


def test_from_the_first_trial_to_the_last_word() -> None:
    world = four_trials()
    assert world.automl["status"]["trials"]["display"] == "1/4"
    assert world.says("Running")[2] == "1 of 4 trials have ended; x-trial-1, x-trial-2 run"
    world.complete("x-trial-1", 0.61234)
    world.complete("x-trial-2", 0.4)
    world.settle()
    world.run("x-trial-3", 0.2)
    world.complete("x-trial-3", 0.3)
    world.settle()
    assert world.says("Running")[1] == "Ending"
    world.report()
    world.settle()
    told = world.automl["status"]
    assert told["phase"] == "Complete"
    said = "x-trial-1 is the best of 4 trials with mAP50 0.6123"
    assert world.says("Complete") == ("True", "SearchCompleted", said)
    assert told["trials"]["succeeded"] == 4
    assert told["artifacts"][0]["name"] == "report.html"
    assert told["best"]["mAP50"] == max(each["mAP50"] for each in told["history"]) == 0.6123
    assert told["best"]["specification"] == world.job(1)["spec"]["experiment"]
    assert told["best"]["checkpoint"] == world.checkpoint("x-trial-1")
    assert world.events == [f"Completed: {said}"]


def test_writes_of_a_life() -> None:
    """Per trial: its DinoJob, and a status each for its start, its end. Progress costs nothing."""
    world = four_trials()
    before = world.writes
    for epoch in range(3, 9):
        world.run("x-trial-1", *[epoch / 20] * epoch)
        world.settle()
    assert world.writes == before
    for name, score in (("x-trial-1", 0.6), ("x-trial-2", 0.4)):
        world.complete(name, score)
        world.settle()
    world.run("x-trial-3", 0.1)
    world.complete("x-trial-3", 0.3)
    world.settle()
    world.report()
    world.settle()
    assert world.writes <= 24


def test_the_end_is_final() -> None:
    world = four_trials(maxTrials=3)
    for name in ("x-trial-1", "x-trial-2"):
        world.complete(name, 0.4)
    world.settle()
    world.report()
    world.settle()
    world.dinojobs.clear()
    world.edit(maxTrials=9, suspend=True)
    world.settle()
    assert not world.dinojobs
    assert world.says("Complete")[0] == "True"
    assert world.automl["status"]["observedGeneration"] == 2
    assert {each["observedGeneration"] for each in world.automl["status"]["conditions"]} == {2}


def test_more_trials_while_it_runs_and_none_once_it_is_over() -> None:
    world = four_trials(maxTrials=3)
    world.edit(maxTrials=4)
    world.complete("x-trial-1", 0.4)
    world.settle()
    assert "x-trial-3" in world.dinojobs
    for number in (2, 3):
        world.complete(f"x-trial-{number}", 0.4)
    world.settle()
    world.edit(maxTrials=9)
    world.settle()
    assert len(world.dinojobs) == 4


def test_suspend_and_resume_lose_nothing() -> None:
    world = four_trials()
    drawn = dict(world.drawn)
    world.edit(suspend=True)
    world.settle()
    assert all(world.job(n)["spec"]["runPolicy"]["suspend"] for n in (1, 2))
    assert not world.job(0)["spec"]["runPolicy"]["suspend"], "it has ended"
    assert world.says("Suspended")[:2] == ("False", "Suspending")
    world.obey("x-trial-1")
    world.obey("x-trial-2")
    world.delete("x-trial-2")
    world.settle()
    assert world.says("Suspended")[:2] == ("True", "Suspended")
    assert world.automl["status"]["phase"] == "Suspended"
    assert "x-trial-2" not in world.dinojobs, "nothing is made while it is held"
    world.edit(suspend=False)
    world.settle()
    assert not world.job(1)["spec"]["runPolicy"]["suspend"]
    assert world.drawn == drawn
    assert world.says("Suspended")[0] == "False"


def test_suspended_from_the_start() -> None:
    world = SearchWorld(suspend=True)
    world.settle()
    assert not world.dinojobs
    assert world.says("Suspended")[0] == "True"


def test_a_deleted_trial_is_made_again_with_its_parameters() -> None:
    world = four_trials()
    world.delete("x-trial-2")
    world.settle()
    assert "x-trial-2" in world.dinojobs  # World compares the parameters
    assert world.row(2)["state"] == "Pending"


def test_deleted_trials_are_made_again_no_more_than_may_run() -> None:
    world = four_trials()
    world.edit(parallelTrials=1)
    for number in (1, 2):
        world.delete(f"x-trial-{number}")
    world.settle()
    assert names(world.live()) == ["x-trial-1"]
    world.complete("x-trial-1", 0.4)
    world.settle()
    assert names(world.live()) == ["x-trial-2"]


def test_a_deleted_trial_that_had_ended_stays_history() -> None:
    world = four_trials()
    world.complete("x-trial-1", 0.7)
    world.settle()
    best = world.automl["status"]["best"]
    for number in (0, 1):
        world.delete(f"x-trial-{number}")
    world.settle()
    assert not {"x-trial-0", "x-trial-1"} & set(world.dinojobs)
    assert world.automl["status"]["best"] == best
    assert world.row(1)["mAP50"] == 0.7


def test_a_goal_stops_what_runs() -> None:
    world = four_trials(objective={"goal": 0.6})
    world.complete("x-trial-1", 0.61)
    world.settle()
    assert world.job(2)["spec"]["runPolicy"]["stop"]
    assert world.job(2)["metadata"]["labels"][Label.TRIAL_END.value] == "Stopped"
    assert "x-trial-1 reached the goal of 0.6" in world.says("Running")[2]
    world.obey("x-trial-2")
    world.settle()
    assert world.row(2)["state"] == "Stopped"
    assert world.row(2)["mAP50"] == 0.3
    assert "x-trial-3" not in world.dinojobs
    world.report()
    world.settle()
    assert world.says("Complete")[0] == "True"


def test_a_trial_that_was_deleted_while_the_search_stops_is_not_made_again() -> None:
    world = four_trials(objective={"goal": 0.6})
    world.complete("x-trial-1", 0.61)
    world.delete("x-trial-2")
    world.settle()
    assert world.row(2)["state"] == "Stopped"
    assert world.automl["status"]["completionTime"]


def test_a_worse_trial_is_pruned_and_its_place_is_taken() -> None:
    pruning = {"name": "median", "startEpoch": 1, "minTrials": 2}
    world = four_trials(pruning=pruning, parallelTrials=2)
    world.run("x-trial-1", 0.4, 0.45)
    world.run("x-trial-2", 0.1, 0.1)
    world.settle()
    assert world.job(2)["metadata"]["labels"][Label.TRIAL_END.value] == "Pruned"
    assert "x-trial-3" not in world.dinojobs, "its GPU is not free yet"
    world.obey("x-trial-2")
    world.settle()
    assert (world.row(2)["state"], world.row(2)["mAP50"]) == ("Pruned", 0.1)
    assert "x-trial-3" in world.dinojobs
    assert world.automl["status"]["trials"]["pruned"] == 1


@pytest.mark.parametrize("checkpoint, best", [(True, 2), (False, 0)])
def test_a_stopped_trial_wins_only_with_a_checkpoint(checkpoint: bool, best: int) -> None:
    world = four_trials(maxTrials=3)
    world.run("x-trial-2", 0.1, 0.9)
    world.dinojobs["x-trial-2"]["spec"]["runPolicy"]["stop"] = True
    world.obey("x-trial-2", checkpoint=checkpoint)
    world.settle()
    assert world.row(2)["state"] == "Stopped"
    assert world.automl["status"]["best"]["number"] == best


def test_the_first_of_equal_trials_is_best() -> None:
    world = four_trials()
    world.complete("x-trial-2", 0.5)
    world.complete("x-trial-1", 0.50004)  # the same in the digits that one validation knows
    world.settle()
    assert world.automl["status"]["best"]["number"] == 0


def test_a_namesakes_trial_is_waited_for() -> None:
    world = SearchWorld()
    other = a_search()
    world.dinojobs["x-trial-0"] = {
        "kind": "DinoJob",
        "metadata": {
            "name": "x-trial-0",
            "uid": "old",
            "labels": {},
            "ownerReferences": [{"uid": "uid-of-another", "controller": True}],
        },
        "spec": other["spec"]["template"],
    }
    plan = world.reconcile()
    assert not plan.creates
    assert plan.requeue_after == world.settings.recheck
    assert "x-trial-0 of an earlier DinoAutoML" in world.says("Running")[2]
    world.delete("x-trial-0")
    world.settle()
    assert world.job(0)["metadata"]["uid"] != "old"


def test_a_stranger_is_named() -> None:
    world = SearchWorld()
    world.strangers = ({"kind": "DinoJob", "metadata": {"name": "x-trial-0"}},)
    assert not world.reconcile().creates
    assert "DinoJob x-trial-0 belongs to someone else" in world.says("Running")[2]


def test_a_stranger_does_not_hide_what_runs() -> None:
    world = SearchWorld(maxTrials=4)
    world.baseline()
    world.run("x-trial-1", 0.2)
    world.run("x-trial-2", 0.2)
    world.settle()
    world.complete("x-trial-2", 0.3)
    world.strangers = ({"kind": "DinoJob", "metadata": {"name": "x-trial-3"}},)
    assert not world.reconcile().creates
    running, reason, message = world.says("Running")
    assert (running, reason) == ("True", "WaitingForChild")
    assert "x-trial-1 run; DinoJob x-trial-3 belongs to someone else" in message
    assert world.automl["status"]["phase"] == "Running"


def test_the_space_of_the_first_plan_stays() -> None:
    """Another version of the operator may have other defaults."""
    world = SearchWorld(search=[])
    world.baseline()
    stored = world.automl["status"]["search"]
    assert len(stored) == 5
    world.automl["status"]["search"] = stored[:1]
    world.complete("x-trial-1", 0.4)
    world.settle()
    drawn = json.loads(world.drawn[3][Annotation.PARAMETERS.value])
    assert set(drawn) == {stored[0]["path"]}


def test_a_grid_ends_with_its_last_combination() -> None:
    grid = [{**DROPOUT, "step": 0.15}]
    world = SearchWorld(search=grid, algorithm={"name": "grid"}, maxTrials=9)
    world.baseline()
    for number in (1, 2):
        world.run(f"x-trial-{number}", 0.1)
        world.complete(f"x-trial-{number}", 0.4)
    world.settle()
    assert world.automl["status"]["completionTime"]
    assert world.automl["status"]["trials"]["display"] == "3/3"


def test_cmaes_says_what_it_waits_for() -> None:
    world = SearchWorld(algorithm={"name": "cmaes"}, maxTrials=20, parallelTrials=6)
    world.baseline()
    world.settle()
    assert len(world.dinojobs) == 7
    for number in range(1, 6):
        world.complete(f"x-trial-{number}", 0.1 * number)
    world.settle()
    assert len(world.dinojobs) == 7
    assert "cmaes draws the next generation" in world.says("Running")[2]
    world.complete("x-trial-6", 0.2)
    world.settle()
    assert len(world.dinojobs) == 13


def test_500_trials_fit_in_the_status() -> None:
    world = SearchWorld(maxTrials=500)
    drawn = {f"train.optim.a_parameter_{n}": 0.0001234 for n in range(6)}
    times = {"started": world.stamp(), "ended": world.stamp(), "gpu_seconds": 12345}
    more = {"parameters": drawn, "curve": (0.1234,) * 200, **times}
    trials = [a_trial(n, 0.1234, **more) for n in range(400)]
    for n in range(400, 500):
        said = {"reason": "Diverged", "message": "said why " * 40}
        trials.append(a_trial(n, None, "Failed", **said, **more))
    resource, children = world.look()
    view = view_of(DinoAutoML(resource), children, world.now, world.settings)
    told = status.of_trials(view, trials)
    assert len(told["history"]) == 500
    assert len(json.dumps(told["history"], separators=(",", ":"))) < 300_000
    assert [len(row["curve"]) for row in told["history"]] == [16] * 500
    resource["status"] = told
    again = view_of(DinoAutoML(resource), children, world.now, world.settings)
    rows = [of_row(row) for row in again.history.values()]
    assert status.of_trials(again, rows)["history"] == told["history"], "written down once"


def test_the_report_of_500_trials_fits_in_a_configmap() -> None:
    world = SearchWorld(maxTrials=500)
    row = {"name": "n" * 60, "state": "Succeeded", "parameters": {"p" * 600: 1.5}, "mAP50": 0.5}
    known = {"parameters": {"p" * 500: 1.0}, "mAP50": 0.5}
    curve = [0.1234] * 200
    history = [{**row, "number": n, "curve": curve} for n in range(500)]
    world.automl["status"] = {"history": history, "known": [known] * 500}
    resource, children = world.look()
    view = view_of(DinoAutoML(resource), children, world.now, world.settings)
    text = report.content(view, "outcome")
    assert len(text) < report.LARGEST
    record = SearchRecord.model_validate_json(text)
    assert len(record.history) == 500
    assert not record.known
    assert not record.history[0].curve


@pytest.mark.parametrize(
    "text", ["{", "[1]", "[" * 100_000, '{"a": [1], "b": NaN, "c": 1e999, "d": null}']
)
def test_a_draw_that_somebody_edited_counts_as_none(text: str) -> None:
    notes = {Annotation.PARAMETERS.value: text}
    assert parameters_of(DinoJob({"metadata": {"annotations": notes}})) == {}


@pytest.mark.parametrize("choice", [{}, [1], None])
def test_a_choice_that_is_no_value_is_refused_in_our_own_words(choice: object) -> None:
    """The API server lets any choice in: values of several types have no schema there."""
    world = SearchWorld(search=[DROPOUT, {"path": "model.aux_loss", "choices": [True, choice]}])
    world.settle()
    assert world.says("Failed") == (
        "True",
        "InvalidSpec",
        "spec.search[1].choices[1]: must be a number, true or false, or text. Correct or remove "
        "it; `kubectl explain` shows what it can hold.",
    )
    assert not world.dinojobs
