"""What a sampler is told of finished trials, and in which order its parameters are drawn."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from dino_api.failures import TABLE
from dino_api.resources.dinoautoml import Assignment, KnownTrial, SearchParameter, Value
from dino_api.search import active
from dino_operator.plan.search.samplers.prior import Dimension, default_of
from dino_operator.plan.search.trials.trial import MAY_WIN, Trial

Space = Sequence[SearchParameter]
BLAMED = frozenset(rule.reason.value for rule in TABLE if rule.blames_parameters)
"""Failures that are the parameters' fault: the sampler is told the worst result, 0."""


@dataclass(frozen=True)
class Observation:
    """A finished trial as a sampler sees it.

    Nothing but what status.history keeps: the same before it was written down and after.

    number: None for a trial of another search. epoch: how far one came that was cut short.
    """

    parameters: Assignment
    mAP50: float
    number: int | None = None
    epoch: int | None = None


def observations_of(
    space: Space, history: Iterable[Trial], known: Iterable[KnownTrial]
) -> list[Observation]:
    """What samplers learn from, in an order that depends on nothing but the trials themselves."""
    observations = [Observation(_fitting(space, each.parameters), each.mAP50) for each in known]
    for trial in sorted(history, key=lambda each: each.number):
        observation = _of_trial(space, trial)
        if observation is not None:
            observations.append(observation)
    return [each for each in observations if each.parameters]


def _of_trial(space: Space, trial: Trial) -> Observation | None:
    parameters = defaults(space) if trial.number == 0 else _fitting(space, trial.parameters)
    if trial.state == "Failed" and trial.reason in BLAMED:
        return Observation(parameters, 0.0, trial.number)
    if trial.state not in MAY_WIN or trial.mAP50 is None:
        return None
    epoch = None if trial.state == "Succeeded" else trial.epoch or 0
    return Observation(parameters, trial.mAP50, trial.number, epoch)


def defaults(space: Space) -> Assignment:
    """What the baseline has where the space has it too."""
    values = {each.path: default_of(each) for each in space}
    parameters = {path: value for path, value in values.items() if value is not None}
    return active(space, parameters)


def _fitting(space: Space, parameters: Assignment) -> Assignment:
    """The part of another draw that this space could have drawn, too."""
    return active(space, dict(_fits(space, parameters)))


def _fits(space: Space, parameters: Assignment) -> Iterator[tuple[str, Value]]:
    for each in space:
        value = parameters.get(each.path)
        if value is None:
            continue
        if each.choices is not None:
            if value in each.choices:
                yield each.path, value
        elif isinstance(value, int | float) and Dimension(each).contains(value):
            yield each.path, value


def ordered(space: Space) -> list[SearchParameter]:
    """Each parameter after the one that its `when` names; else as they stand in the space."""
    left, in_order = list(space), []
    while left:
        waiting = {each.path for each in left}
        ready = [each for each in left if each.when is None or each.when.path not in waiting]
        if not ready:
            raise ValueError(f"'when' of {', '.join(sorted(waiting))} goes round in a circle")
        in_order += ready
        left = [each for each in left if each not in ready]
    return in_order
