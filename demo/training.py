"""Follows a DinoJob on one line, and shows what came out of it."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

from demo.cluster import DemoCluster
from demo.errors import DemoError, Stopped
from demo.screen import Screen, clock
from demo.storage import DemoStorage, download

POLL_SECONDS = 2.0
# A pod that does not run, and of which nothing new is told for so long, will not: image, node or
# quota is missing. An image of gigabytes takes its time on a slow network.
START_SECONDS = 1200.0
Job = dict[str, Any]


def follow(cluster: DemoCluster, name: str, screen: Screen, stop: threading.Event) -> Job:
    """Show progress until the job ends.

    Returns the finished resource; raises DemoError when it failed.
    """
    told, since = "", time.monotonic()
    try:
        while True:
            job = get(cluster, name)
            if told != line(job):
                told, since = line(job), time.monotonic()
            if condition(job, "Complete"):
                return job
            if condition(job, "Failed"):
                raise DemoError(f"the training failed: {why(job)}", cluster.logs_command(name))
            waited = time.monotonic() - since
            if waited > START_SECONDS and not job.get("status", {}).get("startTime"):
                raise DemoError(
                    f"no training pod runs, nothing new in {waited:.0f} s: {waiting_for(job)}",
                    cluster.describe_command(name),
                )
            screen.live(told)
            if stop.wait(POLL_SECONDS):
                raise Stopped(name)
    finally:
        screen.live("")


def get(cluster: DemoCluster, name: str) -> Job:
    """The resource as the API server has it."""
    job: Job = json.loads(cluster.kubectl("get", "dinojob", name, "-o", "json"))
    return job


def condition(job: Job, kind: str) -> dict[str, Any] | None:
    """The condition of that type if its status is True."""
    found = job.get("status", {}).get("conditions", [])
    return next((c for c in found if c["type"] == kind and c["status"] == "True"), None)


def why(job: Job) -> str:
    """Reason, message and remedy of a failed job in one sentence."""
    failure = job["status"].get("failure") or condition(job, "Failed") or {}
    words = [
        f"{failure.get('reason', 'unknown')}: {shorten(failure.get('message', ''), 400)}",
        failure.get("remedy") or "",
    ]
    return ". ".join(word.strip().rstrip(".") for word in words if word.strip())


def waiting_for(job: Job) -> str:
    """What the operator says of a job whose pod does not run yet."""
    found = job.get("status", {}).get("conditions", [])
    running = next((c for c in found if c["type"] == "Running"), None)
    if running is None:
        return "the operator has not seen it yet"
    return shorten(running["message"] or running["reason"])


def shorten(text: str, most: int = 160) -> str:
    """One line of it: a message may quote the end of a log."""
    flat = " ".join(text.split())
    return flat if len(flat) <= most else f"{flat[: most - 1]}…"


def line(job: Job) -> str:
    """Phase, epoch, step, percent, loss, mAP50 so far and the time left, as far as known."""
    status = job.get("status", {})
    phase = status.get("phase", "Pending")
    progress = status.get("progress")
    if phase != "Running" or not progress:
        return f"{phase}: {waiting_for(job)}" if phase != "Running" else "Running: reading the data"
    parts = [
        phase,
        pair("epoch", progress, "epoch", "epochs"),
        pair("step", progress, "step", "steps"),
        number(progress, "percent", "{:.0f} %"),
        number(progress, "loss", "loss {:.2f}"),
        number(progress, "mAP50", "mAP50 {:.3f}"),
        number(progress, "imagesPerSecond", "{:.1f} images/s"),
    ]
    if progress.get("etaSeconds") is not None:
        parts.append(f"{clock(progress['etaSeconds'])} left")
    return "  ".join(part for part in parts if part)


def pair(word: str, progress: dict[str, Any], part: str, whole: str) -> str:
    if progress.get(part) is None:
        return ""
    return (
        f"{word} {progress[part]}/{progress[whole]}"
        if progress.get(whole)
        else f"{word} {progress[part]}"
    )


def number(progress: dict[str, Any], key: str, form: str) -> str:
    return form.format(progress[key]) if progress.get(key) is not None else ""


def checked(job: Job) -> str:
    """What the preflight found in the data, and where its report is."""
    found = condition(job, "DataReady")
    reports = (a["uri"] for a in job["status"]["artifacts"] if a["name"].endswith("report.html"))
    return "; ".join([shorten(found["message"]) if found else "not checked", *reports])


def show(
    cluster: DemoCluster, storage: DemoStorage, job: Job, folder: Path, screen: Screen
) -> None:
    """The finished resource, what its data was, its mAP50, checkpoint and picture."""
    name, status = job["metadata"]["name"], job["status"]
    picture = next(
        (a for a in status.get("artifacts", []) if a["name"].endswith("validation.png")), None
    )
    if picture is None:
        raise DemoError("the job published no validation.png", cluster.logs_command(name))
    path = folder / f"{name}-validation.png"
    download(storage, picture["uri"], path)
    screen.say(cluster.kubectl("get", "dinojob", name, "-o", "wide").rstrip())
    screen.say()
    screen.say(f"data:        {checked(job)}")
    screen.say(f"mAP50:       {status['metrics']['mAP50']:.3f}")
    screen.say(f"checkpoint:  {status['checkpoint']['uri']}")
    screen.say(f"pictures:    {path} (boxes: predicted and true)")
