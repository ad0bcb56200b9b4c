"""`kubectl dino diff`: what two jobs were told, and what came of it."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from typing import Any

from dino_operator.kubectl.cluster import Cluster, add_cluster, completed_jobs
from dino_operator.kubectl.terminal import add_output, print_data, table
from dino_operator.plan.model import Object

DESCRIPTION = "The fields of the spec in which two jobs differ, and the metrics of both."
EPILOG = """\
examples:
  kubectl dino diff cells cells-2
  kubectl dino diff cells cells-2 -o json
"""
_ABSENT = "-"


def add(commands: Any, environ: Mapping[str, str]) -> None:
    """The command's options."""
    made = commands.add_parser(
        "diff",
        help="compare spec and metrics of two jobs",
        description=DESCRIPTION,
        epilog=EPILOG,
    )
    for name in ("a", "b"):
        argument: Any = made.add_argument(name, metavar=name.upper(), help="NAME or KIND/NAME")
        argument.completer = completed_jobs
    add_output(made)
    add_cluster(made)
    made.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Prints. Raises CommandExit."""
    cluster = Cluster(options)
    one, other = cluster.get(options.a), cluster.get(options.b)
    changes = list(differences(one, other))
    if options.output:
        print_data([{"field": f, "a": a, "b": b} for f, a, b in changes], options.output)
        return 0
    names = (one["metadata"]["name"], other["metadata"]["name"])
    rows = [(field, _shown(a), _shown(b)) for field, a, b in changes]
    print(table([("FIELD", *names), *rows]) if rows else "They differ in nothing.")
    return 0


def differences(one: Object, other: Object) -> Iterator[tuple[str, Any, Any]]:
    """Field and both values: what was asked for, then what came of it."""
    yield from _below("spec", one["spec"], other["spec"])
    for part in ("phase", "failure.reason", "metrics"):
        yield from _below(f"status.{part}", _at(one, part), _at(other, part))


def _at(resource: Object, path: str) -> Any:
    node: Any = resource.get("status") or {}
    for name in path.split("."):
        node = node.get(name) if isinstance(node, dict) else None
    return node


def _below(where: str, one: Any, other: Any) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(one, dict | None) and isinstance(other, dict | None):
        a, b = one or {}, other or {}
        for name in sorted({*a, *b}):
            yield from _below(f"{where}.{name}", a.get(name), b.get(name))
    elif one != other:
        yield where, one, other


def _shown(value: Any) -> str:
    if value is None:
        return _ABSENT
    return value if isinstance(value, str) else json.dumps(value)
