"""report.html of a search: what its template shows."""

from __future__ import annotations

import json
from collections.abc import Iterator

import yaml
from markupsafe import Markup

from dino_api.kubectl_yaml.writer import Dumper
from dino_api.resources.dinoautoml import Trial
from dino_api.search import in_lines
from dino_api.search.record import SearchRecord
from dino_trainer.pages import chart, render
from dino_trainer.search_report import charts
from dino_trainer.search_report.study import ENOUGH_TRIALS, study_of


def search_page(record: SearchRecord) -> str:
    """The whole page; plotly's script is in it, so that it opens anywhere (5 MB)."""
    best = record.best
    return render(
        "search",
        record=record,
        verdict=_verdict(record),
        charts=list(_charts(record)),
        experiment=yaml.dump(best.specification, Dumper=Dumper, sort_keys=False) if best else "",
        trials=[_trial(one) for one in record.history],
        space=list(in_lines(record.space)),
    )


def _charts(record: SearchRecord) -> Iterator[tuple[str, Markup | None, str]]:
    """Title, chart, and what a chart that is missing needs."""
    study = study_of(record)
    yield "mAP50 over trials", chart(charts.over_trials(record), script=True), ""
    figures = (
        ("The searched values", charts.parallel_coordinates(study), "two results"),
        ("Importance", charts.importance(study), f"{ENOUGH_TRIALS} results"),
        ("Learning curves", charts.learning_curves(record), "a validation"),
    )
    for title, figure, needs in figures:
        yield title, None if figure is None else chart(figure), needs


def _verdict(record: SearchRecord) -> str:
    hours = sum(one.gpu_seconds or 0 for one in record.history) / 3600
    parts = [
        f"{len(record.history)} trials on the {record.engine} engine ({record.algorithm.name})"
    ]
    if record.known:
        parts.append(f"{len(record.known)} results of earlier searches were known")
    parts.append(f"{hours:.2f} GPU-hours")
    return f"{'; '.join(parts)}. {record.outcome}".strip()


def _trial(one: Trial) -> dict[str, object]:
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
