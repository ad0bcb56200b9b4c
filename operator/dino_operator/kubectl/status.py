"""`kubectl dino status` and `curve`: how jobs and searches are doing."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

from dino_api.names import AUTOML_KIND, KIND, Label, Phase
from dino_operator.kubectl import job_text
from dino_operator.kubectl.cluster import Cluster, add_cluster, add_job
from dino_operator.kubectl.ending import DONE, NO_PERMISSION, USAGE, CommandExit
from dino_operator.kubectl.terminal import (
    Colour,
    add_output,
    clearing,
    paint,
    print_data,
    table,
)
from dino_operator.plan.model import Object

STATUS = """\
All DinoJobs and DinoAutoMLs with progress, time left and the best mAP50 so far; or one of them:
what happened to it, in order, from the queue to the end, why it failed and what to do about that.
"""
STATUS_EXAMPLES = """\
examples:
  kubectl dino status                  every job and search of the namespace
  kubectl dino status -A               of all namespaces
  kubectl dino status cells            one job, from its beginning to its end
  kubectl dino status -w               live, until Ctrl-C; of one job until it ends
  kubectl dino status daml/tune        a search; a name alone means the DinoJob first
  kubectl dino status cells -o json    the resource itself, for a program
"""
CURVE = "The validations of a training, or the trials of a search, as a curve of mAP50."
CURVE_EXAMPLES = """\
examples:
  kubectl dino curve cells
  watch kubectl dino curve cells
"""
LOOK_SECONDS = 2.0
OVER = (Phase.COMPLETE, Phase.FAILED)
_COLOURS: dict[str, Colour] = {"Complete": "green", "Failed": "red", "Running": "bold"}


def add(commands: Any, environ: Mapping[str, str]) -> None:
    """The options of both."""
    made = commands.add_parser(
        "status",
        help="show how jobs and searches are doing",
        description=STATUS,
        epilog=STATUS_EXAMPLES,
    )
    add_job(made, "one of them: NAME or KIND/NAME", nargs="?")
    made.add_argument("-A", "--all-namespaces", action="store_true", help="of all namespaces")
    made.add_argument("-w", "--watch", action="store_true", help="live, until it ends or Ctrl-C")
    add_output(made)
    add_cluster(made)
    made.set_defaults(run=run)
    made = commands.add_parser(
        "curve",
        help="show the validations of a training",
        description=CURVE,
        epilog=CURVE_EXAMPLES,
    )
    add_job(made)
    add_output(made)
    add_cluster(made)
    made.set_defaults(run=run_curve)


def run(options: argparse.Namespace) -> int:
    """Prints. Raises CommandExit."""
    cluster = Cluster(options)
    if options.watch and options.output:
        raise CommandExit(
            USAGE, "--watch shows text: kubectl get dinojobs --watch -o json gives data."
        )
    shown = ""
    while True:
        data, text = _seen(cluster, options)
        if text != shown:
            _print(data, options.output, f"{clearing(sys.stdout)}{text}" if options.watch else text)
            sys.stdout.flush()
        shown = text
        if not options.watch or (options.job and _phase(data) in OVER):
            return DONE
        time.sleep(LOOK_SECONDS)


def _seen(cluster: Cluster, options: argparse.Namespace) -> tuple[Any, str]:
    """What is asked for, as data and as text."""
    now = datetime.now(UTC)
    if options.job:
        resource = cluster.get(options.job)
        head, *lines = job_text.timeline(resource, now, _around(cluster, resource))
        return resource, "\n".join([_painted(head, _phase(resource)), *lines])
    everywhere = options.all_namespaces
    resources = [each for kind in (KIND, AUTOML_KIND) for each in cluster.all_of(kind, everywhere)]
    where = "" if everywhere else f" in namespace {cluster.namespace}"
    return resources, listed(resources, everywhere) or f"No jobs{where}."


def _around(cluster: Cluster, resource: Object) -> job_text.RelatedObjects:
    """What may be read of what belongs to it."""
    uid = resource["metadata"]["uid"]
    label = Label.AUTOML_UID if resource["kind"] == AUTOML_KIND else Label.JOB_UID
    selector = f"{label.value}={uid}"
    return job_text.RelatedObjects(
        tuple(_readable(partial(cluster.jobs, selector))),
        tuple(_readable(partial(cluster.pods, selector))),
        tuple(_readable(partial(cluster.events, uid))),
    )


def _readable(call: Callable[[], list[Object]]) -> list[Object]:
    try:
        return call()
    except CommandExit as end:
        if end.status != NO_PERMISSION:
            raise
        return []


def _phase(resource: Object) -> str:
    return str((resource.get("status") or {}).get("phase") or "")


def run_curve(options: argparse.Namespace) -> int:
    """Prints. Raises CommandExit."""
    resource = Cluster(options).get(options.job)
    status = resource.get("status") or {}
    data = status.get("history", (status.get("progress") or {}).get("curve", []))
    _print(data, options.output, "\n".join(job_text.curve(resource)))
    return 0


def listed(resources: list[Object], namespaced: bool = False) -> str:
    """The table, in colours on a terminal; empty where there is nothing."""
    if not resources:
        return ""
    now = datetime.now(UTC)
    rows = [job_text.row(each, now, namespaced) for each in resources]
    head, *lines = table([job_text.HEAD, *rows]).splitlines()
    shown = [_painted(line, cells[2]) for line, cells in zip(lines, rows, strict=True)]
    return "\n".join([head, *shown])


def _painted(line: str, phase: str) -> str:
    return paint(line, _COLOURS[phase]) if phase in _COLOURS else line


def _print(data: Any, form: str | None, text: str) -> None:
    if form:
        print_data(data, form)
    else:
        print(text)
