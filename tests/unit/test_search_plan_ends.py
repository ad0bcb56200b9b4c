"""What ends a search and how it is told: failures, the report, the jobs on the winner."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from datetime import datetime

import pytest

from dino_api import names as api
from dino_api.names import Label
from dino_api.search.record import SearchRecord
from dino_operator.plan.model import Settings
from dino_operator.plan.observed.children import Children, Refusal
from dino_operator.plan.observed.resource import DinoAutoML
from dino_operator.plan.search import decide
from dino_operator.plan.search.after import report
from dino_operator.plan.search.trials import dinojobs
from tests.unit.search_world import SearchWorld, names, report_pod


def searched(**spec: object) -> SearchWorld:
    """A search whose three trials have ended; trial 1 is best with 0.7."""
    world = SearchWorld(**{"maxTrials": 3, **spec})
    world.baseline(0.5)
    for number, score in ((1, 0.7), (2, 0.6)):
        world.run(f"x-trial-{number}", 0.2)
        world.complete(f"x-trial-{number}", score)
    world.settle()
    return world


def failing() -> SearchWorld:
    """A search that has failed with its first trial, and whose other trials still run."""
    world = SearchWorld(maxTrials=9, maxFailedTrials=0)
    world.baseline(0.5)
    world.fail("x-trial-1", "Diverged")
    world.settle()
    return world


@pytest.mark.parametrize("reason", ["InvalidSpec", "InvalidDataset", "AccessDenied", "Crashed"])
def test_a_baseline_that_fails_before_its_data_was_checked_ends_the_search(reason: str) -> None:
    world = SearchWorld(maxFailedTrials=3)
    world.settle()
    world.fail("x-trial-0", reason, "train: no annotations.json")
    world.settle()
    told = world.automl["status"]
    said = "x-trial-0, which has the defaults, failed: train: no annotations.json"
    assert world.says("Failed") == ("True", reason, said)
    assert told["phase"] == "Failed"
    assert told["failure"]["remedy"]
    assert names(world.dinojobs.values()) == ["x-trial-0"]
    assert not world.jobs, "there is nothing to report"
    assert len(world.events) == 1
    assert told["failure"]["remedy"] in world.events[0]


def test_a_baseline_that_somebody_stops_before_its_data_was_checked_ends_the_search() -> None:
    world = SearchWorld()
    world.settle()
    world.job(0)["spec"]["runPolicy"]["stop"] = True
    world.obey("x-trial-0", checkpoint=False)
    world.settle()
    kind, reason, message = world.says("Failed")
    assert (kind, reason) == ("True", "NoTrialSucceeded")
    assert message.startswith("x-trial-0 was stopped before it had checked the data")
    assert world.row(0)["state"] == "Stopped"


def test_a_baseline_with_bad_parameters_is_one_failed_trial() -> None:
    world = SearchWorld()
    world.settle()
    world.check()
    world.settle()
    world.fail("x-trial-0", "Diverged")
    world.settle()
    assert world.says("Failed")[0] == "False"
    assert world.automl["status"]["trials"]["failed"] == 1


def test_no_gpu_for_the_baseline_is_none_for_all() -> None:
    world = SearchWorld(maxFailedTrials=3)
    world.settle()
    world.check()
    world.settle()
    world.fail("x-trial-0", "NoGPU", "no GPU in the pod")
    world.settle()
    assert world.job(1)["spec"]["runPolicy"]["stop"]
    world.obey("x-trial-1", checkpoint=False)
    world.settle()
    assert world.says("Failed")[1] == "NoGPU"


def test_too_many_failures_name_the_most_frequent_and_what_to_do() -> None:
    world = SearchWorld(maxTrials=9, parallelTrials=3, maxFailedTrials=2)
    world.baseline(0.5)
    for number, reason in ((1, "Diverged"), (2, "Crashed"), (3, "Diverged")):
        world.run(f"x-trial-{number}", 0.2)
        world.fail(f"x-trial-{number}", reason, "loss is NaN at step 7")
    world.settle()
    assert world.says("Failed")[0] == "False", "what runs is stopped first"
    for job in world.live():
        assert job["spec"]["runPolicy"]["stop"]
        world.obey(job["metadata"]["name"])
    world.settle()
    world.report()
    world.settle()
    kind, reason, message = world.says("Failed")
    assert (kind, reason) == ("True", "MaxFailedTrialsReached")
    assert "3 trials failed, and spec.maxFailedTrials is 2; 2 of them for Diverged" in message
    assert "x-trial-1: loss is NaN at step 7" in message
    assert "Lower train.optim.lr" in world.automl["status"]["failure"]["remedy"]
    assert world.automl["status"]["best"]["number"] == 0, "what was found is not lost"
    assert not any(name.startswith("x-then") for name in world.dinojobs)


def test_no_trial_with_a_result_is_a_failure() -> None:
    world = SearchWorld(maxTrials=2, maxFailedTrials=2)
    world.settle()
    world.check()
    world.settle()
    for number in (0, 1):
        world.fail(f"x-trial-{number}", "OutOfMemory")
    world.settle()
    assert world.says("Failed")[1] == "NoTrialSucceeded"
    assert "Raise spec.resources.memory" in world.automl["status"]["failure"]["remedy"]


def test_results_without_a_checkpoint_are_a_failure() -> None:
    world = SearchWorld(maxTrials=1, parallelTrials=1)
    world.settle()
    world.check()
    world.run("x-trial-0", 0.5)
    world._end("x-trial-0", "Complete", "Completed")
    world.settle()
    assert "none left a checkpoint" in world.says("Failed")[2]


def test_a_failure_that_was_told_is_not_taken_back() -> None:
    world = failing()
    world.edit(maxFailedTrials=5)
    world.settle()
    for job in world.live():
        world.obey(job["metadata"]["name"])
    world.settle()
    written = [each["name"] for each in world.automl["status"]["history"]]
    assert written == sorted(world.dinojobs), "no trial that was never made"
    world.report()
    world.settle()
    assert world.says("Failed")[:2] == ("True", "MaxFailedTrialsReached")


def test_the_end_is_not_told_from_a_cache_that_lacks_a_trial() -> None:
    """Trial 3 was made, its answer was lost, and the goal is met before the cache has it."""
    world = SearchWorld(maxTrials=6, objective={"goal": 0.6})
    world.baseline(0.5)
    world.complete("x-trial-2", 0.3)
    (made,) = (each for each in world.plan().creates if each["kind"] == api.KIND)
    world.complete("x-trial-1", 0.61)
    world.seen = world.look()
    world._create(made)
    told = world.reconcile(stale=True)
    assert not world.automl["status"].get("completionTime")
    assert [each.name for each in told.patches] == ["x-trial-3"]
    world.obey("x-trial-3", checkpoint=False)
    world.settle()
    assert world.row(3)["state"] == "Stopped"
    assert world.automl["status"]["completionTime"]


@pytest.mark.parametrize("held", [False, True])
def test_a_trial_that_shows_itself_after_the_end_is_stopped(held: bool) -> None:
    world = searched(maxTrials=4, objective={"goal": 0.7})
    assert world.automl["status"]["completionTime"]
    late = dinojobs.render(decide.view_of(*parsed(world)), 3, {})
    world.dinojobs["x-trial-3"] = late
    late["metadata"] |= {"uid": "uid-late", "creationTimestamp": world.stamp()}
    world.edit(suspend=held)
    world.settle()
    assert late["spec"]["runPolicy"]["stop"]
    world.obey("x-trial-3", checkpoint=False)
    world.settle()
    if held:
        assert world.says("Suspended")[0] == "True", "nothing is waited for"
    world.edit(suspend=False)
    world.report()
    world.settle()
    assert world.says("Complete")[0] == "True"


def parsed(world: SearchWorld) -> tuple[DinoAutoML, Children, datetime, Settings]:
    """What a view is made of."""
    resource, children = world.look()
    return DinoAutoML(resource), children, world.now, world.settings


def test_a_search_that_cannot_be_run_says_why_at_once() -> None:
    world = SearchWorld(search=[{"path": "train.optim.lr", "min": 0.1, "max": 0.01}])
    world.settle()
    assert world.says("Failed")[:2] == ("True", "InvalidSpec")
    assert "train.optim.lr" in world.says("Failed")[2]
    assert not world.dinojobs


def test_a_search_that_is_not_understood_any_more_stops_its_trials_first() -> None:
    """An operator of another version, or an older CRD, took the spec."""
    world = SearchWorld(maxTrials=3, parallelTrials=1)
    world.baseline(0.5)
    world.run("x-trial-1", 0.2)
    world.settle()
    world.edit(parallelTrials=5)
    world.settle()
    assert world.job(1)["spec"]["runPolicy"]["stop"]
    said = world.says("Running")
    assert said[:2] == ("False", "Ending")
    assert "must not exceed maxTrials" in said[2]
    assert world.automl["status"]["phase"] == "Running"
    assert "completionTime" not in world.automl["status"], "a trial has not ended yet"
    world.obey("x-trial-1")
    world.settle()
    assert world.says("Failed")[:2] == ("True", "InvalidSpec")
    told = world.automl["status"]
    assert [each["state"] for each in told["history"]] == ["Succeeded", "Stopped"]
    counts = {name: told["trials"][name] for name in ("running", "succeeded", "stopped", "display")}
    assert counts == {"running": 0, "succeeded": 1, "stopped": 1, "display": "2/3"}


def test_profile_is_told() -> None:
    world = SearchWorld()
    del world.automl["spec"]["maxTrials"]
    world.automl["spec"]["template"] = {"output": {"uri": "s3://results/x"}}
    world.settle()
    assert world.says("ProfileApplied")[:2] == ("True", "Applied")
    assert world.automl["status"]["trials"]["display"] == "0/10"
    assert world.job(0)["spec"]["datasets"]["train"][0]["uri"] == "s3://smoke/train"
    other = SearchWorld()
    other.settle()
    assert other.says("ProfileApplied")[:2] == ("False", "DatasetsGiven")


def test_a_profile_is_not_mixed_in() -> None:
    world = SearchWorld()
    del world.automl["spec"]["template"]["datasets"]
    world.automl["spec"]["template"]["numClasses"] = 3
    world.settle()
    assert world.says("Failed")[1] == "InvalidSpec"
    assert "datasets" in world.says("ProfileApplied")[2]


# ---- the report


def test_the_report_is_a_job_without_token_or_gpu() -> None:
    world = searched()
    job = world.jobs["x-report-1"]
    pod = job["spec"]["template"]["spec"]
    container = pod["containers"][0]
    assert container["command"] == [
        *("dino", "report", "-e", "/etc/dino/search.json"),
        *("--output", "s3://results/x"),
    ]
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert {each["name"] for each in pod["volumes"]} == {"spec", "work", "tmp", "shm"}
    assert "nvidia.com/gpu" not in json.dumps(container["resources"])
    env = {each["name"] for each in container["env"]}
    assert "AWS_REGION" in env
    assert "DINO_JOB_NAME" not in env
    labels = job["spec"]["template"]["metadata"]["labels"]
    assert labels[Label.AUTOML_UID.value] == "uid-x"
    assert labels[Label.ACTION.value] == "report"
    assert Label.JOB.value not in labels
    (config,) = world.configs
    assert pod["volumes"][0]["configMap"] == {"name": config}


def test_the_report_knows_the_search() -> None:
    world = searched()
    (config,) = world.configs.values()
    record = SearchRecord.model_validate_json(config["data"]["search.json"])
    assert [each.mAP50 for each in record.history] == [0.5, 0.7, 0.6]
    assert record.best is not None
    assert record.best.number == 1
    assert record.engine == "Embedded"
    assert record.outcome == "x-trial-1 is the best of 3 trials with mAP50 0.7000"
    assert [each.path for each in record.space] == ["train.optim.lr", "model.dropout_ratio"]


def test_a_report_that_fails_fails_nothing() -> None:
    world = searched()
    world.report(failed="the bucket is gone")
    world.settle()
    assert world.says("Complete")[0] == "True"
    assert "no report was written (InternalError: the bucket is gone)" in world.says("Complete")[2]
    assert "artifacts" not in world.automl["status"]
    assert [each.partition(":")[0] for each in world.events] == ["ReportFailed", "Completed"]


def test_a_report_that_is_held_back_is_looked_at_again() -> None:
    """Nothing happens to a Job that a queue holds: no watch tells when it is given up."""
    world = searched()
    world.jobs["x-report-1"]["spec"]["suspend"] = True
    world.wait(100)
    assert world.plan().requeue_after == report.SECONDS - 100
    world.wait(500)
    world.settle()
    assert "no report was written (someone else has suspended" in world.says("Complete")[2]


def without_the_reports_job() -> SearchWorld:
    """Somebody has deleted it, and its pod still ends."""
    world = searched()
    pod = report_pod(world.jobs.pop("x-report-1"), {}, 0)
    pod["metadata"]["creationTimestamp"] = world.stamp()
    pod["status"] = {"phase": "Running"}
    world.pods.append(pod)
    world.settle()
    return world


def test_a_report_is_made_again_once_nobody_writes_it_any_more() -> None:
    world = without_the_reports_job()
    assert not world.jobs
    world.pods.clear()
    world.settle()
    assert list(world.jobs) == ["x-report-1"]


def test_a_pod_that_writes_a_report_is_not_waited_for_for_ever() -> None:
    world = without_the_reports_job()
    assert world.plan().requeue_after == report.SECONDS
    world.wait(report.SECONDS)
    world.settle()
    assert not world.jobs
    assert "no report was written (pod report of an earlier report" in world.says("Complete")[2]


def test_a_report_is_written_while_the_search_is_suspended() -> None:
    world = searched()
    labels = world.jobs["x-report-1"]["spec"]["template"]["metadata"]["labels"]
    pod = {"metadata": {"name": "x-report-1-abcde", "labels": labels}}
    world.pods.append({**pod, "status": {"phase": "Running"}})
    world.edit(suspend=True)
    world.settle()
    assert world.says("Suspended")[0] == "True", "it saves no checkpoint, and does not stop"
    assert "x-report-1" not in world.says("Running")[2]


def test_a_report_that_is_refused_fails_no_job_on_the_winner() -> None:
    world = searched(then=[{"action": "train"}])
    world.jobs.clear()
    world.seen = resource, children = world.look()
    refusal = Refusal("create", "ConfigMap", "x-report-12345678", 422, "Invalid", "Too long")
    planned = decide.plan(resource, replace(children, refusal=refusal), world.now, world.settings)
    world.carry_out(replace(planned, creates=()))
    assert [each["phase"] for each in world.automl["status"]["then"]] == ["Pending"]
    world.settle()
    assert "x-then-1" in world.dinojobs
    assert not world.jobs, "nor is it asked for again"
    world.complete("x-then-1", 0.8)
    world.settle()
    assert world.says("Complete")[0] == "True"
    assert "no report was written" in world.says("Complete")[2]
    reasons = [each.partition(":")[0] for each in world.events]
    assert reasons == ["ReportFailed", "Completed"]
    assert "Too long" in world.events[0]


# ---- jobs on the winner

TWICE = [{"action": "train", "epochs": 3}, {"action": "train"}]


def following() -> SearchWorld:
    world = searched(then=TWICE)
    world.report()
    world.settle()
    return world


def test_a_follower_starts_from_the_winner() -> None:
    world = following()
    assert "x-then-2" not in world.dinojobs, "one after the other"
    spec = world.dinojobs["x-then-1"]["spec"]
    assert spec["parent"] == {"kind": api.AUTOML_KIND, "name": "x"}
    assert spec["output"] == {"uri": "s3://results/x/then-1"}
    assert spec["automlPolicy"] == "Disabled"
    winner = world.automl["status"]["best"]["specification"]
    assert spec["experiment"]["model"] == winner["model"]
    assert spec["experiment"]["train"]["num_epochs"] == 3
    assert Label.TRIAL.value not in world.dinojobs["x-then-1"]["metadata"]["labels"]
    assert world.says("Complete")[0] == "False"
    assert [each["phase"] for each in world.automl["status"]["then"]] == ["Pending", "Pending"]


def test_complete_only_after_the_followers() -> None:
    world = following()
    world.complete("x-then-1", 0.8)
    world.settle()
    assert world.dinojobs["x-then-2"]["spec"]["experiment"]["train"]["num_epochs"] == 10
    assert world.says("Complete")[0] == "False"
    world.complete("x-then-2", 0.8)
    world.settle()
    assert world.says("Complete")[0] == "True"
    assert world.automl["status"]["best"]["number"] == 1, "the winner is a trial"


def test_a_follower_that_fails_holds_up_nothing() -> None:
    world = following()
    world.fail("x-then-1", "Diverged")
    world.settle()
    world.complete("x-then-2", 0.8)
    world.settle()
    assert world.says("Complete")[0] == "True"
    assert "x-then-1 failed" in world.says("Complete")[2]
    assert [each["phase"] for each in world.automl["status"]["then"]] == ["Failed", "Complete"]
    assert "FollowerFailed: x-then-1 failed; the winner stands" in world.events


def test_a_follower_is_held_and_made_again() -> None:
    world = following()
    world.edit(suspend=True)
    world.settle()
    assert world.dinojobs["x-then-1"]["spec"]["runPolicy"]["suspend"]
    world.delete("x-then-1")
    world.settle()
    assert "x-then-1" not in world.dinojobs
    assert world.says("Suspended")[0] == "True"
    world.edit(suspend=False)
    world.settle()
    assert "x-then-1" in world.dinojobs


def test_a_copy_of_a_trial_under_another_name_is_none() -> None:
    """kubectl get -o yaml has its labels and its owner, too."""
    world = SearchWorld(maxTrials=3)
    world.baseline(0.5)
    mine = copy.deepcopy(world.job(1))
    mine["metadata"] |= {"name": "mine", "uid": "uid-mine"}
    world.dinojobs["mine"] = mine
    world.run("mine", 0.9)
    world.complete("mine", 0.9)
    for number in (1, 2):
        world.run(f"x-trial-{number}", 0.2)
        world.complete(f"x-trial-{number}", 0.6)
    world.settle()
    assert world.automl["status"]["best"]["mAP50"] == 0.6
    world.report()
    world.settle()
    mine["status"]["conditions"] = []
    assert world.plan().is_empty, "nor is it stopped after the end"


def test_what_runs_under_our_name_after_the_end_is_stopped() -> None:
    world = searched()
    world.report()
    world.settle()
    job = world.job(1)
    job["status"]["conditions"] = []
    world.reconcile()
    assert job["spec"]["runPolicy"]["stop"]
    assert world.plan().is_empty
