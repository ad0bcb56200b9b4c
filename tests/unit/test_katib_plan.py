"""The whole plan of a search on Katib: what the engine says, and what becomes of the search."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dino_operator.plan.annotations import Annotation
from dino_operator.plan.model import Condition, Plan
from dino_operator.plan.observed.children import Refusal
from dino_operator.plan.search import decide
from dino_operator.plan.search.trials import dinojobs
from tests.builders import Object, around, at, later
from tests.unit.katib_cases import (
    MESSAGE,
    NAME,
    SETTINGS,
    a_job,
    a_pod,
    a_search,
    a_trial,
    a_view,
    an_experiment,
    complete,
    ended,
    exited,
    failed,
    observed,
    running,
    unplaced,
    waits,
)


def a_baseline(mAP50: float | None = 0.3) -> Object:
    """Trial 0, complete or, without a metric, running with its data found good."""
    job = dinojobs.render(a_view(), 0, {})
    ready = {"type": "DataReady", "status": "True", "reason": "DataChecked"}
    job["metadata"] |= {"uid": "uid-0", "creationTimestamp": at(0)}
    job["status"] = {"startTime": at(5), "conditions": [ready]}
    if mAP50 is not None:
        job["status"]["conditions"].append({"type": "Complete", "status": "True"})
        job["status"] |= {
            "completionTime": at(60),
            "metrics": {"mAP50": mAP50},
            "checkpoint": {"uri": "s3://results/tune/trials/0/train/dino_model_best.pth"},
        }
    return job


class Story:
    """A search whose status is what the plans before wrote."""

    def __init__(self, **spec: Any) -> None:
        self.resource = a_search(**spec)
        self.children: dict[str, Any] = {"katib_served": True, "dinojobs": (a_baseline(),)}
        self.now = later(100)

    def plan(self, **changed: Any) -> Plan:
        """The next plan; its status is kept."""
        self.children |= changed
        told = decide.plan(self.resource, around(**self.children), self.now, SETTINGS)
        if told.status is not None:
            self.resource["status"] = told.status
        return told

    def begin(self, **changed: Any) -> Plan:
        """Until the Experiment is there."""
        self.plan(**changed)
        told = self.plan()
        self.children["experiment"] = an_experiment()
        return told

    def reason(self, kind: str) -> str:
        return (Condition.of(self.resource, kind) or Condition(False)).reason

    @property
    def status(self) -> Object:
        return dict(self.resource["status"])


def succeeded(letter: str, value: str) -> tuple[Object, Object]:
    trial = a_trial(letter, "Succeeded", observation=observed(value))
    return trial, a_job(trial, complete())


def test_the_experiment_is_made_once_the_data_is_good() -> None:
    story = Story()
    story.children["dinojobs"] = ()
    assert [each["kind"] for each in story.plan().creates] == ["DinoJob"]
    unchecked = a_baseline(None)
    unchecked["status"]["conditions"] = []
    assert story.plan(dinojobs=(unchecked,)).creates == ()
    told = story.plan(dinojobs=(a_baseline(None),))
    assert [each["kind"] for each in told.creates][-1] == "Experiment"
    assert (story.status["engine"], story.status["experiment"]) == ("Katib", NAME)


def test_what_katib_cannot_run_is_refused_before_anything_is_made() -> None:
    story = Story(maxTrials=1, parallelTrials=1)
    story.children["dinojobs"] = ()
    assert story.plan().creates == ()
    assert story.reason("Failed") == "InvalidSpec"
    assert "Katib cannot run this search: maxTrials 1 leaves" in story.status["failure"]["message"]


def test_the_best_is_that_of_baseline_and_trials() -> None:
    for value, best in (("0.6", f"{NAME}-a"), ("0.2", "tune-trial-0")):
        story = Story(maxTrials=2)
        story.begin()
        trial, job = succeeded("a", value)
        story.plan(katib_trials=(trial,), jobs=(job,), experiment=ended("Succeeded"))
        assert story.status["best"]["trial"] == best
        assert "completionTime" in story.status
        assert "failure" not in story.status
        assert story.status["trials"]["display"] == "2/2"


def test_katib_may_end_before_the_search_counts_to_its_end() -> None:
    """Its goal by a rounded metric, a number that was raised too late: no trial follows."""
    story = Story(maxTrials=9)
    story.begin()
    trial, job = succeeded("a", "0.6")
    story.plan(katib_trials=(trial,), jobs=(job,), experiment=ended("Succeeded"))
    assert "completionTime" in story.status
    assert story.status["best"]["trial"] == f"{NAME}-a"


def test_but_the_baseline_is_waited_for() -> None:
    story = Story(maxTrials=2)
    story.begin(dinojobs=(a_baseline(None),))
    trial, job = succeeded("a", "0.6")
    story.plan(katib_trials=(trial,), jobs=(job,), experiment=ended("Succeeded"))
    assert "completionTime" not in story.status
    story.plan(dinojobs=(a_baseline(0.7),))
    assert story.status["best"]["trial"] == "tune-trial-0"
    assert "completionTime" in story.status


def test_too_many_failures_stop_katib_before_the_search_is_over() -> None:
    """Katib does not count the baseline and would go on: its Experiment is deleted first."""
    story = Story(maxFailedTrials=0)
    story.begin()
    trial = a_trial("a", "Failed")
    job = a_job(trial, failed(message="failed with exit code 76 matching FailJob rule"))
    story.plan(katib_trials=(trial,), jobs=(job,))
    assert "completionTime" not in story.status
    told = story.plan()
    assert [(each.kind, each.name) for each in told.deletes] == [("experiments", NAME)]
    story.plan(experiment=None, katib_trials=(), jobs=())
    assert "completionTime" in story.status
    assert story.status["failure"]["reason"] == "MaxFailedTrialsReached"
    assert "Diverged" in story.status["failure"]["message"]
    assert story.status["history"][1]["reason"] == "Diverged"


def test_suspended_is_true_while_katibs_own_pod_goes_on() -> None:
    story = Story(suspend=True)
    story.resource["spec"]["suspend"] = False
    story.begin()
    story.resource["spec"]["suspend"] = True
    trial = a_trial("a", "Running")
    job = a_job(trial)
    drawing = a_pod(a_job(a_trial("z")))
    drawing["metadata"]["labels"].pop("dino-operator.io/action")
    told = story.plan(katib_trials=(trial,), jobs=(job,), pods=(a_pod(job), drawing))
    assert {"suspend": True} in [each.body["spec"] for each in told.patches]
    assert story.reason("Suspended") == "Suspending"
    job["spec"]["suspend"] = True
    story.plan(pods=(drawing,))
    assert story.reason("Suspended") == "Suspended"
    assert story.status["phase"] == "Suspended"


def test_a_job_that_someone_else_resumes_is_said_while_the_search_is_suspended() -> None:
    story = Story()
    story.begin()
    story.resource["spec"]["suspend"] = True
    trial, job, pod = running("a")
    job["metadata"]["annotations"] = {Annotation.HOLDS.value: "3"}
    told = story.plan(katib_trials=(trial,), jobs=(job,), pods=(pod,))
    assert told.patches == ()
    going = Condition.of(story.resource, "Suspended") or Condition(True)
    assert (going.is_true, going.reason) == (False, "Suspending")
    still = f"{pod['metadata']['name']} still run; someone else resumed Job {NAME}-a each of the 3"
    assert going.message.startswith(still), "and not that it stops"
    pod["status"]["phase"] = "Pending"
    story.plan(pods=(unplaced(pod),))
    going = Condition.of(story.resource, "Suspended") or Condition(True)
    assert "0/1 nodes have what the pod needs" in going.message
    assert f"; someone else resumed Job {NAME}-a each of the 3" in going.message, "the obstacle"


def test_what_katib_never_says_is_said_in_the_condition() -> None:
    story = Story()
    story.begin()
    trial = a_trial("a", "Running")
    job = a_job(trial)
    pod = a_pod(job, "Pending", **waits("ImagePullBackOff", "no such image"))
    story.plan(katib_trials=(trial,), jobs=(job,), pods=(pod,))
    running = Condition.of(story.resource, "Running") or Condition(False)
    assert "no such image" in running.message


def test_a_missing_collector_is_the_end() -> None:
    story = Story()
    story.begin()
    trial = a_trial("a", "Running")
    job = a_job(trial)
    bare = {"katib_trials": (trial,), "jobs": (job,), "pods": (a_pod(job, collector=False),)}
    told = story.plan(**bare)
    assert [each.kind for each in told.deletes] == ["experiments"]
    assert story.status["failure"]["reason"] == "KatibFailed"
    assert "kubectl label namespace team" in story.status["failure"]["remedy"]
    assert story.status["best"]["trial"] == "tune-trial-0", "the baseline's result stays"
    assert [each["state"] for each in story.status["history"]] == ["Succeeded", "Stopped"]
    assert (story.status["trials"]["running"], story.status["trials"]["display"]) == (0, "2/5")


def test_a_trial_that_katib_has_never_ended_may_win() -> None:
    """It trained to its end, and no metric of it reached Katib."""
    story = Story()
    story.begin()
    trial = a_trial("a", "Running")
    job = a_job(trial, complete())
    words = exited(0, "Completed", json.dumps(MESSAGE))
    pod = a_pod(job, "Succeeded", terminated=words)
    story.now = later(2000)
    story.plan(katib_trials=(trial,), jobs=(job,), pods=(pod,))
    assert story.status["failure"]["reason"] == "KatibFailed"
    assert story.status["history"][1]["state"] == "Stopped"
    best = story.status["best"]
    assert (best["trial"], best["mAP50"]) == (f"{NAME}-a", 0.61)


@pytest.mark.parametrize("status, lasts", [(503, False), (403, True)])
def test_the_search_is_not_over_before_its_experiment_was_told_to_go(
    status: int, lasts: bool
) -> None:
    story = Story()
    story.begin()
    trial = a_trial("a", "Running")
    job = a_job(trial)
    bare = {"katib_trials": (trial,), "jobs": (job,), "pods": (a_pod(job, collector=False),)}
    refused = Refusal("delete", "Experiment", NAME, status, "", "not now")
    story.plan(**bare, refusal=refused)
    assert not {"completionTime", "failure"} & story.status.keys()
    assert story.reason("Running") == ("PolicyDenied" if lasts else "APIServerUnavailable")
    told = story.plan(refusal=None)
    assert [each.kind for each in told.deletes] == ["experiments"]
    assert "completionTime" in story.status


@pytest.mark.parametrize("status, over", [(503, False), (403, True)])
def test_a_time_to_live_is_waited_for_as_long_as_it_may_be_taken(status: int, over: bool) -> None:
    story = Story(maxTrials=2, template={"runPolicy": {"ttlSecondsAfterFinished": 60}})
    story.begin()
    trial, job = succeeded("a", "0.6")
    refused = Refusal("patch", "Job", f"{NAME}-a", status, "", "not now")
    over_there = {"katib_trials": (trial,), "jobs": (job,), "experiment": ended("Succeeded")}
    story.plan(**over_there, refusal=refused)
    assert ("completionTime" in story.status) == over


def test_the_end_is_told_of_what_is_read_and_a_job_that_comes_later_is_stopped() -> None:
    story = Story(maxTrials=2)
    story.begin()
    trial, job = succeeded("a", "0.6")
    over = story.plan(katib_trials=(trial,), jobs=(job,), experiment=ended("Succeeded"))
    assert "completionTime" in story.status
    assert Plan(status=over.status).irrevocable
    late = running("b")[1]
    told = story.plan(jobs=(job, late))
    assert [each.name[-1] for each in told.patches] == ["b"]
    assert told.patches[0].body["spec"] == {"activeDeadlineSeconds": 1}
    story.resource["status"]["conditions"] = [{"type": "Complete", "status": "True"}]
    assert story.plan().patches == told.patches, "also after the last word"
    late["metadata"]["annotations"] = told.patches[0].body["metadata"]["annotations"]
    assert story.plan(jobs=(job, late)).patches == ()


def test_after_the_end_no_experiment_is_made_again() -> None:
    story = Story(maxTrials=2)
    story.begin()
    trial, job = succeeded("a", "0.6")
    story.plan(katib_trials=(trial,), jobs=(job,), experiment=ended("Succeeded"))
    gone = {"experiment": None, "katib_trials": (), "jobs": ()}
    for _ in range(4):
        kinds = {each["kind"] for each in story.plan(**gone).creates}
        assert "Experiment" not in kinds
        assert "DinoJob" not in kinds
