"""What annotation tools write, in small files of our own: taken, or refused by its true cause.

The files in `exports/` have the shapes that real releases wrote (`tests/exports`, docs/data.md).
"""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from dino_trainer.model_files import checkpoint
from dino_trainer.model_files.checkpoint import BEST
from tests.unit.preflight_lab import Lab, Side, encoded, lab, picture
from tests.unit.training_builders import Recorder, a_spec
from tests.unit.training_builders import run as train

__all__ = ["lab"]
FILES = Path(__file__).parent / "exports"
OURS = ("validation-omitted",)
SAID_OF_ADDRESSES = "Write '1.jpg' in place of 's3://photos/shelf/1.jpg'"


@dataclass(frozen=True)
class Export:
    """What one tool wrote, and all that preflight says about it.

    errors, warnings: by rule, a part of what is said, in message or remedy. pictures: what lies in
    the image folder. validation: the file of the other split.
    """

    name: str
    errors: dict[str, str] = field(default_factory=dict)
    warnings: dict[str, str] = field(default_factory=dict)
    pictures: tuple[str, ...] = ("1.jpg", "2.jpg")
    validation: str = ""


EXPORTS = (
    Export(
        "datumaro",
        pictures=("left/1.jpg", "2.jpg"),
        warnings={"image-empty": "train 2.jpg"},
    ),
    Export("datumaro-cvat", warnings={"box-rotated": "train 1.jpg"}),
    Export("supervision", warnings={"box-crowd": "train 2.jpg annotations[2]"}),
    Export(
        "label-studio-fetched",
        pictures=("images/0a1b2c3d__1.jpg", "images/4e5f6a7b__2.jpg"),
        warnings={"category-zero": "0 is 'bolt'"},
    ),
    Export(
        "label-studio-fetched",
        pictures=("0a1b2c3d__1.jpg", "4e5f6a7b__2.jpg"),
        errors={"image-missing": "Write '0a1b2c3d__1.jpg' in place of 'images/0a1b2c3d__1.jpg'"},
        warnings={"category-zero": "0 is 'bolt'"},
    ),
    Export(
        "label-studio-local",
        errors={
            "image-name-unsafe": "Write '1.jpg' in place of '/data/local-files/?d=upload/7/1.j"
        },
        warnings={"category-zero": "0 is 'bolt'"},
    ),
    Export(
        "label-studio-s3",
        errors={"image-missing": SAID_OF_ADDRESSES},
        warnings={"category-zero": "0 is 'bolt'"},
    ),
    Export("globox", warnings={"category-zero": "0 is 'bolt'"}),
    Export(
        "pylabel",
        warnings={
            "category-zero": "0 is 'nut'",
            "box-repeats": "train 1.jpg annotations[2]",
            "image-empty": "train 2.jpg",
        },
    ),
    Export(
        "sahi",
        pictures=("shelf_0_0_0_40_30.png", "shelf_0_32_0_72_30.png"),
        warnings={"category-zero": "0 is 'bolt'"},
    ),
    Export(
        "labelme2coco",
        errors={"image-name-unsafe": "Write '1.jpg' in place of '/home/ann/shelf/1.jpg'"},
        warnings={"category-zero": "0 is 'nut'"},
    ),
    Export("hotcoco", warnings={"box-crowd": "train 2.jpg annotations[2]"}),
    Export("hotcoco-yolo", errors={"image-missing": "Write '1.jpg' in place of '1'"}),
    Export("fiftyone"),
    Export(
        "fiftyone",
        validation="fiftyone-validation",
        errors={"category-conflict": "1 is 'bolt' (train) and 'nut' (validation)"},
    ),
)


def put(side: Side, name: str, pictures: tuple[str, ...], seed: int) -> None:
    """One file of `exports/` in place of the source's own, with pictures beside it."""
    shutil.rmtree(side.folder / "images")
    for number, path in enumerate(pictures, start=seed):
        (side.folder / "images" / path).parent.mkdir(parents=True, exist_ok=True)
        kind = "PNG" if path.endswith(".png") else "JPEG"
        side.put(path, encoded(picture(number), kind))
    side.coco = json.loads((FILES / f"{name}.json").read_text())


def checked(lab: Lab, export: Export) -> int:
    """The exit code of the preflight of an export."""
    put(lab.train, export.name, export.pictures, seed=1)
    if export.validation:
        put(lab.validation, export.validation, ("3.jpg",), seed=30)
    else:
        del lab.spec["dataset"]["val_data_sources"]
    lab.spec["dataset"]["batch_size"] = 1
    return lab.run()


@pytest.mark.parametrize("export", EXPORTS, ids=lambda one: f"{one.name}-{len(one.errors)}")
def test_preflight_says_this_of_an_export_and_nothing_else(lab: Lab, export: Export) -> None:
    code = checked(lab, export)
    found = {id: one for id, one in lab.findings.items() if id not in OURS}
    assert {id: one["severity"] for id, one in found.items()} == {
        **dict.fromkeys(export.errors, "error"),
        **dict.fromkeys(export.warnings, "warning"),
    }
    for id, part in {**export.errors, **export.warnings}.items():
        assert part in f"{found[id]['message']} {found[id]['remedy']}"
    assert code == (65 if export.errors else 0)


@pytest.mark.parametrize("name", ["supervision", "pylabel", "hotcoco"])
def test_an_export_is_trained_on(lab: Lab, name: str) -> None:
    """RLE and a crowd; text, floats and null where there are integers; null and false."""
    assert checked(lab, Export(name)) == 0
    folder, recorder = lab.train.folder, Recorder()
    spec = a_spec(folder, folder, "dataset.batch_size=1", "train.num_epochs=1")
    train(spec, recorder)
    assert [epoch for epoch, _, _ in recorder.validations] == [1]
    assert [math.isfinite(step.loss) for step in recorder.steps] == [True, True]
    best = checkpoint.read(Path(spec.results_dir) / "train" / BEST)
    assert list(filter(None, best["class_names"])) == ["nut", "bolt"]


def test_every_file_is_in_the_table() -> None:
    named = {name for one in EXPORTS for name in (one.name, one.validation) if name}
    assert named == {path.stem for path in FILES.iterdir()}
