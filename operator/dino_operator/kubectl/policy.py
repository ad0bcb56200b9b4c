"""`kubectl dino suspend`, `resume` and `stop`: edits of what can be edited of a spec."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from functools import partial
from typing import Any

from dino_api.names import AUTOML_KIND, Phase
from dino_operator.kubectl.cluster import Cluster, add_cluster, add_job
from dino_operator.kubectl.ending import USAGE, CommandExit
from dino_operator.plan.model import Object

WORDS = {
    "suspend": (
        "stop a job's pods after a checkpoint, until resume",
        "A training saves a checkpoint first, and goes on from there. A search starts no trial.",
    ),
    "resume": (
        "let a suspended job go on",
        "From its checkpoint; a queue is waited for again.",
    ),
    "stop": (
        "end a job for good, after a checkpoint",
        "It cannot be taken back. `kubectl dino again JOB` makes a new job that goes on from the\n"
        "best checkpoint.",
    ),
}


DONE = {"suspend": "suspended", "resume": "resumed", "stop": "stopping"}


def add(commands: Any, environ: Mapping[str, str]) -> None:
    """The options of the three."""
    for verb, (short, long) in WORDS.items():
        made = commands.add_parser(
            verb,
            help=short,
            description=f"{short[0].upper()}{short[1:]}. {long}",
            epilog=f"examples:\n  kubectl dino {verb} cells\n  kubectl dino {verb} cells -n team\n",
        )
        add_job(made, nargs="+")
        add_cluster(made)
        made.set_defaults(run=partial(run, verb))


def run(verb: str, options: argparse.Namespace) -> int:
    """Edits each of them. Raises CommandExit."""
    cluster = Cluster(options)
    for name in options.job:
        resource = cluster.get(name)
        changes = edit(verb, resource)
        called = f"{resource['kind']} {resource['metadata']['name']}"
        if not changes:
            print(f"{called}: nothing to {verb}, it is so already")
            continue
        cluster.patch(resource, changes)
        print(f"{called}: {DONE[verb]}")
    return 0


def edit(verb: str, resource: Object) -> Object:
    """The patch; empty where the spec says so already. Raises CommandExit for nonsense."""
    name, phase = resource["metadata"]["name"], (resource.get("status") or {}).get("phase")
    if phase in (Phase.COMPLETE, Phase.FAILED):
        message = f"{resource['kind']} {name} has ended ({phase}): there is nothing to {verb}."
        raise CommandExit(USAGE, f"{message} kubectl dino again {name} makes a new one of it.")
    search = resource["kind"] == AUTOML_KIND
    if search and verb == "stop":
        message = f"A search cannot be stopped for good: suspend {name}, or delete it."
        raise CommandExit(USAGE, message)
    field, wanted = ("stop", True) if verb == "stop" else ("suspend", verb == "suspend")
    spec = resource["spec"]
    held = spec if search else spec.get("runPolicy") or {}
    if held.get(field, False) is wanted:
        return {}
    changes = {field: wanted}
    return {"spec": changes if search else {"runPolicy": changes}}
