"""Which of the formats a folder or file is of, as far as its files say so at a glance.

For remedies alone: `dino convert` is told the format, and reads nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from dino_trainer.convert.files import endings_in, read_text, read_xml
from dino_trainer.convert.pictures import below
from dino_trainer.data.folder_files import is_hidden
from dino_trainer.errors import TrainerError

_SPLITS = ("train", "training", "trainval")


class RecognisedExport(NamedTuple):
    """format: as `dino convert` calls it. source: what it is to be given. split: whether the
    export has splits of its own."""

    format: str
    source: Path
    split: bool


def recognised(path: Path) -> RecognisedExport | None:
    """The format of an export, None where nothing says it. Looks one folder deep."""
    try:
        if path.is_file():
            return _file(path)
        if not path.is_dir():
            return None
        places = [path, *sorted(one for one in path.iterdir() if one.is_dir())]
        formats = (_folder(place) for place in places if not is_hidden(place.name))
        one = next(filter(None, formats), None)
    except (TrainerError, OSError):
        return None
    if one and one.source != path and one.source.name.lower() in _ANY_SPLIT:
        return RecognisedExport(one.format, path, True)
    return one


_ANY_SPLIT = (*_SPLITS, "val", "valid", "validation", "test", "testing")


def _file(path: Path) -> RecognisedExport | None:
    if path.suffix.lower() == ".xml":
        tag = read_xml(path).tag
        return {"annotations": RecognisedExport("cvat", path, False)}.get(tag)
    if path.suffix.lower() in (".yaml", ".yml", ".data"):
        return RecognisedExport("yolo", path, True)
    if path.suffix.lower() == ".json" and isinstance(_json(path), list):
        return RecognisedExport("label-studio", path, False)
    return None


def _folder(path: Path) -> RecognisedExport | None:
    for way in (_fiftyone, _datumaro, _yolo_listed, _of_xml, _of_labels, _label_studio):
        if export := way(path):
            return export
    return None


def _fiftyone(path: Path) -> RecognisedExport | None:
    if (path / "samples.json").is_file():
        return RecognisedExport("fiftyone", path, False)
    document = _json(path / "labels.json")
    own = isinstance(document, dict) and {"classes", "labels"} <= document.keys()
    return RecognisedExport("fiftyone", path, False) if own else None


def _datumaro(path: Path) -> RecognisedExport | None:
    folder = path / "annotations"
    files = endings_in(folder, ".json") if folder.is_dir() else []
    own = [file for file in files if _has(_json(file), "items")]
    return RecognisedExport("datumaro", path, len(own) > 1) if own else None


def _yolo_listed(path: Path) -> RecognisedExport | None:
    listed = ("data.yaml", "data.yml", "obj.data")
    there = any((path / name).is_file() for name in listed)
    return RecognisedExport("yolo", path, True) if there else None


def _of_xml(path: Path) -> RecognisedExport | None:
    """Pascal VOC has a file for each image, CVAT one for all."""
    place = path / "Annotations"
    files = endings_in(place if place.is_dir() else path, ".xml")
    if not files:
        return None
    tag = read_xml(files[0]).tag
    if tag == "annotation":
        return RecognisedExport("voc", path, (path / "ImageSets/Main/train.txt").is_file())
    return RecognisedExport("cvat", path, False) if tag == "annotations" else None


def _of_labels(path: Path) -> RecognisedExport | None:
    """KITTI's lines begin with a name and have 15 fields; YOLO's with the number of a class."""
    for name in ("label_2", "labels", "."):
        folder = path / name
        for fields in _first_lines(folder):
            if len(fields) >= 15 and not fields[0].isdecimal():
                return RecognisedExport("kitti", path, False)
            if len(fields) >= 5 and fields[0].isdecimal():
                return RecognisedExport("yolo", path, False)
    return None


def _first_lines(folder: Path) -> Iterator[list[str]]:
    """The first line of some label files, in fields."""
    files = endings_in(folder, ".txt") if folder.is_dir() else []
    for file in files[:20]:
        if lines := read_text(file).split("\n", 1)[0].split():
            yield lines


def _label_studio(path: Path) -> RecognisedExport | None:
    files = endings_in(path, ".json")
    if len(files) == 1 and isinstance(_json(files[0]), list):
        return RecognisedExport("label-studio", files[0], False)
    return None


def has_images(path: Path) -> bool:
    """Whether images lie in or below a folder."""
    return bool(below(path))


def _has(document: object, key: str) -> bool:
    return isinstance(document, dict) and isinstance(document.get(key), list)


def _json(path: Path) -> object:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
