"""Exports of annotation tools, made in a test in their shapes, and what `dino convert` says."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from dino_trainer.command.cli import main
from tests.unit.preflight_lab import encoded, picture

Told = dict[str, list[tuple[Any, ...]]]
SIZE = (80, 40)


def put(path: Path, text: str) -> Path:
    """A text file, with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def put_json(path: Path, document: Any) -> Path:
    return put(path, json.dumps(document))


def put_image(path: Path, size: tuple[int, int] = SIZE, seed: int = 0, **options: Any) -> Path:
    """A real picture; its name decides its format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = "PNG" if path.suffix == ".png" else "JPEG"
    path.write_bytes(encoded(picture(seed or sum(os.fsencode(path.name)), size), kind, **options))
    return path


@dataclass
class Converter:
    """`dino convert` on folders below `folder`; the source is `folder/export`."""

    folder: Path
    capture: pytest.CaptureFixture[str]
    out: str = ""
    err: str = ""
    count: int = field(default=0)

    @property
    def source(self) -> Path:
        return self.folder / "export"

    @property
    def output(self) -> Path:
        return self.folder / f"coco{self.count}"

    def run(self, format: str, *options: str, source: Path | None = None) -> int:
        """Its exit code. Each call has an output of its own."""
        self.count += 1
        words = ["convert", format, str(source or self.source), "--output", str(self.output)]
        code = main([*words, *options])
        self.out, self.err = self.capture.readouterr()
        assert "Traceback" not in self.out + self.err
        assert not list(self.folder.glob(".*.part"))
        return code

    def done(self, format: str, *options: str, source: Path | None = None) -> Told:
        """What was written where there are no splits."""
        assert self.run(format, *options, source=source) == 0, self.err
        return self.boxes()

    def refused(self, format: str, *options: str) -> str:
        """What it says of data or a request that it does not take."""
        assert self.run(format, *options) in (64, 65, 66)
        assert not self.output.exists()
        return self.err

    def document(self, split: str = "") -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.output / split / "annotations.json").read_text())
        return found

    def boxes(self, split: str = "") -> Told:
        """By file name: name of the class, then x, y, width and height."""
        document = self.document(split)
        names = {one["id"]: one["name"] for one in document["categories"]}
        files = {one["id"]: one["file_name"] for one in document["images"]}
        found: Told = {name: [] for name in files.values()}
        for one in document["annotations"]:
            assert one["iscrowd"] == 0
            assert one["area"] == pytest.approx(one["bbox"][2] * one["bbox"][3], abs=0.01)
            found[files[one["image_id"]]].append((names[one["category_id"]], *one["bbox"]))
        for name in found:
            assert (self.output / split / "images" / name).is_file()
        return found

    @property
    def categories(self) -> dict[int, str]:
        folder = self.output if (self.output / "annotations.json").exists() else None
        split = (
            ""
            if folder
            else next(one.name for one in sorted(self.output.iterdir()) if one.is_dir())
        )
        found = {one["id"]: one["name"] for one in self.document(split)["categories"]}
        listed = (self.output / "classes.txt").read_text().splitlines()
        assert found == dict(enumerate(listed, start=1))
        return found


@pytest.fixture
def convert(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Converter:
    """An empty folder, and the command."""
    return Converter(tmp_path, capsys)
