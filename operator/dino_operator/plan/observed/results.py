"""What the pods of a Job left behind as their last words."""

from __future__ import annotations

import math
from collections.abc import Iterable

from dino_api import metric
from dino_api.names import BEST_CHECKPOINT, Stage
from dino_api.result import MOST_ARTIFACTS, Result
from dino_operator.plan.model import Object
from dino_operator.plan.observed.job import Job
from dino_operator.plan.observed.pod import Pod
from dino_operator.plan.observed.status import JobStatus

PREFIX = f"{Stage.PREFLIGHT.value}/"


def of_job(job: Job, pods: Iterable[Pod]) -> Result | None:
    """The newest message of the Job's first pod; None where none is left or it is none of ours."""
    for pod in reversed(job.own(pods)):
        ended = pod.ended
        if ended is not None and pod.index == 0:
            return Result.from_termination_message(ended.message)
    return None


def of_preflight(result: Result | None) -> Object:
    """What a preflight found, as facts of the status; nothing where its message is gone."""
    if result is None:
        return {}
    facts = result.to_dict()
    fields: Object = {"dataset": facts["dataset"]} if result.dataset else {}
    if result.artifacts:
        fields["artifacts"] = [_named(each) for each in facts["artifacts"]]
    return fields


def _named(artifact: Object) -> Object:
    """The artifact under its folder: a training may publish a file of the same name."""
    name = str(artifact["name"])
    return artifact if name.startswith(PREFIX) else {**artifact, "name": PREFIX + name}


def of_success(result: Result, status: JobStatus) -> Object:
    """What an attempt achieved, as facts of the status; what the preflight found stays."""
    facts = _facts(result)
    checked = {key: value for key, value in status.dataset.raw.items() if value}
    return {
        **{key: facts.get(key) for key in ("metrics", "checkpoint", "model", "comparison")},
        "artifacts": _artifacts(facts, status),
        "dataset": {**facts.get("dataset", {}), **checked} or None,
    }


def of_failed(job: Job, pods: Iterable[Pod], status: JobStatus) -> Object:
    """What an attempt left that failed by its own judgement, as facts of the status: figures and
    report, and no model."""
    result = of_job(job, pods)
    if result is None:
        return {}
    facts = _facts(result)
    kept: Object = {key: each for key, each in facts.items() if key in ("metrics", "comparison")}
    return {**kept, "artifacts": _artifacts(facts, status)} if facts["artifacts"] else kept


def _facts(result: Result) -> Object:
    metrics = result.metrics.rounded() if result.metrics else None
    facts = result.model_copy(update={"metrics": metrics}).to_dict()
    if "comparison" in facts:
        facts["comparison"] = _rounded(facts["comparison"])
    return facts


def _rounded(facts: Object) -> Object:
    """A comparison with as many digits as a status keeps."""
    short: Object = {}
    for key, each in facts.items():
        short[key] = _rounded(each) if isinstance(each, dict) else each
        if isinstance(each, float):
            short[key] = metric.rounded(each)
    return short


def _artifacts(facts: Object, status: JobStatus) -> list[Object]:
    """Artifacts of the attempt, after the preflight's: as many as a status may have."""
    kept = [each for each in status.artifacts if each["name"].startswith(PREFIX)]
    return (kept + list(facts["artifacts"]))[:MOST_ARTIFACTS]


def figures(result: Result) -> list[str]:
    """The figures that people look for first, for the sentence of a good end."""
    parts = []
    if result.metrics and result.metrics.mAP50 is not None:
        parts.append(f"mAP50 {metric.text(result.metrics.mAP50)}")
    if result.comparison:
        new, old = result.comparison.candidate, result.comparison.reference
        if new.mAP is not None and old.mAP is not None:
            parts.append(
                f"mAP {metric.text(new.mAP)} against {metric.text(old.mAP)} of the {old.format}"
            )
        if new.latency_ms and old.latency_ms:
            parts.append(f"{new.latency_ms:.1f} ms an image against {old.latency_ms:.1f}")
    return parts


def of_stopped(result: Result | None, status: JobStatus, folder: str) -> Object:
    """What a training that was stopped had reached, as facts of the status: its best validation.

    result: its pod's last words, where they were seen. status: of the job; in it the pod wrote its
    progress. folder: where its action publishes. Best weights lie there since its first validation.
    """
    reached = (result.curve if result else None) or ()
    points = (*reached, *status.progress.curve)
    scores = [each.mAP50 for each in points if math.isfinite(each.mAP50)]
    if status.best_mAP50 is not None:  # written down before the end
        scores.append(status.best_mAP50)
    facts: Object = {}
    if scores:
        facts["metrics"] = {"mAP50": metric.rounded(max(scores))}
    if result and result.checkpoint:
        facts["checkpoint"] = result.checkpoint.to_dict()
    elif scores and status.checkpoint is None:
        facts["checkpoint"] = {"uri": f"{folder}/{BEST_CHECKPOINT}"}
    return facts
