"""Real photographs, beside the digits of test_actions.py: collected where BCCD is (conftest.py)."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.e2e.bccd import BCCD
from tests.e2e.jobs import Lab, Object
from tests.e2e.judge import check_evaluation, check_training
from tests.e2e.test_actions import chain

pytestmark = [pytest.mark.cluster, pytest.mark.level0]


@pytest.fixture(scope="module")
def trained(lab: Lab) -> Object:
    """The status of the training of examples/chain.yaml at its end, of fewer epochs and smaller
    images: 204 steps.
    """
    jobs = chain("bccd")
    train, evaluate = jobs["chain-train"], jobs["chain-evaluate"]
    experiment = train["spec"]["experiment"]
    experiment["train"].update(num_epochs=4, validation_interval=4)
    experiment["dataset"]["augmentation"]["fixed_size"] = [192, 256]
    evaluate["spec"]["parent"]["name"] = "cells-train"
    for job, name in ((train, "cells-train"), (evaluate, "cells-evaluate")):
        job["metadata"]["name"] = name
        job["spec"]["output"]["uri"] += "-cells"
    for split in ("train", "val", "test"):
        lab.put(BCCD / split, f"bccd/{split}")
    lab.kubectl("apply", "-f", "-", given=yaml.safe_dump_all([train, evaluate]))
    return lab.complete("cells-train", seconds=1800)


def test_photographs_train_to_a_good_detector(lab: Lab, trained: Object, tmp_path: Path) -> None:
    """Blood cells: about 2 minutes, from an ImageNet backbone reach mAP50 0.45."""
    assert trained["dataset"]["classNames"][1:] == ["RBC", "WBC", "Platelets"]
    assert trained["dataset"]["images"] == 205
    check_training(lab, "cells-train", trained, tmp_path, least=0.45)


def test_their_evaluation_counts_as_pycocotools_does(
    lab: Lab, trained: Object, tmp_path: Path
) -> None:
    """On the whole test split."""
    status = lab.complete("cells-evaluate", seconds=900)
    check_evaluation(lab, status, BCCD / "test", tmp_path, least=0.4)
