"""Label Studio: its JSON export, or JSON-MIN, with boxes in percents of the image.

A turned box stands as it was before it was turned, with its angle beside it, clockwise about its
upper left corner. Predictions are not read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

from dino_trainer.convert.files import endings_in, existing, number, read_json, size
from dino_trainer.convert.geometry import around, ellipse, turned
from dino_trainer.convert.pictures import PictureFile, PictureFolders, measured, missing
from dino_trainer.convert.records import (
    Box,
    Export,
    ExportSource,
    LabelledImage,
    Notes,
    Oddity,
    sorted_names,
)
from dino_trainer.errors import invalid_dataset

_FORM = "Export it as JSON or JSON-MIN, from a project of images."
_VIDEO = ("videorectangle", "timelinelabels")
# Label Studio's upload puts eight digits of a digest before the name.
_UPLOADED = re.compile(r"^[0-9a-f]{8}-")
_LABELS = ("rectanglelabels", "polygonlabels", "ellipselabels", "brushlabels", "keypointlabels",
           "labels")  # fmt: skip


class _Shape(NamedTuple):
    """One result. value: its numbers. kind: what Label Studio calls it. where: file and place."""

    value: dict[str, Any]
    kind: str
    names: list[str]
    size: tuple[int, int] | None
    where: str


def read(source: ExportSource) -> Export:
    """The .json file, or the folder that has one. Classes are sorted: the export lists none."""
    notes, lost, images = Notes(), list[str](), list[LabelledImage]()
    file = _file(existing(source.path))
    pictures = PictureFolders(source.images, file.parent / "images", file.parent)
    for place, task in enumerate(_each_once(_tasks(file), notes)):
        source.step()
        where = f"{file}: task {task.get('id', place)}"
        shapes = _shapes(task, where, notes)
        if shapes is None:
            continue
        address = _address(task, where)
        picture = _picture(address, pictures)
        if picture is None:
            lost.append(address)
        else:
            images.append(_image(picture, shapes, notes))
    if lost:
        raise missing(lost, file)
    reading = "Classes are numbered by the alphabet: the export does not list them."
    return Export(tuple(images), sorted_names(images), reading, notes.lines())


def _file(path: Path) -> Path:
    if path.is_file():
        return path
    files = endings_in(path, ".json")
    if len(files) != 1:
        shown = ", ".join(one.name for one in files[:5]) or "none"
        raise invalid_dataset(
            f"{path} must hold one .json file, and holds: {shown}.", "Name the file itself."
        )
    return files[0]


def _tasks(file: Path) -> list[dict[str, Any]]:
    document = read_json(file)
    if not isinstance(document, list) or not all(isinstance(one, dict) for one in document):
        raise invalid_dataset(f"{file} is not of Label Studio: it is no list of tasks.", _FORM)
    return document


def _each_once(tasks: list[dict[str, Any]], notes: Notes) -> list[dict[str, Any]]:
    """JSON-MIN has a record for each annotation of a task: of those the newest."""
    by_task: dict[object, list[dict[str, Any]]] = {}
    for place, task in enumerate(tasks):
        whole = _is_whole(task) or task.get("id") is None
        by_task.setdefault(("place", place) if whole else str(task["id"]), []).append(task)
    notes.add(Oddity.SEVERAL, sum(len(records) > 1 for records in by_task.values()))
    return [max(records, key=_time) for records in by_task.values()]


def _is_whole(task: dict[str, Any]) -> bool:
    """Whether the task has its annotations in it: JSON, not JSON-MIN."""
    return "annotations" in task or "completions" in task


def _address(task: dict[str, Any], where: str) -> str:
    """Where the task says that its image is."""
    data = task.get("data", task)  # JSON-MIN has it beside the labels
    if not isinstance(data, dict):
        raise invalid_dataset(f"{where}: data is {data!r:.40}, which is no object.", _FORM)
    texts = {key: one for key, one in data.items() if isinstance(one, str)}
    for key in ("image", "img", "url", "photo"):
        if key in texts:
            return texts[key]
    alike = [text for text in texts.values() if "/" in text or "." in text[-5:-2]]
    if len(alike) == 1:
        return alike[0]
    keys = ", ".join(map(repr, data))
    raise invalid_dataset(
        f"{where}: none of its keys ({keys}) is known to hold the image.",
        "Call it `image` in the data of each task.",
    )


def _picture(address: str, pictures: PictureFolders) -> PictureFile | None:
    """The file of an address, with or without what Label Studio has put before its name."""
    try:
        parts = urlsplit(address)
    except ValueError:  # brackets that are no address of a machine: a plain name
        return pictures.find(address)
    local = parse_qs(parts.query).get("d", [""])[0]
    path = local or unquote(parts.path)
    name = path.replace("\\", "/").rpartition("/")[2]
    return (
        pictures.find(path)
        or pictures.find(address)
        or (pictures.find(_UPLOADED.sub("", name)) if _UPLOADED.match(name) else None)
    )


def _shapes(task: dict[str, Any], where: str, notes: Notes) -> list[_Shape] | None:
    """What was drawn; None where nobody has worked on the task."""
    if not _is_whole(task):
        return _of_min(task, where, notes)
    annotations = [
        one
        for one in _list(task, "annotations" if "annotations" in task else "completions", where)
        if isinstance(one, dict) and not one.get("was_cancelled")
    ]
    if not annotations:
        notes.add(Oddity.NOT_SUBMITTED)
        return None
    if len(annotations) > 1:
        notes.add(Oddity.SEVERAL)
    best = max(annotations, key=lambda one: (bool(one.get("ground_truth")), _time(one)))
    results = [one for one in _list(best, "result", where) if isinstance(one, dict)]
    return list(_of_results(results, where, notes))


def _list(owner: dict[str, Any], key: str, where: str) -> list[Any]:
    """A list, also one that is absent or null. Raises InvalidDataset."""
    value = owner.get(key)
    if value is not None and not isinstance(value, list):
        raise invalid_dataset(f"{where}: {key} is {value!r:.40}, where a list belongs.", _FORM)
    return value or []


def _time(annotation: dict[str, Any]) -> str:
    """ISO 8601 in UTC, which sorts by itself."""
    return str(annotation.get("updated_at") or annotation.get("created_at") or "")


def _of_results(results: list[dict[str, Any]], where: str, notes: Notes) -> Iterator[_Shape]:
    """Regions and their labels may be results of their own, with one id."""
    labels: dict[str, list[str]] = {}
    for one in results:
        value = one.get("value")
        if isinstance(value, dict) and (names := _names(value)):
            labels.setdefault(str(one.get("id")), names)
    for one in results:
        kind, value = str(one.get("type")), one.get("value")
        place = f"{where}, region {one.get('id')!r}"
        if kind in _VIDEO:
            raise invalid_dataset(
                f"{place} is a {kind}: videos are not read.", "Annotate the frames as images."
            )
        if kind == "labels" or not isinstance(value, dict):
            continue
        if one.get("image_rotation"):
            raise invalid_dataset(
                f"{place}: image_rotation is {one['image_rotation']!r}; its boxes are those of the "
                "turned image.",
                "Turn the image file, and annotate that.",
            )
        pixels = size(one.get("original_width"), one.get("original_height"), place)
        if kind in _SHAPES:
            names = _names(value) or labels.get(str(one.get("id")), [])
            yield _Shape(value, kind, names, pixels, place)
        else:
            notes.leave_out(kind)


def _of_min(task: dict[str, Any], where: str, notes: Notes) -> list[_Shape]:
    """JSON-MIN has lists of values under the names of the tags that drew them."""
    shapes = []
    for key, values in task.items():
        for value in values if isinstance(values, list) else ():
            if not isinstance(value, dict):
                continue
            place = f"{where}, {key}"
            kind = next((one for one in _SHAPES if one in value), _by_keys(value))
            pixels = size(value.get("original_width"), value.get("original_height"), place)
            if kind:
                shapes.append(_Shape(value, kind, _names(value), pixels, place))
            else:
                notes.leave_out(key)
    return shapes


def _by_keys(value: dict[str, Any]) -> str:
    for keys, kind in (
        ({"x", "y", "width", "height"}, "rectangle"),
        ({"points"}, "polygon"),
        ({"radiusX", "radiusY"}, "ellipse"),
    ):
        if keys <= value.keys():
            return kind
    return ""


def _names(value: dict[str, Any]) -> list[str]:
    for key in _LABELS:
        if isinstance(value.get(key), list):
            return [str(name) for name in value[key]]
    return []


def _image(picture: PictureFile, shapes: list[_Shape], notes: Notes) -> LabelledImage:
    pixels = next((shape.size for shape in shapes if shape.size), None)
    width, height = pixels or measured(picture.path)
    boxes = []
    for shape in shapes:
        if not shape.names:
            notes.add(Oddity.WITHOUT_CLASS)
        for name in shape.names:
            boxes.append(_SHAPES[shape.kind](shape, name, (width, height)))
        if shape.names:
            _note(shape, notes)
    return LabelledImage(picture.path, picture.name, width, height, tuple(boxes))


def _note(shape: _Shape, notes: Notes) -> None:
    if not shape.kind.startswith("rectangle"):
        notes.add(Oddity.OUTLINED)
    elif _degrees(shape) % 360:
        notes.add(Oddity.TURNED)


def _degrees(shape: _Shape) -> float:
    rotation = shape.value.get("rotation")
    return number(rotation, shape.where, "rotation") if rotation else 0.0


def _pixels(shape: _Shape, size: tuple[int, int], *keys: str) -> list[float]:
    """Percents as pixels: the first and third of the width, the others of the height."""
    values = [number(shape.value.get(key), shape.where, key) for key in keys]
    return [value * size[at % 2] / 100 for at, value in enumerate(values)]


def _rectangle(shape: _Shape, name: str, size: tuple[int, int]) -> Box:
    x, y, width, height = _pixels(shape, size, "x", "y", "width", "height")
    return turned(Box(name, x, y, width, height), _degrees(shape), pivot=(x, y))


def _ellipse(shape: _Shape, name: str, size: tuple[int, int]) -> Box:
    x, y, across, down = _pixels(shape, size, "x", "y", "radiusX", "radiusY")
    return ellipse(name, (x, y), (across, down), _degrees(shape))


def _polygon(shape: _Shape, name: str, size: tuple[int, int]) -> Box:
    points = shape.value.get("points")
    if not isinstance(points, list) or not points:
        raise invalid_dataset(f"{shape.where}: points is empty.", "Remove that polygon.")
    pairs = [one if isinstance(one, list) and len(one) == 2 else (None, None) for one in points]
    across, down = size[0] / 100, size[1] / 100
    corners = [
        (number(x, shape.where, "points") * across, number(y, shape.where, "points") * down)
        for x, y in pairs
    ]
    return around(name, corners)


_SHAPES: dict[str, Callable[[_Shape, str, tuple[int, int]], Box]] = {
    "rectanglelabels": _rectangle, "rectangle": _rectangle, "ellipselabels": _ellipse,
    "ellipse": _ellipse, "polygonlabels": _polygon, "polygon": _polygon,
}  # fmt: skip
