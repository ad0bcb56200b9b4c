"""FiftyOne's own exports, with boxes in shares of the image: FiftyOneDataset (samples.json), and
FiftyOneImageDetectionDataset (labels.json). Its exports to COCO need no conversion.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dino_trainer.convert.files import existing_folder, number, numbers, read_json, size
from dino_trainer.convert.geometry import around
from dino_trainer.convert.pictures import PictureFile, PictureFolders, measured, missing
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

_FORM = "Export it as fo.types.FiftyOneDataset or fo.types.FiftyOneImageDetectionDataset."
_FIELD = "ground_truth"
_KINDS = {"Detections": "detections", "Polylines": "polylines"}


def read(source: ExportSource) -> Export:
    """The folder of an export. Splits are the tags train, val and test of samples."""
    folder = existing_folder(source.path)
    if (file := folder / "samples.json").is_file():
        return _Samples(source, file).read()
    if (file := folder / "labels.json").is_file():
        return _labels(source, file)
    raise invalid_dataset(f"{folder} has neither samples.json nor labels.json.", _FORM)


def _object(document: Any, key: str, file: Path) -> dict[str, Any]:
    inner = document.get(key) if isinstance(document, dict) else None
    if not isinstance(inner, dict):
        raise invalid_dataset(f"{file} is not of FiftyOne: {key!r} is no object.", _FORM)
    return inner


def _list(value: Any, where: str) -> list[Any]:
    """A list, also one that is absent or null. where: file and field. Raises InvalidDataset."""
    if value is not None and not isinstance(value, list):
        raise invalid_dataset(f"{where} is {value!r:.40}, where a list belongs.", _FORM)
    return value or []


def _labels(source: ExportSource, file: Path) -> Export:
    """Of each image its boxes; labels are numbers where the file lists classes."""
    document = read_json(file)
    labels = _object(document, "labels", file)
    notes, lost, images = Notes(), list[str](), list[LabelledImage]()
    pictures = PictureFolders(source.images, file.parent / "data")
    classes = [str(name) for name in _list(document.get("classes"), f"{file}: classes")]
    for name, shapes in labels.items():
        source.step()
        if shapes is None:
            notes.add(Oddity.UNLABELLED)
            continue
        picture, where = pictures.find(name), f"{file}: {name!r}"
        if picture is None:
            lost.append(name)
            continue
        pixels = measured(picture.path)
        made = tuple(
            _detection(one, f"{where}[{at}]", classes, pixels, notes)
            for at, one in enumerate(_list(shapes, where))
        )
        images.append(LabelledImage(picture.path, picture.name, *pixels, _kept(made)))
    if lost:
        raise missing(lost, file)
    return Export(tuple(images), listed_names(classes, images), warnings=notes.lines())


def _kept(boxes: tuple[Box | None, ...]) -> tuple[Box, ...]:
    return tuple(box for box in boxes if box)


def _detection(
    one: Any, where: str, classes: list[str], pixels: tuple[int, int], notes: Notes
) -> Box | None:
    if not isinstance(one, dict):
        raise invalid_dataset(f"{where} is no object.", _FORM)
    label = one.get("label")
    if label is None:
        notes.add(Oddity.WITHOUT_CLASS)
        return None
    if isinstance(label, int):
        if not 0 <= label < len(classes):
            raise invalid_dataset(
                f"{where}: label is {label}, and there are {len(classes)} classes.",
                "Correct it, or add the class to `classes`.",
            )
        label = classes[label]
    x, y, width, height = numbers(one.get("bounding_box"), 4, where, "bounding_box")
    return Box(str(label), x * pixels[0], y * pixels[1], width * pixels[0], height * pixels[1])


class _Samples:
    """FiftyOneDataset: metadata.json with the classes, samples.json with all fields."""

    def __init__(self, source: ExportSource, file: Path) -> None:
        self._source, self._file = source, file
        self._notes = Notes()
        self._pictures = PictureFolders(source.images, file.parent, file.parent / "data")
        self._samples = self._read()
        self._field = self._labelled()

    def read(self) -> Export:
        lost, images = list[str](), list[LabelledImage]()
        for place, sample in enumerate(self._samples):
            self._source.step()
            if sample.get(self._field) is None:
                self._notes.add(Oddity.UNLABELLED)
                continue
            name = str(sample.get("filepath", ""))
            picture = self._pictures.find(name)
            if picture is None:
                lost.append(name)
            else:
                images.append(self._image(sample, picture, f"{self._file}: samples[{place}]"))
        if lost:
            raise missing(lost, self._file)
        order = listed_names(self._classes(), images)
        reading = f"Boxes are those of the field {self._field!r}."
        return Export(tuple(images), order, reading, self._notes.lines())

    def _read(self) -> list[dict[str, Any]]:
        document = read_json(self._file)
        samples = document.get("samples") if isinstance(document, dict) else None
        if not isinstance(samples, list) or not all(isinstance(one, dict) for one in samples):
            raise invalid_dataset(f"{self._file} has no list of samples.", _FORM)
        return samples

    def _labelled(self) -> str:
        """The field with the boxes: ground_truth, or the only one."""
        fields = {
            key
            for sample in self._samples
            for key, value in sample.items()
            if isinstance(value, dict) and value.get("_cls") in _KINDS
        }
        if _FIELD in fields or len(fields) == 1:
            return _FIELD if _FIELD in fields else fields.pop()
        if not fields:
            what, remedy = "no field of Detections", "Export a dataset with labels."
        else:
            what = f"several fields of boxes ({', '.join(sorted(fields))})"
            remedy = "Export one of them: dataset.select_fields('NAME').export(…)."
        raise invalid_dataset(f"{self._file} has {what}.", remedy)

    def _classes(self) -> list[str]:
        """In the order of the dataset; empty where it has none."""
        file = self._file.with_name("metadata.json")
        document = read_json(file) if file.is_file() else {}
        if not isinstance(document, dict):
            return []
        by_field = document.get("classes")
        own = by_field.get(self._field) if isinstance(by_field, dict) else None
        names = _list(own or document.get("default_classes"), f"{file}: the list of classes")
        return [str(name) for name in names]

    def _image(self, sample: dict[str, Any], picture: PictureFile, where: str) -> LabelledImage:
        metadata = sample.get("metadata")
        sides = metadata if isinstance(metadata, dict) else {}
        place = f"{where}.metadata"
        pixels = size(sides.get("width"), sides.get("height"), place) or measured(picture.path)
        boxes = _kept(tuple(self._boxes(sample.get(self._field), f"{where}.{self._field}", pixels)))
        tags = [split_called(str(tag)) for tag in _list(sample.get("tags"), f"{where}.tags")]
        split = next(filter(None, tags), "")
        name = picture.name.removeprefix("data/")
        return LabelledImage(picture.path, name, *pixels, boxes, split)

    def _boxes(self, field: Any, where: str, pixels: tuple[int, int]) -> Iterator[Box | None]:
        if not isinstance(field, dict):
            raise invalid_dataset(f"{where} is {field!r:.40}, which holds no boxes.", _FORM)
        key = _KINDS.get(str(field.get("_cls")), "detections")
        for place, one in enumerate(_list(field.get(key), f"{where}.{key}")):
            at = f"{where}[{place}]"
            if key == "polylines":
                yield self._polyline(one, at, pixels)
            else:
                yield _detection(one, at, [], pixels, self._notes)

    def _polyline(self, one: Any, where: str, pixels: tuple[int, int]) -> Box | None:
        label = one.get("label") if isinstance(one, dict) else None
        points = one.get("points") if isinstance(one, dict) else None
        if label is None:
            self._notes.add(Oddity.WITHOUT_CLASS)
            return None
        parts = _list(points, f"{where}: points")
        pairs = [pair for part in parts for pair in _list(part, f"{where}: a part of points")]
        if not pairs:
            raise invalid_dataset(f"{where}: points is empty.", "Remove that polyline.")
        self._notes.add(Oddity.OUTLINED)
        return around(
            str(label),
            (
                (number(x, where, "points") * pixels[0], number(y, where, "points") * pixels[1])
                for x, y in (numbers(pair, 2, where, "points") for pair in pairs)
            ),
        )
