"""Small COCO datasets and archives for tests: real images, a few pixels wide."""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

SIZE = (32, 24)


def jpeg(shade: int = 100) -> bytes:
    """A real image of SIZE."""
    buffer = io.BytesIO()
    Image.new("RGB", SIZE, (shade, shade, shade)).save(buffer, "JPEG")
    return buffer.getvalue()


def a_document(count: int = 3, **changes: Any) -> dict[str, Any]:
    """COCO with `count` images of one box each; `changes` replace top-level entries."""
    document: dict[str, Any] = {
        "images": [
            {"id": i, "file_name": f"{i}.jpg", "width": SIZE[0], "height": SIZE[1]}
            for i in range(1, count + 1)
        ],
        "annotations": [
            {
                "id": i,
                "image_id": i,
                "category_id": 1 + i % 2,
                "bbox": [1, 2, 10, 8],
                "area": 80,
                "iscrowd": 0,
            }
            for i in range(1, count + 1)
        ],
        "categories": [{"id": 1, "name": "cell"}, {"id": 2, "name": "dot"}],
    }
    return {**document, **changes}


@dataclass
class Source:
    """What a spec's data source looks like."""

    image_dir: str
    json_file: str


def a_folder(at: Path, count: int = 3, **changes: Any) -> Path:
    """`at`/images/*.jpg and `at`/annotations.json."""
    (at / "images").mkdir(parents=True, exist_ok=True)
    for i in range(1, count + 1):
        (at / "images" / f"{i}.jpg").write_bytes(jpeg(40 * i % 256))
    (at / "annotations.json").write_text(json.dumps(a_document(count, **changes)))
    return at


def an_archive(at: Path, prefix: str = "images/", count: int = 3) -> Path:
    """A .tar.gz (or .tar) of `count` images under `prefix`."""
    members = {f"{prefix}{i}.jpg": jpeg(40 * i % 256) for i in range(1, count + 1)}
    return pack(at, list(members.items()))


def pack(at: Path, members: list[tuple[str | tarfile.TarInfo, bytes]]) -> Path:
    """An archive with exactly these members, however odd."""
    at.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(at, "w" if at.name.endswith(".tar") else "w:gz") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name) if isinstance(name, str) else name
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return at


def member(name: str, kind: bytes, link: str = "") -> tarfile.TarInfo:
    """A member that is not a plain file."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info
