"""What Katib never ends by itself: said, and ended here. One test for each."""

from __future__ import annotations

from typing import Any

import pytest

from dino_api.names import KUEUE_QUEUE_LABEL
from dino_operator.plan.annotations import Annotation
from dino_operator.plan.rendered import deadline
from dino_operator.plan.search.engines.katib import hangs, katib_trials
from dino_operator.plan.search.engines.katib.hangs import Hang
from tests.builders import Object, at, later
from tests.unit.katib_cases import (
    a_job,
    a_pod,
    a_search,
    a_trial,
    a_view,
    an_experiment,
    complete,
    observed,
    unplaced,
    waits,
)

EARLY, SAID, GIVEN_UP = 30.0, 200.0, 1000.0


def look(seconds: float, *trials: Object, jobs: Any = (), pods: Any = (), **more: Any) -> Hang:
    """What hangs so many seconds after noon."""
    resource = more.pop("resource", None)
    found = {"experiment": an_experiment(), **more}
    view = a_view(resource, now=later(seconds), katib_trials=trials, jobs=jobs, pods=pods, **found)
    return hangs.worst(view, katib_trials.existing(view))


def stopped_for(hang: Hang) -> list[str]:
    """For what the trials' Jobs are ended."""
    return [each.body["metadata"]["annotations"][Annotation.STOPPED_FOR] for each in hang.patches]


def a_running(**spec: Any) -> tuple[Object, Object]:
    trial = a_trial("a", "Running", born=0)
    return trial, a_job(trial, **spec)


def test_nothing_hangs() -> None:
    trial, job = a_running()
    assert look(GIVEN_UP, trial, jobs=(job,), pods=(a_pod(job),)) == Hang()


@pytest.mark.parametrize("kind", ["ImagePullBackOff", "ErrImagePull", "InvalidImageName"])
def test_an_image_that_cannot_be_pulled(kind: str) -> None:
    """Of the trainer, or of Katib's collector."""
    trial, job = a_running()
    pod = a_pod(job, "Pending", **waits(kind, "manifest unknown"))
    for container in (0, 1):
        states = pod["status"]["containerStatuses"]
        states[container]["state"] = waits(kind, "manifest unknown")
        states[1 - container]["state"] = {"running": {}}
        early = look(EARLY, trial, jobs=(job,), pods=(pod,))
        whose = f"container {states[1]['name']}: " if container else ""
        assert early.message == f"pod {pod['metadata']['name']}: {whose}manifest unknown"
        assert early.patches == ()
        late = look(GIVEN_UP, trial, jobs=(job,), pods=(pod,))
        assert stopped_for(late) == ["ImagePullFailed"]
        assert late.failure is None, "Katib counts the trial as failed, and goes on or fails"


def test_a_job_that_is_left_to_run_hides_nothing_of_its_pods() -> None:
    """One that someone else resumes each time that it is suspended."""
    trial, job = a_running()
    job["metadata"]["annotations"] = {Annotation.HOLDS.value: "3"}
    insists = look(EARLY, trial, jobs=(job,), pods=(a_pod(job),)).message
    assert insists.startswith(f"someone else resumed Job {job['metadata']['name']}")
    assert look(EARLY, trial, jobs=(job,)).message == insists, "it has no pod yet"
    assert look(SAID, trial, jobs=(job,)).message.startswith("no pod of Job")
    pod = a_pod(job, "Pending", **waits("ImagePullBackOff", "manifest unknown"))
    assert "manifest unknown" in look(EARLY, trial, jobs=(job,), pods=(pod,)).message
    assert stopped_for(look(GIVEN_UP, trial, jobs=(job,), pods=(pod,))) == ["ImagePullFailed"]


def test_what_hangs_does_not_hide_who_resumes_a_job() -> None:
    """Be it of the same trial or of an older one: only the one tells why a search is not held."""
    first, waiting = a_running(suspend=True)
    waiting["metadata"]["labels"][KUEUE_QUEUE_LABEL] = "default"
    trial = a_trial("b", "Running", born=1)
    job = a_job(trial)
    job["metadata"]["annotations"] = {Annotation.HOLDS.value: "3"}
    resumed = f"; someone else resumed Job {job['metadata']['name']} each of the 3 times"
    for pod in (a_pod(job), unplaced(a_pod(job, "Pending"))):
        message = look(EARLY, first, trial, jobs=(waiting, job), pods=(pod,)).message
        assert message.startswith(f"Job {waiting['metadata']['name']} waits in queue default")
        assert resumed in message
    alone = look(SAID, trial, jobs=(job,), pods=(unplaced(a_pod(job, "Pending")),)).message
    assert alone.startswith("0/1 nodes have what the pod needs: Insufficient cpu. Remedy: ")
    assert resumed in alone
    job["status"]["conditions"] = [complete(0)]
    assert "resumed" not in look(SAID, trial, jobs=(job,)).message, "it has ended"


@pytest.mark.parametrize("count", ["", "²", "9" * 5000, "three", "-1"])
@pytest.mark.parametrize("suspended", [False, True])
def test_a_count_that_is_none_crashes_no_plan(count: str, suspended: bool) -> None:
    """Anybody may write an annotation."""
    trial, job = a_running(suspend=suspended)
    job["metadata"]["annotations"] = {Annotation.HOLDS.value: count, Annotation.HELD.value: "true"}
    assert look(EARLY, trial, jobs=(job,)) == Hang()
    view = a_view(experiment=an_experiment(), katib_trials=(trial,), jobs=(job,))
    (found,) = katib_trials.existing(view)
    assert found.job is not None
    noted = deadline.suspension(view, found.job)["metadata"]["annotations"]
    assert noted[Annotation.HOLDS.value] == "2", "as if it was suspended once"


def test_a_container_that_cannot_be_made() -> None:
    """Such as the collector as root where pods must not be."""
    trial, job = a_running()
    pod = a_pod(job, "Pending")
    said = "container has runAsNonRoot and image will run as root"
    pod["status"]["containerStatuses"][1]["state"] = waits("CreateContainerConfigError", said)
    assert "run as root" in look(EARLY, trial, jobs=(job,), pods=(pod,)).message
    assert stopped_for(look(GIVEN_UP, trial, jobs=(job,), pods=(pod,))) == ["KatibFailed"]


def test_a_pod_that_no_node_takes_is_said_and_never_ended() -> None:
    trial, job = a_running()
    pod = a_pod(job, "Pending")
    pod["status"]["containerStatuses"] = []
    pod["status"]["conditions"] = [
        {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": "0/1 nodes are available: 1 Insufficient nvidia.com/gpu.",
            "lastTransitionTime": at(0),
        }
    ]
    told = look(1e6, trial, jobs=(job,), pods=(pod,))
    assert "0/1 nodes have 1 free nvidia.com/gpu" in told.message
    assert (told.patches, told.failure) == ((), None)


def test_pods_that_are_refused() -> None:
    """Pod Security, a quota: the Job stays, without a pod, and only events say it."""
    trial, job = a_running()
    assert look(EARLY, trial, jobs=(job,)) == Hang()
    name, uid = job["metadata"]["name"], job["metadata"]["uid"]
    unknown = look(SAID, trial, jobs=(job,))
    assert (
        unknown.message == f"no pod of Job {name} is created; kubectl describe job {name} says why"
    )
    assert unknown.asks == (uid,)
    said = f'Error creating: pods "{name}-abcde" is forbidden: exceeded quota: few'
    event = {"reason": "FailedCreate", "message": said, "lastTimestamp": at(5), "metadata": {}}
    events = {uid: (event,)}
    told = look(SAID, trial, jobs=(job,), events=events)
    assert told.message.startswith(
        f'Job {name}: no pod is created: pods "{name}" is forbidden: exceeded quota: few. Remedy: '
    )
    assert told.asks == ()
    late = look(GIVEN_UP, trial, jobs=(job,), events=events)
    assert stopped_for(late) == ["KatibFailed"]
    assert (
        late.patches[0].body["metadata"]["annotations"][Annotation.STOPPED_MESSAGE] == late.message
    )


def test_a_held_job_does_not_hang() -> None:
    trial, job = a_running(suspend=True)
    job["metadata"]["annotations"] = {Annotation.HELD.value: "true"}
    assert look(GIVEN_UP, trial, jobs=(job,)) == Hang()


def test_a_job_in_a_queue_says_which_and_how_to_ask() -> None:
    """The queue that the Job has: a label of the template or a default queue names it, too."""
    trial, job = a_running(suspend=True)
    job["metadata"]["labels"][KUEUE_QUEUE_LABEL] = "default"
    told = look(GIVEN_UP, trial, jobs=(job,))
    name, uid = job["metadata"]["name"], job["metadata"]["uid"]
    ask = f"kubectl describe workload -l kueue.x-k8s.io/job-uid={uid} says why"
    assert told == Hang(f"Job {name} waits in queue default until Kueue admits it; {ask}")


@pytest.mark.parametrize("started", [False, True], ids=["Kueue clears the start", "others do not"])
def test_a_job_that_someone_else_suspended_says_so(started: bool) -> None:
    trial, job = a_running(suspend=True)
    if not started:
        del job["status"]["startTime"]
    told = look(GIVEN_UP, trial, jobs=(job,))
    assert told.message.startswith("someone else than the operator suspended Job dino-")
    assert "Remedy: kubectl patch job dino-" in told.message
    assert (told.patches, told.failure) == ((), None)


@pytest.mark.parametrize(
    "conditions, start",
    [
        ([{"type": "Suspended", "status": "True", "lastTransitionTime": at(1)}], None),
        ([{"type": "Suspended", "status": "False", "lastTransitionTime": at(990)}], at(990)),
    ],
    ids=["the Job controller has not looked", "it has no pod yet"],
)
def test_a_job_that_was_just_admitted_does_not_hang(conditions: Any, start: str | None) -> None:
    """However long it waited in the queue: its creation says nothing."""
    trial, job = a_running(suspend=False)
    job["status"] = {"conditions": conditions, **({"startTime": start} if start else {})}
    assert look(GIVEN_UP, trial, jobs=(job,)) == Hang()


def test_a_namespace_without_the_injection_label() -> None:
    """The trainer trains for nothing: no metric would ever be read. It is seen at its start."""
    trial, job = a_running()
    told = look(1, trial, jobs=(job,), pods=(a_pod(job, collector=False),))
    assert told.failure is not None
    assert (
        "kubectl label namespace team katib.kubeflow.org/metrics-collector" in told.failure.remedy
    )


def test_only_the_first_of_several_pods_has_a_collector() -> None:
    trial, job = a_running()
    other = a_pod(job, collector=False)
    other["metadata"]["labels"]["batch.kubernetes.io/job-completion-index"] = "1"
    assert look(1, trial, jobs=(job,), pods=(a_pod(job), other)) == Hang()


def test_a_job_that_ended_and_whose_trial_did_not() -> None:
    """No metric reached Katib, which asks for it every second for ever."""
    trial, _ = a_running()
    job = a_job(trial, complete(0))
    assert look(EARLY, trial, jobs=(job,)) == Hang()
    assert "no metric reached it" in look(SAID, trial, jobs=(job,)).message
    late = look(GIVEN_UP, trial, jobs=(job,))
    assert late.failure is not None
    assert "no metric reached it" in late.failure.message


def test_a_trial_without_a_job() -> None:
    trial = a_trial("a", born=0)
    assert look(EARLY, trial) == Hang()
    assert "makes no Job" in look(SAID, trial).message
    assert look(GIVEN_UP, trial).failure is not None


def test_a_controller_that_does_not_answer() -> None:
    silent = an_experiment()
    del silent["status"]
    assert "does not answer" in look(SAID, experiment=silent).message
    late = look(GIVEN_UP, experiment=silent)
    assert late.failure is not None


def test_no_suggestion() -> None:
    assert look(EARLY) == Hang()
    assert "has made no Suggestion" in look(SAID).message
    assert look(GIVEN_UP).failure is not None


def test_a_suggestion_that_does_not_start() -> None:
    """Its pod carries the Experiment's labels, and so is seen."""
    condition = {"type": "DeploymentReady", "status": "False", "message": "Deployment is not ready"}
    suggestion = {"status": {"conditions": [condition]}}
    assert "Deployment is not ready" in look(SAID, suggestion=suggestion).message
    pod = a_pod(a_job(a_trial("a")), "Pending", **waits("ImagePullBackOff", "no such image"))
    pod["metadata"]["labels"].pop("dino-operator.io/action")
    pod["metadata"]["ownerReferences"] = []
    told = look(SAID, suggestion=suggestion, pods=(pod,))
    assert "no such image" in told.message


def test_a_suggestion_that_stops_answering() -> None:
    """An unknown trial, a metric it cannot read: every further question fails."""
    condition = {"type": "DeploymentReady", "status": "True"}
    suggestion = {"status": {"conditions": [condition]}}
    done = a_trial("a", "Succeeded", observation=observed("0.4"), completionTime=at(300))
    assert look(330, done, suggestion=suggestion) == Hang()
    assert "answers no more" in look(400, done, suggestion=suggestion).message
    assert look(300 + GIVEN_UP, done, suggestion=suggestion).failure is not None


def test_time_spent_suspended_does_not_count() -> None:
    done = a_trial("a", "Succeeded", observation=observed("0.4"), completionTime=at(0))
    resumed = a_search()
    condition = {"type": "Suspended", "status": "False", "lastTransitionTime": at(5000)}
    resumed["status"] = {"conditions": [condition]}
    assert look(5030, done, resource=resumed) == Hang()
    assert look(6000, done, resource=a_search(suspend=True)) == Hang()


def test_a_trial_that_is_being_stopped_is_left_alone() -> None:
    trial, job = a_running()
    job["metadata"]["annotations"] = {Annotation.STOPPED_FOR.value: "ImagePullFailed"}
    assert look(GIVEN_UP, trial, jobs=(job,)) == Hang()
