"""What preflight says of an image file is what training would meet."""

from __future__ import annotations

import json
import os
import signal
import tarfile
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dino_api.rules.data import data_rule
from dino_trainer.data import image_facts
from dino_trainer.data.image_facts import ImageFacts, ImageToCheck, look, look_at_all
from dino_trainer.data.transforms import read_image
from dino_trainer.errors import TrainerError
from tests.unit.preflight_lab import Lab, encoded, lab, picture

__all__ = ["lab"]
WIDE, TALL, SQUARE = (48, 32), (32, 48), (40, 40)


def refused(path: Path, size: tuple[int, int]) -> bool:
    """Whether training cannot read the file."""
    try:
        read_image(path, *size)
    except TrainerError:
        return True
    return False


def errors(path: Path, size: tuple[int, int]) -> list[str]:
    return [
        id for id, _ in look(ImageToCheck(path, *size)).flaws if data_rule(id).severity == "error"
    ]


@pytest.mark.parametrize("orientation", [None, *range(1, 9)])
@pytest.mark.parametrize("annotated", [WIDE, TALL, (20, 20)])
@pytest.mark.parametrize("stored", [WIDE, SQUARE])
def test_it_agrees_about_sizes_and_orientation(
    stored: tuple[int, int], annotated: tuple[int, int], orientation: int | None, tmp_path: Path
) -> None:
    exif = Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    path = tmp_path / "a.jpg"
    path.write_bytes(encoded(picture(1, stored), exif=exif))
    assert bool(errors(path, annotated)) == refused(path, annotated)
    flaws = {id for id, _ in look(ImageToCheck(path, *annotated)).flaws}
    if orientation in (None, 1):
        assert not {id for id in flaws if id.startswith("exif")}


@pytest.mark.parametrize("options", [{}, {"progressive": True}], ids=["baseline", "progressive"])
def test_a_jpeg_that_ends_early_is_noticed_wherever_it_ends(
    options: dict[str, bool], tmp_path: Path
) -> None:
    """At an eighth of the size as at the full one: cut in the header, in the data, at the end."""
    whole, path, size = encoded(picture(3, (160, 120)), **options), tmp_path / "a.jpg", (160, 120)
    seen = set()
    for cut in [*range(1, len(whole), len(whole) // 40), len(whole) - 2, len(whole) - 1]:
        path.write_bytes(whole[:cut])
        verdict = refused(path, size)
        assert bool(errors(path, size)) == verdict, f"{cut} of {len(whole)}"
        seen.add(verdict)
    path.write_bytes(whole)
    assert errors(path, size) == []
    assert True in seen


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "BMP"])
def test_it_agrees_about_broken_bytes(kind: str, tmp_path: Path) -> None:
    whole, path, size = encoded(picture(4, (64, 48)), kind), tmp_path / "a", (64, 48)
    random = np.random.default_rng(0)
    for _ in range(25):
        broken = bytearray(whole)
        for place in random.integers(0, len(whole), 8):
            broken[place] = random.integers(0, 256)
        path.write_bytes(broken)
        assert bool(errors(path, size)) == refused(path, size)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "YCbCr"])
def test_usual_modes_are_no_finding(mode: str, tmp_path: Path) -> None:
    kind = "JPEG" if mode == "YCbCr" else "PNG"
    path = tmp_path / f"a.{kind.lower()}"
    path.write_bytes(encoded(picture(5).convert(mode), kind))
    assert look(ImageToCheck(path, 40, 30)).flaws == ()


def test_many_images_are_looked_at_by_several_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In order, and as one process would."""
    monkeypatch.setattr(image_facts, "_FEW", 50)
    looks = []
    for n in range(70):
        path = tmp_path / f"{n}.jpg"
        path.write_bytes(encoded(picture(n, (16, 16))) if n % 20 else b"broken")
        looks.append(ImageToCheck(path, 16, 16))
    assert look_at_all(looks, print) == [look(one) for one in looks]


def killed(chunk: Sequence[ImageToCheck]) -> list[ImageFacts]:
    """As the kernel does where memory runs out."""
    os.kill(os.getpid(), signal.SIGKILL)
    return []


def test_a_process_that_is_killed_while_it_looks_is_told_with_a_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_facts, "_FEW", 1)
    monkeypatch.setattr(image_facts, "_look_at", killed)
    with pytest.raises(TrainerError, match="looks into images was killed") as caught:
        look_at_all([ImageToCheck(tmp_path / "a.jpg", 16, 16)] * 2, print)
    assert caught.value.reason == "Crashed"
    assert "spec.resources.memory" in caught.value.remedy


def test_a_stop_ends_it(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(encoded(picture(1)))
    stop = threading.Event()
    stop.set()
    for count in (3, 300):
        with pytest.raises(TrainerError, match="Stopped while checking") as caught:
            look_at_all([ImageToCheck(path, 40, 30)] * count, print, stop)
        assert caught.value.exit_code == 143


@pytest.mark.parametrize("name", ["images.tar", "images.tar.gz"])
def test_an_archive_is_looked_at_in_place_and_shown_as_its_folder_is(
    name: str, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same findings, statistics and sheet of samples; in several processes, too."""
    lab.train.put("3.jpg", b"broken")
    lab.train.image(1)["file_name"] = "missing.jpg"
    assert lab.run() == 65
    folder = json.loads((lab.reports / "report.json").read_text())
    sheet = _sheet(lab)
    with tarfile.open(lab.folder / name, "w:gz" if name.endswith("gz") else "w") as tar:
        tar.add(lab.train.folder / "images", "images")
    lab.spec["dataset"]["train_data_sources"][0]["image_dir"] = str(lab.folder / name)
    monkeypatch.setattr(image_facts, "_FEW", 4)
    assert lab.run() == 65
    archive = json.loads((lab.reports / "report.json").read_text())
    assert archive["findings"] == folder["findings"]
    assert {"image-missing", "image-unreadable"} <= set(lab.findings)
    assert archive["statistics"] == folder["statistics"]
    assert _sheet(lab) == sheet


def _sheet(lab: Lab) -> str:
    """The samples, the last picture of the report."""
    page = (lab.reports / "report.html").read_text()
    start = page.rindex("data:image/jpeg;base64,")
    return page[start : page.index('"', start)]
