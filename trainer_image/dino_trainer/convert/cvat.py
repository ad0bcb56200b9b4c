"""CVAT for images 1.1: one XML file of a task, a job or a project.

Coordinates are edges in pixels counted from 0. A turned box stands as it was before it was turned,
with its angle beside it, clockwise about its centre.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from xml.etree.ElementTree import Element

from dino_trainer.convert.files import endings_below, existing, number, read_xml, size
from dino_trainer.convert.geometry import Point, around, ellipse, turned
from dino_trainer.convert.pictures import PictureFolders, measured, missing
from dino_trainer.convert.records import (
    Box,
    Export,
    ExportSource,
    LabelledImage,
    Notes,
    Oddity,
    listed_names,
    split_called,
)
from dino_trainer.errors import invalid_dataset

_NO_VIDEO = (
    "Tracks are not read. Export the task as `CVAT for images 1.1`, which has a box in every frame."
)


def read(source: ExportSource) -> Export:
    """annotations.xml with images beside it, or several tasks below one folder.

    Splits are the subsets of the images; Default is none.
    """
    notes, lost, images, names = Notes(), list[str](), list[LabelledImage](), list[str]()
    for file in _files(existing(source.path)):
        root = read_xml(file)
        names += _names(root, file)
        pictures_of = cache(partial(_pictures, source, file.parent))
        for item in root.findall("image"):
            source.step()
            where = f"{file}: image {item.get('name', '')!r}"
            image = _image(item, where, pictures_of(item.get("subset", "")), notes)
            if image is None:
                lost.append(item.get("name", ""))
            else:
                images.append(image)
    if lost:
        raise missing(lost, source.path)
    return Export(tuple(images), listed_names(names, images), warnings=notes.lines())


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    files = [path / name for name in endings_below(path, ".xml")]
    if not files:
        raise invalid_dataset(
            f"{path} holds no .xml file.",
            "Name the unpacked export of `CVAT for images 1.1`, which has annotations.xml.",
        )
    return files


def _names(root: Element, file: Path) -> Iterator[str]:
    """The labels of the task, in its order; parts of a skeleton have a parent and are none."""
    if root.tag != "annotations":
        raise invalid_dataset(
            f"{file} is not of CVAT: it begins with <{root.tag}>, not <annotations>.",
            "Take it out of the folder, or name its own format.",
        )
    if root.find("track") is not None:
        raise invalid_dataset(f"{file} has tracks (`CVAT for video 1.1`).", _NO_VIDEO)
    for label in root.findall("meta/*/labels/label"):
        if label.find("parent") is None:
            yield label.findtext("name", "").strip()


def _pictures(source: ExportSource, folder: Path, subset: str) -> PictureFolders:
    images = folder / "images"
    return PictureFolders(source.images, images / subset, images, folder)


def _image(
    item: Element, where: str, pictures: PictureFolders, notes: Notes
) -> LabelledImage | None:
    picture = pictures.find(item.get("name", ""))
    if picture is None:
        return None
    width, height = size(item.get("width"), item.get("height"), where) or measured(picture.path)
    boxes = tuple(_boxes(item, where, notes))
    split = split_called(item.get("subset", ""))
    return LabelledImage(picture.path, picture.name, width, height, boxes, split)


def _boxes(item: Element, where: str, notes: Notes) -> Iterator[Box]:
    for place, shape in enumerate(item, start=1):
        if shape.tag not in _SHAPES:
            notes.leave_out(shape.tag)
            continue
        label = shape.get("label", "").strip()
        if not label:
            notes.add(Oddity.WITHOUT_CLASS)
            continue
        yield _SHAPES[shape.tag](shape, label, f"{where}, shape {place}", notes)


def _box(shape: Element, label: str, where: str, notes: Notes) -> Box:
    left, top, right, bottom = _numbers(shape, where, "xtl", "ytl", "xbr", "ybr")
    box = around(label, [(left, top), (right, bottom)])
    degrees = number(shape.get("rotation", "0"), where, "rotation")
    if degrees % 360:
        notes.add(Oddity.TURNED)
    return turned(box, degrees)


def _polygon(shape: Element, label: str, where: str, notes: Notes) -> Box:
    notes.add(Oddity.OUTLINED)
    return around(label, _points(shape.get("points", ""), where))


def _ellipse(shape: Element, label: str, where: str, notes: Notes) -> Box:
    notes.add(Oddity.OUTLINED)
    x, y, across, down = _numbers(shape, where, "cx", "cy", "rx", "ry")
    degrees = number(shape.get("rotation", "0"), where, "rotation")
    return ellipse(label, (x, y), (across, down), degrees)


def _mask(shape: Element, label: str, where: str, notes: Notes) -> Box:
    notes.add(Oddity.OUTLINED)
    return Box(label, *_numbers(shape, where, "left", "top", "width", "height"))


_SHAPES: dict[str, Callable[[Element, str, str, Notes], Box]] = {
    "box": _box, "polygon": _polygon, "ellipse": _ellipse, "mask": _mask,
}  # fmt: skip


def _numbers(shape: Element, where: str, *fields: str) -> list[float]:
    return [number(shape.get(field), where, field) for field in fields]


def _points(text: str, where: str) -> list[Point]:
    pairs = [pair.partition(",") for pair in text.split(";") if pair.strip()]
    if not pairs:
        raise invalid_dataset(f"{where}: points is empty.", "Remove that polygon.")
    return [(number(x, where, "points"), number(y, where, "points")) for x, _, y in pairs]
