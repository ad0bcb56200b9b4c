"""What all reports share: one base and style, and names that stay text."""

from __future__ import annotations

import html
import re
from pathlib import Path

import pytest
from jinja2 import UndefinedError

from dino_trainer import pages
from dino_trainer.pages import PageHead, render
from tests.unit.html_page import Page
from tests.unit.pages_made import EVIL, PAGES, inference, preflight, quantization

TEMPLATES = Path(pages.__file__).parent / "templates"


@pytest.mark.parametrize("made", PAGES.values(), ids=PAGES)
def test_names_are_text_on_every_page(made) -> None:
    text = made()
    assert EVIL not in text
    assert EVIL in "".join(Page(text).texts)
    assert "b" not in Page(text).tags


def test_what_the_pages_say() -> None:
    said = "".join(Page(preflight()).texts)
    for words in ("1 errors, 0 warnings", "1,234", "0+", "boxes in train", "Data of this"):
        assert words in said
    assert re.findall(r'<rect width="(.+?)%"', preflight()) == ["100.0", "50.0"]
    assert '<p class="verdict bad">' in quantization()
    assert "No such layers" not in quantization()
    assert "And 1 more; predictions.json names them all." in inference()
    assert re.search(r'style="background:rgb\(\d+, \d+, \d+\)"', inference())


def test_tiles_of_a_quantization_say_of_what_they_are() -> None:
    """Two are shares of the given file's, and one is a difference."""
    tiles = re.findall(r"<div><dt>(.*?)</dt><dd>(.*?)</dd></div>", quantization())
    assert [(html.unescape(name), value) for name, value in tiles] == [
        ("change of mAP", "-0.1000"),
        ("time of one image, of the given file's", "50 %"),
        ("size, of the given file's", "25 %"),
        ("detections found again", "90.0 %"),
    ]


@pytest.mark.parametrize("name", sorted(path.stem for path in TEMPLATES.glob("*.html")))
def test_no_template_trusts_a_text_or_brings_its_own_style(name: str) -> None:
    text = (TEMPLATES / f"{name}.html").read_text()
    assert not re.search(r"\|\s*safe|autoescape|<style" if name != "base" else r"\|\s*safe", text)
    assert name in ("base", "parts", "plots") or text.startswith('{% extends "base.html" %}\n')


def test_a_fact_that_is_missing_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="done"):
        render("quantization", PageHead("a", "b", "c"), rows=[], lists=[])
