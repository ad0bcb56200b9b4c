"""The data is checked by a pod without a GPU before the training's pod exists."""

from __future__ import annotations

import pytest

from tests.e2e.jobs import Lab, is_true, small_job

pytestmark = [pytest.mark.cluster, pytest.mark.level0]


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
