"""Pictures with boxes on them: what bad boxes cost, and which images are read for a finding."""

from __future__ import annotations

import base64
import io
import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

import dino_trainer
from dino_trainer.command import preflight
from dino_trainer.data.decode import EncodedPicture, open_image
from dino_trainer.data.image_store import ImageFile
from dino_trainer.pages.gallery import Gallery
from dino_trainer.pages.marks import (
    Mark,
    as_jpeg,
    class_colour,
    corners_of,
    draw_marks,
    fitted,
    no_larger,
    sheet_of,
)
from dino_trainer.preflight import examples
from dino_trainer.preflight.findings import Finding
from dino_trainer.preflight.sources import PreflightSplit
from tests.unit.preflight_lab import Lab, encoded, lab, picture

__all__ = ["lab"]

SIZE, COLOUR = (60, 40), (255, 0, 0)


@pytest.fixture
def walked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, ...]]:
    """The rectangles that Pillow was asked for; one that it would walk along for long is refused.

    A line of 1e9 pixels takes it ten seconds.
    """
    seen: list[tuple[float, ...]] = []
    rectangle = ImageDraw.ImageDraw.rectangle

    def once(pen: ImageDraw.ImageDraw, corners: Any, *given: Any, **options: Any) -> None:
        seen.append(tuple(corners))
        assert max(map(abs, corners)) < 1000, corners
        rectangle(pen, corners, *given, **options)

    monkeypatch.setattr(ImageDraw.ImageDraw, "rectangle", once)
    return seen


def drawn(*boxes: list[float]) -> Image.Image:
    """A black picture with these boxes."""
    marks = [Mark(corners_of(np.array(box, np.float64)), COLOUR, "a") for box in boxes]
    return on_black(marks)


def on_black(marks: Sequence[Mark]) -> Image.Image:
    jpeg = as_jpeg(no_larger(Image.new("RGB", SIZE), marks))
    return Image.open(io.BytesIO(jpeg)).convert("RGB")


def red(image: Image.Image, x: int, y: int) -> bool:
    value = image.getpixel((x, y))
    assert isinstance(value, tuple)
    return value[0] > 128


@pytest.mark.parametrize(
    "box", [[10, 10, 5, 1e12], [10, 10, 1e12, 5], [-1e12, 5, 2e12, 5], [1e12, 1e12, 5, 5],
            [-1e308, -1e308, 1e308, 1e308], [1e308, 0, 1e308, 5]],
)  # fmt: skip
def test_a_box_far_beyond_the_edges_costs_no_more_than_another(
    box: list[float], walked: list[tuple[float, ...]]
) -> None:
    assert drawn(box).size == SIZE
    assert len(walked) == 2, "the box and what is written at it"


def test_a_box_over_the_edge_has_no_line_along_it() -> None:
    """It is drawn where it is: its edges within the picture, and none where the picture ends."""
    image = drawn([20, 25, 1e12, 1e12])
    assert red(image, 20, 35)
    assert red(image, 50, 25)
    assert not red(image, 59, 32)
    assert not red(image, 40, 39)
    before = drawn([-1e12, -1e12, 1e12 + 30, 1e12 + 30])
    assert red(before, 30, 20)
    assert red(before, 20, 30)
    assert not red(before, 0, 25)


def test_a_wide_line_along_a_box_beyond_the_edges_is_not_seen() -> None:
    image = on_black([Mark(corners_of([-500, -500, 2000, 2000]), COLOUR, line=20)])
    assert image.getextrema() == ((0, 0), (0, 0), (0, 0))


def contrast(one: Sequence[int], other: Sequence[int]) -> float:
    """As WCAG 2 reckons it."""

    def light(colour: Sequence[int]) -> float:
        parts = [part / 255 for part in colour]
        linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts]
        return 0.05 + sum(a * b for a, b in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    lights = sorted(map(light, (one, other)))
    return lights[1] / lights[0]


@pytest.mark.parametrize("colour", [*map(class_colour, range(40)), (255, 255, 0), (0, 0, 160)])
def test_a_name_is_read_on_the_colour_of_every_class(colour: tuple[int, int, int]) -> None:
    image = Image.new("RGB", (720, 720), (99, 99, 99))
    draw_marks(image, [Mark((20, 100, 90, 200), colour, "MMM")])
    inks = {(0, 0, 0), (255, 255, 255)} & {one for _, one in image.getcolors(9999) or ()}
    assert [ink for ink in inks if contrast(ink, colour) >= 4.4] == list(inks)
    assert len(inks) == 1


def test_a_sheet_has_a_cell_for_each_picture_and_room_for_its_caption() -> None:
    tile = fitted(Image.new("RGB", (10, 5), COLOUR), [], (24, 34))
    assert tile.size == (20, 10)
    sheet, titled = (sheet_of([tile] * 5, 4, (24, 34), caption) for caption in ("", "five"))
    assert (sheet.size, titled.width) == ((96, 68), 96)
    assert titled.height > sheet.height
    assert [red(sheet, 24 * column, 34) for column in range(2)] == [True, False]


def test_boxes_are_drawn_in_one_place() -> None:
    """Four ways of it had four looks, and one of them walked along lines of any length."""
    root = Path(dino_trainer.__file__).parent
    draw = [path for path in root.rglob("*.py") if "ImageDraw" in path.read_text(encoding="utf-8")]
    assert draw == [root / "pages" / "marks.py"]


def test_the_preflight_shows_a_box_of_any_size(lab: Lab, walked: list[tuple[float, ...]]) -> None:
    lab.train.box()["bbox"] = [10, 10, 5, 1e12]
    lab.run()
    assert walked
    assert shown(lab, "box-over-edge") == ["train 1.jpg"]


def shown(lab: Lab, rule: str) -> list[str]:
    """The images that the page has for a finding."""
    text = (lab.reports / "report.html").read_text()
    return re.findall(rf'alt="([^"]+), {rule}" src="data:image/jpeg;base64,', text)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often pictures were read for the report."""
    counted: Counter[str] = Counter()

    def counting(file: ImageFile) -> EncodedPicture:
        counted[file.name] += 1
        return open_image(file)

    monkeypatch.setattr(examples, "open_image", counting)
    return counted


def many(lab: Lab, content: Callable[[int], bytes]) -> None:
    """A second source of 30 images, whose files have these contents."""
    side = lab.another(200, count=30)
    for image in side.coco["images"]:
        side.put(image["file_name"], content(image["id"]))


def test_of_a_finding_without_pictures_few_images_are_read(
    lab: Lab, reads: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    marked: list[object] = []
    monkeypatch.setattr(examples, "_marks", lambda place: marked.append(place) or [])
    many(lab, lambda id: b"no picture %d" % id)
    assert lab.run() == 65
    assert lab.findings["image-unreadable"]["count"] == 30
    assert shown(lab, "image-unreadable") == []
    assert reads.total() == examples.MOST_TRIED < 30
    assert marked == [], "boxes are not looked for where there is no picture"


def test_an_image_of_another_size_is_shown_with_its_boxes(lab: Lab, reads: Counter[str]) -> None:
    many(lab, lambda id: encoded(picture(id, (80, 60))))
    assert lab.run() == 65
    assert lab.findings["image-size-differs"]["count"] == 30
    names = shown(lab, "image-size-differs")
    assert names == ["train[1] 200.jpg", "train[1] 201.jpg", "train[1] 202.jpg"]
    assert reads.total() == 3
    text = (lab.reports / "report.html").read_text()
    (jpeg,) = re.findall(r'alt="train\[1\] 200.jpg, image-size-differs" src="\S+?,(.+?)"', text)
    assert Image.open(io.BytesIO(base64.b64decode(jpeg))).size == (80, 60)


def test_one_who_was_asked_to_stop_reads_no_more(
    lab: Lab, reads: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = examples.example_pictures
    lab.train.put("1.jpg", encoded(picture(1, (20, 20))))

    def late(findings: Sequence[Finding], splits: Sequence[PreflightSplit], stop: Event) -> Gallery:
        assert made(findings, splits, stop).pictures
        reads.clear()
        stop.set()
        return made(findings, splits, stop)

    monkeypatch.setattr(preflight, "example_pictures", late)
    assert lab.run() == 65, "the verdict stands"
    assert shown(lab, "image-size-differs") == []
    assert reads.total() == 0
