"""Why an attempt failed, and specs that cannot be run."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import torch

import dino_trainer
from dino_api import failures
from dino_api.names import Label
from dino_api.result import Failure, Result, Validation
from dino_operator.plan.annotations import Annotation
from dino_operator.plan.job.decide import plan
from dino_operator.plan.observed import failure
from dino_operator.plan.observed.children import Children
from dino_operator.plan.observed.job import Job
from dino_operator.plan.observed.objects import INDEX_LABEL
from dino_operator.plan.observed.pod import Pod
from dino_operator.plan.rendered import micro_batch
from dino_operator.runtime.keys import Kind
from dino_operator.runtime.trim import trim
from dino_trainer.errors import failure_of
from tests.builders import (
    Object,
    PodBuilder,
    a_child,
    a_job,
    a_pod,
    around,
    later,
)
from tests.statuses import RUNNING
from tests.unit.plan_cases import SETTINGS
from tests.unit.termination import kept

TRAINER = Path(dino_trainer.__file__).parent
ENDED = "the trainer ended with exit code"
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


CAUSES |= {
    "an init container that someone added": (
        lambda pod: _failed(pod).beside("vault-init", True, terminated=ended(3, "no role dino")),
        (
            "ContainerFailed",
            "init container vault-init ended with exit code 3: no role dino; "
            "pod x-train-1-aaaaa failed with it",
            None,
        ),
    ),
    "an init container that the kernel killed": (
        lambda pod: _failed(pod).beside("istio-init", True, terminated=ended(137, "", "OOMKilled")),
        (
            "ContainerFailed",
            "init container istio-init ended with exit code 137 (OOMKilled); "
            "pod x-train-1-aaaaa failed with it",
            None,
        ),
    ),
    "a sidecar that failed after the trainer had succeeded": (
        lambda pod: _failed(pod.succeeded()).beside("proxy", terminated=ended(1)),
        (
            "ContainerFailed",
            "container proxy ended with exit code 1; pod x-train-1-aaaaa failed with it",
            None,
        ),
    ),
    "a sidecar that failed because the trainer had": (
        lambda pod: pod.exited(65).beside("proxy", terminated=ended(1)),
        ("InvalidDataset", "the trainer ended with exit code 65", 65),
    ),
    "a sidecar among the init containers, ended by the kubelet in the end": (
        lambda pod: pod.exited(71).beside("proxy", True, terminated=ended(143)),
        ("DeviceOutOfMemory", "the trainer ended with exit code 71", 71),
    ),
}


def _failed(pod: PodBuilder) -> PodBuilder:
    pod.thing["status"]["phase"] = "Failed"
    return pod


def ended(code: int, message: str = "", reason: str = "Error") -> Object:
    return {"exitCode": code, "reason": reason, "message": message}


def test_a_message_that_is_cut_still_says_why() -> None:
    """Of a crowded pod the start of the trainer's own words is left; an unreadable one was taken
    for the end of a log."""
    said = "The loss is NaN after step 7. " * 50
    why = Failure(reason="Diverged", message=said, remedy="Lower train.optim.lr. " * 40)
    text = Result(failure=why, curve=[Validation(epoch=1, mAP50=0.5)] * 60).to_termination_message()
    for containers in (4, 8, 12):
        pod = a_pod(a_child(a_job()).failed()).exited(76, message=kept(text, containers))
        cause = failure.of_pod(Pod(pod.obj()))
        assert cause.rule.reason == "Diverged"
        assert cause.message.startswith("The loss is NaN after step 7. The loss")
        assert cause.remedy.startswith("Lower train.optim.lr.")
        assert "log ends" not in cause.message


@pytest.mark.parametrize("sentence", CAUSES)
def test_cause(sentence: str) -> None:
    change, expected = CAUSES[sentence]
    child = a_child(a_job()).failed()
    cause = failure.of_job(Job(child.obj()), [Pod(change(a_pod(child)).obj())])
    assert (cause.rule.reason.value, cause.message, cause.exit_code) == expected


DIVERGED = {"failure": {"reason": "Diverged", "message": "NaN at step 3", "remedy": "r"}}
KILLED = "the kernel killed the container at its memory limit"
WENT_ON = f"{KILLED}; the trainer ended with exit code"
OOM_KILLED = {
    "the trainer's own code explains more": ((76, DIVERGED), ("Diverged", "NaN at step 3")),
    "without words, too": ((76, None), ("Diverged", "the trainer ended with exit code 76")),
    "a spec is not what the kernel says": ((64, None), ("InvalidSpec", f"{ENDED} 64")),
    "the GPU's memory is another": ((71, None), ("DeviceOutOfMemory", f"{ENDED} 71")),
    "a full disk": ((74, None), ("DiskFull", f"{ENDED} 74")),
    "asked to go, and a child was killed": (
        (143, None),
        ("Preempted", "the pod was asked to stop"),
    ),
    "an error without a name is explained by it": ((70, None), ("OutOfMemory", f"{WENT_ON} 70")),
    "so is a lost peer": (
        (75, {"failure": {"reason": "PeerLost", "message": "rank 1 ended"}}),
        ("OutOfMemory", f"{WENT_ON} 75: rank 1 ended"),
    ),
    "a code that is not the trainer's": ((1, None), ("OutOfMemory", f"{WENT_ON} 1")),
    "the trainer itself was killed": ((137, None), ("OutOfMemory", KILLED)),
    "the trainer saw it": (
        (137, {"failure": {"reason": "OutOfMemory", "message": "m"}}),
        ("OutOfMemory", "m"),
    ),
    "whatever its code": (
        (70, {"failure": {"reason": "OutOfMemory", "message": "m"}}),
        ("OutOfMemory", "m"),
    ),
}


@pytest.mark.parametrize("sentence", OOM_KILLED)
def test_the_kubelets_word_and_the_trainers_code(sentence: str) -> None:
    (code, message), expected = OOM_KILLED[sentence]
    child = a_child(a_job()).failed()
    pod = a_pod(child).exited(code, reason="OOMKilled", message=message)
    cause = failure.of_job(Job(child.obj()), [Pod(pod.obj())])
    assert (cause.rule.reason.value, cause.message, cause.exit_code) == (*expected, code)


OF_RANGE = "cpu, memory request for container trainer; cpu, memory limit for container trainer"
LIMITS = {
    "the job's own": (("4Gi", ""), "limit of 4Gi", "The limit is spec.resources.memory: raise"),
    "a LimitRange's": (
        ("2Gi", OF_RANGE),
        "limit of 2Gi, the default of a LimitRange",
        "The limit is a default of the namespace's LimitRange",
    ),
    "the job's, where a LimitRange set another container's": (
        ("4Gi", "cpu limit for container trainer; memory limit for container proxy"),
        "limit of 4Gi",
        "The limit is spec.resources.memory: raise",
    ),
    "none": ((None, ""), "has no memory limit, and its node none left", "The pod has no memory"),
}


@pytest.mark.parametrize("sentence", LIMITS)
def test_a_remedy_for_memory_says_where_the_limit_came_from(sentence: str) -> None:
    (memory, by_range), message, remedy = LIMITS[sentence]
    job = a_job().experiment(dataset={"batch_size": 8}).policy(maxRetries=0).status(RUNNING)
    child = a_child(job).failed()
    pod = a_pod(child).limited(memory, by_range).exited(137, reason="OOMKilled").obj()
    children = around((child.obj(),), (trim(Kind.PODS, pod),))
    told = plan(job.obj(), children, later(600), SETTINGS).status["failure"]
    assert told["message"].endswith(message)
    assert told["remedy"].startswith(remedy)
    assert "lower dataset.batch_size" in told["remedy"]


def test_a_node_that_does_not_answer_loses_the_pod() -> None:
    child = a_child(a_job()).failed()
    pod = a_pod(child).obj()
    pod["status"] = {"phase": "Failed"}
    cause = failure.of_job(Job(child.obj()), [Pod(pod)])
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


PROMISES = ("next attempt", "another attempt", "tried again", "retried")
"""What only a plan can know: whether an attempt follows, and with what."""


@pytest.mark.parametrize("rule", failures.TABLE, ids=lambda rule: str(rule.reason))
def test_the_catalogue_promises_no_attempt(rule: failures.FailureRule) -> None:
    assert not [each for each in PROMISES if each in rule.remedy]


def test_no_sentence_of_the_trainer_promises_an_attempt() -> None:
    """A pod says what happened. With spec.runPolicy.maxRetries: 0 what it promised was untrue."""
    found = [
        f"{path.relative_to(TRAINER)}:{node.lineno}: {node.value}"
        for path in sorted(TRAINER.rglob("*.py"))
        for node in _spoken(ast.parse(path.read_text()))
        if any(each in node.value for each in PROMISES)
    ]
    assert not found


def _spoken(tree: ast.Module) -> list[ast.Constant]:
    """Texts that are no docstrings."""
    bare = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    texts = [node for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    return [each for each in texts if isinstance(each.value, str) and id(each) not in bare]


DEVICE = {
    "failure": failure_of(torch.OutOfMemoryError("CUDA out of memory")).as_failure().to_dict()
}
"""The trainer's own last words."""
ENDS = {
    "PodLost": (
        lambda pod: gone(pod),
        "Look at the node (kubectl describe node); a training that ",
    ),
    "PeerLost": (lambda pod: pod.exited(75), "Look at the job's other pods"),
    "StorageUnavailable": (lambda pod: pod.exited(69), "Check spec.storage.endpoint"),
    "DeviceOutOfMemory": (lambda pod: pod.exited(71, message=DEVICE), "Take GPUs with more"),
    "OutOfMemory": (lambda pod: pod.exited(137, "OOMKilled"), "Raise spec.resources.memory, or"),
}


def gone(pod: PodBuilder) -> PodBuilder:
    pod.thing["status"] = {"phase": "Failed"}
    return pod


@pytest.mark.parametrize("reason", ENDS)
def test_a_job_that_ends_at_its_first_failure_promises_no_attempt(reason: str) -> None:
    change, remedy = ENDS[reason]
    job = a_job().experiment(dataset={"batch_size": 8}).policy(maxRetries=0).status(RUNNING)
    child = a_child(job).failed()
    made = plan(
        job.obj(), around((child.obj(),), (change(a_pod(child)).obj(),)), later(600), SETTINGS
    )
    assert made.status["phase"] == "Failed"
    told = made.status["failure"]
    assert told["reason"] == reason
    assert told["remedy"].startswith(remedy)
    assert "next attempt" not in told["message"] + told["remedy"]


def test_an_attempt_that_was_stopped_for_what_nobody_knows() -> None:
    """By an operator of another version, or because somebody edited the annotation."""
    child = a_child(a_job()).failed("DeadlineExceeded")
    child.note(Annotation.STOPPED_FOR, "Weather").note(Annotation.STOPPED_MESSAGE, "it rains")
    cause = failure.of_job(Job(child.obj()), [])
    assert cause.rule.reason == "Crashed"
    assert cause.message == "the attempt was stopped for Weather: it rains"


@pytest.mark.parametrize("text", ["many", "²", "-1", "1e3", "9" * 400])
def test_numbers_on_a_job_that_somebody_edited_count_as_none(text: str) -> None:
    """A plan goes on; it would be made again and again, and fail each time."""
    job = a_job().policy(activeDeadlineSeconds=600)
    child = a_child(job).attempt(1)
    numbers = ("RETRIES", "SPENT", "SPENT_UNTIL", "MICRO_BATCH", "ACCUMULATION")
    for name in numbers:
        child.note(Annotation[name], text)
    labels = {Label.ATTEMPT.value: text, INDEX_LABEL: text}
    child.meta["labels"] |= labels
    assert Job(child.obj()).attempt == 0
    assert Pod({"metadata": {"labels": labels}}).index == 0
    for end in (child, child.failed()):
        assert plan(job.obj(), around([end.obj()]), later(60), SETTINGS) is not None
    assert micro_batch.of_job(Job(child.obj())) is None
