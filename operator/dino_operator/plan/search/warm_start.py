"""What is known from other searches before the first trial (spec.warmStartFrom)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from dino_api.names import AUTOML_KIND
from dino_api.resources.dinoautoml import MOST_TRIALS, DinoAutoMLStatus, KnownTrial
from dino_operator.plan.model import Object
from dino_operator.plan.observed.resource import DinoAutoML
from dino_operator.plan.search.samplers.observations import BLAMED, defaults
from dino_operator.plan.search.search_view import SearchView
from dino_operator.plan.search.trials.trial import MAY_WIN

LARGEST = 500_000
"""Characters of status.known. Beside it a history of 500 trials with 32 parameters has 830,000 at
most, of its own draws, and etcd takes 1.5 MiB. Trials of Katib's have more digits than ours."""


def known_trials(view: SearchView) -> tuple[list[Object], str]:
    """The known trials as status.known, and what has to be waited for; one of them is empty.

    Read once: what was known when the search began stays, also when the other search is deleted.
    """
    if view.engine:
        return view.status.known, ""
    trials: list[KnownTrial] = []
    for each in view.spec.warm_start_from:
        other = view.children.others.get((AUTOML_KIND, each.name))
        if not isinstance(other, DinoAutoML):
            return [], f"DinoAutoML {each.name} of spec.warmStartFrom does not exist"
        if not other.is_finished:
            return [], f"DinoAutoML {each.name} of spec.warmStartFrom has not ended yet"
        trials += _trials(other)
    return _as_many_as_fit(each.to_dict() for each in trials[:MOST_TRIALS]), ""


def _as_many_as_fit(rows: Iterable[Object]) -> list[Object]:
    """The first of them, up to LARGEST."""
    kept, left = [], LARGEST
    for row in rows:
        left -= len(json.dumps(row))
        if left < 0:
            break
        kept.append(row)
    return kept


def _trials(other: DinoAutoML) -> Iterator[KnownTrial]:
    status = DinoAutoMLStatus.model_validate(other.status.raw)
    for trial in status.history:
        parameters = dict(trial.parameters) if trial.number else defaults(status.search)
        if trial.state in MAY_WIN and trial.mAP50 is not None:
            yield KnownTrial(parameters=parameters, mAP50=trial.mAP50)
        elif trial.state == "Failed" and trial.reason in BLAMED:
            yield KnownTrial(parameters=parameters, mAP50=0.0)
