"""The trials of a search as an Optuna study, which charts and importances are made from."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.exceptions import ExperimentalWarning
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

from dino_api.loading import load
from dino_api.problem import SpecErrors
from dino_api.resources.dinoautoml import SearchParameter, TrialRecord, Value
from dino_api.search import kind_of
from dino_api.search.record import SearchRecord

# Fewer results than this say nothing about which parameter mattered.
ENOUGH_TRIALS = 5


def study_of(record: SearchRecord) -> optuna.Study:
    """Every trial with a result, in order of number. Those of earlier searches are not in it."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize")
    defaults = defaults_of(record)
    space = {one.path: _distribution(one, defaults.get(one.path)) for one in record.space}
    for trial in record.history:
        if trial.mAP50 is not None:
            study.add_trial(_frozen(trial, trial.mAP50, {**defaults, **trial.parameters}, space))
    return study


def defaults_of(record: SearchRecord) -> dict[str, Value]:
    """What trial 0 had for the searched keys; none of those that a faulty template hides."""
    try:
        spec, _ = load(record.experiment)
    except SpecErrors:
        return {}
    values: dict[str, Value] = {}
    for one in record.space:
        node: object = spec
        for name in one.path.split("."):
            node = getattr(node, name)
        if isinstance(node, bool | int | float | str) and one.when is None:
            values[one.path] = node
    return values


def importances(study: optuna.Study) -> dict[str, float]:
    """Share of each parameter in what tells the best trials from the others; they sum to 1.

    PED-ANOVA (Watanabe et al., 2023), as Optuna has it. Empty where too few trials have results.
    """
    if len(study.trials) < ENOUGH_TRIALS:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return get_param_importances(study, evaluator=PedAnovaImportanceEvaluator())


def _frozen(
    trial: TrialRecord,
    value: float,
    params: Mapping[str, object],
    space: Mapping[str, BaseDistribution],
) -> optuna.trial.FrozenTrial:
    used = {path: distribution for path, distribution in space.items() if path in params}
    return optuna.trial.create_trial(
        params={path: params[path] for path in used},
        distributions=used,
        value=value,
        user_attrs={"name": trial.name},
    )


def _distribution(one: SearchParameter, default: Value | None) -> BaseDistribution:
    """Of one parameter. The default, which trial 0 has, may lie outside of what is searched."""
    if one.choices is not None:
        more = [] if default is None or default in one.choices else [default]
        return CategoricalDistribution([*one.choices, *more])
    ends = [one.min or 0.0, one.max or 0.0]
    if isinstance(default, int | float):
        ends.append(default)
    low, high, log = min(ends), max(ends), one.scale == "log" and min(ends) > 0
    if kind_of(one.path) == "int":
        return IntDistribution(int(low), int(high), log=log)
    return FloatDistribution(low, high, log=log)
