"""The double of Katib has Katib's oddities, and takes what is rendered."""

from __future__ import annotations

from typing import Any

import pytest

from dino_api.names import METRIC
from dino_operator.plan.search.engines.katib import experiment
from tests.katib import experiment as katib
from tests.unit.katib_cases import BACKBONE, NAME, a_search, a_trial, a_view, observed

Object = dict[str, Any]


def rendered(**spec: Any) -> Object:
    made = experiment.to_create(a_view(a_search(**spec)))[-1]
    made["metadata"]["uid"] = "uid-experiment"
    return made


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"search": []},
        {"maxTrials": 2, "parallelTrials": 2, "maxFailedTrials": 9},
        {"objective": {"goal": 0.5}},
        {"template": {"resources": {"nodes": 2}, "queueName": "gpus"}},
    ],
)
def test_katibs_webhooks_take_what_is_rendered(spec: Object) -> None:
    assert katib.refusals(rendered(**spec)) == []


def test_they_refuse_what_katib_was_seen_to_refuse() -> None:
    made = rendered()
    made["metadata"]["name"] += "-long"
    made["spec"]["parallelTrialCount"] = 9
    made["spec"]["parameters"][0]["feasibleSpace"]["min"] = 1e-5
    made["spec"]["trialTemplate"]["trialParameters"].pop()
    told = " ".join(katib.refusals(made))
    for part in ("metadata.name", "parallelTrialCount", "cannot unmarshal number", "not found in"):
        assert part in told


def test_a_trial_is_the_template_with_what_was_drawn() -> None:
    values = {
        "train.optim.lr": "4.7e-05",
        "model.num_queries": "300",
        BACKBONE["path"]: "resnet_50",
    }
    drawn = [{"name": path, "value": text} for path, text in values.items()]
    made = katib.trial(rendered(), f"{NAME}-a", drawn)
    run = made["spec"]["runSpec"]
    assert run["metadata"]["name"] == f"{NAME}-a"
    (words,) = run["spec"]["template"]["spec"]["containers"][0]["args"]
    assert f"'results_dir=s3://results/tune/trials/{NAME}-a'" in words
    assert "'train.optim.lr=4.7e-05'" in words
    assert "${" not in words


@pytest.mark.parametrize(
    "log, best",
    [
        ("Validation mAP50: 0.4\nValidation mAP50: 0.6\nValidation mAP50: 0.5", "0.6"),
        ("Validation mAP50: nan", katib.UNAVAILABLE),
        ("", katib.UNAVAILABLE),
    ],
)
def test_the_collector_reads_the_best_number(log: str, best: str) -> None:
    made = katib.trial(rendered(), "t", [{"name": p, "value": "1"} for p in _paths()])
    assert katib.observation(made, log)["metrics"][0]["max"] == best


def _paths() -> list[str]:
    return [one["name"] for one in rendered()["spec"]["parameters"]]


def trials(*states: str) -> list[Object]:
    """Trials of these states; the ones that succeeded have a metric."""
    made = []
    for index, state in enumerate(states):
        each = a_trial(str(index), state)
        each["spec"]["objective"] = {"objectiveMetricName": METRIC}
        if state == "Succeeded":
            each["status"]["observation"] = observed("0.4")
        made.append(each)
    return made


@pytest.mark.parametrize(
    "states, reason, more",
    [
        (("Succeeded", "Running"), "ExperimentRunning", 1),
        (("Succeeded",) * 4, "ExperimentMaxTrialsReached", 0),
        # It counts as completed, and not when trials are made: there may be five.
        (("MetricsUnavailable", "Succeeded", "Running", "Running"), "ExperimentRunning", 0),
        (("MetricsUnavailable", "Succeeded", "Succeeded"), "ExperimentRunning", 2),
        (("Failed", "MetricsUnavailable", "Running"), "ExperimentFailed", 1),
        # Lowered: the newest are deleted.
        (("Running",) * 3, "ExperimentRunning", -1),
    ],
)
def test_counts(states: tuple[str, ...], reason: str, more: int) -> None:
    made = rendered(maxTrials=5, parallelTrials=2, maxFailedTrials=1)
    counted = katib.summary(made, trials(*states))
    assert katib.verdict(made, counted)[1] == reason
    assert katib.wanted(made, counted) == more


def test_a_metric_that_is_no_number_is_katibs_best() -> None:
    made = trials("Succeeded", "Succeeded")
    made[1]["status"]["observation"] = observed("")
    best = katib.summary(rendered(), made)["currentOptimalTrial"]
    assert best["bestTrialName"] == f"{NAME}-1"


def test_the_goal_ends_it() -> None:
    made = rendered(objective={"goal": 0.4})
    told = katib.verdict(made, katib.summary(made, trials("Succeeded", "Running")))
    assert told[:2] == ("Succeeded", "ExperimentGoalReached")
