"""Pods that are not created, do not start, or do not end: whole plans, and what they say."""

from __future__ import annotations

import pytest

from dino_api.names import Label
from dino_operator.plan.job.decide import plan
from dino_operator.plan.model import Event, Plan
from tests.builders import (
    ChildBuilder,
    JobBuilder,
    Object,
    PodBuilder,
    a_child,
    a_job,
    a_pod,
    a_preflight,
    around,
    at,
    later,
)
from tests.statuses import CHECKING, QUEUED, RUNNING, STOPPING
from tests.unit.plan_cases import SETTINGS

POD = "x-train-1-aaaaa"
AGAIN = "The Job is tried again by itself."


def look(
    job: JobBuilder,
    child: ChildBuilder | None,
    *pods: PodBuilder,
    now: float = 60,
    events: dict[str, list[Object]] | None = None,
) -> Plan:
    """The plan; events: what was read of Jobs and pods, by uid."""
    known = {uid: tuple(each) for uid, each in (events or {}).items()}
    jobs = (child.obj(),) if child else ()
    children = around(jobs, tuple(pod.obj() for pod in pods), events=known)
    return plan(job.obj(), children, later(now), SETTINGS)


def an_event(reason: str, message: str, when: float = 1) -> Object:
    return {
        "metadata": {"creationTimestamp": at(0)},
        "reason": reason,
        "message": message,
        "lastTimestamp": at(when),
    }


def running(made: Plan) -> tuple[str, str]:
    """Reason and message of why it does not run."""
    assert made.status is not None
    found = next(each for each in made.status["conditions"] if each["type"] == "Running")
    assert found["status"] == "False"
    return found["reason"], found["message"]


FORBIDDEN = 'Error creating: pods "x-train-1-7sgq9" is forbidden: '
INVALID = 'Error creating: Pod "x-train-1-7sgq9" is invalid: '
REFUSALS = {
    "a quota": (
        FORBIDDEN + "exceeded quota: few, requested: pods=1, used: pods=7, limited: pods=7",
        "QuotaExceeded",
        'pods "x-train-1" is forbidden: exceeded quota: few, requested: pods=1, limited: pods=7. '
        "Remedy: free some of the quota",
    ),
    "a quota of several things": (
        FORBIDDEN + "exceeded quota: q, requested: cpu=1,memory=2Gi, used: cpu=3,memory=1Gi, "
        "limited: cpu=3,memory=2Gi",
        "QuotaExceeded",
        "exceeded quota: q, requested: cpu=1,memory=2Gi, limited: cpu=3,memory=2Gi. Remedy",
    ),
    "a quota that wants limits": (
        FORBIDDEN + "failed quota: q: must specify limits.cpu for: trainer",
        "QuotaExceeded",
        "set spec.resources.cpu and spec.resources.memory in a new job",
    ),
    "a LimitRange": (
        FORBIDDEN + "maximum cpu usage per Container is 1, but limit is 4",
        "PodsRefused",
        "keep spec.resources of a new job within the namespace's LimitRange",
    ),
    "its ratio": (
        FORBIDDEN + "cpu max limit to request ratio per Container is 2, but provided ratio is 4.0",
        "PodsRefused",
        "keep spec.resources of a new job within the namespace's LimitRange",
    ),
    "its default": (
        INVALID + 'spec.containers[0].resources.requests: Invalid value: "500m": must be less '
        "than or equal to cpu limit of 250m",
        "PodsRefused",
        "the default limit of a LimitRange is less than is requested: set spec.resources.cpu",
    ),
    "a priority class": (
        FORBIDDEN + "no PriorityClass with name gold was found",
        "PodsRefused",
        "create the PriorityClass, or name another one in spec.priorityClassName",
    ),
    "a runtime class": (
        FORBIDDEN + 'pod rejected: RuntimeClass "nvidia" not found',
        "PodsRefused",
        "create the RuntimeClass",
    ),
    "Pod Security": (
        FORBIDDEN + 'violates PodSecurity "restricted:latest": seccompProfile (pod must set it)',
        "PolicyDenied",
        "have the namespace's Pod Security level lowered",
    ),
    "a policy": (
        FORBIDDEN + "ValidatingAdmissionPolicy 'team' with binding 'team' denied request: no team",
        "PolicyDenied",
        "meet the policy by labels and annotations of spec.podTemplate",
    ),
    "a webhook": (
        'Error creating: admission webhook "v.kyverno.io" denied the request: no owner',
        "PolicyDenied",
        "meet the policy by labels and annotations of spec.podTemplate",
    ),
    "a webhook that is down": (
        'Error creating: Internal error occurred: failed calling webhook "v.io": connect refused',
        "WebhookUnavailable",
        "bring the webhook's service up",
    ),
    "something that nobody knows": (
        FORBIDDEN + "the moon is full",
        "PodsRefused",
        'pods "x-train-1" is forbidden: the moon is full. Remedy: ask whoever keeps what',
    ),
}


@pytest.mark.parametrize("sentence", REFUSALS)
def test_no_pod_is_created_in_the_words_of_the_api_server(sentence: str) -> None:
    message, reason, part = REFUSALS[sentence]
    events = {"job-of-uid-x": [an_event("FailedCreate", message)]}
    made = look(a_job().status(QUEUED), a_child(a_job()), now=10, events=events)
    found, said = running(made)
    assert found == reason
    assert said.startswith("no pod is created: ")
    assert part in said
    assert said.endswith(AGAIN)
    assert made.events == (Event("Refused", said, said, warning=True),)
    assert made.requeue_after == 10


def test_the_same_refusal_is_written_once_whatever_its_counters() -> None:
    job, child = a_job().status(QUEUED), a_child(a_job())
    used = "exceeded quota: few, requested: pods=1, used: pods=7, limited: pods=7"
    first = look(
        job, child, now=10, events={"job-of-uid-x": [an_event("FailedCreate", FORBIDDEN + used)]}
    )
    other = "(combined from similar events): " + FORBIDDEN.replace("7sgq9", "zzzzz")
    other += used.replace("used: pods=7", "used: pods=9")
    job.status(first.status)
    again = look(
        job, child, now=40, events={"job-of-uid-x": [an_event("FailedCreate", other, when=30)]}
    )
    assert again == Plan(requeue_after=40)


def test_at_the_first_stage_it_is_said_too() -> None:
    child = a_preflight(a_job())
    said = 'Error creating: pods "x-preflight-1-7sgq9" is forbidden: exceeded quota: q'
    made = look(
        a_job().status(CHECKING),
        child,
        now=10,
        events={child.meta["uid"]: [an_event("FailedCreate", said)]},
    )
    assert made.status is not None
    assert made.status["phase"] == "Preparing"
    assert running(made)[0] == "QuotaExceeded"
    assert [each.reason for each in made.events] == ["Refused"]


def test_events_are_asked_for_only_of_a_job_that_lacks_its_pod_for_some_seconds() -> None:
    job, child = a_job().status(QUEUED), a_child(a_job())
    assert look(job, child, now=4).asks == ()
    assert look(job, child, now=4).requeue_after == 1
    late = look(job, child, now=5)
    assert late.asks == ("job-of-uid-x",)
    assert late == Plan(requeue_after=55), "until they are read, what is said stays"
    assert look(job, child, now=5, events={"job-of-uid-x": []}).asks == ()
    assert look(job, child.suspended(), now=5).asks == ()


STALE = {
    "a pod that was made since": [
        an_event("FailedCreate", "quota", 3),
        an_event("SuccessfulCreate", "Created pod", 4),
    ],
    "an earlier time without a pod": [an_event("FailedCreate", "quota", -5)],
    "something else": [an_event("Suspended", "Job suspended", 3)],
}


@pytest.mark.parametrize("sentence", STALE)
def test_of_old_events_nothing_is_said(sentence: str) -> None:
    events = {"job-of-uid-x": STALE[sentence]}
    assert look(a_job().status(QUEUED), a_child(a_job()), now=10, events=events).status is None


def test_a_refusal_in_the_second_of_a_success_is_the_later_one() -> None:
    both = [an_event("FailedCreate", "exceeded quota", 3), an_event("SuccessfulCreate", "", 3)]
    made = look(a_job().status(QUEUED), a_child(a_job()), now=10, events={"job-of-uid-x": both})
    assert running(made)[0] == "QuotaExceeded"


def test_what_a_pod_needs_is_made_again_while_none_is_created() -> None:
    gone = an_event("FailedCreate", "error looking up service account team/dino-trainer: not found")
    events = {"job-of-uid-x": [gone]}
    made = look(a_job().status(QUEUED), a_child(a_job()), now=60, events=events)
    assert [each["kind"] for each in made.creates] == [
        "ServiceAccount",
        "RoleBinding",
        "ConfigMap",
    ]
    assert "the operator makes the service account again" in running(made)[1]


def test_one_pod_of_several_that_is_not_created_is_said() -> None:
    job = a_job().spec(resources={"nodes": 2}).status({**QUEUED, "gpus": 2})
    child = a_child(job)
    first = a_pod(child).index(0).running()
    refused = an_event("FailedCreate", FORBIDDEN.replace("1-7", "1-1-7") + "exceeded quota: q", 5)
    events = {child.meta["uid"]: [refused]}
    assert look(job, child, first, now=10).asks == (child.meta["uid"],)
    found, said = running(look(job, child, first, now=10, events=events))
    assert found == "QuotaExceeded"
    assert 'pods "x-train-1" is forbidden' in said


HINDRANCES = {
    "a ConfigMap": (
        "FailedMount",
        'MountVolume.SetUp failed for volume "spec" : configmap "x-train-123" not found',
        "it is made again",
    ),
    "a Secret": (
        "FailedMount",
        'MountVolume.SetUp failed for volume "keys" : secret "keys" not found',
        "create the Secret",
    ),
    "a runtime": (
        "FailedCreatePodSandBox",
        'Failed to create pod sandbox: no runtime for "nvidia" is configured',
        "install the runtime on the node",
    ),
    "a volume": (
        "FailedAttachVolume",
        'AttachVolume.Attach failed for volume "pvc-1" : disk is used elsewhere',
        "kubectl describe pvc",
    ),
}


@pytest.mark.parametrize("sentence", HINDRANCES)
def test_what_a_placed_pod_lacks_is_said_in_the_words_of_the_kubelet(sentence: str) -> None:
    reason, message, remedy = HINDRANCES[sentence]
    child = a_child(a_job())
    pod = a_pod(child).scheduled().stuck("ContainerCreating")
    assert look(a_job().status(QUEUED), child, pod, now=9).requeue_after == 1
    assert look(a_job().status(QUEUED), child, pod, now=10).asks == (pod.meta["uid"],)
    events = {pod.meta["uid"]: [an_event(reason, message, 5)]}
    made = look(a_job().status(QUEUED), child, pod, now=10, events=events)
    found, said = running(made)
    assert found == "PodNotStarted"
    assert said.startswith(f"pod {POD}: {message}. Remedy: ")
    assert remedy in said
    assert [each.key for each in made.events] == ["PodNotStarted-1"]
    went_on = [*events[pod.meta["uid"]], an_event("Pulling", "Pulling image", 6)]
    events = {pod.meta["uid"]: went_on}
    assert look(a_job().status(QUEUED), child, pod, now=20, events=events).status is None


def test_the_number_of_a_sandbox_is_left_out() -> None:
    """Each try has another one, and would be another write."""
    child = a_child(a_job())
    pod = a_pod(child).scheduled().stuck("ContainerCreating")
    said = set()
    for number in ("0" * 64, "1" * 64):
        words = f'(combined from similar events): no network for sandbox "{number}": no address'
        events = {pod.meta["uid"]: [an_event("FailedCreatePodSandBox", words, 5)]}
        said.add(running(look(a_job().status(QUEUED), child, pod, now=10, events=events))[1])
    assert said == {f"pod {POD}: no network for sandbox: no address"}


CRASHED = {"exitCode": 1, "reason": "Error", "message": "no such host: pilot\n"}
WAITS = {
    "the image of an init container": (
        {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off: ErrImagePull: 404"}},
        None,
        ("ImagePullFailed", f"pod {POD}: init container setup: 404"),
    ),
    "one that is started again and again": (
        {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s restarting"}},
        CRASHED,
        (
            "PodNotStarted",
            f"pod {POD}: init container setup is started again and again; it ended with exit "
            "code 1: no such host: pilot",
        ),
    ),
    "one whose Secret is missing": (
        {"waiting": {"reason": "CreateContainerConfigError", "message": 'secret "a" not found'}},
        None,
        (
            "PodNotStarted",
            f'pod {POD}: init container setup: secret "a" not found. Remedy: create the Secret '
            "with the keys AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; the job's is named in "
            "spec.storage.secretName, or else by the Helm value s3.secretName.",
        ),
    ),
}


@pytest.mark.parametrize("sentence", WAITS)
def test_another_container_that_the_pod_waits_for_is_named(sentence: str) -> None:
    state, last, expected = WAITS[sentence]
    child = a_child(a_job())
    pod = a_pod(child).stuck("PodInitializing").beside("setup", True, last=last, **state)
    assert running(look(a_job().status(QUEUED), child, pod)) == expected


def test_an_init_container_that_runs_for_long_is_named() -> None:
    child = a_child(a_job())
    pod = a_pod(child).stuck("PodInitializing").beside("copy", True, running={"startedAt": at(1)})
    assert look(a_job().status(QUEUED), child, pod, now=200).status is None
    found = running(look(a_job().status(QUEUED), child, pod, now=300))
    assert found == ("PodNotStarted", f"pod {POD} waits for the end of its init container copy")


def test_a_sidecar_that_keeps_the_pod_after_the_trainer_is_named() -> None:
    child = a_child(a_job())
    pod = a_pod(child).succeeded().beside("istio-proxy", running={"startedAt": at(1)})
    pod.thing["status"]["phase"] = "Running"
    early = look(a_job().status(RUNNING), child, pod, now=60)
    assert early == Plan(requeue_after=25), "a pod may take its time to end"
    made = look(a_job().status(RUNNING), child, pod, now=85)
    found, said = running(made)
    assert found == "SidecarRuns"
    assert said.startswith(
        f"the trainer of pod {POD} ended with exit code 0, and container istio-proxy keeps the pod"
    )
    assert "restartPolicy: Always" in said
    assert made.status is not None
    assert made.status["phase"] == "Running"
    assert (made.patches, made.deletes) == ((), ()), "the Job would count the pod as failed"
    native = a_pod(child).succeeded().beside("istio-proxy", True, running={"startedAt": at(1)})
    native.thing["status"]["phase"] = "Running"
    assert look(a_job().status(RUNNING), child, native, now=85).is_empty, "the kubelet ends it"


GONE = {
    "a pod that its Job replaces": (a_job().status(RUNNING), a_child(a_job())),
    "one that is suspended": (
        a_job().suspended().status(STOPPING),
        a_child(a_job()).suspended(),
    ),
    "one that is stopped for good": (
        a_job().policy(stop=True).status(RUNNING),
        a_child(a_job()).suspended(),
    ),
    "one whose Job is gone": (a_job().status(QUEUED), None),
    "one at the first stage": (a_job().status(CHECKING), a_preflight(a_job())),
}


@pytest.mark.parametrize("sentence", GONE)
def test_a_pod_that_does_not_end_is_told_with_its_node_and_what_people_can_do(
    sentence: str,
) -> None:
    job, child = GONE[sentence]
    of = child or a_child(a_job())
    pod = a_pod(of).running().on("worker-3").deleting(by=100)
    pod.meta["labels"][Label.JOB_UID.value] = "uid-x"
    before = look(job, child, pod, now=100)
    assert before.requeue_after is not None
    assert 0 < before.requeue_after <= 60
    made = look(job, child, pod, now=160)
    found, said = running(made)
    name = pod.meta["name"]
    assert found == "NodeLost"
    assert said.startswith(
        f"pod {name} was to end by {at(100)} and has not: node worker-3 does not answer"
    )
    assert "node.kubernetes.io/out-of-service=nodeshutdown:NoExecute" in said
    assert f"kubectl delete pod {name} -n team --force" in said
    assert made.creates == (), "nothing is run beside it"
    assert [each.reason for each in made.events] == ["PodProblem"]
    assert made.status is not None
    assert "saves a checkpoint" not in str(made.status)
    job = JobBuilder(job.obj()).status(made.status)
    assert look(job, child, pod, now=500).is_empty, "the same words until it ends"


def test_a_pod_that_starts_is_still_queued() -> None:
    pod = a_pod(a_child(a_job())).scheduled()
    made = look(a_job().status(QUEUED), a_child(a_job()), pod, now=30)
    assert made == Plan(requeue_after=30)
