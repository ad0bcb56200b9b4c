"""COCO folders: writing ours, and turning a user's own into what a DinoJob reads."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

IMAGES, ANNOTATIONS = "images.tar.gz", "annotations.json"


@dataclass(frozen=True)
class CocoBox:
    """x, y of the upper left corner, width and height in pixels, and the category id."""

    x: int
    y: int
    width: int
    height: int
    category: int

    def meets(self, x: int, y: int, width: int, height: int, gap: int) -> bool:
        """Whether that rectangle comes nearer than `gap` pixels."""
        return (
            x < self.x + self.width + gap
            and self.x < x + width + gap
            and y < self.y + self.height + gap
            and self.y < y + height + gap
        )


@dataclass(frozen=True)
class Scene:
    """One image and what is in it."""

    file_name: str
    picture: Image.Image
    boxes: tuple[CocoBox, ...]


def write_split(folder: Path, scenes: Sequence[Scene], categories: list[dict[str, Any]]) -> None:
    """Write images.tar.gz and annotations.json of one split.

    Raises OSError where the disk refuses.
    """
    folder.mkdir(parents=True, exist_ok=True)
    document = {
        "images": [
            {
                "id": i,
                "file_name": s.file_name,
                "width": s.picture.width,
                "height": s.picture.height,
            }
            for i, s in enumerate(scenes, 1)
        ],
        "categories": categories,
        "annotations": [
            {"id": n, **annotation} for n, annotation in enumerate(_annotations(scenes), 1)
        ],
    }
    (folder / ANNOTATIONS).write_text(json.dumps(document))
    pack(folder / IMAGES, ((s.file_name, _jpeg(s.picture)) for s in scenes))


def pack(archive: Path, files: Iterable[tuple[str, bytes]]) -> None:
    """Write a .tar.gz of `images/<name>`. No clock in it: equal content, equal bytes."""
    with (
        archive.open("wb") as raw,
        gzip.GzipFile("", "wb", compresslevel=1, fileobj=raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w") as tar,
    ):
        for name, data in files:
            entry = tarfile.TarInfo(f"images/{name}")
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))


def _annotations(scenes: Sequence[Scene]) -> Iterable[dict[str, Any]]:
    for image, scene in enumerate(scenes, 1):
        for box in scene.boxes:
            yield {
                "image_id": image,
                "category_id": box.category,
                "bbox": [box.x, box.y, box.width, box.height],
                "area": box.width * box.height,
                "iscrowd": 0,
            }


def _jpeg(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()
