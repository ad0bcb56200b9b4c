"""Pascal VOC: one XML file for each image, with corners in pixels.

The corners are read as the development kit of VOC defines them: pixels counted from 1, the last one
inside. xmin 11 and xmax 40 are the 30 columns from 10 to 39, in COCO [10, …, 30, …]. Several tools
write and read them as edges counted from 0 instead, a pixel to the lower right and a pixel smaller
(findings/voc-to-coco-by-a-pixel.sh): `voc_zero_based` reads that.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple
from xml.etree.ElementTree import Element

from dino_trainer.convert.files import (
    endings_below,
    existing_folder,
    number,
    read_text,
    read_xml,
    size,
)
from dino_trainer.convert.pictures import PictureFile, PictureFolders, measured, missing
from dino_trainer.convert.records import (
    Box,
    Export,
    ExportSource,
    LabelledImage,
    Notes,
    Oddity,
    sorted_names,
    split_called,
)
from dino_trainer.errors import invalid_dataset

_READ_FROM_1 = (
    "Corners were read as in the VOC devkit: pixels counted from 1, the last one inside. "
    "--voc-zero-based reads them as edges counted from 0"
)
_READ_FROM_0 = "Corners were read as edges counted from 0 (--voc-zero-based)"
_SPLITS = ("train", "val", "test")
# After the name in a list of one class: whether the image has it.
_PRESENCE = re.compile(r"\s+(1|0|-1)$")
_SIDES = ("xmin", "ymin", "xmax", "ymax")


class AnnotationFile(NamedTuple):
    """An XML file, what is in it, and the split of its image."""

    file: Path
    root: Element
    split: str


def read(source: ExportSource) -> Export:
    """All XML files below a folder, with JPEGImages or images beside Annotations, or all in one.

    Splits are ImageSets/Main/{train,val,test}.txt, or folders of these names.
    """
    notes, lost, used = Notes(), list[str](), set[Path]()
    images, pictures_of = [], cache(partial(_pictures, source))
    for file, split in _files(existing_folder(source.path)):
        source.step()
        annotation = AnnotationFile(file, read_xml(file), split)
        pictures = pictures_of(file.parent)
        picture = _picture(pictures, annotation)
        if picture is None:
            lost.append(annotation.root.findtext("filename") or file.stem)
            continue
        used.add(picture.path)
        images.append(_image(annotation, picture, source.voc_zero_based, notes))
    if lost:
        raise missing(lost, source.path)
    notes.add(Oddity.NOT_ANNOTATED, _unused(source, used))
    reading = _READ_FROM_0 if source.voc_zero_based else _READ_FROM_1
    return Export(tuple(images), sorted_names(images), f"{reading}.", notes.lines())


def _files(folder: Path) -> Iterator[tuple[Path, str]]:
    """Each XML file with its split."""
    names = endings_below(folder, ".xml")
    if not names:
        raise invalid_dataset(
            f"{folder} holds no .xml file.",
            "Name the folder that has Annotations and JPEGImages, or images with XML beside them.",
        )
    lists = cache(_lists)
    for name in names:
        file = folder / name
        beside = _beside(file.parent)
        listed = lists(beside / "ImageSets" / "Main")
        first = name.split("/")[0] if "/" in name else ""
        yield file, _split(file, beside / "Annotations", listed) if listed else split_called(first)


def _split(file: Path, annotations: Path, listed: Mapping[str, str]) -> str:
    """By the path below Annotations, else by the name alone, both without ending."""
    below = file.relative_to(annotations) if file.is_relative_to(annotations) else file
    return listed.get(below.with_suffix("").as_posix()) or listed.get(file.stem, "")


def _lists(folder: Path) -> Mapping[str, str]:
    """The split of each image, by the lists of VOC; empty where there are none."""
    splits = {}
    for split in _SPLITS:
        file = folder / f"{split}.txt"
        if file.is_file():
            lines = filter(None, map(str.strip, read_text(file).splitlines()))
            splits.update(dict.fromkeys(map(_image_of, lines), split))
    return splits


def _image_of(line: str) -> str:
    """What a line of a list names: a name may have spaces, and quotes around it (CVAT's)."""
    return _PRESENCE.sub("", line).strip("\"'")


def _beside(folder: Path) -> Path:
    """The folder that Annotations lies in; XML files may lie deeper."""
    above = (path for path in (folder, *folder.parents) if path.name == "Annotations")
    return next(above, folder).parent


def _pictures(source: ExportSource, folder: Path) -> PictureFolders:
    beside = _beside(folder) if folder != source.path else folder
    return PictureFolders(source.images, beside / "JPEGImages", beside / "images", folder)


def _picture(pictures: PictureFolders, annotation: AnnotationFile) -> PictureFile | None:
    """By the name in the XML, else by that of the XML file: tools write either one wrong."""
    file, root, _ = annotation
    if root.tag != "annotation":
        raise invalid_dataset(
            f"{file} is not Pascal VOC: it begins with <{root.tag}>, not <annotation>.",
            "Take it out of the folder, or name its own format.",
        )
    named = root.findtext("filename", "").strip()
    return (pictures.find(named) if named else None) or pictures.called(file.stem)


def _unused(source: ExportSource, used: set[Path]) -> int:
    """Images that no XML file speaks of."""
    folders = {path.parent for path in used}
    return sum(1 for picture in PictureFolders(*sorted(folders)) if picture.path not in used)


def _image(
    annotation: AnnotationFile, picture: PictureFile, from_0: bool, notes: Notes
) -> LabelledImage:
    file, root, split = annotation
    pixels = size(root.findtext("size/width"), root.findtext("size/height"), f"{file}: size")
    width, height = pixels or measured(picture.path)
    boxes = []
    for place, item in enumerate(root.findall("object"), start=1):
        boxes.append(_box(item, f"{file}: object {place}", from_0, notes))
        if item.findtext("difficult", "").strip() == "1":
            notes.add(Oddity.DIFFICULT)
    return LabelledImage(picture.path, picture.name, width, height, tuple(boxes), split)


def _box(item: Element, where: str, from_0: bool, notes: Notes) -> Box:
    name = item.findtext("name", "").strip()
    corners = item.find("bndbox")
    for what, there in (("name", bool(name)), ("bndbox", corners is not None)):
        if not there:
            raise invalid_dataset(f"{where} has no {what}.", f"Add its {what}, or remove it.")
    assert corners is not None
    left, top, right, bottom = (
        number(corners.findtext(side), where, f"bndbox.{side}") for side in _SIDES
    )
    left, right = sorted((left, right))
    top, bottom = sorted((top, bottom))
    if from_0:
        return Box(name, left, top, right - left, bottom - top)
    if min(left, top) < 1 and min(left, top) >= 0:
        notes.add(Oddity.CORNER_ZERO)
    return Box(name, left - 1, top - 1, right - left + 1, bottom - top + 1)
