"""Several pods train together: whole plans, and which of them says why an attempt failed."""

from __future__ import annotations

import pytest

from dino_operator.plan.job import attempts
from dino_operator.plan.model import Plan
from dino_operator.plan.observed import failure
from dino_operator.plan.observed.job import Job
from dino_operator.plan.observed.pod import Pod
from tests.builders import ChildBuilder, JobBuilder, PodBuilder, a_child, a_job, a_pod, at
from tests.statuses import ATTEMPT, changed_at, told
from tests.unit.plan_cases import PlanCase, check

WAITS = told("Queued", running=("Queued", attempts.WAITING), **ATTEMPT)
TOGETHER = changed_at(
    told(
        "Running",
        running=("Started", "2 pods run, the first is x-train-1-0-aaaaa", True),
        reporter="x-train-1-0-aaaaa",
        startTime=at(5),
        **ATTEMPT,
    ),
    Running=60,
)


def a_pair() -> JobBuilder:
    """A job of two pods without GPUs."""
    return a_job().spec(resources={"gpus": 0, "nodes": 2})


def a_pod_of(child: ChildBuilder, index: int) -> PodBuilder:
    return a_pod(child).index(index)


def _cases() -> dict[str, PlanCase]:
    child = a_child(a_pair())
    first, second = a_pod_of(child, 0), a_pod_of(child, 1)
    message = "0/1 nodes are available: 1 Insufficient cpu. preemption: no."
    short = "0/1 nodes have what the pod needs: Insufficient cpu. Remedy: wait for CPUs to come "
    short += "free, or ask for less by spec.resources.cpu."
    leaving = "pod x-train-1-1-aaaaa was asked to go; all stop with it, and others follow"
    return {
        "one running pod waits for the other": PlanCase(
            a_pair().status(_zero(WAITS)),
            Plan(requeue_after=240),
            [child],
            [a_pod_of(child, 0).running(), second],
        ),
        "one pod waits for the other to be made": PlanCase(
            a_pair().status(_zero(WAITS)),
            Plan(requeue_after=60),
            [child],
            [a_pod_of(child, 0).running()],
        ),
        "the one that finds no node says so for both": PlanCase(
            a_pair().status(_zero(WAITS)),
            Plan(
                status=_zero(
                    told("Queued", running=("PodsUnschedulable", short), **ATTEMPT),
                )
            ),
            [child],
            [first, a_pod_of(child, 1).unschedulable(message)],
        ),
        "they run once both do, and the first one reports": PlanCase(
            a_pair().status(_zero(WAITS)),
            Plan(status=_zero(TOGETHER), requeue_after=245),
            [child],
            [a_pod_of(child, 1).running(), a_pod_of(child, 0).running()],
        ),
        "at the end one is later than the other": PlanCase(
            a_pair().status(_zero(TOGETHER)),
            Plan(),
            [child],
            [a_pod_of(child, 0).succeeded(), a_pod_of(child, 1).running()],
        ),
        "while one goes, the first may still report": PlanCase(
            a_pair().status(_zero(TOGETHER)),
            Plan(
                status=_zero(
                    changed_at(
                        told(
                            "Queued",
                            running=("Queued", leaving),
                            reporter="x-train-1-0-aaaaa",
                            startTime=at(5),
                            **ATTEMPT,
                        ),
                        Running=60,
                    )
                ),
                requeue_after=120,
            ),
            [child],
            [a_pod_of(child, 0).running(), a_pod_of(child, 1).running().deleting()],
        ),
    }


def _zero(status: dict[str, object]) -> dict[str, object]:
    return {**status, "gpus": 0}


CASES = _cases()


@pytest.mark.parametrize("sentence", CASES)
def test_plan(sentence: str) -> None:
    check(CASES[sentence])


def told_by(*pods: PodBuilder, said: str = "") -> tuple[str, str]:
    child = a_child(a_pair()).failed(message=said)
    found = failure.of_job(Job(child.obj()), [Pod(pod.obj()) for pod in pods])
    return found.rule.reason.value, found.rule.retry


def _causes() -> dict[str, tuple[list[PodBuilder], tuple[str, str]]]:
    child = a_child(a_pair())

    def first() -> PodBuilder:
        return a_pod_of(child, 0)

    def second() -> PodBuilder:
        return a_pod_of(child, 1)

    drained = "EvictionByEvictionAPI"
    return {
        "a real reason wins over a lost peer": (
            [first().exited(75), second().exited(71)],
            ("DeviceOutOfMemory", "counted"),
        ),
        "and over one that was stopped for it": (
            [first().exited(76), second().exited(143).deleting()],
            ("Diverged", "never"),
        ),
        "a drain explains the lost peer, and is free": (
            [
                first().exited(75),
                second().exited(137).condition("DisruptionTarget", reason=drained).deleting(),
            ],
            ("Preempted", "free"),
        ),
        "so does a node that was lost with its pod": (
            [first().exited(75), _lost(second())],
            ("Preempted", "free"),
        ),
        "lost peers alone count": (
            [first().exited(75), second().exited(75)],
            ("PeerLost", "counted"),
        ),
        "a pod without GPUs is no passing matter": (
            [first().exited(75), second().exited(78)],
            ("NoGPU", "never"),
        ),
    }


def _lost(pod: PodBuilder) -> PodBuilder:
    pod.thing["status"] = {"phase": "Failed"}
    return pod.condition("DisruptionTarget", reason="DeletionByTaintManager")


CAUSES = _causes()


@pytest.mark.parametrize("sentence", CAUSES)
def test_the_pod_with_the_reason_is_heard(sentence: str) -> None:
    pods, expected = CAUSES[sentence]
    assert told_by(*pods) == expected
    assert told_by(*reversed(pods)) == expected


def test_of_two_real_reasons_the_first_in_time_is_heard() -> None:
    child = a_child(a_pair())
    late = a_pod_of(child, 0).exited(134)
    late.thing["status"]["containerStatuses"][0]["state"]["terminated"]["finishedAt"] = at(59)
    assert told_by(late, a_pod_of(child, 1).exited(71)) == ("DeviceOutOfMemory", "counted")


@pytest.mark.parametrize(
    "said, expected",
    [
        ("Pod team/p has condition DisruptionTarget matching FailJob rule", ("Preempted", "free")),
        (
            "Container trainer for pod team/p failed with exit code 75 matching",
            ("PeerLost", "counted"),
        ),
        (
            "Container trainer for pod team/p failed with exit code 65 matching",
            ("InvalidDataset", "never"),
        ),
        (
            "Container trainer for pod team/p failed with exit code 137 matching",
            ("PodLost", "counted"),
        ),
        ("Job has reached the specified backoff limit", ("PodLost", "counted")),
    ],
)
def test_pods_that_are_gone_are_judged_by_the_job_controllers_words(
    said: str, expected: tuple[str, str]
) -> None:
    assert told_by(said=said) == expected
