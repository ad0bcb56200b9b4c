"""From the spec of a DinoAutoML to the search that is run, or to everything that is wrong."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from dino_api.experiment.paths import EPOCHS, is_set
from dino_api.experiment.spec import ExperimentSpec
from dino_api.problem import Problem, SpecErrors, render
from dino_api.resources.dinoautoml import DinoAutoMLSpec, SearchParameter, SmokeProfile
from dino_api.resources.dinojob import TrainingSpec
from dino_api.rules.resource.dinoautoml import SEARCH
from dino_api.rules.search import BY_ID
from dino_api.search.checks.algorithm import (
    check_algorithm,
    check_numbers,
    check_pruning,
)
from dino_api.search.checks.conditions import check_names
from dino_api.search.checks.effect import check_effect
from dino_api.search.checks.parameter import check_parameter
from dino_api.search.checks.queries import check_queries
from dino_api.search.space import default_space
from dino_api.search.template import (
    check_experiment,
    check_nulls,
    check_profile,
    check_then,
    fill,
    resolved_experiment,
    takes_profile,
)

_MOST_TEXT = 900


class InvalidSearch(SpecErrors):
    """A search that cannot be run; `.problems` has every reason, warnings included.

    Its text has the errors alone, as many as fit into a condition and an event.
    """

    def __str__(self) -> str:
        sentences = [render(one) for one in self.problems if one.severity == "error"]
        shown, size = 0, 0
        while shown < len(sentences) and size + len(sentences[shown]) <= _MOST_TEXT:
            size += len(sentences[shown]) + 1
            shown += 1
        rest = [f"And {len(sentences) - shown} more."] if shown < len(sentences) else []
        return "\n".join([*sentences[:shown], *rest])


@dataclass(frozen=True)
class Search:
    """A search that can be run. Calls share it: copy before changing anything in it.

    template: the training with data, profile and what the objective needs filled in.
    """

    template: TrainingSpec
    space: tuple[SearchParameter, ...]
    max_trials: int
    parallel_trials: int
    max_failed_trials: int
    profile_applied: bool = False
    warnings: list[Problem] = field(default_factory=list)


def resolve_search(spec: DinoAutoMLSpec, profile: SmokeProfile) -> Search:
    """The search of a spec. Raises InvalidSearch with all problems where one is an error.

    The same spec and profile give the same object, as a plan asks for it again and again.
    """
    resolved = _resolved(_text(spec), _text(profile))
    if isinstance(resolved, Search):
        return resolved
    raise InvalidSearch(resolved)


def _text(model: DinoAutoMLSpec | SmokeProfile) -> str:
    return model.model_dump_json(by_alias=True, exclude_unset=True)


@lru_cache(maxsize=1024)
def _resolved(spec_text: str, profile_text: str) -> Search | tuple[Problem, ...]:
    spec = DinoAutoMLSpec.model_validate(json.loads(spec_text))
    profile = SmokeProfile.model_validate(json.loads(profile_text))
    applied = takes_profile(spec, profile)
    template = fill(spec, profile if applied else None)
    space = tuple(spec.search) or default_space(template.experiment, template.num_classes)
    trials = profile.max_trials if applied else spec.max_trials
    problems = [*check_profile(spec, profile), *check_then(spec), *check_numbers(spec, trials)]
    problems += _check_space(spec, space, template, trials)
    problems += check_nulls(spec.template.experiment)
    if any(problem.severity == "error" for problem in problems):
        return tuple(problems)
    return Search(
        template=template,
        space=space,
        max_trials=trials,
        parallel_trials=min(spec.parallel_trials, trials),
        max_failed_trials=spec.max_failed_trials,
        profile_applied=applied,
        warnings=problems,
    )


def _check_space(
    spec: DinoAutoMLSpec, space: tuple[SearchParameter, ...], template: TrainingSpec, trials: int
) -> list[Problem]:
    """Each parameter alone, then all together; the later checks need sound parameters."""
    experiment = resolved_experiment(template)
    by_template = list(check_experiment(experiment, {one.path for one in space}))
    if not space:
        must = "is empty, and template.experiment sets every key of the default space"
        return [*by_template, BY_ID["search-empty"].problem(SEARCH, None, must)]
    problems = list(check_names(space))
    for index, one in enumerate(space):
        problems += check_parameter(one, f"{SEARCH}[{index}]")
        problems += _set_too(one, spec.template.experiment, f"{SEARCH}[{index}].path")
    if not any(problem.severity == "error" for problem in (*problems, *by_template)):
        by_path = {one.path: one for one in space}
        at = {path: f"{SEARCH}[{index}]" for index, path in enumerate(by_path)}
        problems += check_effect(by_path, experiment, at)
        problems += check_algorithm(spec, space, trials)
        trained = ExperimentSpec.model_validate(experiment)
        problems += check_queries(by_path, trained, at)
        problems += [] if EPOCHS in by_path else check_pruning(spec, trained.train.num_epochs)
    return [*by_template, *problems]


def _set_too(one: SearchParameter, experiment: dict[str, Any], at: str) -> list[Problem]:
    if not is_set(experiment, one.path):
        return []
    must = f"{one.path} is searched and set in template.experiment"
    return [BY_ID["searched-and-set"].problem(at, None, must)]
