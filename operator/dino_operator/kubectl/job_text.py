"""Objects as text: rows of a table, bars, times, the timeline of a job. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dino_api import metric, rfc3339
from dino_api.names import AUTOML_KIND, KUEUE_QUEUE_LABEL, EventReason, Label, Phase
from dino_operator.plan.model import Object
from dino_operator.plan.observed.event import SeenEvent
from dino_operator.plan.observed.pod import Pod

HEAD = ("NAME", "KIND", "PHASE", "REASON", "PROGRESS", "LEFT", "MAP50", "GPUS", "AGE")
BAR = 12
_BLOCKS = "▁▂▃▄▅▆▇█"


Moment = tuple[datetime, str]


@dataclass(frozen=True)
class RelatedObjects:
    """What belongs to a job or search and is still there: Jobs, pods, and events about it."""

    jobs: tuple[Object, ...] = ()
    pods: tuple[Object, ...] = ()
    events: tuple[Object, ...] = ()


def row(resource: Object, now: datetime, namespaced: bool = False) -> tuple[str, ...]:
    """A line of the table of all jobs."""
    status = resource.get("status") or {}
    meta = resource["metadata"]
    name = f"{meta['namespace']}/{meta['name']}" if namespaced else meta["name"]
    return (
        name,
        "search" if resource["kind"] == AUTOML_KIND else resource["spec"].get("action", ""),
        status.get("phase") or Phase.PENDING.value,
        _reason(status),
        progress(status),
        left(status, now),
        best(status),
        str(status.get("gpus", "")),
        span((now - rfc3339.parse(meta["creationTimestamp"])).total_seconds()),
    )


def _reason(status: Object) -> str:
    if failed := status.get("failure"):
        return str(failed["reason"])
    running = (each for each in status.get("conditions", ()) if each["type"] == "Running")
    return next((str(each["reason"]) for each in running), "")


def progress(status: Object) -> str:
    """A bar and the percent; of a search the trials."""
    if "trials" in status:
        return str((status["trials"] or {}).get("display", ""))
    percent = (status.get("progress") or {}).get("percent")
    if percent is None:
        return ""
    full = round(BAR * percent / 100)
    return f"[{'#' * full}{'.' * (BAR - full)}] {percent}%"


def left(status: Object, now: datetime) -> str:
    """How long it will still take, as of now; only while it runs."""
    progress = status.get("progress") or {}
    if status.get("phase") != Phase.RUNNING or progress.get("etaSeconds") is None:
        return ""
    since = progress.get("updatedAt")
    passed = (now - rfc3339.parse(since)).total_seconds() if since else 0.0
    return span(max(progress["etaSeconds"] - passed, 0))


def best(status: Object) -> str:
    """The best mAP50 that is known: of the model, of the curve, of the trials."""
    progress = status.get("progress") or {}
    points = [each["mAP50"] for each in progress.get("curve") or ()]
    one = (status.get("metrics") or {}).get("mAP50")
    one = (status.get("best") or {}).get("mAP50") if one is None else one
    one = max(points, default=progress.get("mAP50")) if one is None else one
    return metric.text(one)


def span(seconds: float) -> str:
    """As kubectl prints ages: 42s, 3m5s, 2h7m, 3d4h."""
    whole = max(int(seconds), 0)
    parts = ((whole // 86400, "d"), (whole // 3600 % 24, "h"), (whole // 60 % 60, "m"))
    shown = [f"{count}{unit}" for count, unit in (*parts, (whole % 60, "s")) if count]
    return "".join(shown[:2]) or "0s"


def timeline(
    resource: Object, now: datetime, around: RelatedObjects = RelatedObjects()
) -> Iterator[str]:
    """The lines about one job, from its beginning on."""
    status, meta = resource.get("status") or {}, resource["metadata"]
    yield f"{resource['kind']} {meta['namespace']}/{meta['name']}: {_headline(status, now)}"
    moments = (*_moments(resource, status, around), *_around(around))
    for when, what in sorted(moments, key=lambda one: one[0]):
        yield f"  {when:%Y-%m-%d %H:%M:%S}  {what}"
    yield from _outcome(status)


def _headline(status: Object, now: datetime) -> str:
    parts = [status.get("phase") or Phase.PENDING.value, progress(status)]
    if eta := left(status, now):
        parts.append(f"{eta} left")
    if score := best(status):
        parts.append(f"best mAP50 {score}")
    if (tries := status.get("attempts", 0)) > 1:
        parts.append(f"attempt {tries}")
    return ", ".join(filter(None, parts))


def _moments(resource: Object, status: Object, around: RelatedObjects) -> Iterator[Moment]:
    """What the resource says of itself; conditions that have said nothing yet are left out."""
    yield rfc3339.parse(resource["metadata"]["creationTimestamp"]), "applied"
    if "startTime" in status and not around.pods:
        yield rfc3339.parse(status["startTime"]), "first pod of the action started"
    for each in status.get("conditions", ()):
        if each["status"] == "True" or each.get("message"):
            yield rfc3339.parse(each["lastTransitionTime"]), _condition(each)
    if "completionTime" in status:
        yield rfc3339.parse(status["completionTime"]), "ended"


_IN_CONDITIONS = (EventReason.COMPLETED, EventReason.FAILED)


def _around(around: RelatedObjects) -> Iterator[Moment]:
    for job in around.jobs:
        yield from _of_job(job)
    for pod in around.pods:
        yield from _of_pod(Pod(pod))
    for each in map(SeenEvent, around.events):
        if each.reason not in _IN_CONDITIONS:
            yield each.seen_at, f"{each.reason}: {each.message}"


def _of_job(job: Object) -> Iterator[Moment]:
    """When an attempt began to wait, and when a queue let it go."""
    meta, labels = job["metadata"], job["metadata"].get("labels") or {}
    stage, attempt = labels.get(Label.ACTION.value, "?"), labels.get(Label.ATTEMPT.value, "1")
    called = f"{stage}, attempt {attempt}"
    queue, begun = labels.get(KUEUE_QUEUE_LABEL), (job.get("status") or {}).get("startTime")
    where = f" in {queue}" if queue else ""
    yield rfc3339.parse(meta["creationTimestamp"]), f"{called}: queued{where} (Job {meta['name']})"
    if queue and begun:
        yield rfc3339.parse(begun), f"{called}: admitted by {queue}"


def _of_pod(pod: Pod) -> Iterator[Moment]:
    conditions = (pod.raw.get("status") or {}).get("conditions") or ()
    for each in conditions:
        if each["type"] == "PodScheduled" and each["status"] == "True" and pod.node:
            yield rfc3339.parse(each["lastTransitionTime"]), f"pod {pod.name} placed on {pod.node}"
    if pod.trainer and pod.trainer.started_at:
        yield rfc3339.parse(pod.trainer.started_at), f"pod {pod.name} runs"
    if pod.ended and pod.ended.finished_at:
        how = f"exit code {pod.ended.exit_code}, {pod.ended.reason}".removesuffix(", ")
        yield rfc3339.parse(pod.ended.finished_at), f"pod {pod.name} ended ({how})"


def _condition(each: Object) -> str:
    mark = "" if each["status"] == "True" else "not "
    message = f": {each['message']}" if each.get("message") else ""
    return f"{mark}{each['type']} ({each['reason']}){message}"


def _outcome(status: Object) -> Iterator[str]:
    if failed := status.get("failure"):
        yield f"  failure   {failed['reason']}: {failed['message']}"
        if failed.get("remedy"):
            yield f"  remedy    {failed['remedy']}"
    for name in ("checkpoint", "model"):
        if uri := (status.get(name) or {}).get("uri"):
            yield f"  {name:9} {uri}"
    for warning in (status.get("dataset") or {}).get("warnings") or ():
        yield f"  data      {warning if isinstance(warning, str) else warning.get('message', '')}"


def curve(resource: Object) -> Iterator[str]:
    """The validations of a training, each with a bar; or of a search each trial."""
    status = resource.get("status") or {}
    points = _points(status)
    if not points:
        yield "There is no validation yet."
        return
    highest = max(value for _, value in points)
    yield f"mAP50 {spark([value for _, value in points])} best {metric.text(highest)}"
    for label, value in points:
        mark = "  <- best" if value == highest else ""
        yield f"{label:>12}  {metric.text(value)}  {'#' * round(40 * max(value, 0))}{mark}"


def _points(status: Object) -> list[tuple[str, float]]:
    if "history" in status:
        trials = [each for each in status["history"] if each.get("mAP50") is not None]
        return [(f"trial {each['number']}", each["mAP50"]) for each in trials]
    curve: list[Any] = (status.get("progress") or {}).get("curve") or []
    return [(f"epoch {each['epoch']}", each["mAP50"]) for each in curve]


def spark(values: list[float]) -> str:
    """A curve of one line."""
    low, high = min(values), max(values)
    width = (high - low) or 1.0
    return "".join(_BLOCKS[int((each - low) / width * (len(_BLOCKS) - 1))] for each in values)
