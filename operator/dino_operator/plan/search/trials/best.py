"""The best trial of a search, as status.best has it."""

from __future__ import annotations

from collections.abc import Sequence

from dino_api import metric
from dino_api.names import Action
from dino_api.resources.dinoautoml import BestTrial
from dino_api.search import assign
from dino_operator.plan.model import Object
from dino_operator.plan.observed.status import StoredBest
from dino_operator.plan.search.search_view import SearchView
from dino_operator.plan.search.trials import dinojobs
from dino_operator.plan.search.trials.trial import MAY_WIN, Trial


def best(view: SearchView, trials: Sequence[Trial]) -> Object | None:
    """status.best: of the trials that ended with a checkpoint, the one with the highest mAP50.

    Of equal ones the first. What the status says of it stays when its DinoJob is deleted.
    """
    stored = view.status.best
    scored = [each for each in trials if each.state in MAY_WIN and each.mAP50 is not None]
    winning = [each for each in scored if each.checkpoint or _is(stored, each)]
    if not winning:
        return stored.raw if stored else None
    winner = max(winning, key=lambda each: (metric.rounded(each.mAP50 or 0.0), -each.number))
    return _to_status(view, winner) if stored is None or _is_news(stored, winner) else stored.raw


def _is(stored: StoredBest | None, trial: Trial) -> bool:
    return stored is not None and stored.number == trial.number


def _is_news(stored: StoredBest, winner: Trial) -> bool:
    """Whether it is another trial, or its pod's last words came later than Katib's word on it."""
    known = stored.checkpoint or {}
    return not _is(stored, winner) or len(winner.checkpoint or {}) > len(known)


def _to_status(view: SearchView, trial: Trial) -> Object:
    experiment = trial.specification
    if experiment is None:
        template = view.search.template.experiment
        experiment = assign(view.search.space, trial.parameters, template)
    winner = BestTrial(
        trial=trial.name,
        number=trial.number,
        parameters=trial.parameters,
        mAP50=metric.rounded(trial.mAP50 or 0.0),
    )
    specification = dinojobs.read_by(Action.TRAIN, experiment)
    return winner.to_dict() | {"checkpoint": trial.checkpoint, "specification": specification}
