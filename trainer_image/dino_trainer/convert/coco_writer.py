"""COCO folders as a training takes them: images (or images.tar.gz) beside annotations.json.

All is written aside, and takes its place at the end: a conversion that ends early leaves nothing.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, cast

from dino_trainer.convert.records import Box, LabelledImage, Step
from dino_trainer.data.decode import IMAGE_FORMATS
from dino_trainer.data.name_forms import composed, leaves_folder
from dino_trainer.errors import invalid_dataset, invalid_spec
from dino_trainer.storage.files import named, require_room

ANNOTATIONS, IMAGES, CLASSES = "annotations.json", "images", "classes.txt"
ARCHIVE = f"{IMAGES}.tar.gz"
# Of a pixel: finer than any tool draws, and without the dust of shares that became pixels.
_DIGITS = 4
# Formats that gzip makes hardly smaller. Of files below that size the .tar's own blocks count.
_COMPRESSED = {"JPEG", "PNG", "WEBP", "JPEG2000", "AVIF"}
_SMALL = 32_000


@dataclass(frozen=True)
class How:
    """archive: images go into images.tar.gz. link: they are hard links where that can be."""

    archive: bool = False
    link: bool = False


def write(
    splits: dict[str, list[LabelledImage]],
    names: Sequence[str],
    output: Path,
    how: How,
    step: Step,
) -> None:
    """Makes `output` with a folder for each split (the split "" is `output` itself).

    Raises InvalidSpec where something is there already, InvalidDataset, DiskFull, AccessDenied.
    """
    splits = {split: with_own_names(images) for split, images in splits.items()}
    with _at_the_end(output) as aside:
        _require_room(splits, aside, how)
        text = "".join(f"{name}\n" for name in names)
        (aside / CLASSES).write_text(text, encoding="utf-8")
        for split, images in splits.items():
            folder = aside / split
            folder.mkdir(exist_ok=True)
            document = json.dumps(coco(images, names), ensure_ascii=True)
            (folder / ANNOTATIONS).write_text(document + "\n", encoding="utf-8")
            if how.archive:
                _pack(images, folder / ARCHIVE, step)
            else:
                _put(images, folder / IMAGES, how.link, step)


def coco(images: Sequence[LabelledImage], names: Sequence[str]) -> dict[str, Any]:
    """The document of one split. Ids of categories count from 1 in the order of `names`."""
    ids = {name: place for place, name in enumerate(names, start=1)}
    boxes = [(at, box) for at, image in enumerate(images, start=1) for box in image.boxes]
    return {
        "images": [
            {"id": at, "file_name": one.name, "width": one.width, "height": one.height}
            for at, one in enumerate(images, start=1)
        ],
        "annotations": [
            _annotation(at, image, ids[box.name], box)
            for at, (image, box) in enumerate(boxes, start=1)
        ],
        "categories": [{"id": ids[name], "name": name} for name in names],
    }


def _annotation(id: int, image: int, category: int, box: Box) -> dict[str, Any]:
    return {
        "id": id,
        "image_id": image,
        "category_id": category,
        "bbox": [round(value, _DIGITS) for value in (box.x, box.y, box.width, box.height)],
        "area": round(box.width * box.height, _DIGITS),
        "iscrowd": 0,
    }


def with_own_names(images: Sequence[LabelledImage]) -> list[LabelledImage]:
    """Sorted by name. Images of two splits of the export that are called alike get its folder.

    Raises InvalidDataset where two images of one split are called alike, and where a name leads
    out of the folder of images.
    """
    for image in images:
        if leaves_folder(image.name):
            raise invalid_dataset(
                f"{image.path} would be called {image.name!r}, which leads out of the output.",
                "Put it below the folder of the export, and correct its path there.",
            )
    counts: dict[str, int] = {}
    for image in images:
        counts[composed(image.name)] = counts.get(composed(image.name), 0) + 1
    by_name: dict[str, LabelledImage] = {}
    for image in images:
        name = image.name
        if counts[composed(name)] > 1 and image.split:
            name = f"{image.split}/{name}"
        other = by_name.setdefault(composed(name), replace(image, name=name))
        if other.path == image.path and other.boxes != image.boxes:
            raise invalid_dataset(
                f"{image.path} stands twice in the export, each time with other boxes.",
                "Remove one of the two from the export, or merge them there.",
            )
        if other.path != image.path:
            raise invalid_dataset(
                f"{other.path} and {image.path} would both be called {name!r}.",
                "Rename one of them in the export, or convert the two parts apart.",
            )
    return sorted(by_name.values(), key=lambda image: image.name)


@contextmanager
def _at_the_end(output: Path) -> Iterator[Path]:
    """A folder that becomes `output` in the end, or is removed.

    It lies beside `output`; in it where that is there and empty, since a mount point, a link or
    the working folder cannot be replaced.
    """
    there = output.exists()
    if there and not (output.is_dir() and not any(output.iterdir())):
        raise invalid_spec(
            f"There is something in {output} already.", "Name another folder, or remove that one."
        )
    whole = output.absolute()
    aside = (whole if there else whole.parent) / f".{whole.name}.{os.getpid()}.part"
    try:
        with named(output):
            aside.mkdir(parents=True)
            yield aside
            if there:
                _move_up(aside)
            else:
                os.replace(aside, output)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _move_up(folder: Path) -> None:
    """All that is in a folder into the one above; back where not all of it can be moved."""
    moved = []
    try:
        for path in sorted(folder.iterdir()):
            target = folder.parent / path.name
            os.rename(path, target)
            moved.append((target, path))
    except BaseException:
        for target, path in moved:
            os.rename(target, path)
        raise


def _require_room(splits: dict[str, list[LabelledImage]], aside: Path, how: How) -> None:
    if how.link and not how.archive:
        return
    size = sum(image.path.stat().st_size for images in splits.values() for image in images)
    require_room(size, aside, "The copy of the images")


def _put(images: Sequence[LabelledImage], folder: Path, link: bool, step: Step) -> None:
    folder.mkdir()
    for image in images:
        step()
        target = folder / image.name
        target.parent.mkdir(parents=True, exist_ok=True)
        if not (link and _linked(image.path, target)):
            shutil.copyfile(image.path, target)


def _linked(path: Path, target: Path) -> bool:
    """Whether a hard link could be made: to the file itself, since archives take no other links."""
    try:
        os.link(path.resolve(), target)
    except OSError:  # another file system, or one that has no links
        return False
    return True


def _pack(images: Sequence[LabelledImage], path: Path, step: Step) -> None:
    """The same images make the same bytes: no times, no owners."""
    with (
        path.open("wb") as file,
        gzip.GzipFile("", "wb", _level(images), file, mtime=0) as packed,
        tarfile.open(fileobj=cast("IO[bytes]", packed), mode="w") as tar,
    ):
        for image in images:
            step()
            member = tarfile.TarInfo(f"{IMAGES}/{image.name}")
            member.size, member.mode = image.path.stat().st_size, 0o644
            with image.path.open("rb") as content:
                tar.addfile(member, content)


def _level(images: Sequence[LabelledImage]) -> int:
    """gzip's: 0, which stores, of photographs. Each staging would spend most of its time on the
    hundredth that 1 makes them smaller by."""
    size = sum(image.path.stat().st_size for image in images)
    formats = {IMAGE_FORMATS.get(image.path.suffix.lower()) for image in images}
    return 0 if formats <= _COMPRESSED and size >= _SMALL * len(images) else 1
