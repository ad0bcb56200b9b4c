"""KITTI: one text file for each image, with edges in pixels counted from 0.

`type truncated occluded alpha left top right bottom …`: what follows is of three dimensions, or a
score. Width is right minus left, as the benchmark's own evaluation and TAO have it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from dino_trainer.convert.files import endings_below, existing_folder, number, read_text
from dino_trainer.convert.pictures import PictureFolders, measured, missing
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

# Folders of labels, and the folder of images beside each.
_BESIDE = {"label_2": "image_2", "label_3": "image_3", "labels": "images", "label": "image"}
_FIELDS = (15, 16)
_TRACKING = (17, 18)


def read(source: ExportSource) -> Export:
    """label_2 beside image_2, or labels beside images, at any depth. Splits are folders' names."""
    notes, lost, used = Notes(), list[str](), set[Path]()
    images = []
    for folder, split in _folders(existing_folder(source.path)):
        pictures = PictureFolders(source.images, folder.parent / _BESIDE[folder.name])
        for name in endings_below(folder, ".txt"):
            source.step()
            boxes = tuple(_boxes(folder / name, notes))
            picture = pictures.find(name[: -len(".txt")])
            if picture is None:
                lost.append(name[: -len(".txt")])
                continue
            used.add(picture.path)
            width, height = measured(picture.path)
            images.append(LabelledImage(picture.path, picture.name, width, height, boxes, split))
        unused = sum(1 for picture in pictures if picture.path not in used)
        notes.add(Oddity.NOT_ANNOTATED, 0 if source.images else unused)
    if lost:
        raise missing(lost, source.path)
    reading = "Edges were read in pixels counted from 0, the width as right - left."
    return Export(tuple(images), sorted_names(images), reading, notes.lines())


def _folders(root: Path) -> Iterator[tuple[Path, str]]:
    """Each folder of labels with its split."""
    paths = {Path(name).parent for name in endings_below(root, ".txt")}
    names = {path for one in paths for path in (one, *one.parents) if path.name in _BESIDE}
    folders = sorted(names)
    if root.name in _BESIDE and not folders:
        yield root, ""
    for path in folders:
        first = path.parts[0] if len(path.parts) > 1 else ""
        # KITTI's own folder `training` is all that has labels.
        yield root / path, "" if first == "training" else split_called(first)
    if not folders and root.name not in _BESIDE:
        raise invalid_dataset(
            f"{root} has no folder of labels with .txt files.",
            "Name the folder that has label_2 and image_2, or labels and images.",
        )


def _boxes(file: Path, notes: Notes) -> Iterator[Box]:
    for place, line in enumerate(read_text(file).splitlines(), start=1):
        fields = line.split()
        if not fields:
            continue
        where = f"{file} line {place}"
        if len(fields) in _TRACKING and fields[0].isdigit():
            raise invalid_dataset(
                f"{where} is of KITTI's tracking: it begins with a frame and a track.",
                "Tracks are not read. Write one file for each image, without these two fields.",
            )
        if len(fields) not in _FIELDS:
            raise invalid_dataset(
                f"{where} has {len(fields)} fields, where KITTI has 15 (16 with a score).",
                "KITTI is: type truncated occluded alpha left top right bottom, then 7 numbers.",
            )
        if fields[0].lower() == "dontcare":
            notes.add(Oddity.DONT_CARE)
            continue
        left, top, right, bottom = (
            number(value, where, field)
            for field, value in zip(("left", "top", "right", "bottom"), fields[4:8], strict=True)
        )
        left, right = sorted((left, right))
        top, bottom = sorted((top, bottom))
        yield Box(fields[0], left, top, right - left, bottom - top)
