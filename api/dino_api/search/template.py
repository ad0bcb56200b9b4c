"""The template of a search with the smoke profile, or without, and what is wrong with it."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator
from typing import Any

from pydantic import BaseModel

from dino_api.experiment.paths import EPOCHS, WEIGHTS, is_set, put, value_at, without_nulls
from dino_api.loading import left_out, load
from dino_api.names import WEIGHTS_ALONE, Action
from dino_api.problem import Problem, SpecErrors
from dino_api.resources.datasets import Datasets, DatasetSource
from dino_api.resources.dinoautoml import DinoAutoMLSpec, SmokeProfile
from dino_api.resources.dinojob import TrainingSpec
from dino_api.rules.experiment.model import RANDOM_START
from dino_api.rules.search import BY_ID

MONITOR, OBJECTIVE = "train.checkpointer.monitor", "val_mAP50"
_EXPERIMENT = "spec.template.experiment"


def takes_profile(spec: DinoAutoMLSpec, profile: SmokeProfile) -> bool:
    """Whether the smoke profile is meant: it is named, or nothing that it decides is given."""
    if spec.profile is not None:
        return True
    return spec.template.datasets is None and not _differing(spec, profile)


def _differing(spec: DinoAutoMLSpec, profile: SmokeProfile) -> list[str]:
    """The fields, besides the datasets, in which the spec says otherwise than the profile."""
    template, fields = spec.template, []
    if template.num_classes is not None:
        fields.append("spec.template.numClasses")
    for path, value in _decided(profile):
        if is_set(template.experiment, path) and value_at(template.experiment, path) != value:
            fields.append(f"{_EXPERIMENT}.{path}")
    if _says(template.resources, "gpus", profile.gpus):
        fields.append("spec.template.resources.gpus")
    if _says(spec, "max_trials", profile.max_trials):
        fields.append("spec.maxTrials")
    return fields


def _says(model: BaseModel, name: str, otherwise: int) -> bool:
    return name in model.model_fields_set and getattr(model, name) != otherwise


def _decided(profile: SmokeProfile) -> tuple[tuple[str, int], ...]:
    return (
        (EPOCHS, profile.epochs),
        ("train.checkpoint_interval", profile.checkpoint_interval),
        ("train.validation_interval", profile.validation_interval),
    )


def check_profile(spec: DinoAutoMLSpec, profile: SmokeProfile) -> Iterator[Problem]:
    """The profile is used as a whole or not at all; what is missing or too much is named."""
    differing = _differing(spec, profile)
    if not takes_profile(spec, profile):
        if spec.template.datasets is None:
            must = f"is missing; {differing[0]} is given, so nothing of the smoke profile is used"
            yield BY_ID["datasets-missing"].problem("spec.template.datasets", None, must)
        elif _by_heart(spec.template.datasets):
            must = "is the training data: trials are compared by how well they learnt it by heart"
            path = "spec.template.datasets.validation"
            yield BY_ID["validates-on-training-data"].problem(path, None, must)
        return
    if spec.template.datasets is not None:
        must = "smoke is used as a whole or not at all, and template.datasets is given"
        yield BY_ID["profile-whole"].problem("spec.profile", None, must, "Leave one of them out.")
    for path in differing:
        yield BY_ID["trials-of-profile"].problem(path, None, "is decided by the smoke profile")
    for name in ("train_uri", "validation_uri"):
        if not getattr(profile, name):
            value = f"automl.profile.{'trainUri' if name == 'train_uri' else 'validationUri'}"
            must = f"is missing, and the installation's smoke profile has no {value}"
            yield BY_ID["profile-unset"].problem("spec.template.datasets", None, must)


def check_then(spec: DinoAutoMLSpec) -> Iterator[Problem]:
    """A follower that quantizes goes on from an ONNX file."""
    key = "quantize.mode"
    quantizes = any(Action(each.action) is Action.QUANTIZE for each in spec.then)
    if quantizes and value_at(spec.template.experiment, key) == WEIGHTS_ALONE:
        must = "must be static_ptq where spec.then has quantize"
        yield BY_ID["then-weights"].problem(f"{_EXPERIMENT}.{key}", WEIGHTS_ALONE, must)


def _by_heart(data: Datasets) -> bool:
    """Whether validation is the training data. Searches of an earlier release left it out."""
    return not data.validation or data.validation == data.train


def fill(spec: DinoAutoMLSpec, profile: SmokeProfile | None) -> TrainingSpec:
    """The template with what the objective needs and, where given, the profile's values."""
    experiment = without_nulls(spec.template.experiment)
    if not is_set(experiment, MONITOR):
        put(experiment, MONITOR, OBJECTIVE)
    changes: dict[str, Any] = {"experiment": experiment}
    given = spec.template.datasets
    if given is not None and not given.validation:  # taken by an earlier release
        changes["datasets"] = given.model_copy(update={"validation": given.train})
    if profile is not None:
        for path, value in _decided(profile):
            put(experiment, path, value)
        changes["datasets"] = Datasets(
            train=[DatasetSource(uri=profile.train_uri)],
            validation=[DatasetSource(uri=profile.validation_uri)],
        )
        changes["num_classes"] = profile.num_classes
        resources = spec.template.resources.model_copy(update={"gpus": profile.gpus})
        changes["resources"] = resources
    return spec.template.model_copy(update=changes, deep=True)


def resolved_experiment(template: TrainingSpec) -> dict[str, Any]:
    """The experiment with what the resource decides and rules ask about."""
    mapping = copy.deepcopy(template.experiment)
    if template.num_classes is not None:
        put(mapping, "dataset.num_classes", template.num_classes)
    put(mapping, "train.num_gpus", template.resources.gpus)
    return mapping


def check_nulls(experiment: dict[str, Any]) -> Iterator[Problem]:
    """A warning for each key of the template's own experiment that is taken as left out."""
    for problem in left_out(experiment):
        yield problem.below(_EXPERIMENT)


def check_experiment(
    experiment: dict[str, Any], searched: Collection[str] = ()
) -> Iterator[Problem]:
    """Errors of the template's own experiment, trials that all start from random numbers, and a
    checkpoint that goes by another number. searched: the paths that are drawn."""
    for problem in _problems(experiment):
        random_start = problem.id == RANDOM_START and not set(WEIGHTS).intersection(searched)
        if problem.severity == "error" or random_start:
            yield problem.below(_EXPERIMENT)
    monitor = value_at(experiment, MONITOR)
    if monitor != OBJECTIVE:
        must = "is not the objective: the kept checkpoint may not be that of the best mAP50"
        yield BY_ID["monitor-other"].problem(f"{_EXPERIMENT}.{MONITOR}", monitor, must)


def _problems(experiment: dict[str, Any]) -> list[Problem]:
    try:
        return load(experiment)[1]
    except SpecErrors as error:
        return error.problems
