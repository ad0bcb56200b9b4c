"""The report of a search: made from search.json alone, whatever happened to the trials."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dino_api.search.record import SearchRecord
from dino_trainer.command.cli import main
from dino_trainer.pages.plot import Axis
from dino_trainer.search_report.charts import learning_curves, over_trials
from dino_trainer.search_report.study import defaults_of, importances, study_of

SPACE = [
    {"path": "train.optim.lr", "min": 1e-5, "max": 5e-4, "scale": "log"},
    {"path": "model.backbone", "choices": ["resnet_34", "swin_tiny_224_1k"]},
]


def trial(number: int, state: str = "Succeeded", **more: Any) -> dict[str, Any]:
    lr = 1e-5 * 1.3**number
    drawn = {"train.optim.lr": lr, "model.backbone": "resnet_34"} if number else {}
    score = 0.5 + 0.04 * number if state in ("Succeeded", "Pruned") else None
    return {
        "number": number,
        "name": f"cells-trial-{number}",
        "state": state,
        "parameters": drawn,
        "curve": [0.1, score] if score else [],
        "gpuSeconds": 360,
        **({"mAP50": score} if score else {}),
        **more,
    }


def record(*trials: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "name": "cells",
        "engine": "Embedded",
        "space": SPACE,
        "experiment": {},
        "history": list(trials),
        **more,
    }


def report(tmp_path: Path, content: dict[str, Any]) -> str:
    source = tmp_path / "given.json"
    source.write_text(json.dumps(content))
    output = tmp_path / "results"
    assert main(["report", "-e", str(source), "--output", str(output)]) == 0
    assert json.loads((output / "search.json").read_text()) == content
    return (output / "report.html").read_text()


def test_the_page_shows_every_trial_and_the_winner(tmp_path: Path) -> None:
    message = "the container was killed at its memory limit <4Gi>"
    trials = [trial(n) for n in range(5)]
    trials += [trial(5, "Pruned"), trial(6, "Failed", reason="OutOfMemory", message=message)]
    best = {
        "trial": "cells-trial-4",
        "number": 4,
        "mAP50": 0.66,
        "specification": {"train": {"optim": {"lr": 5e-5}}},
        "checkpoint": {"uri": "s3://b/best.pth"},
    }
    text = report(tmp_path, record(*trials, best=best, outcome="mAP50 0.6600."))
    assert "7 trials on the Embedded engine (tpe); 0.70 GPU-hours. mAP50 0.6600." in text
    assert "Winner: cells-trial-4, mAP50 0.6600" in text
    assert "s3://b/best.pth" in text
    assert "OutOfMemory: the container was killed at its memory limit &lt;4Gi&gt;" in text
    for heading in ("over trials", "searched values", "Importance", "Learning curves"):
        assert heading in text
    assert "Nothing to show" not in text
    assert 'src="http' not in text, "it opens without a network"


def test_trials_without_a_score_are_not_drawn_as_zeros() -> None:
    """Stopped before its first validation is not 0; failed lies on the axis, as it says."""
    told = [trial(0), trial(1, "Stopped"), trial(2, "Pruned", mAP50=0.0), trial(3, "Failed")]
    plot = over_trials(SearchRecord.model_validate(record(*told)))
    places = {one.name: (list(one.xs), list(one.ys)) for one in plot.curves if one.points}
    assert places == {
        "Succeeded": ([0], [0.5]), "Pruned": ([2], [0.0]), "Failed": ([3], [0.0]),
    }  # fmt: skip


@pytest.mark.parametrize("trials", [1, 2, 3, 4, 5, 9, 14, 60, 120])
def test_trials_and_validations_are_counted_in_whole_numbers(trials: int) -> None:
    told = [trial(n, curve=[0.1] * trials) for n in range(trials)]
    made = SearchRecord.model_validate(record(*told))
    curves = learning_curves(made)
    assert curves is not None
    for axis in (over_trials(made).x, curves.x):
        values = [value for value, _ in axis.marked()]
        assert values
        assert all(text == str(round(value)) for value, text in axis.marked())
        assert len(values) == len(set(values)) <= 7


@pytest.mark.parametrize("high", [float("nan"), float("inf")])
@pytest.mark.parametrize("log", [False, True])
def test_an_axis_whose_end_is_no_number_has_no_ticks(high: float, log: bool) -> None:
    assert not Axis("mAP50", 0.1, high, log=log).marked()


def test_a_search_in_which_nothing_worked_has_a_page(tmp_path: Path) -> None:
    page = report(tmp_path, record(trial(0, "Failed", reason="InvalidDataset")))
    assert page.count("Nothing to show") == 3
    assert "InvalidDataset" in page


def test_trial_0_has_the_defaults_that_the_others_are_compared_with() -> None:
    found = SearchRecord.model_validate(record(trial(0), trial(1)))
    assert defaults_of(found) == {"train.optim.lr": 2e-4, "model.backbone": "resnet_50"}
    first = study_of(found).trials[0]
    assert first.params == {"train.optim.lr": 2e-4, "model.backbone": "resnet_50"}


def test_what_made_trials_good_has_the_greatest_importance() -> None:
    trials = [trial(n) for n in range(12)]
    for one in trials[1:]:
        one["parameters"]["model.backbone"] = ["resnet_34", "swin_tiny_224_1k"][one["number"] % 2]
    shares = importances(study_of(SearchRecord.model_validate(record(*trials))))
    assert shares["train.optim.lr"] > shares["model.backbone"]
    assert sum(shares.values()) == pytest.approx(1)
    few = SearchRecord.model_validate(record(*trials[:4]))
    assert importances(study_of(few)) == {}


@pytest.mark.parametrize("content", ["{}", "[", '{"name": 3}'])
def test_bad_input_is_a_sentence(
    tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "given.json"
    source.write_text(content)
    assert main(["report", "-e", str(source), "--output", str(tmp_path)]) == 64
    assert "is not the record of a search" in capsys.readouterr().err
    assert main(["report", "-e", str(tmp_path / "no"), "--output", str(tmp_path)]) == 66
