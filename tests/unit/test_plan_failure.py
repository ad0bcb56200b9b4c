"""Why an attempt failed, and specs that cannot be run."""

from __future__ import annotations

import pytest

from dino_operator.plan import failure
from dino_operator.plan.job import plan
from dino_operator.plan.model import Children
from tests.builders import (
    a_child,
    a_job,
    a_pod,
    later,
)
from tests.unit.plan_cases import SETTINGS

TOLD_65 = {"failure": {"reason": "InvalidDataset", "message": "m"}}
CAUSES = {
    "the trainer's own words win": (
        lambda pod: pod.exited(
            65, message={"failure": {"reason": "InvalidDataset", "message": "m"}}
        ),
        ("InvalidDataset", "m", 65),
    ),
    "an exit code of ours without words": (
        lambda pod: pod.exited(71),
        ("DeviceOutOfMemory", "the trainer ended with exit code 71", 71),
    ),
    "a code that nobody documented": (
        lambda pod: pod.exited(3, message="Traceback: boom"),
        ("Crashed", "the trainer ended with exit code 3; its log ends: …Traceback: boom", 3),
    ),
    "the kernel's memory limit": (
        lambda pod: pod.exited(137, reason="OOMKilled"),
        ("OutOfMemory", "the kernel killed the container at its memory limit", 137),
    ),
    "killed while being deleted": (
        lambda pod: pod.exited(137).deleting(),
        ("Preempted", "the pod was asked to stop", 137),
    ),
    "one process of several killed for memory": (
        lambda pod: pod.exited(137, message={"failure": {"reason": "OutOfMemory", "message": "m"}}),
        ("OutOfMemory", "m", 137),
    ),
    "killed by the scheduler": (
        lambda pod: pod.exited(137).condition("DisruptionTarget", reason="PreemptionByScheduler"),
        ("Preempted", "the pod was asked to stop", 137),
    ),
    "stopped with a checkpoint": (
        lambda pod: pod.exited(143),
        ("Preempted", "the pod was asked to stop", 143),
    ),
    "evicted for its disk": (
        lambda pod: pod.evicted("Pod ephemeral local storage usage exceeds the total limit"),
        ("DiskFull", "Pod ephemeral local storage usage exceeds the total limit", None),
    ),
    "evicted for memory": (
        lambda pod: pod.evicted("The node was low on resource: memory"),
        ("OutOfMemory", "The node was low on resource: memory", None),
    ),
    "evicted for something else": (
        lambda pod: pod.evicted("Preempted in order to admit critical pod"),
        ("Preempted", "Preempted in order to admit critical pod", None),
    ),
}


@pytest.mark.parametrize("sentence", CAUSES)
def test_cause(sentence: str) -> None:
    change, expected = CAUSES[sentence]
    child = a_child(a_job()).failed()
    cause = failure.of_job(child.obj(), [change(a_pod(child)).obj()])
    assert (cause.rule.reason.value, cause.message, cause.exit_code) == expected


def test_a_node_that_does_not_answer_loses_the_pod() -> None:
    child = a_child(a_job()).failed()
    pod = a_pod(child).obj()
    pod["status"] = {"phase": "Failed"}
    cause = failure.of_job(child.obj(), [pod])
    assert cause.rule.reason == "PodLost"
    assert "its node does not answer" in cause.message


def test_a_spec_that_cannot_be_run_fails_with_all_its_problems() -> None:
    job = a_job().spec(datasets={"train": [{}]}, output={})
    made = plan(job.obj(), Children(), later(0), SETTINGS)
    assert made.status is not None
    assert not made.creates
    assert made.status["failure"]["reason"] == "InvalidSpec"
    assert "spec.datasets.train" in made.status["failure"]["message"]
    assert "spec.output.uri" in made.status["failure"]["message"]


def test_an_experiment_that_cannot_be_run_names_the_keys_of_the_resource() -> None:
    job = a_job().experiment(train={"num_epochs": 0, "optm": {}})
    made = plan(job.obj(), Children(), later(0), SETTINGS)
    assert made.status is not None
    assert not made.creates
    said = made.status["failure"]["message"]
    assert "spec.experiment.train.num_epochs" in said
    assert "spec.experiment.train.optm" in said
    assert "train.optim" in said
