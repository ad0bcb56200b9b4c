"""The tree-structured Parzen estimator (Bergstra et al. 2011), by Optuna, in shares of the prior.

One estimator for each parameter, not one for all: a handful of trials says little about how
parameters go together, and conditional ones are missing from some trials.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dino_api.resources.dinoautoml import Assignment, SearchParameter, Value
from dino_api.search import active
from dino_operator.plan.search.samplers.observations import Observation, Space, ordered
from dino_operator.plan.search.samplers.prior import Dimension, choices_of

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial, Trial


def draw(space: Space, observations: Sequence[Observation], seed: int) -> Assignment:
    """What is likely to be better than most of what was told. observations: in a fixed order."""
    import optuna  # takes a second, and most plans draw nothing

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler = optuna.samplers.TPESampler(
        seed=seed, n_startup_trials=1, multivariate=False, constant_liar=False
    )
    study = optuna.create_study(direction="maximize", sampler=sampler)
    study.add_trials([_frozen(space, each) for each in observations])
    asked = study.ask()
    parameters: Assignment = {}
    for each in ordered(space):
        if each.when is None or each.when.path in active(space, parameters):
            whole = {**parameters, each.path: _suggest(asked, each)}
            parameters = active(space, whole)
    return parameters


def _suggest(asked: Trial, parameter: SearchParameter) -> Value:
    if parameter.choices is not None:
        values = choices_of(parameter)
        return values[asked.suggest_categorical(parameter.path, range(len(values)))]
    return Dimension(parameter).value(asked.suggest_float(parameter.path, 0, 1))


def _frozen(space: Space, observation: Observation) -> FrozenTrial:
    import optuna
    from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

    shares: dict[str, float] = {}
    kinds: dict[str, BaseDistribution] = {}
    for each in (one for one in space if one.path in observation.parameters):
        value = observation.parameters[each.path]
        if each.choices is not None:
            values = choices_of(each)
            shares[each.path] = values.index(value)
            kinds[each.path] = CategoricalDistribution(range(len(values)))
        else:
            shares[each.path] = Dimension(each).share(float(value))
            kinds[each.path] = FloatDistribution(0, 1)
    states = optuna.trial.TrialState
    return optuna.trial.create_trial(
        state=states.COMPLETE if observation.epoch is None else states.PRUNED,
        value=observation.mAP50,
        params=shares,
        distributions=kinds,
        intermediate_values={}
        if observation.epoch is None
        else {observation.epoch: observation.mAP50},
    )
