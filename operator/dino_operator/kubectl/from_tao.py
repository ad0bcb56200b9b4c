"""`kubectl dino from-tao`: a TAO experiment spec becomes a manifest."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dino_api.experiment.overrides import apply_overrides
from dino_api.kubectl_yaml.reader import NotYaml, read
from dino_api.names import Action
from dino_api.problem import render
from dino_operator.kubectl import manifests
from dino_operator.kubectl.ending import DATA_ERROR, USAGE, CommandExit
from dino_operator.kubectl.tao import Did, NotTranslated, Translation, translate
from dino_operator.kubectl.terminal import Colour, add_output, paint, print_data, table
from dino_operator.plan.model import Object

DESCRIPTION = """\
A DinoJob of a TAO experiment spec for DINO. The manifest goes to standard output; what became of
each key goes to standard error: taken as it is, moved to a field of the resource, changed, or
dropped, and why.
"""
EPILOG = """\
examples:
  kubectl dino from-tao spec.yaml --uri s3://bucket/results/cells > cells.yaml
  kubectl dino from-tao spec.yaml --uri s3://bucket/r train.num_gpus=4 dataset.batch_size=2
  kubectl dino from-tao spec.yaml --uri s3://bucket/r --action evaluate | kubectl apply -f -
  kubectl dino from-tao spec.yaml --uri s3://bucket/r -o json    manifest and account as data

A path of a machine becomes the same path in the bucket of --uri: upload the files there, or
correct the URIs. A key whose value would be refused is dropped with the refusal, so that the
default counts; with a backbone go its weights. What is left to mend is said at the end.

Exit code 64: the spec cannot be read, 65: the manifest is still refused, 66: there is no file.
"""
CHANGES = "changes"
"""KEY=VALUE of this command and of `again`."""
_COLOURS: dict[Did, Colour] = {
    "taken": "dim",
    "moved": "green",
    "changed": "yellow",
    "dropped": "red",
}


def add(commands: Any, environ: Mapping[str, str]) -> None:
    """The command's options."""
    made = commands.add_parser(
        "from-tao",
        help="make a manifest of a TAO experiment spec",
        description=DESCRIPTION,
        epilog=EPILOG,
    )
    made.add_argument("spec", metavar="SPEC", help="the spec file; - reads standard input")
    made.add_argument(
        CHANGES,
        nargs="*",
        metavar="KEY=VALUE",
        help="as on the command line of TAO, such as train.num_gpus=4",
    )
    made.add_argument("--name", help="of the DinoJob (default: the file's name)")
    made.add_argument("--namespace", default="", help="of the DinoJob (default: kubectl's)")
    made.add_argument(
        "--uri", default="", metavar="URI", help="where results go, in place of results_dir"
    )
    made.add_argument(
        "--action",
        type=Action,
        choices=list(Action),
        metavar="ACTION",
        help="what the job does (default: train, distill where both sections are there, or the one "
        "action whose section there is)",
    )
    add_output(made)
    made.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Prints manifest and account. Raises CommandExit."""
    text = manifests.read(options.spec)
    name = options.name or _name(options.spec)
    try:
        given = _changed(read(text), options.changes)
        made = translate(given, name, options.namespace, options.uri, options.action)
    except (NotYaml, NotTranslated) as error:
        raise CommandExit(USAGE, f"{options.spec}: {error}") from error
    if options.output:
        print_data(account_data(made), options.output)
    else:
        sys.stdout.write(manifests.text_of([made.manifest]))
        sys.stdout.flush()
        print(account_text(made), file=sys.stderr)
    return DATA_ERROR if made.refused else 0


def _changed(given: Any, changes: list[str]) -> Any:
    """The spec with what was said beside it. Raises CommandExit."""
    if not changes or not isinstance(given, Mapping):
        return given
    changed, problems = apply_overrides(given, changes)
    if problems:
        raise CommandExit(USAGE, "\n".join(map(render, problems)))
    return changed


def _name(file: str) -> str:
    """A name that Kubernetes takes."""
    stem = re.sub(r"[^a-z0-9]+", "-", Path(file).stem.lower()).strip("-")
    return stem[:40].strip("-") or "from-tao"


def account_data(made: Translation) -> Object:
    """Manifest and account for a program."""
    return {
        "manifest": made.manifest,
        "account": [asdict(each) for each in made.account],
        "added": list(made.added),
        "problems": [{"field": e.field, "message": e.message} for e in made.refused],
    }


def account_text(made: Translation) -> str:
    """What became of each key, those that nobody has to look at last."""
    order: tuple[Did, ...] = ("dropped", "changed", "moved", "taken")
    kept = [each for did in order for each in made.account if each.did == did]
    rows: list[tuple[str, ...]] = [(each.did, each.key, each.why) for each in kept]
    lines = table(rows).splitlines() if rows else []
    shown = [
        paint(line, _COLOURS[each.did], sys.stderr) for line, each in zip(lines, kept, strict=True)
    ]
    shown += [f"added: {each}." for each in made.added]
    shown += [f"{paint('to mend', 'red', sys.stderr)}: {each}" for each in made.refused]
    counts = ", ".join(f"{sum(e.did == did for e in kept)} {did}" for did in reversed(order))
    return "\n".join([*shown, f"{len(kept)} keys: {counts}."])
