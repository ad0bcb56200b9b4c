"""Colours on a terminal, and data as JSON or YAML for programs."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import IO, Any, Literal

import yaml

from dino_api.kubectl_yaml.writer import Dumper

Colour = Literal["red", "green", "yellow", "bold", "dim"]
_CODES = {"red": 31, "green": 32, "yellow": 33, "bold": 1, "dim": 2}


def paint(text: str, colour: Colour, stream: IO[str] | None = None) -> str:
    """The text in a colour where the stream is a terminal, and https://no-color.org is kept."""
    where = sys.stdout if stream is None else stream
    if not _is_terminal(where) or os.environ.get("NO_COLOR"):
        return text
    return f"\x1b[{_CODES[colour]}m{text}\x1b[0m"


def clearing(stream: IO[str]) -> str:
    """What empties a terminal for the next picture."""
    return "\x1b[H\x1b[2J" if _is_terminal(stream) else ""


def _is_terminal(stream: IO[str]) -> bool:
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def add_output(made: argparse.ArgumentParser) -> None:
    """The option `--output`."""
    made.add_argument(
        "-o", "--output", choices=("json", "yaml"), help="as data for programs, in place of text"
    )


def add_folder(made: argparse.ArgumentParser) -> None:
    """The option `--to`, of commands that save files."""
    made.add_argument(
        "--to", type=Path, default=Path(), metavar="DIR", help="the folder (default: this one)"
    )


def print_data(data: Any, form: str) -> None:
    """Prints JSON or YAML."""
    if form == "json":
        print(json.dumps(data, indent=2, ensure_ascii=False))
        return
    yaml.dump(data, sys.stdout, Dumper=Dumper, sort_keys=False, width=100000, allow_unicode=True)


def table(rows: list[tuple[str, ...]]) -> str:
    """Columns of text, as kubectl prints them; trailing blanks are left out."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (
        "   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)
