"""Files of an export: XML and JSON read safely, numbers out of them, errors that say where.

XML with a DOCTYPE is refused: no annotation tool writes one, and what it may hold (entities that
grow to gigabytes, files of this machine) is of no use here.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from dino_api.names import FailureReason
from dino_trainer.data.folder_files import files_below, is_hidden
from dino_trainer.errors import TrainerError, invalid_dataset
from dino_trainer.first_bytes import COMPRESSED, HEAD, Signature, kind_of_bytes
from dino_trainer.storage.files import named

_AGAIN = "Export it again, or correct that line."


class _Doctype(Exception):
    """A DOCTYPE was met."""


class _PlainTree(ElementTree.TreeBuilder):
    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        """Called before anything that the DOCTYPE declares is looked at."""
        raise _Doctype


def read_bytes(path: Path) -> bytes:
    """Raises InputNotFound, AccessDenied, StorageUnavailable."""
    with named(path):
        return path.read_bytes()


def read_text(path: Path) -> str:
    """UTF-8, with or without a mark of its own. Raises InvalidDataset for other bytes."""
    raw = read_bytes(path)
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise invalid_dataset(
            f"{path} is no text in UTF-8: see the byte 0x{raw[error.start]:02x} in line {line}.",
            "Save it in UTF-8.",
        ) from error


def read_lines(path: Path) -> tuple[str, ...]:
    """Lines without white space around them; blank ones at the end are none."""
    lines = [line.strip() for line in read_text(path).splitlines()]
    while lines and not lines[-1]:
        lines.pop()
    return tuple(lines)


def read_xml(path: Path) -> ElementTree.Element:
    """The root. Raises InvalidDataset for what is no XML, and for XML with a DOCTYPE."""
    raw = read_bytes(path)
    parser = ElementTree.XMLParser(target=_PlainTree())
    try:
        parser.feed(raw)
        return parser.close()
    except _Doctype as error:
        raise invalid_dataset(
            f"{path} has a DOCTYPE, which is refused: entities of it can fill the memory.",
            "Remove the DOCTYPE; annotation tools write none.",
        ) from error
    except (ElementTree.ParseError, LookupError, ValueError) as error:
        raise invalid_dataset(f"{path} is not XML: {error}.", _AGAIN) from error


def read_json(path: Path) -> Any:
    """Whatever it holds. Raises InvalidDataset with line and column where it is no JSON."""
    text = read_text(path)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise invalid_dataset(f"{path} is not JSON: {error.msg} at {where}.", _AGAIN) from error
    except (RecursionError, ValueError) as error:
        raise invalid_dataset(f"{path} is not JSON that can be read: {error}.", _AGAIN) from error


def number(value: object, where: str, field: str) -> float:
    """A finite number, also one in a text. where: file and place. Raises InvalidDataset."""
    try:
        parsed = float(value) if isinstance(value, str | int | float) else math.nan
    except (ValueError, OverflowError):
        parsed = math.nan
    if isinstance(value, bool) or not math.isfinite(parsed):
        what = "is missing" if value is None else f"is {value!r}, which is no number"
        raise invalid_dataset(f"{where}: {field} {what}.", f"Correct {field} there.")
    return parsed


def numbers(value: object, count: int, where: str, field: str) -> list[float]:
    """A list of so many numbers. Raises InvalidDataset."""
    if not isinstance(value, list) or len(value) != count:
        raise invalid_dataset(
            f"{where}: {field} is {value!r}, where {count} numbers belong.",
            f"Correct {field} there.",
        )
    return [number(one, where, f"{field}[{place}]") for place, one in enumerate(value)]


def size(width: object, height: object, where: str) -> tuple[int, int] | None:
    """Width and height in pixels; None where they are absent or 0, as some tools write."""
    if not width or not height:
        return None
    sides = (number(width, where, "width"), number(height, where, "height"))
    if min(sides) <= 0:
        return None
    return int(sides[0]), int(sides[1])


def existing(path: Path) -> Path:
    """`path`, which is a folder or a file of an export. Raises InputNotFound, InvalidDataset."""
    if not path.exists():
        raise TrainerError(
            FailureReason.INPUT_NOT_FOUND,
            f"There is no {path}.",
            "Check the path for a typing error.",
        )
    if path.is_file():
        with named(path), path.open("rb") as file:
            kind = kind_of_bytes(file.read(HEAD))
        if kind in (Signature.ZIP, *COMPRESSED):
            raise invalid_dataset(
                f"{path} is {kind}.",
                "Unpack it, and name the folder. Of a ZIP archive: python3 -m zipfile -e FILE DIR",
            )
    return path


def existing_folder(path: Path) -> Path:
    """`path`, of a format that has no file to name. Raises InputNotFound, InvalidDataset."""
    if not existing(path).is_dir():
        raise invalid_dataset(f"{path} is a file.", "Name the folder of the export.")
    return path


def endings_below(folder: Path, *endings: str) -> list[str]:
    """The files in and below a folder with such an ending, sorted, without hidden ones.

    A Mac writes a `._a.xml` beside each a.xml where the file system has no place for its marks.
    """
    names = (name for name in files_below(folder) if name.lower().endswith(endings))
    return sorted(name for name in names if not is_hidden(name))


def endings_in(folder: Path, *endings: str) -> list[Path]:
    """The files in a folder itself with such an ending, sorted, without hidden ones."""
    with named(folder):
        paths = [path for path in folder.iterdir() if path.name.lower().endswith(endings)]
    return sorted(path for path in paths if not is_hidden(path.name))
