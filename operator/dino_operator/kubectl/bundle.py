"""`kubectl dino bundle`: one file with what a maintainer needs, and few values beside."""

from __future__ import annotations

import argparse
import io
import os
import sys
import tarfile
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from dino_api.kubectl_yaml.writer import Dumper
from dino_operator.kubectl.cluster import Cluster, add_cluster, add_job
from dino_operator.kubectl.collected import EVENTS_FILE, VERSIONS_FILE, CollectedFiles, collected
from dino_operator.kubectl.ending import CANNOT_CREATE, CommandExit
from dino_operator.kubectl.kept import EVENTS, TEXT, VERSIONS, Shape, shape_of
from dino_operator.kubectl.secret_text import REMOVED
from dino_operator.kubectl.secrets import Cleaner
from dino_operator.kubectl.terminal import add_folder, add_output, print_data, table
from dino_operator.plan.model import Object

ENDING = ".tgz"
RULE = "Resources: values hidden unless listed. Logs: what looks like a secret is removed."
DESCRIPTION = """\
One .tgz about a job or search for whoever is asked for help: the resource, its search and
trials, Jobs, pods, ConfigMaps and events, the logs of all containers and of the operator, versions.
Secrets are never read.

Resources: values are hidden unless listed (fields of the API, names, images, phases, conditions,
numbers, the operator's own variables, labels and annotations). Logs and events: what looks like a
secret is removed, as well as it can be known. Read it before you hand it on.
"""
EPILOG = f"""\
examples:
  kubectl dino bundle cells
  kubectl dino bundle daml/tune --to /tmp --tail 1000
  kubectl dino bundle cells -o json

What was taken out reads {REMOVED}. A secret that a program prints into its log in a form of its own
stays there: read the logs above all. What you may not read is left out, and said.
"""


def add(commands: Any, environ: Mapping[str, str]) -> None:
    """The command's options."""
    made = commands.add_parser(
        "bundle",
        help="pack what a maintainer needs to help, values hidden",
        description=DESCRIPTION,
        epilog=EPILOG,
    )
    add_job(made)
    add_folder(made)
    made.add_argument(
        "--tail", type=int, default=10_000, metavar="LINES", help="of each log (default: 10000)"
    )
    made.add_argument(
        "--operator-namespace", default="dino-system", metavar="NAMESPACE", help="its own"
    )
    add_output(made)
    add_cluster(made)
    made.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Packs, and says what. Raises CommandExit."""
    cluster = Cluster(options)
    resource = cluster.get(options.job)
    evidence = collected(cluster, resource, options.operator_namespace, options.tail)
    cleaner = Cleaner(_names(cluster, resource))
    texts = cleaned(evidence, cleaner)
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    folder = f"{resource['metadata']['name']}-bundle-{stamp}"
    path = options.to / f"{folder}{ENDING}"
    _write(path, folder, texts)
    summary = {
        "file": str(path),
        "contents": [{"name": n, "bytes": len(each.encode())} for n, each in texts.items()],
        "missing": [{"what": what, "why": why} for what, why in evidence.missing.items()],
        "removed": cleaner.removed,
    }
    if options.output:
        print_data(summary, options.output)
    else:
        print("\n".join(lines_of(summary)))
        sys.stdout.flush()
    return 0


def _names(cluster: Cluster, resource: Object) -> set[str]:
    """What a bundle cannot do without."""
    meta = resource["metadata"]
    return {meta["name"], meta["namespace"], cluster.namespace, meta["uid"]}


def cleaned(evidence: CollectedFiles, cleaner: Cleaner) -> dict[str, str]:
    """The files as texts, without secrets, and first of all what there is and is not."""
    taken = {name: cleaner.take(each, _shape(name, each)) for name, each in evidence.files.items()}
    missing = {what: cleaner.take(why) for what, why in evidence.missing.items()}
    texts = {name: _text(cleaner.finish(each)) for name, each in taken.items()}
    evidence.missing = {what: cleaner.finish(why) for what, why in missing.items()}
    lacking = "".join(f"not there: {what}: {why}\n" for what, why in evidence.missing.items())
    listed = "".join(f"{name}\n" for name in texts)
    return {"contents.txt": f"{listed}{lacking}", **texts}


def _shape(name: str, thing: Any) -> Shape:
    """What is let through of a file."""
    if isinstance(thing, str):
        return TEXT
    if name == EVENTS_FILE:
        return EVENTS
    return VERSIONS if name == VERSIONS_FILE else shape_of(thing["kind"])


def _text(thing: Any) -> str:
    if isinstance(thing, str):
        return thing
    return str(yaml.dump(thing, Dumper=Dumper, sort_keys=False, width=100000, allow_unicode=True))


def lines_of(summary: Object) -> list[str]:
    """What is printed of a bundle."""
    rows: list[tuple[str, ...]] = [(f"  {e['name']}", str(e["bytes"])) for e in summary["contents"]]
    missing = [f"  not there: {each['what']}: {each['why']}" for each in summary["missing"]]
    removed = f"{summary['removed']} values were removed, which read {REMOVED}."
    look = f"{RULE} Read it before you hand it on: tar xzOf {summary['file']} | less"
    return [summary["file"], *table(rows).splitlines(), *missing, removed, look]


def _write(path: Path, folder: str, texts: Mapping[str, str]) -> None:
    """Readable by its owner alone. Raises CommandExit."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with (
            os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file,
            tarfile.open(fileobj=file, mode="w:gz") as packed,
        ):
            for name, text in texts.items():
                data = text.encode()
                entry = tarfile.TarInfo(f"{folder}/{name}")
                entry.size, entry.mtime, entry.mode = len(data), int(time.time()), 0o600
                packed.addfile(entry, io.BytesIO(data))
    except OSError as error:
        raise CommandExit(CANNOT_CREATE, f"{path} cannot be written: {error.strerror}.") from error
