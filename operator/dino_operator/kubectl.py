"""The `kubectl-dino` command: `kubectl dino render` shows what the operator would make."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn

import yaml

from dino_api.kubectl_yaml.reader import NotYaml, read_all
from dino_api.kubectl_yaml.writer import Dumper
from dino_operator import options as installation
from dino_operator.plan.model import Object, Settings
from dino_operator.preview import Engine, Preview, Refused, preview

USAGE_ERROR = 64
INPUT_MISSING = 66
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
PROGRAM = """\
A plugin of kubectl: with kubectl-dino on the PATH, `kubectl dino render -f FILE` works.
"""


class _Parser(argparse.ArgumentParser):
    """Usage errors end with 64, as those of `dino` do."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(USAGE_ERROR, f"{self.prog}: {message}\n")


def parser(environ: Mapping[str, str]) -> argparse.ArgumentParser:
    """The command line; the environment has the defaults, as the operator's own."""
    raw = argparse.RawDescriptionHelpFormatter
    made = _Parser(prog="kubectl-dino", description=PROGRAM, formatter_class=raw)
    made.add_argument("--version", action="version", version=version("dino-operator"))
    commands = made.add_subparsers(dest="command", metavar="command", required=True)
    rendering = commands.add_parser(
        "render",
        help="print everything that would be made for a manifest",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=raw,
    )
    rendering.add_argument(
        "-f",
        "--filename",
        required=True,
        metavar="FILE",
        help="the manifest, with any number of DinoJobs and DinoAutoMLs; - reads standard input",
    )
    rendering.add_argument(
        "--engine", choices=("Katib", "Embedded"), help="in place of spec.engine"
    )
    _add_settings(rendering, environ)
    return made


def _add_settings(made: argparse.ArgumentParser, environ: Mapping[str, str]) -> None:
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point. Returns the exit status."""
    options = parser(os.environ).parse_args(arguments)
    try:
        text = _read(options.filename)
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not UTF-8 text"
        print(f"kubectl-dino: {options.filename} cannot be read: {why}.", file=sys.stderr)
        return INPUT_MISSING
    try:
        chosen = installation.settings(options)
        made = [
            (name, _previewed(name, each, chosen, options.engine))
            for name, each in _documents(text, options.filename)
        ]
    except Refused as error:
        print(f"kubectl-dino: {error}", file=sys.stderr)
        return USAGE_ERROR
    try:
        _print(made)
    except BrokenPipeError:  # `… | head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _previewed(name: str, manifest: Any, chosen: Settings, engine: Engine | None) -> Preview:
    """Says of which manifest it speaks. Raises Refused."""
    try:
        return preview(manifest, chosen, engine)
    except Refused as error:
        lines = str(error).splitlines()
        raise Refused("\n".join(f"{name}: {line}" for line in lines)) from error


def _read(filename: str) -> str:
    return sys.stdin.read() if filename == "-" else Path(filename).read_text(encoding="utf-8")


def _documents(text: str, filename: str) -> Iterator[tuple[str, Any]]:
    """The manifests of a file, also those in a List, with what to call each. Raises Refused."""
    try:
        found = read_all(text)
    except NotYaml as error:
        raise Refused(f"{filename} is not YAML: {error}.") from error
    items: list[Any] = []
    for each in found:
        listed = isinstance(each, dict) and each.get("kind") == "List"
        items += each.get("items") or [] if listed else [each]
    if not items:
        raise Refused(f"{filename} holds no manifest.")
    for each in items:
        meta = each.get("metadata") if isinstance(each, dict) else None
        name = meta.get("name") if isinstance(meta, dict) else None
        yield f"{each.get('kind')} {name}" if name else filename, each


def _print(made: Sequence[tuple[str, Preview]]) -> None:
    objects: list[Object] = []
    for _, each in made:
        objects += (one for one in each.objects if one not in objects)
    yaml.dump_all(
        objects,
        sys.stdout,
        Dumper=Dumper,
        explicit_start=True,
        sort_keys=False,
        width=100000,
        allow_unicode=True,
    )
    sys.stdout.flush()
    for name, each in made:
        for note in each.notes:
            print(f"{name}: {note}", file=sys.stderr)


if __name__ == "__main__":
    raise SystemExit(main())
