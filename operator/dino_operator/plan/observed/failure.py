"""Why an attempt failed: from the Job's conditions and its pods to one row of the catalogue."""

from __future__ import annotations

import re
from dataclasses import dataclass

from dino_api import failures
from dino_api.names import FailureReason
from dino_api.result import Failure, Result
from dino_operator.plan.annotations import Annotation
from dino_operator.plan.model import Condition, Object
from dino_operator.plan.observed import containers, memory_limit
from dino_operator.plan.observed.job import Job
from dino_operator.plan.observed.pod import Pod, Termination

KILLED_CODE = failures.exit_code(FailureReason.OUT_OF_MEMORY)
PREEMPTED_CODE = failures.exit_code(FailureReason.PREEMPTED)
DISRUPTED = "DisruptionTarget"
OOM_KILLED = "OOMKilled"
ENDED = "the trainer ended with exit code"
_REASONS = frozenset(rule.reason.value for rule in failures.TABLE)
VAGUE = (FailureReason.INTERNAL_ERROR, FailureReason.PEER_LOST)
"""What the trainer says where it cannot know that the kernel killed a process of its own."""


@dataclass(frozen=True)
class Cause:
    """A catalogue row and what was seen. more: what would give the pod the memory it lacked."""

    rule: failures.FailureRule
    message: str
    remedy: str = ""
    exit_code: int | None = None
    more: str = ""

    def to_status(self) -> Object:
        """The cause as status.failure."""
        return Failure(
            reason=self.rule.reason.value,
            message=self.message[:4096],
            remedy=(self.remedy or self.rule.remedy)[:4096],
            exit_code=self.exit_code,
        ).to_dict()


def cause(reason: FailureReason, message: str, exit_code: int | None = None) -> Cause:
    """The cause with that reason."""
    return Cause(failures.by_reason(reason.value), message, exit_code=exit_code)


def of_job(job: Job, pods: list[Pod]) -> Cause:
    """Why this finished, failed Job failed. `pods` are its own, oldest first."""
    stopped_for = job.note(Annotation.STOPPED_FOR)
    if stopped_for:
        return _stopped(stopped_for, job.note(Annotation.STOPPED_MESSAGE))
    failed = job.condition("Failed") or Condition(False)
    if failed.reason == "DeadlineExceeded":
        return cause(FailureReason.DEADLINE_EXCEEDED, "the job ran longer than its deadline")
    dead = [pod for pod in pods if pod.phase == "Failed"]
    if not dead:
        return _without_pod(failed.message)
    return min(map(of_pod, sorted(dead, key=_ended_at)), key=_importance)


def _stopped(reason: str, message: str) -> Cause:
    """For what the operator noted; of another version, or edited, it may be of no row here."""
    if reason in _REASONS:
        return Cause(failures.by_reason(reason), message)
    return Cause(_crashed(), f"the attempt was stopped for {reason}: {message}")


def _ended_at(pod: Pod) -> str:
    return pod.ended.finished_at if pod.ended else ""


def _importance(cause: Cause) -> int:
    """A reason of its own explains more than being stopped, and that more than a lost peer."""
    late = (FailureReason.PREEMPTED, FailureReason.PEER_LOST)
    return late.index(cause.rule.reason) + 1 if cause.rule.reason in late else 0


def _without_pod(message: str) -> Cause:
    """Pods that were asked to go leave nothing but the Job controller's sentence about them."""
    if DISRUPTED in message:
        return cause(FailureReason.PREEMPTED, f"the pod was evicted: {message}")
    code = re.search(r"exit code ([0-9]{1,9})\b", message)
    rule = failures.by_exit_code(int(code[1])) if code and int(code[1]) != KILLED_CODE else None
    if code and rule:
        return Cause(rule, f"no pod is left to ask: {message}", exit_code=int(code[1]))
    message = message or "no pod is left to ask"
    return cause(FailureReason.POD_LOST, f"the pod went away without an exit code: {message}")


def of_pod(pod: Pod) -> Cause:
    """Why this failed pod failed."""
    if pod.reason == "Evicted":
        return _evicted(pod)
    other = containers.failed(pod)
    if other:
        message = f"{other}; pod {pod.name} failed with it"
        return cause(FailureReason.CONTAINER_FAILED, message)
    ended = pod.ended
    if ended is None:
        message = pod.message or "its node does not answer"
        if pod.is_true(DISRUPTED):
            return cause(FailureReason.PREEMPTED, f"pod {pod.name}: {message}")
        return cause(FailureReason.POD_LOST, f"pod {pod.name}: {message}")
    return _exited(pod, ended)


def _evicted(pod: Pod) -> Cause:
    message = pod.message or "the node evicted the pod"
    if "ephemeral" in message or "disk" in message.lower():
        return cause(FailureReason.DISK_FULL, message)
    if "memory" in message:
        rule = failures.by_reason(FailureReason.OUT_OF_MEMORY)
        return Cause(rule, message, more=memory_limit.more(pod, of_node=True))
    return cause(FailureReason.PREEMPTED, message)


def _exited(pod: Pod, ended: Termination) -> Cause:
    """The reason is that of the exit code; of the pod's own words message and remedy count.

    But for OutOfMemory, which a pod with several processes may say under another code.
    """
    code = 1 if ended.exit_code is None else ended.exit_code
    result = Result.from_termination_message(ended.message)
    failure = result.failure if result else None
    if failure and failure.reason == FailureReason.OUT_OF_MEMORY:
        # The kernel killed one process of several; the container's first lived to tell.
        return _out_of_memory(pod, failure.message, code)
    rule = failures.by_exit_code(code)
    if ended.reason == OOM_KILLED and not _explains(rule):
        own = f"; the trainer ended with exit code {code}" if code != KILLED_CODE else ""
        own += f": {failure.message}" if failure else ""
        return _out_of_memory(pod, memory_limit.killed(pod) + own, code)
    if code in (KILLED_CODE, PREEMPTED_CODE):
        return _signalled(pod, code)
    if failure is None:
        return Cause(rule or _crashed(), _with_log(f"{ENDED} {code}", ended), exit_code=code)
    return Cause(rule or _crashed(), failure.message, failure.remedy or "", code)


def _explains(rule: failures.FailureRule | None) -> bool:
    """Whether the trainer's exit code says more than that the kernel killed a process.

    The kubelet gives a container that reason for any of its processes, a child of the trainer's
    as well; the exit code is that of the first, which went on and may have failed for its own
    cause.
    """
    return rule is not None and rule.exit_code != KILLED_CODE and rule.reason not in VAGUE


def _out_of_memory(pod: Pod, message: str, code: int) -> Cause:
    rule = failures.by_reason(FailureReason.OUT_OF_MEMORY)
    return Cause(rule, message, exit_code=code, more=memory_limit.more(pod))


def _signalled(pod: Pod, code: int) -> Cause:
    """SIGTERM or SIGKILL: someone took the pod away, or something killed the process."""
    asked = pod.is_being_deleted or pod.is_true(DISRUPTED)
    if code == PREEMPTED_CODE or asked:
        return cause(FailureReason.PREEMPTED, "the pod was asked to stop", code)
    message = "the process was killed (SIGKILL), and not for reaching its memory limit"
    return cause(FailureReason.CRASHED, message, code)


def _crashed() -> failures.FailureRule:
    return failures.by_reason(FailureReason.CRASHED.value)


def _with_log(message: str, ended: Termination) -> str:
    """Adds the end of the log, which the kubelet leaves where the trainer left no message."""
    log = ended.message.strip()
    return f"{message}; its log ends: …{log[-1000:]}" if log else message
