"""An event of the cluster: what a controller or the kubelet said of a Job or a pod."""

from __future__ import annotations

from datetime import datetime

from dino_api import rfc3339
from dino_operator.plan.observed.api_object import ApiObject


class SeenEvent(ApiObject):
    """An event as the API server has it; `model.Event` is one that is to be posted."""

    @property
    def reason(self) -> str:
        """A word of whoever wrote it."""
        return str(self.raw.get("reason") or "")

    @property
    def message(self) -> str:
        """What it says."""
        return str(self.raw.get("message", ""))

    @property
    def seen_at(self) -> datetime:
        """When it was last seen. Which field says so depends on who wrote it."""
        series = self.raw.get("series") or {}
        last, first = self.raw.get("lastTimestamp"), self.raw.get("eventTime")
        known = last or series.get("lastObservedTime") or first or self.created_at
        return rfc3339.parse(str(known)).replace(microsecond=0)
