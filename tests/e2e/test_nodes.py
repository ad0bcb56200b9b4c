"""Trainings over several pods and processes: the same numbers, and one end for all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.e2e.jobs import Lab, Object, small_job

pytestmark = [pytest.mark.cluster, pytest.mark.level0]

EPOCHS = 3


def spread_job(name: str, nodes: int, processes: int, epochs: int = EPOCHS) -> Object:
    """Digits, 20 steps an epoch over four processes of batches of two."""
    resources = {"gpus": 0, "nodes": nodes, "processes": processes, "memory": "4Gi"}
    job = small_job(name, epochs=epochs, resources=resources)
    job["spec"]["experiment"]["dataset"].update(batch_size=2, workers=0)
    job["spec"]["datasets"] = {
        "train": [{"uri": "s3://dino/one-class/train"}],
        "validation": [{"uri": "s3://dino/one-class/val"}],
    }
    return job


@pytest.fixture(scope="module", autouse=True)
def _one_class_is_there(one_class: None) -> None:
    """Every job here reads it."""


def losses(lab: Lab, name: str, folder: Path) -> list[float]:
    """The training loss after each epoch."""
    text = lab.fetch(f"s3://dino/test-results/{name}/train/status.json", folder / name).decode()
    lines = [json.loads(line) for line in text.splitlines()]
    done = [line for line in lines if line["message"] == "Training loop in progress"]
    return [line["kpi"]["train_loss"] for line in done]


def test_two_pods_of_two_processes_train_like_one_of_four(lab: Lab, tmp_path: Path) -> None:
    """Which process runs where changes nothing but the last digits."""
    jobs = {"one-by-four": (1, 4), "two-by-two": (2, 2)}
    for name, (nodes, processes) in jobs.items():
        lab.apply(spread_job(name, nodes, processes))
    ends = {name: lab.complete(name, seconds=800) for name in jobs}

    one, two = (losses(lab, name, tmp_path) for name in ends)
    assert len(one) == EPOCHS
    assert two == pytest.approx(one, rel=1e-3)
    scores = [ends[name]["metrics"] for name in jobs]
    assert scores[0]["AR100"] > 0
    assert scores[1] == pytest.approx(scores[0], abs=1e-4)
    assert all(status["attempts"] == 1 for status in ends.values())


def test_a_lost_pod_of_two_ends_both_and_the_next_attempt_resumes(lab: Lab) -> None:
    """No half of a training hangs on; the epochs that were done are not done again."""
    name = "half-lost"
    lab.apply(spread_job(name, nodes=2, processes=1, epochs=3))
    lab.saved(name)
    other = next(pod for pod in lab.live_pods(name) if pod.startswith(f"{name}-train-1-1-"))

    lab.kubectl("delete", "pod", other, "--force", "--grace-period=0")
    status = lab.complete(name, seconds=600)

    assert status["progress"]["percent"] == 100
    assert "Resuming after step" in lab.logs(name)
