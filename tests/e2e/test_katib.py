"""Searches on a real Katib with real trainings. They run where Katib is installed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from demo.errors import DemoError
from dino_api.names import Label
from dino_operator.plan.model import Settings
from dino_operator.preview import preview
from tests.e2e.jobs import TERMINAL, Lab, is_true, search_like, sha256, small_job
from tests.patience import Patience

Object = dict[str, Any]
CRD = "experiments.kubeflow.org"
INJECTION = "katib.kubeflow.org/metrics-collector-injection"
NO_WEIGHTS = "s3://dino/no-such-weights.pth"
LR = {"path": "train.optim.lr", "min": 1e-4, "max": 1e-3, "scale": "log"}
QUERIES = {"path": "model.num_queries", "min": 20, "max": 40, "step": 10}
DROPOUT = {"path": "model.dropout_ratio", "choices": [0.0, 0.1]}

pytestmark = [pytest.mark.cluster]


def a_search(name: str, epochs: int = 2, **spec: Any) -> Object:
    """A baseline and three trials of seconds, two at a time, of which Katib draws three."""
    job = small_job(name, epochs=epochs)
    experiment = job["spec"]["experiment"]
    for key in ("num_queries", "num_select"):  # what the template sets cannot be searched
        del experiment["model"][key]
    # The default of 300 queries, which the baseline has, needs as many tokens.
    experiment["dataset"]["augmentation"]["fixed_size"] = [256, 320]
    told = {"maxTrials": 4, "parallelTrials": 2, "search": [LR, QUERIES, DROPOUT], **spec}
    return search_like(job, engine="Katib", **told)


@pytest.fixture(scope="module")
def katib(lab: Lab) -> Iterator[Lab]:
    """The cluster, if Katib is on it; its collectors may come into the tests' namespace."""
    try:
        labels = lab.kubectl("get", "crd", CRD, "-o", "jsonpath={.metadata.labels}")
    except DemoError:
        pytest.skip(f"Katib is not installed on this cluster: it does not serve {CRD}")
    if "test-double" in labels:
        pytest.skip(f"{CRD} belongs to the double of tests/api, not to a Katib")
    namespace = lab.cluster.namespace
    lab.kubectl("label", "--overwrite", "namespace", namespace, f"{INJECTION}=enabled")
    try:
        _answers(lab)
        yield lab
    finally:
        lab.kubectl("label", "namespace", namespace, f"{INJECTION}-")


def _answers(lab: Lab) -> None:
    """Katib's webhooks take the Experiment that is rendered; skips where they do not answer."""
    made = preview(a_search("asked"), Settings(trainer_image="trainer:1"), "Katib").objects[-1]
    del made["metadata"]["ownerReferences"]
    made["metadata"]["namespace"] = lab.cluster.namespace
    try:
        lab.kubectl("create", "--dry-run=server", "-f", "-", given=json.dumps(made))
    except DemoError as error:
        if "failed calling webhook" in str(error):
            pytest.skip(f"Katib is installed, but its controller does not answer: {error}")
        raise


def wait(lab: Lab, name: str, seconds: float, until: Callable[[Object], bool]) -> Object:
    """The status of the search once it is so; a failure tells all that there is to see."""
    patience = Patience(seconds)
    status: Object = {}
    while patience.lasts():
        status = lab.get("dinoautoml", name).get("status", {})
        if until(status):
            return status
        time.sleep(1)
    shown = lab.kubectl("get", "experiments,suggestions,trials,jobs,pods")
    raise AssertionError(f"{name}: {json.dumps(status, indent=1)}\n{shown}")


def finished(lab: Lab, name: str, seconds: float) -> Object:
    """The status at the end."""
    return wait(lab, name, seconds, lambda s: any(is_true(s, end) for end in TERMINAL))


def trial_pods(lab: Lab, name: str) -> list[str]:
    """The pods of Katib's trials that have not ended."""
    chosen = f"{Label.AUTOML.value}={name},{Label.ACTION.value}=train"
    found = json.loads(lab.kubectl("get", "pods", "-l", chosen, "-o", "json"))["items"]
    live = [pod for pod in found if pod["status"].get("phase") in ("Pending", "Running")]
    return [pod["metadata"]["name"] for pod in live]


def test_a_search_finds_the_best_of_baseline_and_trials(katib: Lab, tmp_path: Path) -> None:
    katib.apply(a_search("tune"))
    status = finished(katib, "tune", 900)
    assert is_true(status, "Complete"), json.dumps(status, indent=1)

    rows = status["history"]
    assert [row["state"] for row in rows] == ["Succeeded"] * 4, rows
    assert rows[0]["name"] == "tune-trial-0"
    best = status["best"]
    assert best["mAP50"] == max(row["mAP50"] for row in rows)
    checkpoint = katib.fetch(best["checkpoint"]["uri"], tmp_path / "best.pth")
    assert sha256(checkpoint) == best["checkpoint"]["sha256"]

    experiment = katib.get("experiment", status["experiment"])
    true = {c["type"] for c in experiment["status"]["conditions"] if c["status"] == "True"}
    assert "Succeeded" in true
    optimal = experiment["status"]["currentOptimalTrial"]["observation"]["metrics"][0]
    theirs = max(row["mAP50"] for row in rows[1:])
    assert float(optimal["max"]) == pytest.approx(theirs, abs=1e-4), "Katib read what was trained"

    for row in rows[1:]:
        drawn = row["parameters"]
        assert LR["min"] <= drawn["train.optim.lr"] <= LR["max"]
        where = f"s3://dino/test-results/tune/trials/{row['name']}/train/experiment.yaml"
        trained = yaml.safe_load(katib.fetch(where, tmp_path / "spec.yaml"))
        assert trained["train"]["optim"]["lr"] == pytest.approx(drawn["train.optim.lr"])
        assert trained["model"]["dropout_ratio"] == drawn["model.dropout_ratio"]
        assert trained["model"]["num_queries"] == drawn["model.num_queries"]
        assert drawn["model.num_queries"] in (20, 30, 40)
        assert trained["model"]["num_select"] <= drawn["model.num_queries"]


def test_trials_that_fail_say_why(katib: Lab) -> None:
    """The exit code reaches the status, and the search ends with its remedy."""
    choices = {"path": "model.pretrained_backbone_path", "choices": [NO_WEIGHTS]}
    manifest = a_search("wrong", maxTrials=2, maxFailedTrials=0, search=[choices])
    del manifest["spec"]["template"]["experiment"]["model"]["pretrained_backbone_path"]
    katib.apply(manifest)
    status = finished(katib, "wrong", 600)
    assert is_true(status, "Failed"), json.dumps(status, indent=1)
    assert status["history"][1]["reason"] == "InputNotFound"
    assert "no-such-weights" in status["failure"]["message"]


def test_suspend_frees_the_pods_and_resume_goes_on(katib: Lab) -> None:
    """Katib calls held Jobs running, and so draws no others."""
    katib.apply(a_search("pause", epochs=12, maxTrials=3))
    wait(katib, "pause", 400, lambda _: len(trial_pods(katib, "pause")) == 2)
    katib.kubectl("patch", "daml", "pause", "--type=merge", "-p", '{"spec":{"suspend":true}}')
    status = wait(katib, "pause", 200, lambda s: is_true(s, "Suspended"))
    wait(katib, "pause", 200, lambda _: not trial_pods(katib, "pause"))
    names = [row["name"] for row in status["history"]]
    katib.kubectl("patch", "daml", "pause", "--type=merge", "-p", '{"spec":{"suspend":false}}')
    status = finished(katib, "pause", 900)
    assert is_true(status, "Complete"), json.dumps(status, indent=1)
    assert [row["name"] for row in status["history"]] == names, "no trial was lost or added"


def test_deleting_it_leaves_nothing(katib: Lab) -> None:
    katib.apply(a_search("gone", epochs=1000))
    wait(katib, "gone", 300, lambda _: bool(trial_pods(katib, "gone")))
    katib.kubectl("delete", "daml", "gone", "--wait=true")
    chosen = ("experiments,suggestions,trials,jobs,pods", "-l", f"{Label.AUTOML.value}=gone")
    patience = Patience(180)
    while left := katib.kubectl("get", *chosen, "-o", "name").strip():
        assert patience.lasts(), left
        time.sleep(1)
