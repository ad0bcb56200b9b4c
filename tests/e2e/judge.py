"""What a training and an evaluation on a cluster must have left, whatever they saw."""

from __future__ import annotations

import json
from pathlib import Path

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from dino_api.result import Metrics
from tests.e2e.jobs import Lab, Object, artifact, sha256


def check_training(lab: Lab, name: str, status: Object, folder: Path, least: float) -> None:
    """A detector of at least that mAP50 in one attempt, its checkpoint, its picture, its log."""
    assert status["metrics"]["mAP50"] >= least
    assert status["progress"]["percent"] == 100
    assert status["attempts"] == 1
    checkpoint = lab.fetch(status["checkpoint"]["uri"], folder / "best.pth")
    assert sha256(checkpoint) == status["checkpoint"]["sha256"] == status["model"]["sha256"]
    assert len(checkpoint) == status["checkpoint"]["bytes"]
    results = lab.get("dinojob", name)["spec"]["output"]["uri"] + "/train"
    picture = lab.fetch(f"{results}/validation.png", folder / "validation.png")
    assert picture.startswith(b"\x89PNG")
    lines = lab.fetch(f"{results}/status.json", folder / "s.json").decode()
    assert json.loads(lines.splitlines()[-1])["status"] == "SUCCESS"
    table = lab.kubectl("get", "dinojob", name, "-o", "wide")
    assert "Complete" in table
    assert "100%" in table


def check_evaluation(lab: Lab, status: Object, split: Path, folder: Path, least: float) -> None:
    """The metrics are those that pycocotools counts in the predictions that the job left."""
    predictions = json.loads(artifact(lab, status, "predictions.json", folder))
    truth = COCO(str(split / "annotations.json"))
    judge = COCOeval(truth, truth.loadRes(predictions), "bbox")
    judge.evaluate()
    judge.accumulate()
    judge.summarize()
    assert status["metrics"] == Metrics.from_coco(judge.stats).rounded().to_dict()
    assert status["metrics"]["mAP50"] >= least
    page = artifact(lab, status, "report.html", folder).decode()
    assert all(each["name"] in page for each in truth.dataset["categories"])
    assert "data:image/" in page
