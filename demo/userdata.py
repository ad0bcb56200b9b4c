"""`make demo DATA=dir`: a user's own COCO folder, checked on its surface, laid out for upload."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from demo.coco import ANNOTATIONS, IMAGES, pack
from demo.errors import DemoError

EXPECTED = (
    "expected train/ and val/ below it, or itself, to hold annotations.json (COCO) and "
    "images.tar.gz or images/"
)
VALIDATION_NAMES = ("val", "validation", "valid")
VALIDATION_SHARE = 0.2
Coco = dict[str, Any]


def take(data: Path, into: Path) -> None:
    """Write into/train and into/val from a user's folder.

    Raises DemoError that says what is missing where.
    """
    if not data.is_dir():
        raise DemoError(f"DATA={data} is no folder; {EXPECTED}")
    train = data / "train" if (data / "train").is_dir() else data
    validation = next((data / n for n in VALIDATION_NAMES if (data / n).is_dir()), None)
    if validation is not None:
        lay_out(train, read(train), into / "train")
        lay_out(validation, read(validation), into / "val")
        return
    for name, part in zip(("train", "val"), split(read(train)), strict=True):
        lay_out(train, part, into / name)


def read(folder: Path) -> Coco:
    """The COCO annotations of a folder. Raises DemoError where there are none."""
    path = folder / ANNOTATIONS
    try:
        document: Any = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise DemoError(f"{path} does not exist; {EXPECTED}") from error
    except (OSError, ValueError) as error:
        raise DemoError(f"{path} cannot be read as JSON: {error}") from error
    missing: list[str] = [
        k
        for k in ("images", "annotations", "categories")
        if not isinstance(document, dict) or k not in document
    ]
    if missing:
        raise DemoError(f"{path} is not a COCO file: it has no {', '.join(missing)}")
    return dict(document)


def split(document: Coco, seed: int = 0) -> tuple[Coco, Coco]:
    """Four fifths of the images for training, the rest for validation; the same every time."""
    images = sorted(document["images"], key=lambda image: str(image["id"]))
    if len(images) < 2:
        raise DemoError(
            f"{len(images)} image cannot be split for training and validation: give more, "
            "or a val/ folder"
        )
    random.Random(seed).shuffle(images)
    cut = max(1, int(len(images) * VALIDATION_SHARE))
    return part(document, images[cut:]), part(document, images[:cut])


def part(document: Coco, images: list[Any]) -> Coco:
    """The document with only these images and their annotations."""
    kept = {image["id"] for image in images}
    annotations = [a for a in document["annotations"] if a["image_id"] in kept]
    return {**document, "images": images, "annotations": annotations}


def lay_out(source: Path, document: Coco, target: Path) -> None:
    """Write images.tar.gz and annotations.json for one split."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    (target / ANNOTATIONS).write_text(json.dumps(document))
    if (source / IMAGES).is_file():
        shutil.copyfile(source / IMAGES, target / IMAGES)
    elif (source / "images").is_dir():
        pack(target / IMAGES, files(source / "images", document))
    else:
        raise DemoError(f"{source} has neither {IMAGES} nor images/; {EXPECTED}")


def files(folder: Path, document: Coco) -> Iterator[tuple[str, bytes]]:
    """Name and content of every image that the annotations list."""
    for image in document["images"]:
        path = folder / image["file_name"]
        try:
            yield image["file_name"], path.read_bytes()
        except OSError as error:
            raise DemoError(
                f"{path}, which the annotations list, cannot be read: {error}"
            ) from error


def count_images(split_folder: Path) -> int:
    """How many images the annotations of a written split list."""
    return len(json.loads((split_folder / ANNOTATIONS).read_text())["images"])
