"""The manifests of a file, as `kubectl apply -f` takes them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from dino_api.kubectl_yaml.reader import NotYaml, read_all
from dino_api.kubectl_yaml.writer import Dumper
from dino_operator.kubectl.ending import NO_INPUT, USAGE, CommandExit


def add_filename(made: argparse.ArgumentParser) -> None:
    """The option `-f`."""
    made.add_argument(
        "-f",
        "--filename",
        required=True,
        metavar="FILE",
        help="the manifest, with any number of DinoJobs and DinoAutoMLs; - reads standard input",
    )


def read(filename: str) -> str:
    """The file's text; - is standard input. Raises CommandExit."""
    try:
        return sys.stdin.read() if filename == "-" else Path(filename).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise CommandExit(NO_INPUT, f"{filename} cannot be read: {why}.") from error


def documents(filename: str) -> Iterator[tuple[str, Any]]:
    """The manifests of a file, also those in a List, with what to call each. Raises CommandExit."""
    try:
        documents = read_all(read(filename))
    except NotYaml as error:
        raise CommandExit(USAGE, f"{filename} is not YAML: {error}.") from error
    items: list[Any] = []
    for each in documents:
        listed = isinstance(each, dict) and each.get("kind") == "List"
        inner = each.get("items") if listed else [each]
        items += inner if isinstance(inner, list) else []
    if not items:
        raise CommandExit(USAGE, f"{filename} holds no manifest.")
    for each in items:
        meta = each.get("metadata") if isinstance(each, dict) else None
        name = meta.get("name") if isinstance(meta, dict) else None
        yield f"{each.get('kind')} {name}" if name else filename, each


def text_of(objects: Iterable[Any]) -> str:
    """YAML of several documents, as kubectl reads it."""
    return str(
        yaml.dump_all(
            objects,
            Dumper=Dumper,
            explicit_start=True,
            sort_keys=False,
            width=100000,
            allow_unicode=True,
        )
    )
