"""`kubectl dino status` and `curve`: how jobs and searches are doing."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from dino_api.names import AUTOML_KIND, KIND
from dino_operator.kubectl import job_text
from dino_operator.kubectl.cluster import Cluster, add_cluster, add_job
from dino_operator.kubectl.terminal import Colour, add_output, paint, print_data, table
from dino_operator.plan.model import Object

STATUS = """\
All DinoJobs and DinoAutoMLs with progress, time left and the best mAP50 so far; or one of them:
what happened to it, in order, why it failed and what to do about that.
"""
STATUS_EXAMPLES = """\
examples:
  kubectl dino status                  every job and search of the namespace
  kubectl dino status -A               of all namespaces
  kubectl dino status cells            one job, from its beginning to its end
  kubectl dino status daml/tune        a search; a name alone means the DinoJob first
  kubectl dino status cells -o json    the resource itself, for a program
"""
CURVE = "The validations of a training, or the trials of a search, as a curve of mAP50."
CURVE_EXAMPLES = """\
examples:
  kubectl dino curve cells
  watch kubectl dino curve cells
"""
_COLOURS: dict[str, Colour] = {"Complete": "green", "Failed": "red", "Running": "bold"}


def add(commands: Any, environ: Mapping[str, str]) -> None:
    """The options of both."""
    raw = argparse.RawDescriptionHelpFormatter
    made = commands.add_parser(
        "status",
        help="show how jobs and searches are doing",
        description=STATUS,
        epilog=STATUS_EXAMPLES,
        formatter_class=raw,
    )
    add_job(made, "one of them: NAME or KIND/NAME", nargs="?")
    made.add_argument("-A", "--all-namespaces", action="store_true", help="of all namespaces")
    add_output(made)
    add_cluster(made)
    made.set_defaults(run=run)
    made = commands.add_parser(
        "curve",
        help="show the validations of a training",
        description=CURVE,
        epilog=CURVE_EXAMPLES,
        formatter_class=raw,
    )
    add_job(made)
    add_output(made)
    add_cluster(made)
    made.set_defaults(run=run_curve)


def run(options: argparse.Namespace) -> int:
    """Prints. Raises Ended."""
    cluster = Cluster(options)
    if options.job:
        resource = cluster.get(options.job)
        _print(resource, options.output, "\n".join(job_text.timeline(resource, datetime.now(UTC))))
        return 0
    everywhere = options.all_namespaces
    kinds = (KIND, AUTOML_KIND)
    all_of = [each for kind in kinds for each in cluster.all_of(kind, everywhere)]
    where = "" if everywhere else f" in namespace {cluster.namespace}"
    _print(all_of, options.output, listed(all_of, everywhere) or f"No jobs{where}.")
    return 0


def run_curve(options: argparse.Namespace) -> int:
    """Prints. Raises Ended."""
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
    shown = [
        paint(line, _COLOURS[cells[2]]) if cells[2] in _COLOURS else line
        for line, cells in zip(lines, rows, strict=True)
    ]
    return "\n".join([head, *shown])


def _print(data: Any, form: str | None, text: str) -> None:
    if form:
        print_data(data, form)
    else:
        print(text)
