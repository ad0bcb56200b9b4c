"""What the pods of a Job left behind as their last words."""

from __future__ import annotations

from collections.abc import Iterable

from dino_api.names import BEST_CHECKPOINT, Stage
from dino_api.result import Result
from dino_operator.plan import observe
from dino_operator.plan.model import Object

DIGITS = 4
"""Digits of an mAP50 in the status."""
PREFIX = f"{Stage.PREFLIGHT.value}/"


def of_job(job: Object, pods: Iterable[Object]) -> Result | None:
    """The newest message of the Job's first pod; None where none is left or it is none of ours."""
    for pod in reversed(observe.pods_of(job, pods)):
        ended = observe.container_state(pod, "terminated")
        if ended is not None and observe.index_of(pod) == 0:
            return Result.from_termination_message(str(ended.get("message", "")))
    return None


def of_preflight(job: Object, pods: Iterable[Object]) -> Object:
    """What a preflight found, as facts of the status; nothing where its message is gone."""
    told = of_job(job, pods)
    if told is None:
        return {}
    facts = told.to_dict()
    found: Object = {"dataset": facts["dataset"]} if told.dataset else {}
    if told.artifacts:
        found["artifacts"] = [_named(each) for each in facts["artifacts"]]
    return found


def _named(artifact: Object) -> Object:
    """Under its folder: a training may publish a file of the same name."""
    name = str(artifact["name"])
    return artifact if name.startswith(PREFIX) else {**artifact, "name": PREFIX + name}


def of_training(told: Result, status: Object) -> Object:
    """What a training achieved, as facts of the status; what the preflight found stays."""
    metrics = told.metrics.rounded() if told.metrics else None
    facts = told.model_copy(update={"metrics": metrics}).to_dict()
    kept = [each for each in status.get("artifacts", []) if each["name"].startswith(PREFIX)]
    found = {key: value for key, value in status.get("dataset", {}).items() if value}
    return {
        "metrics": facts.get("metrics"),
        "checkpoint": facts.get("checkpoint"),
        "artifacts": kept + facts["artifacts"],
        "dataset": {**facts.get("dataset", {}), **found} or None,
    }


def of_stopped(told: Result | None, status: Object, folder: str) -> Object:
    """What a training that was stopped had reached, as facts of the status: its best validation.

    told: its pod's last words, where they were seen. status: of the job; in it the pod wrote its
    progress. folder: where its action publishes. Best weights lie there since its first validation.
    """
    points = told.to_dict().get("curve", []) if told else []
    points += (status.get("progress") or {}).get("curve") or []
    points += [status["metrics"]] if "metrics" in status else []  # written down before the end
    scores = [each["mAP50"] for each in points if "mAP50" in each]
    facts: Object = {}
    if scores:
        facts["metrics"] = {"mAP50": round(max(scores), DIGITS)}
    if told and told.checkpoint:
        facts["checkpoint"] = told.checkpoint.to_dict()
    elif scores and "checkpoint" not in status:
        facts["checkpoint"] = {"uri": f"{folder}/{BEST_CHECKPOINT}"}
    return facts
