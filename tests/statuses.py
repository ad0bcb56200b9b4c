"""Statuses as the operator writes them: `told("Queued", running=("Queued", "why"))`."""

from __future__ import annotations

from typing import Any

from dino_operator.plan.job import attempts
from dino_operator.plan.observed.resource import DinoJob
from dino_operator.plan.reported import sentences
from tests.builders import Object, at

RESULT = {
    "schema": 1,
    "action": "train",
    "metrics": {"mAP": 0.5, "mAP50": 0.75},  # as many digits as the status keeps
    "checkpoint": {"uri": "s3://results/x/train/best.pth"},
    "artifacts": [],
    "dataset": {"numClasses": 4, "images": 10, "classNames": ["", "cell"], "warnings": []},
}
RESULT_IN_STATUS = {key: RESULT[key] for key in ("metrics", "checkpoint", "artifacts", "dataset")}
ATTEMPT = {"attempts": 1, "specDigest": "digest", "image": "trainer:1"}


GOOD = "10 images, 4 classes"
TYPES = {"data": "DataReady", "routed": "AutoMLRouted", "parent": "ParentReady"}


def told(phase: str, *, generation: int = 1, when: float = 0, **more: Any) -> Object:
    """A status: `running=("Queued", "why")` gives reason and message, a third part makes it true.

    when: seconds after noon at which every condition changed; see `changed_at` for one of them.
    """
    over = more["failed"][0] if phase == "Failed" else "Finished"
    defaults = {
        "suspended": ("NotSuspended", ""),
        "routed": None,
        "parent": None,
        "data": ("DataChecked", GOOD, True),
        "running": (over, ""),
        "complete": ("NotFinished", ""),
        "failed": ("NotFinished", ""),
    }
    conditions = []
    for name, default in defaults.items():
        said = more.pop(name, default)
        if said is None:
            continue
        reason, message, *true = said
        conditions.append(
            {
                "type": TYPES.get(name, name.capitalize()),
                "status": "True" if true else "False",
                "reason": reason,
                "message": message,
                "observedGeneration": generation,
                "lastTransitionTime": at(when),
            }
        )
    status = {"observedGeneration": generation, "phase": phase, "conditions": conditions}
    status["gpus"] = 1
    return {**status, **more}


def changed_at(status: Object, **seconds: float) -> Object:
    """The same, with those conditions changed then."""
    conditions = [dict(each) for each in status["conditions"]]
    for each in conditions:
        if each["type"] in seconds:
            each["lastTransitionTime"] = at(seconds[each["type"]])
    return {**status, "conditions": conditions}


def of_generation(status: Object, generation: int) -> Object:
    """The same, said of that generation of the spec."""
    said = [{**each, "observedGeneration": generation} for each in status["conditions"]]
    return {**status, "observedGeneration": generation, "conditions": said}


def told_at(status: Object, seconds: float) -> Object:
    """The same, said for the first time then."""
    return changed_at(status, **dict.fromkeys(KINDS, seconds))


KINDS = ("Suspended", *TYPES.values(), "Running", "Complete", "Failed")
UNCHECKED = ("Checking", sentences.checking(DinoJob({"spec": {}})))
CHECKING = told(
    "Preparing", running=UNCHECKED, data=UNCHECKED, specDigest="digest", image="trainer:1"
)
CHECKED = told("Preparing", running=UNCHECKED)
QUEUED = told("Queued", running=("Queued", attempts.WAITING), **ATTEMPT)
RUNNING = changed_at(
    told(
        "Running",
        running=("Started", "pod x-train-1-aaaaa runs", True),
        reporter="x-train-1-aaaaa",
        startTime=at(5),
        **ATTEMPT,
    ),
    Running=5,
)
SAVING = "pod x-train-1-aaaaa saves a checkpoint and stops"
RAN = {"gpuSeconds": 55}
"""What one GPU has cost that was held from five seconds after noon on, for the rest of a minute."""
STOPPING = changed_at(
    told(
        "Running",
        running=("Suspending", SAVING),
        suspended=("Suspending", SAVING),
        reporter="x-train-1-aaaaa",
        startTime=at(5),
        **RAN,
        **ATTEMPT,
    ),
    Running=60,
)
ALL = {"percent": 100, "display": "100%"}
DONE = "mAP50 0.7500; results are in s3://results/x/train"
COMPLETE = changed_at(
    told(
        "Complete",
        complete=("Completed", DONE, True),
        failed=("Completed", ""),
        startTime=at(5),
        completionTime=at(60),
        progress=ALL,
        **RESULT_IN_STATUS,
        **RAN,
        **ATTEMPT,
    ),
    Running=60,
    Complete=60,
)
