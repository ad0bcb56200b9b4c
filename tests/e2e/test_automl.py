"""A search on the cluster by real trainings, which no death of the operator changes."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from dino_api.resources.dinoautoml import Algorithm, Assignment, SearchParameter
from dino_operator.plan.search.samplers.draw import draw
from tests.e2e.jobs import TERMINAL, Lab, Object, is_true, search_like, sha256, small_job
from tests.patience import Patience
from tests.reliability.test_kills import kill_operator

pytestmark = [pytest.mark.cluster, pytest.mark.level0]

NAME, TRIALS, PARALLEL = "digits", 6, 2
FOLLOWER = f"{NAME}-then-1"
NO_WEIGHTS = "s3://dino/no-such-weights.pth"
WEIGHTS, RATE = "model.pretrained_backbone_path", "train.optim.lr"
SEARCH: list[Object] = [
    {"path": RATE, "min": 1e-7, "max": 2e-3, "scale": "log"},
    {"path": WEIGHTS, "choices": ["imagenet", NO_WEIGHTS]},
]
TOO_LOW = 1e-6


def draws(seed: int) -> list[Assignment]:
    """What trials 1 to 5 get: `random` looks at nothing that happens."""
    space = [SearchParameter.model_validate(one) for one in SEARCH]
    algorithm = Algorithm(name="random", seed=seed)
    drawn = (draw(space, algorithm, number, []) for number in range(1, TRIALS))
    return [one for one in drawn if one is not None]


def is_telling(drawn: list[Assignment]) -> bool:
    """One trial without weights; one that learns nothing, after others to compare it with."""
    broken = [n for n, one in enumerate(drawn) if one[WEIGHTS] == NO_WEIGHTS]
    idle = [n for n, one in enumerate(drawn) if float(one[RATE]) < TOO_LOW]
    return len(broken) == 1 and len(idle) == 1 and idle[0] >= 2 and broken != idle


SEED = next(seed for seed in range(1000) if is_telling(draws(seed)))


def search() -> Object:
    """Digits with a detector of one layer each: half a minute a trial."""
    data = {
        "train": [{"uri": "s3://dino/one-class/train"}],
        "validation": [{"uri": "s3://dino/one-class/val"}],
    }
    job = small_job(NAME, epochs=6, datasets=data, runPolicy={"maxRetries": 0})
    experiment = job["spec"]["experiment"]
    # It is searched: what the template sets cannot be.
    del experiment["model"]["pretrained_backbone_path"]
    experiment["dataset"]["batch_size"] = 8
    experiment["train"]["clip_grad_norm"] = 0.1
    return search_like(
        job,
        engine="Embedded",
        algorithm={"name": "random", "seed": SEED},
        pruning={"name": "median", "startEpoch": 2, "minTrials": 1},
        search=SEARCH,
        maxTrials=TRIALS,
        parallelTrials=PARALLEL,
        then=[{"action": "train", "epochs": 1}],
    )


def followed(lab: Lab, kills: list[int], seconds: float) -> tuple[Object, int]:
    """The status at the end, and the most training pods at one time.

    kills: the operator is killed once so many trials have ended.
    """
    patience, most = Patience(seconds), 0
    trials = ",".join(f"{NAME}-trial-{number}" for number in range(TRIALS))
    chosen = f"dino-operator.io/action=train,dino-operator.io/job in ({trials})"
    pods = ("get", "pods", "-l", chosen, "-o", "json")
    while patience.lasts():
        status: Object = lab.get("dinoautoml", NAME).get("status", {})
        alive = json.loads(lab.kubectl(*pods))["items"]
        most = max(most, sum(pod["status"].get("phase") == "Running" for pod in alive))
        states = [trial["state"] for trial in status.get("history", [])]
        over = sum(state not in ("Pending", "Running") for state in states)
        if kills and states and over >= kills[0]:
            kills.pop(0)
            kill_operator(lab)
        if any(is_true(status, end) for end in TERMINAL):
            return status, most
        time.sleep(1)
    raise AssertionError(f"no end after {patience.seconds:.0f} s: {json.dumps(status, indent=1)}")


def test_a_search_whose_operator_is_killed_twice(lab: Lab, one_class: None, tmp_path: Path) -> None:
    lab.apply(search())

    kills = [0, 2]
    status, most = followed(lab, kills, seconds=1200)

    assert is_true(status, "Complete"), json.dumps(status, indent=1)
    assert kills == []
    assert most <= PARALLEL
    history = status["history"]
    assert [trial["number"] for trial in history] == list(range(TRIALS))
    assert [trial.get("parameters", {}) for trial in history] == [{}, *draws(SEED)]
    jobs = json.loads(
        lab.kubectl("get", "dinojobs", "-l", f"dino-operator.io/automl={NAME}", "-o", "json")
    )
    names = sorted(job["metadata"]["name"] for job in jobs["items"])
    trials = [f"{NAME}-trial-{number}" for number in range(TRIALS)]
    assert names == [FOLLOWER, *trials]

    states = {trial["parameters"].get(WEIGHTS): trial for trial in history if trial["number"]}
    assert states[NO_WEIGHTS]["state"] == "Failed"
    assert states[NO_WEIGHTS]["reason"] == "InputNotFound"
    idle = next(t for t in history if t.get("parameters", {}).get(RATE, 1) < TOO_LOW)
    assert idle["state"] == "Pruned"
    assert status["trials"]["failed"] == 1
    assert status["trials"]["pruned"] >= 1

    scores = [trial["mAP50"] for trial in history if "mAP50" in trial]
    best = status["best"]
    assert best["mAP50"] == max(scores) > 0
    drawn = best.get("parameters", {}).get(RATE)
    assert best["specification"]["train"].get("optim", {}).get("lr") == drawn
    weights = lab.fetch(best["checkpoint"]["uri"], tmp_path / "best.pth")
    assert sha256(weights) == best["checkpoint"]["sha256"]

    report = next(one for one in status["artifacts"] if one["name"] == "report.html")
    page = lab.fetch(report["uri"], tmp_path / "report.html").decode()
    assert all(name in page for name in trials)
    table = lab.kubectl("get", "dinoautoml", NAME, "-o", "wide")
    assert f"{TRIALS}/{TRIALS}" in table
    assert f"{best['mAP50']}" in table

    (follower,) = status["then"]
    assert follower["name"] == FOLLOWER
    assert follower["phase"] == "Complete"
    heir = lab.status(FOLLOWER)
    assert heir["inherited"]["model"]["uri"] == best["checkpoint"]["uri"]
    assert heir["metrics"]["mAP50"] > best["mAP50"] / 2, "one epoch from new weights finds nothing"
