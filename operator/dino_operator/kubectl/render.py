"""`kubectl dino render`: what the operator would make."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from dino_operator import options as installation
from dino_operator.kubectl import manifests
from dino_operator.kubectl.ending import USAGE, CommandExit
from dino_operator.plan.model import Object, Settings
from dino_operator.preview import Engine, InvalidManifest, Preview, preview

DESCRIPTION = """\
Everything that the operator would create for DinoJobs and DinoAutoMLs, as YAML, before anything is
created. No cluster is asked; nothing is changed.
"""
EPILOG = """\
examples:
  kubectl dino render -f job.yaml                     the Jobs and ConfigMaps of a DinoJob
  kubectl dino render --engine Katib -f search.yaml   the Experiment of a DinoAutoML
  kubectl get daml tune -o yaml | kubectl dino render -f -
  kubectl dino render -f job.yaml | kubectl apply --dry-run=server -f -

What depends on results is shown as if everything went well: the first attempt, the first trials.
uids are zeros: the API server gives the real ones, so names that hold a hash of one differ.
Objects go to standard output and notes to standard error. Exit code 64: the manifest is wrong, 66:
it cannot be read.
"""


def add(commands: Any, environ: Mapping[str, str]) -> None:
    """The command's options."""
    made = commands.add_parser(
        "render",
        help="print everything that would be made for a manifest",
        description=DESCRIPTION,
        epilog=EPILOG,
    )
    manifests.add_filename(made)
    add_engine(made)
    add_settings(made, environ)
    made.set_defaults(run=run)


def add_engine(made: argparse.ArgumentParser) -> None:
    """The option `--engine`."""
    made.add_argument("--engine", choices=("Katib", "Embedded"), help="in place of spec.engine")


def add_settings(made: argparse.ArgumentParser, environ: Mapping[str, str]) -> None:
    """The installation's settings."""
    group = made.add_argument_group("the installation's settings, as in its Helm values")
    own = f"localhost/dino-trainer:{version('dino-operator')}"
    installation.add_settings(
        installation.Adder(group, environ), rendered_only=True, trainer_image=own
    )
    group.add_argument(
        "--no-automl",
        action="store_false",
        dest="automl",
        default=argparse.SUPPRESS,
        help="as --automl false: every DinoJob trains at once",
    )


def run(options: argparse.Namespace) -> int:
    """Prints the objects. Raises CommandExit."""
    chosen = installation.settings(options)
    made = [
        (name, _previewed(name, each, chosen, options.engine))
        for name, each in manifests.documents(options.filename)
    ]
    objects: list[Object] = []
    for _, each in made:
        objects += (one for one in each.objects if one not in objects)
    sys.stdout.write(manifests.text_of(objects))
    sys.stdout.flush()
    for name, each in made:
        for note in (*each.warnings, *each.notes):
            print(f"{name}: {note}", file=sys.stderr)
    return 0


def _previewed(name: str, manifest: Any, chosen: Settings, engine: Engine | None) -> Preview:
    """Says of which manifest it speaks. Raises CommandExit."""
    try:
        return preview(manifest, chosen, engine)
    except InvalidManifest as error:
        lines = str(error).splitlines()
        raise CommandExit(USAGE, "\n".join(f"{name}: {line}" for line in lines)) from error
