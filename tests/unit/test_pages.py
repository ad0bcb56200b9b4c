"""What all reports share: one base and style, and names that stay text."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from html_page import Page
from jinja2 import UndefinedError

from dino_api.result import Comparison, Scored
from dino_api.search.record import SearchRecord
from dino_trainer import pages
from dino_trainer.inference import drawing
from dino_trainer.inference.page import ReportPicture
from dino_trainer.inference.page import inference_page as of_inference
from dino_trainer.inference.tally import Tally
from dino_trainer.pages import render
from dino_trainer.preflight.page import preflight_page as of_preflight
from dino_trainer.quantize.page import quantization_page as of_quantization
from dino_trainer.search_report.page import search_page as of_search

EVIL = "<b>&\"'</b>"
TEMPLATES = Path(pages.__file__).parent / "templates"


def quantization() -> str:
    found = Comparison(reference=Scored(format="onnx"), candidate=Scored(format="onnx"))
    return of_quantization(EVIL, False, found, EVIL, [(EVIL, [EVIL]), ("No such layers", [])])


def inference() -> str:
    tally = Tally(["", EVIL])
    tally.skipped += [(EVIL, EVIL)] * 201
    colours = drawing.colours_of(["", EVIL], None)
    return of_inference(EVIL, tally, colours, 0.5, [ReportPicture(EVIL, b"jpeg", 3)])


def preflight() -> str:
    finding = {"id": EVIL, "severity": "error", "count": 1234, "message": EVIL, "remedy": EVIL}
    split = {"images": 1, "boxes": 2, "mostBoxesInOneImage": 2}
    bins = [{"from": 0, "below": None, "count": 0}]
    split |= {"boxSizes": bins, "boxesPerImage": bins}
    classes = [{"id": 1, "name": EVIL, "train": 1200}, {"id": 2, "name": "b", "train": 600}]
    statistics = {"splits": {"train": split}, "classes": classes}
    report = {"action": "train", "findings": [finding], "statistics": statistics}
    return of_preflight(report, b"jpeg")


def search() -> str:
    trial = {"number": 1, "name": EVIL, "state": "Failed", "parameters": {"model.backbone": EVIL}}
    best = {"trial": EVIL, "number": 1, "mAP50": 0.5, "specification": {EVIL: EVIL}}
    given = {
        "name": EVIL,
        "engine": "Embedded",
        "space": [{"path": "model.backbone", "choices": [EVIL, "b"]}],
        "experiment": {},
        "history": [{**trial, "reason": EVIL, "message": EVIL}],
        "best": {**best, "checkpoint": {"uri": EVIL}},
        "outcome": EVIL,
    }
    return of_search(SearchRecord.model_validate(given))


@pytest.mark.parametrize("made", [quantization, inference, preflight, search])
def test_names_are_text_on_every_page(made) -> None:
    text = made()
    assert EVIL not in re.sub(r"(?s)<script.*?</script>", "", text)
    assert EVIL in "".join(Page(text).texts)
    assert "b" not in Page(text).tags


def test_what_the_pages_say() -> None:
    said = "".join(Page(preflight()).texts)
    for words in ("1 errors, 0 warnings", "1,234", "0 and more", "boxes in train", "Data of this"):
        assert words in said
    assert preflight().count('class="bar"') == 2
    assert 'style="width:50.0%"' in preflight()
    assert '<p class="verdict bad">' in quantization()
    assert "No such layers" not in quantization()
    assert "And 1 more; predictions.json names them all." in inference()
    assert re.search(r'style="background:rgb\(\d+, \d+, \d+\)"', inference())


@pytest.mark.parametrize("name", sorted(path.stem for path in TEMPLATES.glob("*.html")))
def test_no_template_trusts_a_text_or_brings_its_own_style(name: str) -> None:
    text = (TEMPLATES / f"{name}.html").read_text()
    assert not re.search(r"\|\s*safe|autoescape|<style" if name != "base" else r"\|\s*safe", text)
    assert name in ("base", "parts") or text.startswith('{% extends "base.html" %}\n')


def test_a_fact_that_is_missing_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="verdict"):
        render("quantization", passed=True, rows=[], done="", lists=[])
