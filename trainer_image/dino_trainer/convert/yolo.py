"""YOLO: one text file for each image, with shares of its size; class numbers count from 0.

Read are data.yaml (Ultralytics, Roboflow), obj.data (Darknet, CVAT), and classes.txt or obj.names
beside labels (Label Studio, LabelImg). A line is `class x y width height` with the box's centre, or
`class x1 y1 x2 y2 x3 y3 …` for a polygon or the four corners of a turned box.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from dino_api.names import FailureReason
from dino_trainer.convert.files import endings_in, existing, number, read_lines, read_text
from dino_trainer.convert.geometry import around
from dino_trainer.convert.pictures import PictureFile, PictureFolders, below, measured, missing
from dino_trainer.convert.records import (
    Box,
    Export,
    ExportSource,
    LabelledImage,
    Notes,
    Oddity,
    split_called,
)
from dino_trainer.data.name_forms import composed
from dino_trainer.errors import TrainerError, invalid_dataset

_NAMES_ALONE = ("classes.txt", "obj.names", "labels.txt", "data/obj.names")
_NO_LABELS = ("classes.txt", "labels.txt", "notes.txt", "train.txt", "val.txt", "valid.txt",
              "test.txt", "README.txt", "README.roboflow.txt", "README.dataset.txt")  # fmt: skip
_SPLITS = ("train", "val", "valid", "test")
# Tools round shares to six digits or fewer, and boxes at the edge end a little beyond it.
_COUNT = re.compile(r"[0-9]{1,4}")
_SLACK = 0.01
_FORM = "A line is: class x_centre y_centre width height, as shares of the image from 0 to 1."


class _SplitPicture(NamedTuple):
    """An image and its split. label: the export's own file for one that lies in `--images`."""

    picture: PictureFile
    split: str = ""
    label: Path | None = None


@dataclass(frozen=True)
class _Layout:
    """Where things are.

    folder: what labels are looked for below, besides beside images. points: fields after the box
    that are key points. warnings: of splits that are not there.
    """

    names: tuple[str, ...]
    pictures: tuple[_SplitPicture, ...]
    folder: Path
    points: int = 0
    warnings: tuple[str, ...] = ()


def read(source: ExportSource) -> Export:
    """The folder of an export, or its data.yaml or obj.data. Splits are those that it lists."""
    layout = _layout(source)
    notes, labels, images = Notes(), set[Path](), []
    for listed in layout.pictures:
        source.step()
        picture, file = listed.picture, _label_file(listed, layout.folder)
        size = measured(picture.path)
        boxes: tuple[Box, ...] = ()
        if file is None:
            notes.add(Oddity.WITHOUT_LABELS)
        else:
            labels.add(file)
            boxes = tuple(_boxes(file, layout, size, notes))
        images.append(LabelledImage(picture.path, picture.name, *size, boxes, listed.split))
    if not labels:
        raise invalid_dataset(
            f"{source.path} has {len(images)} images, and no label file for one of them.",
            "Labels lie in a folder labels beside images, or beside each image, as NAME.txt.",
        )
    notes.add(Oddity.WITHOUT_IMAGE, _unused(labels))
    reading = "Classes are numbered from 1 in the order of the export, which counts from 0."
    warnings = (*layout.warnings, *notes.lines())
    return Export(tuple(images), layout.names, reading, warnings)


def _layout(source: ExportSource) -> _Layout:
    path = existing(source.path)
    if path.is_file():
        read_layout = _by_yaml if path.suffix in (".yaml", ".yml") else _by_data
        return read_layout(path, source)
    files = endings_in(path, ".yaml", ".yml")
    for file in (path / "data.yaml", *(files if len(files) == 1 else ())):
        if file.is_file():
            return _by_yaml(file, source)
    if (file := path / "obj.data").is_file():
        return _by_data(file, source)
    for name in _NAMES_ALONE:
        if (file := path / name).is_file():
            return _Layout(_lines(file), _all(path, source), path)
    raise invalid_dataset(
        f"{path} has no data.yaml, obj.data or classes.txt, so that classes have no names.",
        "Write the names into classes.txt there, one a line, in the order of their numbers.",
    )


def _all(folder: Path, source: ExportSource) -> tuple[_SplitPicture, ...]:
    """Every image of an export that lists no splits."""
    images = folder / "images"
    root = source.images or (images if images.is_dir() else folder)
    pictures = below(root)
    if not pictures:
        raise missing([f"{root}/*"], folder)
    return tuple(_SplitPicture(picture) for picture in pictures)


def _by_yaml(file: Path, source: ExportSource) -> _Layout:
    """As Ultralytics reads it: folders, lists of images, or several of them for each split."""
    document = _document(file)
    names, folder = _yaml_names(document, file), file.parent
    root = document.get("path")
    base = folder / root if isinstance(root, str) and (folder / root).is_dir() else folder
    splits: dict[str, list[str]] = {}
    for key in filter(document.get, _SPLITS):
        entries = document[key]
        splits[key] = [str(one) for one in (entries if isinstance(entries, list) else [entries])]
    listed, warnings = _Splits(file, base, source.images).read(splits)
    pictures = tuple(listed) or _all(folder, source)
    return _Layout(names, pictures, folder, _key_points(document), warnings)


def _document(file: Path) -> dict[str, Any]:
    try:
        # Scalars stay the texts that they are: a class may be called no, or 7.
        document = yaml.load(read_text(file), Loader=yaml.BaseLoader)
    except yaml.YAMLError as error:
        message = " ".join(str(error).split())
        raise invalid_dataset(f"{file} is not YAML: {message}.", "Correct that line.") from error
    if not isinstance(document, dict):
        raise invalid_dataset(f"{file} holds no keys.", "It has `names`, `train` and `val`.")
    return document


def _yaml_names(document: dict[str, Any], file: Path) -> tuple[str, ...]:
    names = document.get("names")
    if isinstance(names, dict):
        order = {str(key): str(name) for key, name in names.items()}
        if set(order) == {str(at) for at in range(len(order))}:
            return tuple(order[str(at)] for at in range(len(order)))
        raise invalid_dataset(
            f"{file}: the keys of names are not 0, 1, 2 and so on.", "Number them without gaps."
        )
    if not isinstance(names, list) or not names:
        raise invalid_dataset(
            f"{file} has no names.", "List the classes: names: [cat, dog], in their order."
        )
    return tuple(map(str, names))


def _key_points(document: dict[str, Any]) -> int:
    """Numbers of key points that follow the box in each line (kpt_shape: [17, 3])."""
    shape = document.get("kpt_shape")
    counts = [str(each) for each in shape] if isinstance(shape, list) else []
    if len(counts) != 2 or not all(map(_COUNT.fullmatch, counts)):
        return 0
    return int(counts[0]) * int(counts[1])


class _Splits:
    """The splits of a data.yaml or obj.data, below `base` or, where they are not there, `images`.

    Each is a folder of images, a list of images, or several of them.
    """

    def __init__(self, file: Path, base: Path, images: Path | None) -> None:
        self._file, self._base, self._images = file, base, images
        self._pictures = PictureFolders(images)
        self._taken: dict[str, tuple[str, str]] = {}

    def read(
        self, splits: Mapping[str, Sequence[str]]
    ) -> tuple[list[_SplitPicture], tuple[str, ...]]:
        """The images, and a warning for each split that is not there: templates name all three.

        splits: by key, its entries. Raises InputNotFound where no split is there.
        """
        images, absent = list[_SplitPicture](), dict[str, str]()
        for key, entries in splits.items():
            if any(map(self._place, entries)):
                images += [one for entry in entries for one in self._entry(key, entry)]
            else:
                absent[key] = entries[0]
        if absent and len(absent) == len(splits):
            raise self._not_there(*next(iter(absent.items())))
        warnings = (
            f"{self._file.name}: {key} is {entry!r}, which is not there: left out."
            for key, entry in absent.items()
        )
        return images, tuple(warnings)

    def _place(self, entry: str) -> Path | None:
        return _resolved(entry, self._base) or (
            _resolved(entry, self._images) if self._images else None
        )

    def _entry(self, key: str, entry: str) -> list[_SplitPicture]:
        """The images of one folder, or of one list of images."""
        path = self._place(entry)
        if path is None:
            raise self._not_there(key, entry)
        self._require_own(path, key, entry)
        split = split_called(key)
        if path.is_file():
            return self._listed(path, split)
        within = _resolved(entry, self._base) is not None
        return [
            _SplitPicture(one, split, None if within else self._label(f"{entry}/{one.name}"))
            for one in below(path)
        ]

    def _listed(self, file: Path, split: str) -> list[_SplitPicture]:
        """The images of a list such as train.txt; their names begin after a folder `images`."""
        listed, lost = [], []
        for line in filter(None, map(str.strip, read_text(file).splitlines())):
            path = _resolved(line, self._base)
            if path is not None and path.is_file():
                listed.append(_SplitPicture(PictureFile(path, _name_of(path, self._base)), split))
            elif self._images and (other := self._pictures.find(line)):
                picture = PictureFile(other.path, _name_of(other.path, self._images))
                listed.append(_SplitPicture(picture, split, self._label(line)))
            else:
                lost.append(line)
        if lost:
            raise missing(lost, file)
        return listed

    def _label(self, image: str) -> Path | None:
        """The export's label file for the path that it has of an image."""
        path = Path(image.replace("\\", "/"))
        places = (_resolved(str(one), self._base) for one in _label_places(path))
        return next((place for place in places if place and place.is_file()), None)

    def _require_own(self, path: Path, key: str, entry: str) -> None:
        """Two entries that differ may end alike, and what they begin with may not be there."""
        other, theirs = self._taken.setdefault(os.path.abspath(path), (key, entry))
        if split_called(other) != split_called(key) and _parts(theirs) != _parts(entry):
            raise invalid_dataset(
                f"{self._file}: {other} is {theirs!r} and {key} is {entry!r}, and {path} is all "
                "that is there for both.",
                "Put the folder of each there, or remove one of the two keys.",
            )

    def _not_there(self, key: str, entry: str) -> TrainerError:
        return TrainerError(
            FailureReason.INPUT_NOT_FOUND,
            f"{self._file}: {key} is {entry!r}, and neither that nor the end of it is below "
            f"{self._images or self._base}.",
            "Put the folder there, or correct the key; --images DIR names a folder that has it.",
        )


def _name_of(path: Path, base: Path) -> str:
    path, base = (Path(os.path.abspath(one)) for one in (path, base))
    parts = path.relative_to(base).parts if path.is_relative_to(base) else (path.name,)
    for root in ("images", "obj_train_data", "obj_val_data", "obj_test_data"):
        if root in parts[:-1]:
            parts = parts[parts.index(root) + 1 :]
    return "/".join(parts[1:] if len(parts) > 1 and split_called(parts[0]) else parts)


def _resolved(text: str, base: Path) -> Path | None:
    """A path as tools write it: of another machine, with a prefix that the archive has not."""
    whole = Path(text)
    if whole.is_absolute() and whole.exists():
        return whole
    parts = _parts(text)
    for start in range(len(parts)):
        path = base.joinpath(*parts[start:])
        if path.exists():
            return path
    return base if not parts and base.is_dir() else None


def _parts(text: str) -> list[str]:
    return [part for part in text.replace("\\", "/").split("/") if part not in ("", ".", "..")]


def _by_data(file: Path, source: ExportSource) -> _Layout:
    """Darknet's obj.data: `names = …`, `train = …`, `valid = …`."""
    base = file.parent
    pairs = [line.partition("=") for line in read_text(file).splitlines() if "=" in line]
    keys = {key.strip(): value.strip() for key, _, value in pairs}
    listed = _resolved(keys.get("names", "obj.names"), base)
    if listed is None or not listed.is_file():
        raise invalid_dataset(f"{file}: names leads to no file.", "Put obj.names beside it.")
    splits = {key: [keys[key]] for key in _SPLITS if keys.get(key)}
    images, warnings = _Splits(file, base, source.images).read(splits)
    if {one.split for one in images} == {"train"}:  # CVAT's name for a task without subsets
        images = [one._replace(split="") for one in images]
    return _Layout(_lines(listed), tuple(images), base, warnings=warnings)


def _lines(file: Path) -> tuple[str, ...]:
    names = read_lines(file)
    if not names:
        raise invalid_dataset(
            f"{file} holds no names.", "Write the name of one class in each line."
        )
    return names


def _label_file(listed: _SplitPicture, folder: Path) -> Path | None:
    """Where images has become labels in its path, beside it, or below the export's folder."""
    places = list(_label_places(listed.picture.path))
    if listed.label:
        places.append(listed.label)
    name = Path(listed.picture.name).with_suffix(".txt")
    places += [folder / "labels" / name, folder / name, folder / name.name]
    return next((place for place in places if place.is_file()), None)


def _label_places(image: Path) -> Iterator[Path]:
    """In the folder labels that stands for images in its path, then beside it."""
    parts = image.parts
    if "images" in parts[:-1]:
        at = len(parts) - 2 - parts[-2::-1].index("images")
        yield Path(*parts[:at], "labels", *parts[at + 1 :]).with_suffix(".txt")
    yield image.with_suffix(".txt")


def _unused(labels: set[Path]) -> int:
    """Label files in the folders that labels were found in which belong to no image."""
    known = {composed(str(path)) for path in labels}
    return sum(
        1
        for folder in {path.parent for path in labels}
        for path in endings_in(folder, ".txt")
        if composed(str(path)) not in known and path.name not in _NO_LABELS
    )


def _boxes(file: Path, layout: _Layout, size: tuple[int, int], notes: Notes) -> Iterator[Box]:
    for place, line in enumerate(read_text(file).splitlines(), start=1):
        fields = line.split()
        if fields:
            yield _box(fields, f"{file} line {place}", layout, size, notes)


def _box(
    fields: Sequence[str], where: str, layout: _Layout, size: tuple[int, int], notes: Notes
) -> Box:
    name = _class(fields[0], where, layout.names)
    values = [number(text, where, "a coordinate") for text in fields[1:]]
    if layout.points and len(values) == 4 + layout.points:
        values = values[:4]
    is_outline = len(values) >= 6 and len(values) % 2 == 0
    if len(values) != 4 and not is_outline:
        raise invalid_dataset(
            f"{where} has {len(fields)} fields, which is neither a box (5) nor a polygon.", _FORM
        )
    beyond = [value for value in values if not -_SLACK <= value <= 1 + _SLACK]
    if beyond:
        raise invalid_dataset(
            f"{where} has {beyond[0]:g}, which is no share of an image from 0 to 1.",
            f"{_FORM} Divide pixels by the size of the image.",
        )
    if is_outline:
        notes.add(Oddity.OUTLINED)
        points = zip(values[::2], values[1::2], strict=True)
        return around(name, ((x * size[0], y * size[1]) for x, y in points))
    x, y, width, height = values
    return Box(
        name, (x - width / 2) * size[0], (y - height / 2) * size[1], width * size[0],
        height * size[1],
    )  # fmt: skip


def _class(text: str, where: str, names: Sequence[str]) -> str:
    value = number(text, where, "the class")
    if value != int(value) or not 0 <= value < len(names):
        raise invalid_dataset(
            f"{where}: the class is {text}, and names has the numbers 0 to {len(names) - 1}.",
            "Add the class to names, or correct the number.",
        )
    return names[int(value)]
