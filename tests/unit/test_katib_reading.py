"""What became of Katib's trials, also where Katib itself does not know or says nonsense."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dino_operator.plan.annotations import Annotation
from dino_operator.plan.observed import katib
from dino_operator.plan.search.engines.katib import katib_trials
from dino_operator.plan.search.trials.best import best
from dino_operator.plan.search.trials.trial import Trial
from tests.builders import at
from tests.unit.katib_cases import (
    COLLECTOR,
    MESSAGE,
    NAME,
    a_job,
    a_pod,
    a_search,
    a_trial,
    a_view,
    an_experiment,
    complete,
    exited,
    failed,
    observed,
)
from tests.unit.termination import kept
from tests.unit.test_api_message import a_result

Object = dict[str, Any]
REFUSED = "Container trainer for pod team/t failed with exit code {} matching FailJob rule"


def read(*found: Object, jobs: tuple[Object, ...] = (), pods: tuple[Object, ...] = (), **more: Any):
    """The trials of a search with these Trials, Jobs and pods."""
    view = a_view(
        more.pop("resource", None),
        experiment=an_experiment(),
        katib_trials=found,
        jobs=jobs,
        pods=pods,
    )
    return katib_trials.trials(view, katib_trials.existing(view))


def only(*found: Object, **more: Any) -> Trial:
    (trial,) = read(*found, **more)
    return trial


@pytest.mark.parametrize("late", ["the Job and its pod", "the pod"])
def test_an_end_that_katib_knows_first_waits_for_the_last_words(late: str) -> None:
    """Trials are asked for, Jobs and pods are watched: what is written of the best one stays."""
    trial = a_trial("a", "Succeeded", observation=observed("0.6"), completionTime=at(82))
    job = a_job(trial, *([complete(80)] if late == "the pod" else []))
    told = only(trial, jobs=(job,), pods=(a_pod(job, "Running"),))
    assert (told.state, told.checkpoint, told.ended) == ("Running", None, "")
    job = a_job(trial, complete(80))
    pod = a_pod(job, "Succeeded", terminated=exited(0, "Completed", json.dumps(MESSAGE)))
    told = only(trial, jobs=(job,), pods=(pod,))
    assert (told.state, told.checkpoint) == ("Succeeded", MESSAGE["checkpoint"])


def test_the_best_trial_is_told_anew_once_its_job_is_seen() -> None:
    """Katib may know the end of a Job that no watch has brought. What is known then stays."""
    trial = a_trial("a", "Succeeded", observation=observed("0.6"), completionTime=at(82))
    job = a_job(trial, complete(80))
    pod = a_pod(job, "Succeeded", terminated=exited(0, "Completed", json.dumps(MESSAGE)))
    resource, told = a_search(), []
    for jobs, pods in (((), ()), ((job,), (pod,)), ((), ())):
        seen = {"katib_trials": (trial,), "jobs": jobs, "pods": pods}
        view = a_view(resource, experiment=an_experiment(), **seen)
        found = best(view, katib_trials.trials(view, katib_trials.existing(view)))
        assert found is not None
        told.append((found["checkpoint"], found["mAP50"]))
        resource = {**a_search(), "status": {"best": found}}
    assert set(told[0][0]) == {"uri"}
    assert told[1:] == [(MESSAGE["checkpoint"], 0.61)] * 2


def test_a_trial_that_succeeded() -> None:
    """The pod's last words have checkpoint and curve; the Job the time."""
    trial = a_trial("a", "Succeeded", observation=observed("0.6"), completionTime=at(82))
    job = a_job(trial, complete(80))
    pod = a_pod(job, "Succeeded", terminated=exited(0, "Completed", json.dumps(MESSAGE)))
    view = a_view(
        a_search(template={"resources": {"gpus": 2}}),
        experiment=an_experiment(),
        katib_trials=(trial,),
        jobs=(job,),
        pods=(pod,),
    )
    (told,) = katib_trials.trials(view, katib_trials.existing(view))
    assert (told.number, told.name, told.state) == (1, f"{NAME}-a", "Succeeded")
    assert told.parameters == {
        "train.optim.lr": 1e-4,
        "model.num_queries": 300,
        "model.backbone": "resnet_50",
    }
    assert told.mAP50 == 0.61, "of the checkpoint, where Katib has what was printed"
    assert told.checkpoint == MESSAGE["checkpoint"]
    assert [(point.epoch, point.mAP50) for point in told.curve] == [(1, 0.4), (2, 0.61)]
    assert (told.started, told.ended, told.gpu_seconds) == (at(20), at(82), 120)
    assert told.specification is not None
    assert told.specification["model"] == {
        "num_queries": 300,
        "backbone": "resnet_50",
        "num_select": 300,
    }


@pytest.mark.parametrize("containers", [2, 4, 8])
def test_its_last_words_are_read_beside_katibs_collector_and_more(containers: int) -> None:
    """The collector is a container, too, and so is each that a mesh puts into the pod."""
    whole = a_result()
    trial = a_trial("a", "Succeeded", observation=observed("0.6"), completionTime=at(82))
    job = a_job(trial, complete(80))
    words = kept(whole.to_termination_message(), containers)
    pod = a_pod(job, "Succeeded", terminated=exited(0, "Completed", words))
    told = only(trial, jobs=(job,), pods=(pod,))
    assert told.mAP50 == pytest.approx(0.1112)
    assert told.checkpoint == whole.to_dict()["checkpoint"]


def test_a_trial_whose_pod_is_gone_has_katibs_metric_and_the_trainers_place() -> None:
    told = only(a_trial("a", "Succeeded", observation=observed("0.6")))
    assert told.mAP50 == 0.6
    assert told.checkpoint == {
        "uri": f"s3://results/tune/trials/{NAME}-a/train/dino_model_best.pth"
    }


@pytest.mark.parametrize("value", ["unavailable", "nan", "", "inf"])
def test_a_metric_that_is_no_number_is_none(value: str) -> None:
    """Katib takes an empty one for the best of all."""
    told = only(a_trial("a", "Succeeded", observation=observed(value)))
    assert (told.state, told.reason, told.mAP50) == ("Failed", "MetricsUnavailable", None)
    assert told.checkpoint is None


def test_metrics_unavailable_is_a_failure_with_its_remedy() -> None:
    told = only(a_trial("a", "MetricsUnavailable"))
    assert (told.state, told.reason) == ("Failed", "MetricsUnavailable")
    assert "no validation was finished" in told.message


@pytest.mark.parametrize(
    "code, reason, name",
    [
        (71, "Error", "DeviceOutOfMemory"),
        (76, "Error", "Diverged"),
        (64, "Error", "InvalidSpec"),
        (137, "OOMKilled", "OutOfMemory"),
    ],
)
def test_failures_are_told_apart_by_the_pod(code: int, reason: str, name: str) -> None:
    trial = a_trial("a", "Failed")
    job = a_job(trial, failed(message=REFUSED.format(code)))
    pod = a_pod(job, "Failed", terminated=exited(code, reason))
    assert only(trial, jobs=(job,), pods=(pod,)).reason == name


@pytest.mark.parametrize("code, name", [(71, "DeviceOutOfMemory"), (76, "Diverged")])
def test_failures_are_told_apart_by_the_message_where_the_job_is_gone(code: int, name: str) -> None:
    trial = a_trial("a", "Failed")
    trial["status"]["conditions"][-1] |= {
        "reason": "TrialFailed. Job reason: PodFailurePolicy",
        "message": f"Trial has failed. Job message: {REFUSED.format(code)}",
    }
    assert only(trial).reason == name


def test_a_deadline_is_told_apart() -> None:
    trial = a_trial("a", "Failed")
    trial["status"]["conditions"][-1]["reason"] = "TrialFailed. Job reason: DeadlineExceeded"
    assert only(trial).reason == "DeadlineExceeded"


def test_a_collector_that_died_is_not_the_trainers_fault() -> None:
    """A log of 60 MB kills it; the pod then fails although the trainer did not."""
    trial = a_trial("a", "Failed")
    job = a_job(trial, failed("BackoffLimitExceeded"))
    pod = a_pod(job, "Failed", terminated=exited(0, "Completed", json.dumps(MESSAGE)))
    pod["status"]["containerStatuses"][1]["state"] = {"terminated": exited(137, "OOMKilled")}
    told = only(trial, jobs=(job,), pods=(pod,))
    assert (told.state, told.reason) == ("Failed", "MetricsUnavailable")
    assert "exit code 137, OOMKilled" in told.message
    assert COLLECTOR in told.message


def test_pending_and_running() -> None:
    """Katib calls a Job that exists running: a pod that waits for a node is not."""
    trial = a_trial("a", "Running")
    job = a_job(trial)
    waiting = a_pod(job, "Pending")
    assert only(trial).state == "Pending"
    assert only(trial, jobs=(job,), pods=(waiting,)).state == "Pending"
    running = only(trial, jobs=(job,), pods=(a_pod(job),))
    assert (running.state, running.ended, running.gpu_seconds) == ("Running", "", None)


def test_stopped_by_us() -> None:
    trial = a_trial("a", "Failed")
    job = a_job(trial, failed("DeadlineExceeded"))
    job["metadata"]["annotations"] = {Annotation.STOPPED_FOR.value: "Stopped"}
    assert only(trial, jobs=(job,)).state == "Stopped"


def test_numbers_go_by_age_and_stay() -> None:
    """A Trial that Katib or someone deletes keeps its number, and the others theirs."""
    resource = a_search()
    resource["status"] = {
        "history": [
            {"number": 0, "name": "tune-trial-0", "state": "Succeeded"},
            {"number": 1, "name": f"{NAME}-z", "state": "Succeeded", "mAP50": 0.3},
            {"number": 2, "name": f"{NAME}-y", "state": "Running"},
        ]
    }
    new = (a_trial("b", born=50), a_trial("a", born=50), a_trial("c", born=40))
    told = read(*new, resource=resource)
    assert [(each.number, each.name[-1]) for each in told] == [
        (1, "z"),
        (2, "y"),
        (3, "c"),
        (4, "a"),
        (5, "b"),
    ]
    assert (told[0].state, told[0].mAP50) == ("Succeeded", 0.3)
    assert told[0].checkpoint is not None
    assert (told[1].state, told[1].message) == ("Stopped", katib_trials.GONE)


def test_trials_of_another_experiment_are_not_ours() -> None:
    stranger = a_trial("a", "Running")
    stranger["metadata"]["ownerReferences"][0]["uid"] = "another"
    assert read(stranger) == ()


def test_what_does_not_count_is_not_a_parameter() -> None:
    """`when` holds on Katib, too, which draws everything."""
    space = [
        {"path": "model.backbone", "choices": ["resnet_50", "resnet_34"]},
        {
            "path": "model.dropout_ratio",
            "min": 0,
            "max": 0.3,
            "when": {"path": "model.backbone", "values": ["resnet_34"]},
        },
    ]
    trial = a_trial("a", "Running")
    trial["spec"]["parameterAssignments"] = [
        {"name": "model.backbone", "value": "resnet_50"},
        {"name": "model.dropout_ratio", "value": "0.1"},
    ]
    told = only(trial, resource=a_search(search=space))
    assert told.parameters == {"model.backbone": "resnet_50"}


def test_what_ended_stays_ended_though_katib_runs_a_deleted_trial_again() -> None:
    resource = a_search()
    row = {"number": 1, "name": f"{NAME}-a", "state": "Succeeded", "mAP50": 0.3}
    resource["status"] = {"history": [row]}
    told = only(a_trial("a", "Running"), resource=resource)
    assert (told.state, told.mAP50) == ("Succeeded", 0.3)


NONSENSE = ("none", 7, ["Running"], [["type", "Succeeded"]], {"a": 1}, None, True)


@pytest.mark.parametrize("odd", NONSENSE, ids=str)
def test_katibs_objects_may_hold_anything(odd: object) -> None:
    """Its CRDs have no schema: what cannot be read counts as absent, and the search goes on."""
    told = a_trial("a", "Running")
    for changes in (
        {"spec": odd},
        {"status": odd},
        {"spec": {"parameterAssignments": odd}},
        {"status": {"conditions": odd, "startTime": odd, "completionTime": odd}},
        {"status": {**told["status"], "observation": odd}},
        {"status": {**told["status"], "observation": {"metrics": odd}}},
    ):
        trial = only({**told, **changes})
        assert trial.state in ("Pending", "Running")
        assert trial.mAP50 is None
        if "spec" in changes:
            assert trial.parameters == {}
    experiment = {**an_experiment(), "spec": {"maxTrialCount": odd}, "status": {"trials": odd}}
    known = katib.Experiment(experiment)
    assert known.trials in (0, 7)
    assert set(known.counts.values()) <= {0, 7}


def test_a_time_of_katibs_that_is_none_is_left_out() -> None:
    trial = a_trial("a", "Failed", startTime="soon", completionTime="0001-01-01T00:00:00+14:00")
    told = only(trial)
    assert (told.started, told.ended) == ("", "")
