"""The five reports, made of little: what every page has to hold is tried on each of them."""

from __future__ import annotations

import numpy as np

from dino_api.result import Metrics, ModelComparison, ScoredModel
from dino_api.search.record import SearchRecord
from dino_trainer.evaluation.page import evaluation_page
from dino_trainer.inference import drawing
from dino_trainer.inference.page import ReportPicture, inference_page
from dino_trainer.inference.tally import Tally
from dino_trainer.pages.gallery import Gallery, GalleryPicture
from dino_trainer.preflight.page import preflight_page
from dino_trainer.quantize.page import quantization_page
from dino_trainer.scoring.matching import BoxSet
from dino_trainer.scoring.statistics import PrecisionRecall, Truth, detection_statistics
from dino_trainer.search_report.page import search_page

EVIL = "<b>&\"'</b>"


def quantization() -> str:
    """One that its gate refused."""
    found = ModelComparison(
        reference=ScoredModel(format="onnx", mAP=0.5, mAP50=0.8, latency_ms=20, bytes=400),
        candidate=ScoredModel(format="onnx", mAP=0.4, mAP50=0.7, latency_ms=10, bytes=100),
        matched=0.9,
    )
    return quantization_page(EVIL, False, found, EVIL, [(EVIL, [EVIL]), ("No such layers", [])])


def inference(pictures: int = 1, jpeg: bytes = b"jpeg") -> str:
    """Of two classes, the first of them of number 0 without a name, with images left out."""
    tally = Tally(("", EVIL))
    tally.skipped += [(EVIL, EVIL)] * 201
    colours = drawing.colours_of(["", EVIL], None)
    shown = [ReportPicture(EVIL, jpeg, 3, frozenset({EVIL, "b"}))] * pictures
    return inference_page(EVIL, tally, colours, 0.5, shown)


def preflight() -> str:
    """One that found an error, with an image of it."""
    finding = {"id": EVIL, "severity": "error", "count": 1234, "message": EVIL, "remedy": EVIL}
    bins = [{"from": 0, "below": None, "count": 0}]
    split = {"images": 1, "boxes": 2, "mostBoxesInOneImage": 2}
    split |= {"boxSizes": bins, "boxesPerImage": bins}
    classes = [{"id": 1, "name": EVIL, "train": 1200}, {"id": 2, "name": "b", "train": 600}]
    statistics = {"splits": {"train": split}, "classes": classes}
    report = {"action": "train", "findings": [finding], "statistics": statistics}
    pictures = [GalleryPicture(EVIL, b"jpeg", [("", EVIL)], {EVIL}), GalleryPicture("b", b"jpeg")]
    return preflight_page(report, b"jpeg", Gallery(pictures))


def search() -> str:
    """One with a winner, a trial that failed, and charts of all kinds."""
    trials = [
        {
            "number": number,
            "name": EVIL,
            "state": "Succeeded",
            "parameters": {"model.backbone": EVIL, "train.optim.lr": 1e-5 * 2**number},
            "mAP50": 0.1 * number,
            "curve": [0.05, 0.1 * number],
        }
        for number in range(1, 7)
    ]
    failed = {"number": 0, "name": EVIL, "state": "Failed", "reason": EVIL, "message": EVIL}
    best = {"trial": EVIL, "number": 6, "mAP50": 0.6, "specification": {EVIL: EVIL}}
    given = {
        "name": EVIL,
        "engine": "Embedded",
        "space": [
            {"path": "model.backbone", "choices": [EVIL, "b"]},
            {"path": "train.optim.lr", "min": 1e-5, "max": 1e-3, "scale": "log"},
        ],
        "experiment": {},
        "history": [{**failed, "parameters": {"model.backbone": EVIL}}, *trials],
        "best": {**best, "checkpoint": {"uri": EVIL}},
        "outcome": EVIL,
    }
    return search_page(SearchRecord.model_validate(given))


def evaluation() -> str:
    """Of two classes that are confused once, with a picture of it."""
    names = {1: EVIL, 2: "b"}
    boxes = np.array([[0.0, 0, 10, 10], [20, 20, 10, 10], [40, 40, 10, 10]])
    nothing = np.zeros(3, np.bool_)
    images = np.zeros(3, np.int64)
    truth = BoxSet(images, np.array([1, 1, 2]), boxes, np.ones(3), nothing)
    found = BoxSet(images, np.array([1, 2, 2]), boxes, np.array([0.9, 0.8, 0.7]), nothing)
    accumulated = PrecisionRecall(np.full((10, 101, 2), 0.5), np.full((10, 2), 0.5))
    statistics = detection_statistics(found, Truth(truth, names, images=1), accumulated)
    picture = GalleryPicture(EVIL, b"jpeg", [("confused", "1 confused")], {EVIL, "b"}, {(1, 2)})
    metrics = Metrics.from_coco([0.5] * 11 + [-1.0])
    return evaluation_page(EVIL, [EVIL], metrics, statistics, Gallery([picture]))


PAGES = {made.__name__: made for made in (preflight, evaluation, search, quantization, inference)}
