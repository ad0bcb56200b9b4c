"""Datumaro's own format: annotations/SUBSET.json, and images/SUBSET beside it.

Coordinates are edges in pixels counted from 0. CVAT's server leaves the angle of a turned box in
its attributes, and the box as it was before it was turned.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from dino_trainer.convert.files import endings_in, existing, number, numbers, read_json, size
from dino_trainer.convert.geometry import around, turned
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

_FORM = "Export it in Datumaro's own format (`datumaro`), which has annotations/SUBSET.json."
_MOVING = ("video", "video_frame", "point_cloud")


def read(source: ExportSource) -> Export:
    """Every annotations/SUBSET.json; the splits are the subsets, `default` is none."""
    notes, lost, images, names = Notes(), list[str](), list[LabelledImage](), list[str]()
    for file in _files(existing(source.path)):
        document = read_json(file)
        labels, items = _labels(document, file), _listed(document, "items", file)
        names += labels
        pictures = _pictures(source, file)
        for place, item in enumerate(items):
            source.step()
            where = f"{file}: items[{place}]"
            image = _image(item, where, labels, pictures, notes)
            if image is None:
                lost.append(_name(item))
            else:
                images.append(replace(image, split=split_called(file.stem)))
    if lost:
        raise missing(lost, source.path)
    return Export(tuple(images), listed_names(names, images), warnings=notes.lines())


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    folder = path / "annotations" if (path / "annotations").is_dir() else path
    files = endings_in(folder, ".json")
    if not files:
        raise invalid_dataset(f"{folder} holds no .json file.", _FORM)
    return files


def _listed(document: Any, key: str, file: Path) -> list[Any]:
    objects = document.get(key) if isinstance(document, dict) else None
    if not isinstance(objects, list) or not all(isinstance(one, dict) for one in objects):
        raise invalid_dataset(f"{file} is not of Datumaro: {key!r} is no list of objects.", _FORM)
    return objects


def _labels(document: Any, file: Path) -> list[str]:
    """Class names; their places are the ids that annotations have."""
    categories = document.get("categories") if isinstance(document, dict) else None
    label = categories.get("label") if isinstance(categories, dict) else None
    return [str(one.get("name", "")) for one in _listed(label, "labels", file)]


def _pictures(source: ExportSource, file: Path) -> PictureFolders:
    folder = file.parent.parent / "images"
    return PictureFolders(source.images, folder / file.stem, folder, file.parent.parent)


def _name(item: dict[str, Any]) -> str:
    image = item.get("image") or item.get("media")
    path = image.get("path") if isinstance(image, dict) else None
    return str(path or item.get("id", ""))


def _image(
    item: dict[str, Any], where: str, labels: list[str], pictures: PictureFolders, notes: Notes
) -> LabelledImage | None:
    if kind := next((key for key in _MOVING if item.get(key)), None):
        raise invalid_dataset(
            f"{where} is a {kind}, which is not read.",
            "Export the frames as images: datum util split_video, or save_media=True.",
        )
    name = _name(item)
    picture = pictures.find(name) or pictures.find(str(item.get("id", "")))
    if picture is None:
        return None
    image = item.get("image")
    sides = image.get("size") if isinstance(image, dict) else None
    height, width = sides if isinstance(sides, list) and len(sides) == 2 else (None, None)
    across, down = size(width, height, f"{where}: image.size") or measured(picture.path)
    shapes = enumerate(_listed(item, "annotations", Path(where)))
    boxes = [_box(one, f"{where}.annotations[{at}]", labels, notes) for at, one in shapes]
    kept = tuple(box for box in boxes if box)
    return LabelledImage(picture.path, picture.name, across, down, kept)


def _box(shape: dict[str, Any], where: str, labels: list[str], notes: Notes) -> Box | None:
    kind = str(shape.get("type"))
    if kind not in _SHAPES:
        notes.leave_out(kind)
        return None
    label = shape.get("label_id")
    if label is None:
        notes.add(Oddity.WITHOUT_CLASS)
        return None
    if not isinstance(label, int) or not 0 <= label < len(labels):
        raise invalid_dataset(
            f"{where}: label_id is {label!r}, and there are {len(labels)} labels.",
            "Correct label_id, or add the label to categories.label.labels.",
        )
    return _SHAPES[kind](shape, labels[label], where, notes)


def _bbox(shape: dict[str, Any], name: str, where: str, notes: Notes) -> Box:
    box = Box(name, *numbers(shape.get("bbox"), 4, where, "bbox"))
    attributes = shape.get("attributes")
    rotation = attributes.get("rotation") if isinstance(attributes, dict) else None
    degrees = number(rotation, where, "attributes.rotation") if rotation else 0
    if degrees % 360:
        notes.add(Oddity.TURNED)
    return turned(box, degrees)


def _turned_bbox(shape: dict[str, Any], name: str, where: str, notes: Notes) -> Box:
    x, y, width, height, degrees = numbers(shape.get("points"), 5, where, "points")
    notes.add(Oddity.TURNED)
    return turned(Box(name, x - width / 2, y - height / 2, width, height), degrees)


def _outline(shape: dict[str, Any], name: str, where: str, notes: Notes) -> Box:
    """Of a polygon its points, of an ellipse the corners of its box."""
    points = shape.get("points")
    count = len(points) // 2 * 2 if isinstance(points, list) else 0
    edges = numbers(points, max(count, 4), where, "points")
    notes.add(Oddity.OUTLINED)
    return around(name, zip(edges[::2], edges[1::2], strict=True))


def _mask(shape: dict[str, Any], name: str, where: str, notes: Notes) -> Box:
    import hotcoco

    rle = shape.get("rle")
    try:
        x, y, width, height = hotcoco.mask.to_bbox(rle if isinstance(rle, dict) else {})
    except (TypeError, ValueError, KeyError) as error:
        raise invalid_dataset(f"{where}: rle is no mask of COCO.", "Remove that mask.") from error
    notes.add(Oddity.OUTLINED)
    return Box(name, float(x), float(y), float(width), float(height))


_SHAPES: dict[str, Callable[[dict[str, Any], str, str, Notes], Box]] = {
    "bbox": _bbox, "rotated_bbox": _turned_bbox, "polygon": _outline, "ellipse": _outline,
    "mask": _mask,
}  # fmt: skip
