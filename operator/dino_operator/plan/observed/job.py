"""A Job: of an attempt, of a reader of results, of a report, or of a trial of Katib's."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from dino_api import rfc3339
from dino_api.names import KUEUE_QUEUE_LABEL, Label, Stage
from dino_operator.plan.observed import objects
from dino_operator.plan.observed.api_object import ApiObject
from dino_operator.plan.observed.pod import Pod


class Job(ApiObject):
    """A Kubernetes Job that carries our labels, whoever owns it."""

    @property
    def stage(self) -> str:
        """What it does: preflight, an action, or a stage after them; empty without the label."""
        return self.label(Label.ACTION)

    @property
    def is_preflight(self) -> bool:
        """Whether it checks the data."""
        return self.stage == Stage.PREFLIGHT

    @property
    def attempt(self) -> int:
        """The attempt that it is; 0 where someone removed the label."""
        return objects.whole(self.label(Label.ATTEMPT))

    @property
    def queue(self) -> str:
        """The queue that it waits or runs in; empty where it is in none."""
        return self.label(KUEUE_QUEUE_LABEL)

    @property
    def is_suspended(self) -> bool:
        """Whether it is asked to have no pods."""
        return bool(self._spec.get("suspend"))

    @property
    def deadline(self) -> int | None:
        """The Job's own activeDeadlineSeconds."""
        seconds: int | None = self._spec.get("activeDeadlineSeconds")
        return seconds

    @property
    def time_to_live(self) -> int | None:
        """The Job's ttlSecondsAfterFinished."""
        seconds: int | None = self._spec.get("ttlSecondsAfterFinished")
        return seconds

    @property
    def finished_at(self) -> str:
        """When it ended, as text; empty while it runs."""
        for kind in ("Complete", "Failed"):
            condition = self.condition(kind)
            if condition is not None and condition.is_true:
                return str(self._status.get("completionTime") or condition.since)
        return ""

    @property
    def seconds_run(self) -> int:
        """How long it was active, by its own clock; 0 before its end."""
        if not self.start_time or not self.finished_at:
            return 0
        ran = rfc3339.parse(self.finished_at) - rfc3339.parse(self.start_time)
        return max(0, round(ran.total_seconds()))

    def own(self, pods: Iterable[Pod]) -> list[Pod]:
        """Its pods among these, oldest first."""
        mine = (pod for pod in pods if pod.controller_uid == self.uid)
        return sorted(mine, key=lambda pod: pod.born)

    def without_pod_since(self, pods: Iterable[Pod], now: datetime) -> datetime:
        """When it was created, started or resumed, or its last pod among these ended."""
        if self.is_true("Suspended"):
            return now  # it was resumed or admitted, and the Job controller has not looked yet
        resumed = self.condition("Suspended")
        times = [self.created_at, self.start_time, resumed.since if resumed else ""]
        for pod in self.own(pods):
            times += [pod.created_at, pod.ended.finished_at if pod.ended else ""]
        return max(rfc3339.parse(str(each)) for each in times if each)
