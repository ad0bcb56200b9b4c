"""`kubectl dino validate`: what the cluster would refuse, said without one."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dino_operator import options as installation
from dino_operator.admission import FieldError
from dino_operator.kubectl import manifests
from dino_operator.kubectl.ending import USAGE
from dino_operator.kubectl.local_data import check_data
from dino_operator.kubectl.render import add_engine, add_settings
from dino_operator.kubectl.terminal import add_output, paint, print_data
from dino_operator.plan.model import Settings
from dino_operator.preview import Engine, InvalidManifest, Preview, preview, refused

DESCRIPTION = """\
Everything that would be refused about DinoJobs and DinoAutoMLs, without a cluster: by the API
server on `kubectl apply`, with its rules and sentences, and by the operator after that.
"""
EPILOG = """\
examples:
  kubectl dino validate -f job.yaml                 one line for each manifest that is good
  kubectl dino validate -f job.yaml --data photos   looks at every image and box as well
  kubectl dino validate -f job.yaml -o json         for a program, or an editor
  helm template . | kubectl dino validate -f -      in CI

--data DIR has the datasets on this machine: for s3://bucket/cells/train it takes
DIR/bucket/cells/train, DIR/cells/train or DIR/train, whichever is there. It needs the trainer: in a
checkout, uv tool install '.[kubectl,trainer]'.

Problems and warnings go to standard error. Exit code 64: something is refused, 66: a file cannot be
read, 65: the data has errors, 69: the trainer is not installed.
"""


@dataclass(frozen=True)
class ManifestVerdict:
    """What is said of one manifest. made: what it would become, where nothing is refused."""

    name: str
    refused: tuple[FieldError, ...]
    warnings: tuple[str, ...] = ()
    made: Preview | None = None

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "manifest": self.name,
            "valid": not self.refused,
            "problems": [{"field": e.field, "message": e.message} for e in self.refused],
            "warnings": [each.removeprefix("warning: ") for each in self.warnings],
        }


def verdict_of(
    name: str, manifest: Any, chosen: Settings, engine: Engine | None = None
) -> ManifestVerdict:
    """The API server's refusals, or where it has none the operator's."""
    if refusals := refused(manifest):
        return ManifestVerdict(name, tuple(refusals))
    try:
        made = preview(manifest, chosen, engine)
    except InvalidManifest as error:
        return ManifestVerdict(name, tuple(map(_split, str(error).splitlines())))
    return ManifestVerdict(name, (), made.warnings, made)


def _split(line: str) -> FieldError:
    """A sentence of the operator's, which begins with the field that it is about."""
    field, colon, message = line.partition(": ")
    about = bool(colon) and " " not in field
    return FieldError(field, message) if about else FieldError("", line)


def add(commands: Any, environ: Mapping[str, str]) -> None:
    """The command's options."""
    made = commands.add_parser(
        "validate",
        help="say what would be refused about a manifest, without a cluster",
        description=DESCRIPTION,
        epilog=EPILOG,
    )
    manifests.add_filename(made)
    made.add_argument(
        "--data", type=Path, metavar="DIR", help="check the data of the manifests in this folder"
    )
    add_output(made)
    add_engine(made)
    add_settings(made, environ)
    made.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Prints what is said of each manifest. Raises CommandExit."""
    chosen = installation.settings(options)
    verdicts = [
        (verdict_of(name, each, chosen, options.engine), each)
        for name, each in manifests.documents(options.filename)
    ]
    if options.output:
        print_data([verdict.to_dict() for verdict, _ in verdicts], options.output)
    else:
        for verdict, _ in verdicts:
            _say(verdict)
    if any(verdict.refused for verdict, _ in verdicts):
        return USAGE
    checked = [check_data(v.made, each, options.data) for v, each in verdicts if options.data]
    return max(checked, default=0)


def _say(verdict: ManifestVerdict) -> None:
    for each in verdict.refused:
        where = paint(verdict.name, "red", sys.stderr)
        print(f"{where}: {each}", file=sys.stderr)
    for warning in verdict.warnings:
        where = paint(verdict.name, "yellow", sys.stderr)
        print(f"{where}: {warning}", file=sys.stderr)
    if not verdict.refused:
        print(f"{paint(verdict.name, 'green')}: valid")
