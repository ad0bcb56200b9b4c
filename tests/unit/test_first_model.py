"""docs/first-model.md, its blocks word for word: from VOC files to boxes in a program."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from tests.pages import blocks, environment, indented, run

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "first-model.md").read_text()
BLOCKS = blocks(PAGE)
PICTURE = (96, 64)
COLOURS = {"ball": (220, 40, 40), "box": (40, 60, 220)}
# Imported before the program's first line: whoever has the runtime alone has none of these.
WITHOUT = """
import sys
sys.modules.update(dict.fromkeys(("torch", "dino_trainer", "dino_api", "pydantic", "boto3")))
"""
XML = """<annotation><filename>{name}.jpg</filename>
<size><width>{width}</width><height>{height}</height><depth>3</depth></size>{objects}</annotation>"""
OBJECT = """<object><name>{name}</name><bndbox><xmin>{box[0]}</xmin><ymin>{box[1]}</ymin>
<xmax>{box[2]}</xmax><ymax>{box[3]}</ymax></bndbox></object>"""


def a_voc_folder(root: Path, count: int = 24) -> None:
    """Balls and boxes on grain, annotated as the devkit does: pixels from 1, the last inside."""
    rng = np.random.default_rng(0)
    for name in ("Annotations", "JPEGImages"):
        (root / name).mkdir(parents=True)
    for at in range(count):
        pixels = rng.integers(90, 160, (PICTURE[1], PICTURE[0], 3), np.uint8)
        image = Image.fromarray(pixels)
        objects = ""
        for name, left in (("ball", 4), ("box", 52)):
            x, y, side = left + int(rng.integers(0, 12)), int(rng.integers(4, 30)), 24
            pen = ImageDraw.Draw(image)
            draw = pen.ellipse if name == "ball" else pen.rectangle
            draw((x, y, x + side - 1, y + side - 1), fill=COLOURS[name])
            objects += OBJECT.format(name=name, box=(x + 1, y + 1, x + side, y + side))
        image.save(root / f"JPEGImages/{at:03}.jpg", quality=95)
        text = XML.format(name=f"{at:03}", width=PICTURE[0], height=PICTURE[1], objects=objects)
        (root / f"Annotations/{at:03}.xml").write_text(text)


def a_shell(folder: Path) -> dict[str, str]:
    """`dino` and `python` on the PATH, the runtime importable, nothing of the trainer in it."""
    (folder / "programs").mkdir()
    (folder / "programs/without.py").write_text(WITHOUT)
    python = folder / "programs/python"
    start = f'PYTHONPATH="{ROOT / "runtime"}:{python.parent}" exec "{sys.executable}" -c'
    code = (
        "import runpy, sys, without; del sys.argv[0]; runpy.run_path(sys.argv[0], None, '__main__')"
    )
    python.write_text(f'#!/bin/sh\n{start} "{code}" "$@"\n')
    python.chmod(0o755)
    programs = f"{python.parent}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    own = {"PATH": programs, "DINO_WORK_DIR": str(folder / "work")}
    return {**environment(), **own, "AWS_EC2_METADATA_DISABLED": "true"}


@pytest.mark.skipif(os.name != "posix", reason="the page is for Linux")
def test_the_page_leads_to_boxes(tmp_path: Path) -> None:
    a_voc_folder(tmp_path / "photos")
    env = a_shell(tmp_path)
    said: dict[str, str] = {}
    for each in BLOCKS:
        if each.file:
            (tmp_path / each.file).write_text(each.text)
        else:
            said[" ".join(each.text.split()[:2])] = run(each.text, tmp_path, env)
    assert "0 kinds of errors" in said["dino preflight"]
    lines = said["python boxes.py"].splitlines()
    pictures = sorted((tmp_path / "coco/test/images").iterdir())
    assert pictures
    assert len(lines) == 3 * len(pictures)
    line = re.compile(r"coco/test/images/\d+\.jpg: (ball|box) [01]\.\d\d( -?\d+){4}")
    assert all(line.fullmatch(each) for each in lines), lines


def test_what_a_developer_has_set_is_not_passed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that is away, or GPUs that are hidden, would fail `dino doctor`."""
    names = ("AWS_ENDPOINT_URL_S3", "CUDA_VISIBLE_DEVICES", "DINO_CACHE_DIR")
    for name in names:
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert not a_shell(tmp_path).keys() & set(names)


def test_the_program_has_neither_torch_nor_the_trainer(tmp_path: Path) -> None:
    env = a_shell(tmp_path)
    for name in ("torch", "dino_trainer", "dino_api"):
        (tmp_path / "boxes.py").write_text(f"import {name}")
        with pytest.raises(AssertionError, match=f"import of {name} halted"):
            run("python boxes.py", tmp_path, env)


def test_every_step_of_the_page_is_run() -> None:
    """A block of another language would be left out without a word."""
    assert PAGE.count("```") == 2 * len(BLOCKS)
    assert {each.language for each in BLOCKS if not each.file} == {"sh"}
    not_run = [line.split()[:2] for line in indented(PAGE)]
    assert not_run == [["make", "setup"], ["dino", "train"]], "those that the page says are not run"
    assert "but for the installations and the training in earnest" in PAGE
    assert [each.file for each in BLOCKS if each.file] == ["boxes.py"]
    words = " ".join(each.text for each in BLOCKS)
    for step in ("doctor", "convert", "init", "preflight", "train", "export", "boxes.py"):
        assert step in words
