"""A pod and its containers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from dino_api import rfc3339
from dino_operator.plan.model import Object
from dino_operator.plan.observed import objects
from dino_operator.plan.observed.api_object import ApiObject
from dino_operator.plan.observed.objects import CONTAINER, INDEX_LABEL

INIT, SIDECAR = "init container", "container"


@dataclass(frozen=True)
class Termination:
    """How a container ended. message: what it left, which may be the end of its log."""

    exit_code: int | None
    reason: str
    message: str
    started_at: str
    finished_at: str

    @classmethod
    def of(cls, state: Object | None) -> Termination | None:
        """The end that a state of the kubelet's tells of, or None."""
        terminated = (state or {}).get("terminated")
        if terminated is None:
            return None
        code = terminated.get("exitCode")
        texts = ("reason", "message", "startedAt", "finishedAt")
        return cls(
            None if code is None else int(code), *(str(terminated.get(t) or "") for t in texts)
        )


@dataclass(frozen=True)
class Container:
    """One container of a pod, by its status. kind: what people call it."""

    name: str
    kind: str
    raw: Object

    @property
    def is_trainer(self) -> bool:
        """Whether it does the work."""
        return self.kind == SIDECAR and self.name == CONTAINER

    @property
    def called(self) -> str:
        """Its name in sentences."""
        return f"{self.kind} {self.name}"

    @property
    def runs(self) -> bool:
        """Whether its process runs."""
        return "running" in self._state

    @property
    def started_at(self) -> str:
        """When its process started, as text; empty where it waits."""
        running = self._state.get("running")
        if running is None:
            return self.ended.started_at if self.ended else ""
        return str(running.get("startedAt") or "")

    @property
    def ended(self) -> Termination | None:
        """How it ended, if it has."""
        return Termination.of(self._state)

    @property
    def last_end(self) -> Termination | None:
        """How it ended before it was started again."""
        return Termination.of(self.raw.get("lastState"))

    @property
    def waits_for(self) -> tuple[str, str]:
        """Reason and message of a wait; empty where it does not wait."""
        waiting = self._state.get("waiting") or {}
        return str(waiting.get("reason", "")), str(waiting.get("message", ""))

    @property
    def _state(self) -> Object:
        state: Object = self.raw.get("state") or {}
        return state


class Pod(ApiObject):
    """A pod of an attempt, of a reader of results, of a report or of Katib's."""

    @property
    def phase(self) -> str:
        """The phase; empty before the kubelet or the scheduler saw it."""
        return str(self._status.get("phase", ""))

    @property
    def is_live(self) -> bool:
        """Whether it may still hold a GPU: it has not ended, even if it is being deleted."""
        return self.phase not in ("Succeeded", "Failed")

    @property
    def is_running(self) -> bool:
        """Whether the trainer's container runs and nobody asked the pod to go."""
        return self.phase == "Running" and not self.is_being_deleted

    @property
    def index(self) -> int:
        """Which of several pods of a Job it is; 0 where there is one."""
        return objects.whole(self.label(INDEX_LABEL))

    @property
    def reason(self) -> str:
        """Why it failed as a whole, such as Evicted; empty where its containers tell."""
        return str(self._status.get("reason") or "")

    @property
    def message(self) -> str:
        """What the kubelet says of the pod as a whole."""
        return str(self._status.get("message") or "")

    @property
    def node(self) -> str:
        """The node on which it was placed; empty before."""
        return str(self._spec.get("nodeName") or "")

    @property
    def containers(self) -> Iterator[Container]:
        """All that the kubelet lists, in the order in which they start."""
        for key, kind in (("initContainerStatuses", INIT), ("containerStatuses", SIDECAR)):
            for each in self._status.get(key) or ():
                yield Container(str(each.get("name", "")), kind, each)

    @property
    def trainer(self) -> Container | None:
        """The container that does the work, once the kubelet lists it."""
        return next((each for each in self.containers if each.is_trainer), None)

    @property
    def ended(self) -> Termination | None:
        """How the trainer ended, if it has."""
        return self.trainer.ended if self.trainer else None

    @property
    def started_at(self) -> str:
        """When the trainer started, as text; empty where the pod does not say."""
        return (self.trainer.started_at if self.trainer else "") or self.start_time

    @property
    def memory_limit(self) -> str | None:
        """The trainer's memory limit; empty for none, None where the pod does not say."""
        for each in self._spec.get("containers") or ():
            if each.get("name") == CONTAINER:
                return str(((each.get("resources") or {}).get("limits") or {}).get("memory", ""))
        return None

    @property
    def unschedulable(self) -> str:
        """What the scheduler says of a pod that no node takes; empty where it says nothing."""
        placed = self.condition("PodScheduled")
        if placed is None or placed.is_true or placed.reason != "Unschedulable":
            return ""
        return placed.message

    @property
    def unplaced_since(self) -> datetime:
        """When the scheduler first found no node, or else when the pod was created."""
        placed = self.condition("PodScheduled")
        return rfc3339.parse((placed and placed.since) or self.created_at)

    @property
    def waiting_since(self) -> datetime:
        """When the pod was placed on its node, or else created."""
        placed = self.condition("PodScheduled")
        when = placed.since if placed and placed.is_true else ""
        return rfc3339.parse(when or self.created_at)


def by_index(pods: Iterable[Pod]) -> list[Pod]:
    """The newest pod of each index, in their order. pods: oldest first."""
    newest = {pod.index: pod for pod in pods}
    return [newest[index] for index in sorted(newest)]
