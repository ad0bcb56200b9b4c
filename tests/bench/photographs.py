"""Photographs for benches: a folder of COCO data, or pictures that are made up.

DINO_BENCH_DATA names a folder with `train/images.tar.gz` and `train/annotations.json`; without it,
`shared/data/bccd` beside the checkout is taken if it is there.
"""

from __future__ import annotations

import json
import os
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

from dino_api.experiment import DataSource
from dino_trainer.data.coco import CocoDataset, load_coco
from dino_trainer.data.image_store import Folder
from dino_trainer.data.stage import StagedSource, stage

BESIDE = Path(__file__).parents[3] / "shared" / "data" / "bccd"
SIZE = (640, 480)


def data_folder() -> Path | None:
    """Where the data is, or None."""
    folder = Path(os.environ.get("DINO_BENCH_DATA", BESIDE))
    return folder if (folder / "train" / "annotations.json").exists() else None


def photographs(into: Path) -> tuple[CocoDataset, StagedSource, str]:
    """The training images, unpacked below `into`; where they lie; and what they are, in words."""
    folder = data_folder()
    if folder is None:
        source = generated(into / "generated", 32, SIZE)
        return load_coco([source]), source, f"{SIZE[0]}x{SIZE[1]} generated JPEGs"
    split = folder / "train"
    with tarfile.open(split / "images.tar.gz") as tar:  # the peers read folders
        tar.extractall(into / "photographs", filter="data")
    paths = {"image_dir": into / "photographs/images", "json_file": split / "annotations.json"}
    where = DataSource(**{key: str(path) for key, path in paths.items()})
    (source,) = stage([where], into, lambda _: None)
    data = load_coco([source])
    return data, source, f"{len(data.images)} JPEGs of {folder.name}"


def generated(into: Path, images: int, size: tuple[int, int]) -> StagedSource:
    """JPEGs of `size` (width, height) that are about as large as photographs, 8 boxes each."""
    rng = np.random.default_rng(0)
    width, height = size
    (into / "images").mkdir(parents=True)
    entries, annotations = [], []
    for id in range(1, images + 1):
        coarse = rng.integers(0, 255, (height // 16, width // 16, 3), np.uint8)
        picture = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
        grain = rng.normal(0, 6, (height, width, 1))
        pixels = (np.asarray(picture) + grain).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(into / "images" / f"{id}.jpg", quality=90)
        entries.append({"id": id, "file_name": f"{id}.jpg", "width": width, "height": height})
        for _ in range(8):
            w, h = rng.integers(8, min(size) // 3, 2).tolist()
            x, y = int(rng.integers(0, width - w)), int(rng.integers(0, height - h))
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": id,
                    "category_id": 1,
                    "bbox": [x, y, w, h],
                    "area": w * h,
                    "iscrowd": 0,
                }
            )
    document = {
        "images": entries,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "thing"}],
    }
    (into / "annotations.json").write_text(json.dumps(document), encoding="utf-8")
    return StagedSource(Folder(into / "images"), into / "annotations.json", "generated")
