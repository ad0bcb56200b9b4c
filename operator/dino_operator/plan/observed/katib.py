"""Katib's objects of a search: its Experiment, its Suggestion, its Trials.

Katib's CRDs have no schema: whatever a client wrote is there, and what is none of what is read
here counts as absent.
"""

from __future__ import annotations

from dino_api import rfc3339
from dino_api.resources.dinoautoml import Assignment
from dino_operator.plan.observed import objects
from dino_operator.plan.observed.api_object import ApiObject

COUNTS = ("maxTrialCount", "parallelTrialCount", "maxFailedTrialCount")
"""The numbers of an Experiment that may change later."""
OVER = ("Succeeded", "Failed", "Killed", "MetricsUnavailable", "EarlyStopped")
"""Conditions by which Katib says its last word on a Trial."""


class Experiment(ApiObject):
    """The Experiment: Katib's own record of the search."""

    @property
    def is_over(self) -> bool:
        """Whether Katib has said its last word. Restarting is never taken back, so it does not
        count."""
        return self.is_true("Succeeded") or self.is_true("Failed")

    @property
    def has_status(self) -> bool:
        """Whether Katib's controller has looked at it."""
        return bool(self._status)

    @property
    def counts(self) -> dict[str, int]:
        """Its numbers of trials, by the fields of its spec."""
        return {
            key: objects.whole(self._spec[key]) for key in COUNTS if self._spec.get(key) is not None
        }

    @property
    def trials(self) -> int:
        """How many trials Katib has made."""
        return objects.whole(self._status.get("trials"))


class Suggestion(ApiObject):
    """The Suggestion: what draws the trials, in a deployment of its own."""


class ExperimentTrial(ApiObject):
    """A Trial: one draw, which Katib runs as a Job of the same name."""

    @property
    def is_over(self) -> bool:
        """Whether Katib has said its last word on it."""
        return any(map(self.is_true, OVER))

    @property
    def completion_time(self) -> str:
        """When it ended, as text; empty before, and where that is no time."""
        return _time(self._status.get("completionTime"))

    @property
    def start_time(self) -> str:
        """When Katib first saw it, as text; empty before, and where that is no time."""
        return _time(self._status.get("startTime"))

    @property
    def parameters(self) -> Assignment:
        """What was drawn, as texts, by the names of the parameters."""
        assignments = objects.mappings(self._spec.get("parameterAssignments"))
        return {str(each.get("name")): str(each.get("value")) for each in assignments}

    def highest(self, metric: str) -> object:
        """The highest value of that metric, as Katib read it from the log; None without one."""
        metrics = objects.mappings(objects.mapping(self._status.get("observation")).get("metrics"))
        return next((each.get("max") for each in metrics if each.get("name") == metric), None)


def _time(text: object) -> str:
    time = rfc3339.read(text)
    return rfc3339.text(time) if time else ""
