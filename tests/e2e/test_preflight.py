"""The data is checked by a pod without a GPU before the training's pod exists."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.e2e.jobs import Lab, is_true, small_job

pytestmark = [pytest.mark.cluster, pytest.mark.level0]


def test_warnings_and_the_report_are_there_before_training(lab: Lab, tmp_path: Path) -> None:
    """Findings stand in the status while the training still runs."""
    job = small_job("checked", epochs=1)
    datasets = job["spec"]["datasets"]
    datasets["validation"] = datasets["train"]
    lab.apply(job)

    status = lab.wait("checked", 120, lambda s: is_true(s, "DataReady"), "checked data")

    assert status["dataset"]["images"] == 24
    assert status["dataset"]["numClasses"] == 11, "0 is never used"
    assert any("validation" in text for text in status["dataset"]["warnings"])
    lab.complete("checked", seconds=400)
    base = "s3://dino/test-results/checked/preflight"
    report = json.loads(lab.fetch(f"{base}/report.json", tmp_path / "report.json"))
    assert [one["id"] for one in report["findings"]]
    page = lab.fetch(f"{base}/report.html", tmp_path / "report.html").decode()
    assert "<html" in page
    assert "data:image/" in page, "the grid of samples is part of the page"
    names = {one["name"] for one in lab.status("checked")["artifacts"]}
    assert {"preflight/report.html", "preflight/report.json"} <= names


def test_bad_data_never_asks_for_a_gpu(lab: Lab) -> None:
    """A class count that the data exceeds ends the job before the training's Job exists."""
    lab.apply(small_job("few-classes", numClasses=3))

    status = lab.finished("few-classes", seconds=240)

    assert status["failure"]["reason"] == "InvalidDataset"
    assert status["failure"]["exitCode"] == 65
    assert "10" in status["failure"]["message"]
    assert not is_true(status, "DataReady")
    actions = [
        one["metadata"]["labels"]["dino-operator.io/action"]
        for one in lab.list("jobs", "few-classes")
    ]
    assert actions == ["preflight"]
