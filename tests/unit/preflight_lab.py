"""Data that preflight finds nothing in, to be spoiled by one fault at a time."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from dino_api.names import Action
from dino_api.result import Result
from dino_trainer.command.cli import main
from dino_trainer.data import image_facts
from dino_trainer.report import reporter

SIZE = (40, 30)


def picture(seed: int, size: tuple[int, int] = SIZE) -> Image.Image:
    """An image that no other seed has."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    return Image.fromarray(pixels)


def encoded(image: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    """The file of an image."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def document(first: int, count: int) -> dict[str, Any]:
    """COCO with images `first`.jpg and further, each with a box of both categories."""
    ids = range(first, first + count)
    boxes = [(id, category) for id in ids for category in (1, 2)]
    return {
        "images": [
            {"id": id, "file_name": f"{id}.jpg", "width": SIZE[0], "height": SIZE[1]} for id in ids
        ],
        "annotations": [
            {
                "id": place,
                "image_id": image,
                "category_id": category,
                "bbox": [4 * category, 3, 10, 8],
                "area": 80,
                "iscrowd": 0,
            }
            for place, (image, category) in enumerate(boxes, start=1)
        ],
        "categories": [{"id": 1, "name": "cell"}, {"id": 2, "name": "dot"}],
    }


class Side:
    """One source: a folder of images, and what its annotations say."""

    def __init__(self, folder: Path, first: int, count: int) -> None:
        self.folder, self.coco = folder, document(first, count)
        (folder / "images").mkdir(parents=True)
        for id in range(first, first + count):
            self.put(f"{id}.jpg", encoded(picture(id)))

    def put(self, name: str, content: bytes) -> None:
        """An image file."""
        (self.folder / "images" / name).write_bytes(content)

    def image(self, place: int = 0) -> Any:
        return self.coco["images"][place]

    def box(self, place: int = 0) -> Any:
        return self.coco["annotations"][place]

    @property
    def source(self) -> dict[str, str]:
        return {
            "image_dir": str(self.folder / "images"),
            "json_file": str(self.folder / "annotations.json"),
        }

    def write(self) -> None:
        (self.folder / "annotations.json").write_text(json.dumps(self.coco))


class Lab:
    """A spec with two good sources; `run` checks them as they are then."""

    def __init__(self, folder: Path, capture: pytest.CaptureFixture[str], log: Path) -> None:
        self.folder, self._capture, self._log = folder, capture, log
        self.train = Side(folder / "train", 1, 6)
        self.validation = Side(folder / "validation", 101, 3)
        self.sides = [self.train, self.validation]
        self.spec: dict[str, Any] = {
            "results_dir": str(folder / "results"),
            "dataset": {
                "train_data_sources": [self.train.source],
                "val_data_sources": [self.validation.source],
                "augmentation": {"fixed_size": [32, 64]},
            },
            # As many as pictures of that size have tokens.
            "model": {"num_queries": 43, "num_select": 43},
            "train": {"num_gpus": 0, "num_epochs": 12},
        }
        self.out = self.err = ""

    def another(self, first: int, name: str = "more", count: int = 2) -> Side:
        """A second source of training data."""
        side = Side(self.folder / name, first, count)
        self.sides.append(side)
        self.spec["dataset"]["train_data_sources"].append(side.source)
        return side

    def run(self, *overrides: str, options: Sequence[str] = ()) -> int:
        """`dino preflight -e spec.yaml …`; returns the exit code."""
        for side in self.sides:
            if side.folder.exists():
                side.write()
        return self.check(*overrides, options=options)

    def check(self, *overrides: str, options: Sequence[str] = ()) -> int:
        """The same on annotation files as they lie there."""
        path = self.folder / "spec.yaml"
        path.write_text(yaml.safe_dump(self.spec))
        self._log.write_text("")
        code = main(["preflight", "-e", str(path), *options, *overrides])
        self.out, self.err = self._capture.readouterr()
        assert "Traceback" not in self.out + self.err
        return code

    @property
    def reports(self) -> Path:
        return self.folder / "results" / "preflight"

    @property
    def findings(self) -> dict[str, dict[str, Any]]:
        """What report.json says, by rule."""
        report = json.loads((self.reports / "report.json").read_text())
        return {finding["id"]: finding for finding in report["findings"]}

    @property
    def reported(self) -> Result:
        """What the operator would read."""
        result = Result.from_termination_message(self._log.read_text())
        assert result is not None
        return result


@pytest.fixture
def lab(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Lab:
    """Good data, and the command as in a pod."""
    log = tmp_path / "termination-log"
    log.touch()
    monkeypatch.setenv("DINO_WORK_DIR", str(tmp_path / "work"))
    monkeypatch.setattr(reporter, "TERMINATION_LOG", log)
    return Lab(tmp_path, capsys, log)


def check(lab: Lab, action: Action, *overrides: str) -> int:
    """The exit code of a preflight for `action`."""
    return lab.run(*overrides, options=["--for", action.value])


def counted_looks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Of how many images the facts were looked up, time after time from now on."""
    counts: list[int] = []
    look = image_facts.look_at_all

    def counted(looks: Any, *rest: Any) -> Any:
        counts.append(len(looks))
        return look(looks, *rest)

    monkeypatch.setattr(image_facts, "look_at_all", counted)
    return counts


def preflight_without(lab: Lab, modules: set[str], *options: str) -> None:
    """A preflight of the written spec, in a process that must not have imported any of these."""
    words = ["preflight", "-e", str(lab.folder / "spec.yaml"), *options]
    code = (
        "import sys; from dino_trainer.command.cli import main\n"
        f"code = main({words!r})\n"
        f"assert not {modules!r} & set(sys.modules)\n"
        "sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
