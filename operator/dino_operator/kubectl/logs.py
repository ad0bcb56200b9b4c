"""`kubectl dino logs`: what the pods of a job say, across preflight, attempts and nodes."""

from __future__ import annotations

import argparse
import queue
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

from dino_api.names import KIND, Action, Label, Phase, Stage
from dino_operator.kubectl.cluster import Cluster, add_cluster, add_job, split
from dino_operator.kubectl.ending import NO_INPUT, UNAVAILABLE, USAGE, CommandExit
from dino_operator.kubectl.terminal import paint
from dino_operator.plan.model import Object
from dino_operator.plan.observed.objects import CONTAINER
from dino_operator.plan.rendered.names import job_label

DESCRIPTION = """\
The logs of all pods of a DinoJob, the preflight's first, then of each attempt, each pod by its
name. With -f it waits for what comes, over to the next attempt, until the job has ended.
"""
EPILOG = """\
examples:
  kubectl dino logs cells              everything that is still there
  kubectl dino logs cells -f           follow it to its end
  kubectl dino logs cells --stage preflight

Pods are kept until runPolicy.ttlSecondsAfterFinished has passed. While pods of
several nodes are followed, each line begins with the name of its pod. Where the
connection to a pod breaks it is followed again; some lines may then come twice.
"""
_LOOK_SECONDS = 2.0
_OVERLAP_SECONDS = 2
_BREAKS = 30
"""So often a pod is followed again without a line between."""
_OVER = (Phase.COMPLETE, Phase.FAILED)


def add(commands: Any, environ: Mapping[str, str]) -> None:
    """The command's options."""
    made = commands.add_parser(
        "logs",
        help="print the logs of all pods of a job",
        description=DESCRIPTION,
        epilog=EPILOG,
    )
    add_job(made, "the DinoJob's name")
    made.add_argument("-f", "--follow", action="store_true", help="until the job has ended")
    stage: Any = made.add_argument("--stage", help="of these pods alone: preflight, train, ...")
    stage.completer = lambda **_: (Stage.PREFLIGHT.value, *(each.value for each in Action))
    add_cluster(made)
    made.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Prints. Raises CommandExit."""
    kinds, name = split(options.job)
    if KIND not in kinds:
        message = f"{options.job} is a search. Its trials are jobs, whose logs are there by name"
        raise CommandExit(USAGE, f"{message}: kubectl dino status lists them.")
    cluster = Cluster(options)
    resource = cluster.get(f"dinojob/{name}")
    selector = selector_of(resource, options.stage)
    if options.follow:
        some = LogStream(cluster).until_the_end(resource, selector)
    else:
        some = _print_all(cluster, selector)
    if not some:
        raise CommandExit(NO_INPUT, no_log_message(resource))
    return 0


def _print_all(cluster: Cluster, selector: str) -> bool:
    pods = [each for each in in_order(cluster.pods(selector)) if _has_begun(each)]
    for pod in pods:
        print(paint(headline(pod), "bold"))
        for line in cluster.log(pod["metadata"]["name"], CONTAINER, False):
            print(line)
    return bool(pods)


class LogStream:
    """The pods of a job, all followed at once, each by a thread that hands its lines over.

    Where the connection to one breaks, it is followed again: from a little before its last line,
    so that some lines may come twice and none is lost.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._lines: queue.Queue[tuple[str, str | CommandExit | None]] = queue.Queue()
        self._open, self._seen = set[str](), set[str]()
        self._heard: dict[str, float] = {}
        self._breaks: Counter[str] = Counter()
        self._several = False

    def until_the_end(self, resource: Object, selector: str) -> bool:
        """Prints from attempt to attempt until the job has ended. Whether a pod had a log.
        Raises CommandExit."""
        while True:
            over = (resource.get("status") or {}).get("phase") in _OVER
            pods = in_order(self._cluster.pods(selector))
            fresh = [each for each in pods if self._is_new(each)]
            for pod in fresh:
                self._follow(pod)
            if over and not fresh and not self._open:
                return bool(self._seen or self._breaks)
            self._print_for(_LOOK_SECONDS)
            resource = self._cluster.get(f"dinojob/{resource['metadata']['name']}")

    def _is_new(self, pod: Object) -> bool:
        return _has_begun(pod) and pod["metadata"]["name"] not in self._seen | self._open

    def _follow(self, pod: Object) -> None:
        name = pod["metadata"]["name"]
        self._several = bool(self._open)
        self._seen.add(name)
        self._open.add(name)
        if not self._breaks[name]:
            print(paint(headline(pod), "bold"), flush=True)
        threading.Thread(target=self._read, args=(name,), daemon=True).start()

    def _read(self, name: str) -> None:
        heard = self._heard.get(name)
        since = None if heard is None else int(time.monotonic() - heard) + _OVERLAP_SECONDS
        try:
            for line in self._cluster.log(name, CONTAINER, True, since):
                self._heard[name] = time.monotonic()
                self._lines.put((name, line))
        except CommandExit as end:
            self._lines.put((name, end))
        finally:
            self._lines.put((name, None))

    def _print_for(self, seconds: float) -> None:
        """Prints what comes. Where several pods speak, each line names its pod."""
        until = time.monotonic() + seconds
        while self._open:
            try:
                name, line = self._lines.get(timeout=max(until - time.monotonic(), 0.01))
            except queue.Empty:
                return
            if line is None:
                self._open.discard(name)
            elif isinstance(line, CommandExit):
                self._broken(name, line)
            else:
                self._breaks[name] = min(self._breaks[name], 1)
                print(f"[{name}] {line}" if self._several else line, flush=True)
        time.sleep(max(until - time.monotonic(), 0))

    def _broken(self, name: str, end: CommandExit) -> None:
        """A pod that is out of reach is followed again, as long as that is not in vain."""
        self._breaks[name] += 1
        again = end.status == UNAVAILABLE and self._breaks[name] <= _BREAKS
        if again:
            self._seen.discard(name)
        if not again or self._breaks[name] == 1:
            print(f"{name}: {end}{' It is followed again.' if again else ''}", file=sys.stderr)


def _has_begun(pod: Object) -> bool:
    """Whether it may have a log."""
    return (pod.get("status") or {}).get("phase") not in (None, "Pending")


def selector_of(resource: Object, stage: str | None) -> str:
    """The labels of its pods."""
    meta = resource["metadata"]
    asked = {Label.JOB.value: job_label(meta["name"]), Label.JOB_UID.value: meta["uid"]}
    asked |= {Label.ACTION.value: stage} if stage else {}
    return ",".join(f"{name}={value}" for name, value in asked.items())


def in_order(pods: list[Object]) -> list[Object]:
    """As they were made: an attempt after the other, its nodes by their names."""
    return sorted(
        pods, key=lambda each: (each["metadata"]["creationTimestamp"], each["metadata"]["name"])
    )


def headline(pod: Object) -> str:
    """Which pod speaks."""
    labels = pod["metadata"].get("labels") or {}
    stage, attempt = labels.get(Label.ACTION.value, "?"), labels.get(Label.ATTEMPT.value, "?")
    node = (pod.get("spec") or {}).get("nodeName") or "no node"
    return f"==> {pod['metadata']['name']} ({stage}, attempt {attempt}, {node}) <=="


def no_log_message(resource: Object) -> str:
    """Why there is no log."""
    name, status = resource["metadata"]["name"], resource.get("status") or {}
    phase = status.get("phase") or Phase.PENDING.value
    message = f"DinoJob {name} ({phase}) has no pod with a log."
    if status.get("automl"):
        return f"{message} A search runs for it: kubectl dino status daml/{status['automl']}."
    return f"{message} kubectl dino status {name} says what it waits for."
