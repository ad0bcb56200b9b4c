"""The containers beside the trainer's: what others put into the pod, and what became of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from dino_operator.plan.model import Object
from dino_operator.plan.observed import objects

PULL_PROBLEMS = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"}
)
START_PROBLEMS = frozenset(
    {"CreateContainerConfigError", "CreateContainerError", "RunContainerError"}
)
CRASHES = "CrashLoopBackOff"
INIT, SIDECAR = "init container", "container"
LONGEST = 1000
"""Characters of what a container left, which may be the end of its log."""


@dataclass(frozen=True)
class Container:
    """One of a pod, by its status. kind: what people call it."""

    name: str
    kind: str
    state: Object
    last: Object

    @property
    def is_trainer(self) -> bool:
        """Whether it does the work."""
        return self.kind == SIDECAR and self.name == objects.CONTAINER

    @property
    def ended(self) -> Object | None:
        """How it ended, if it has."""
        return self.state.get("terminated")

    @property
    def called(self) -> str:
        """As sentences name it."""
        return f"{self.kind} {self.name}"


def of(pod: Object) -> Iterator[Container]:
    """In the order in which they start."""
    status = pod.get("status", {})
    for key, kind in (("initContainerStatuses", INIT), ("containerStatuses", SIDECAR)):
        for each in status.get(key) or ():
            state, last = each.get("state") or {}, each.get("lastState") or {}
            yield Container(str(each.get("name", "")), kind, state, last)


def failed(pod: Object) -> str:
    """Of the container that made the pod fail, where it was not the trainer's; else empty.

    A sidecar that is an init container ends when the trainer has, whatever its code: it matters
    only where the trainer never ran.
    """
    trainer = objects.container_state(pod, "terminated")
    if trainer is not None and trainer.get("exitCode") != 0:
        return ""
    kinds = (INIT, SIDECAR) if trainer is None else (SIDECAR,)
    for each in of(pod):
        if each.kind in kinds and not each.is_trainer and _code(each.ended):
            return f"{each.called} {_end(each.ended or {})}"
    return ""


def _code(ended: Object | None) -> int:
    return int((ended or {}).get("exitCode", 0))


def _end(ended: Object) -> str:
    """How it ended, in the words of the kubelet and of the container itself."""
    reason = ended.get("reason", "Error")
    said = f"ended with exit code {_code(ended)}"
    said += "" if reason == "Error" else f" ({reason})"
    left = str(ended.get("message", "")).strip()[-LONGEST:]
    return f"{said}: {left}" if left else said


def cannot_start(pod: Object) -> tuple[str, str] | None:
    """(reason, message) of the first container that waits for more than time, or None."""
    for each in of(pod):
        waiting = each.state.get("waiting") or {}
        reason = str(waiting.get("reason", ""))
        if reason == CRASHES:
            return reason, f"{each.called} is started again and again; {_last_end(each)}"
        if reason in PULL_PROBLEMS | START_PROBLEMS:
            # The kubelet alternates between the error and the back-off that quotes it.
            said = str(waiting.get("message", "")).split("ErrImagePull: ")[-1] or reason
            return reason, said if each.is_trainer else f"{each.called}: {said}"
    return None


def _last_end(container: Container) -> str:
    """Without the count of its starts, which grows."""
    ended = container.last.get("terminated")
    return f"it {_end(ended)}" if ended else "it does not say why"


def awaited(pod: Object) -> str:
    """The init container that runs, while the trainer waits for its end; empty where none does."""
    if objects.container_state(pod, "running") or objects.container_state(pod, "terminated"):
        return ""
    return next((each.called for each in of(pod) if each.kind == INIT and _runs(each)), "")


def outlives(pod: Object) -> tuple[str, datetime] | None:
    """What keeps a pod whose trainer has ended, and since when; None where nothing does.

    Sidecars that are init containers are ended by the kubelet once the trainer has ended.
    """
    ended = objects.container_state(pod, "terminated")
    if ended is None or not ended.get("finishedAt") or not objects.is_live(pod):
        return None
    others = [each.called for each in of(pod) if each.kind == SIDECAR and _runs(each)]
    names = " and ".join(others)
    return (names, objects.parse_time(str(ended["finishedAt"]))) if names else None


def keeps(pod: Object, names: str) -> str:
    """The sentence on such a pod, and what to do. names: of the containers that keep it."""
    code = (objects.container_state(pod, "terminated") or {}).get("exitCode")
    name = objects.name_of(pod)
    return (
        f"the trainer of pod {name} ended with exit code {code}, and {names} keeps the pod, and "
        "all that it holds, from ending. Remedy: end that container (Istio: kubectl exec "
        f"{name} -c istio-proxy -- pilot-agent request POST quitquitquit); for new jobs make it a "
        "native sidecar (an init container with restartPolicy: Always), or keep it out by "
        'spec.podTemplate.labels (Istio: sidecar.istio.io/inject: "false").'
    )


def _runs(container: Container) -> bool:
    return "running" in container.state
