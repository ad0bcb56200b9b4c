"""How many queries the trials of a search may have: as many as their images have tokens.

Known before a trial begins where the template says the size of all images; of other images the
preflight of trial 0 knows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from dino_api import tokens
from dino_api.experiment.spec import ExperimentSpec
from dino_api.problem import Problem
from dino_api.resources.dinoautoml import SearchParameter
from dino_api.rules.search import BY_ID
from dino_api.search.assignment import QUERIES, typed

BACKBONE = "model.backbone"
_SLACK = 1e-9


def most_queries(spec: ExperimentSpec, backbone: str) -> tuple[int, str] | None:
    """How many tokens all images have, and the key that says so; None where they differ."""
    augmentation = spec.dataset.augmentation
    jitter = augmentation.fixed_random_crop
    if augmentation.fixed_size:
        (height, width), key = augmentation.fixed_size, "fixed_size"
    elif jitter is not None:
        height, width, key = jitter, jitter, "fixed_random_crop"
    else:
        return None
    count = tokens.count(backbone, spec.model.return_interm_indices, height, width)
    return count, f"dataset.augmentation.{key}"


def check_queries(
    space: Mapping[str, SearchParameter], spec: ExperimentSpec, at: Mapping[str, str]
) -> Iterator[Problem]:
    """Values that no image has tokens enough for, with any backbone of the search.

    spec: the template's. at: path -> where it stands.
    """
    if QUERIES not in space:
        return
    known = [limit for one in _backbones(space, spec) if (limit := most_queries(spec, one))]
    most, key = min(known, default=(0, ""))
    one = space[QUERIES]
    if known and (over := [value for value in _largest(one) if value > most]):
        must = (
            f"{QUERIES} {over[0]} is more than the {most} tokens that images have by {key}, of "
            "which queries are chosen"
        )
        remedy = f"Search at most {most} queries, or enlarge {key}."
        yield BY_ID["value-refused"].problem(at[QUERIES], over[0], must, remedy)


def _backbones(space: Mapping[str, SearchParameter], spec: ExperimentSpec) -> list[str]:
    searched = space.get(BACKBONE)
    return [str(one) for one in (searched and searched.choices) or [spec.model.backbone]]


def _largest(one: SearchParameter) -> list[int]:
    """Its choices; of a range the last value that it has."""
    if one.choices is not None:
        return [int(typed(QUERIES, value)) for value in one.choices]
    low, high, step = one.min or 0, one.max or 0, one.step or 1
    return [int(low + int((high - low) / step + _SLACK) * step)]
