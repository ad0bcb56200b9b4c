"""report.html of a search: what its template shows."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator

import yaml

from dino_api import metric
from dino_api.kubectl_yaml.writer import Dumper
from dino_api.resources.dinoautoml import TrialRecord
from dino_api.search import in_lines
from dino_api.search.record import SearchRecord
from dino_trainer.pages import PageHead, render
from dino_trainer.pages.plot import Plot
from dino_trainer.search_report import charts
from dino_trainer.search_report.study import (
    ENOUGH_TRIALS,
    defaults_of,
    importances,
    study_of,
)


def search_page(record: SearchRecord) -> str:
    """The whole page."""
    best, study = record.best, study_of(record)
    title = f"Search {record.name}"
    return render(
        "search",
        PageHead("dino search", title, _verdict(record), facts=list(_facts(record))),
        record=record,
        charts=list(_charts(record)),
        importance=sorted(importances(study).items(), key=lambda pair: -pair[1]),
        enough=ENOUGH_TRIALS,
        experiment=yaml.dump(best.specification, Dumper=Dumper, sort_keys=False) if best else "",
        trials=[_trial(one) for one in record.history],
        space=list(in_lines(record.space)),
    )


def _facts(record: SearchRecord) -> Iterator[tuple[str, str]]:
    if record.best:
        yield "best mAP50", metric.text(record.best.mAP50)
    yield "trials", f"{len(record.history):,}"
    for state, count in Counter(one.state for one in record.history).items():
        yield state, f"{count:,}"
    yield "GPU-hours", f"{_hours(record):.2f}"


def _hours(record: SearchRecord) -> float:
    return sum(one.gpu_seconds or 0 for one in record.history) / 3600


def _charts(record: SearchRecord) -> Iterator[tuple[str, str, list[tuple[str, Plot]], str]]:
    """Id, title, charts with their titles, and what charts that are missing need."""
    yield "trials-over", "mAP50 over trials", [("", charts.over_trials(record))], ""
    curves = charts.learning_curves(record)
    yield "curves", "Learning curves", [("", curves)] if curves else [], "a validation"
    values = list(charts.searched_values(record, defaults_of(record)))
    yield "values", "The searched values", values, "two results"


def _verdict(record: SearchRecord) -> str:
    parts = [
        f"{len(record.history)} trials on the {record.engine} engine ({record.algorithm.name})"
    ]
    if record.known:
        parts.append(f"{len(record.known)} results of earlier searches were known")
    parts.append(f"{_hours(record):.2f} GPU-hours")
    return f"{'; '.join(parts)}. {record.outcome}".strip()


def _trial(one: TrialRecord) -> dict[str, object]:
    return {
        "number": one.number,
        "name": one.name,
        "state": one.state,
        "mAP50": one.mAP50,
        "epoch": one.epoch,
        "hours": None if one.gpu_seconds is None else one.gpu_seconds / 3600,
        "drawn": [f"{path} = {_text(value)}" for path, value in one.parameters.items()],
        "why": ": ".join(part for part in (one.reason, one.message) if part),
    }


def _text(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else json.dumps(value)
