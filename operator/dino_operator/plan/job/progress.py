"""The progress of a job that has come to its good end: all of it, whatever its pod said last.

A pod that finds its result in the output ends before it may report; one whose last report was
refused has stopped at an earlier percent. Nobody but the operator knows better by then.
"""

from __future__ import annotations

from dino_api.result import Progress
from dino_operator.plan.model import Object
from dino_operator.plan.observed.job_view import View
from dino_operator.plan.reported import conditions

ALL = 100


def done(view: View) -> Object:
    """The fact to write at the end; none where the pod has said so itself."""
    told = view.status.get(conditions.PROGRESS) or {}
    if told.get("percent") == ALL:
        return {}
    known = {key: part for key, part in told.items() if key not in ("display", "etaSeconds")}
    return {conditions.PROGRESS: {**known, **Progress(percent=ALL).to_dict()}}
