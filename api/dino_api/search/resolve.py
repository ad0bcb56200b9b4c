"""From the spec of a DinoAutoML to the search that is run, or to everything that is wrong."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

from dino_api.automl import DinoAutoMLSpec, Profile, SearchParameter
from dino_api.problem import Problem, SpecErrors
from dino_api.resources import Datasets, DatasetSource, TrainingSpec
from dino_api.search.space import default_space, is_set, put

MONITOR = "train.checkpointer.monitor"


class InvalidSearch(SpecErrors):
    """A search that cannot be run; `.problems` has every reason."""


@dataclass(frozen=True)
class Search:
    """A search that can be run. Shared between calls: copy before changing anything in it.

    template: the training with data, profile and what the objective needs filled in.
    """

    template: TrainingSpec
    space: tuple[SearchParameter, ...]
    max_trials: int
    parallel_trials: int
    max_failed_trials: int
    profile_applied: bool = False
    warnings: list[Problem] = field(default_factory=list)


def resolve_search(spec: DinoAutoMLSpec, profile: Profile) -> Search:
    """The search of a spec. Raises InvalidSearch with all problems where one is an error."""
    applied = _takes_profile(spec)
    template = _template(spec, profile if applied else None)
    space = tuple(spec.search) or default_space(template.experiment, template.num_classes)
    trials = profile.max_trials if applied else spec.max_trials
    return Search(
        template=template,
        space=space,
        max_trials=trials,
        parallel_trials=min(spec.parallel_trials, trials),
        max_failed_trials=spec.max_failed_trials,
        profile_applied=applied,
    )


def _takes_profile(spec: DinoAutoMLSpec) -> bool:
    return spec.template.datasets is None and spec.template.num_classes is None


def _template(spec: DinoAutoMLSpec, profile: Profile | None) -> TrainingSpec:
    template = spec.template.model_copy(deep=True)
    experiment = copy.deepcopy(template.experiment)
    if not is_set(experiment, MONITOR):
        put(experiment, MONITOR, "val_mAP50")
    changes: dict[str, Any] = {"experiment": experiment}
    if profile is not None:
        put(experiment, "train.num_epochs", profile.epochs)
        put(experiment, "train.checkpoint_interval", profile.checkpoint_interval)
        put(experiment, "train.validation_interval", profile.validation_interval)
        changes["datasets"] = Datasets(
            train=[DatasetSource(uri=profile.train_uri)],
            validation=[DatasetSource(uri=profile.validation_uri)],
        )
        changes["num_classes"] = profile.num_classes
        changes["resources"] = template.resources.model_copy(update={"gpus": profile.gpus})
    return template.model_copy(update=changes)
