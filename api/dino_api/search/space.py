"""Which keys may be searched, and what is searched where nobody says it."""

from __future__ import annotations

import types
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from dino_api import tokens
from dino_api.actions import ACTIONS
from dino_api.base import note_of
from dino_api.experiment.paths import field_at, is_set, known_paths, value_at
from dino_api.experiment.spec import OTHER_SECTIONS, readers
from dino_api.names import Action
from dino_api.resources.dinoautoml import SearchParameter
from dino_api.rules.experiment.train import is_vit

Kind = Literal["flag", "int", "float", "text"]

# Keys that decide the result and cannot be searched, with the reason.
HELD = {
    "model.decoder_sa_type": "only sa is built",
    "model.two_stage_type": "only standard is built",
    "model.pre_norm": "only false is built",
    "train.max_detections": "trials are compared by one measure",
    "train.checkpointer.monitor": "the best checkpoint goes by the objective of the search",
    "dataset.skip_unreadable": "trials are compared on the same images",
}
_BACKBONE, _LEVELS = "model.backbone", "model.return_interm_indices"
_QUERIES, _QUERY_STEP = (100, 900), 50
_DEFAULTS: tuple[dict[str, Any], ...] = (
    {"path": "train.optim.lr", "min": 1e-5, "max": 5e-4, "scale": "log"},
    {"path": "train.optim.lr_backbone", "min": 1e-6, "max": 5e-5, "scale": "log"},
    {"path": "train.optim.weight_decay", "min": 1e-6, "max": 1e-2, "scale": "log"},
    {"path": "model.num_queries", "min": 100, "max": 900, "step": _QUERY_STEP},
    {"path": "model.dropout_ratio", "min": 0.0, "max": 0.3},
)
_KINDS: dict[type, Kind] = {bool: "flag", int: "int", float: "float", str: "text"}


def kind_of(path: str) -> Kind | None:
    """What a key holds, or None for a list or a section. Raises KeyError for no key at all."""
    return _kind(field_at(path).annotation)


def _kind(annotation: Any) -> Kind | None:
    if annotation in _KINDS:
        return _KINDS[annotation]
    origin = get_origin(annotation)
    if origin is Annotated:
        return _kind(get_args(annotation)[0])
    if origin is Literal:
        return _KINDS[type(get_args(annotation)[0])]
    if origin in (Union, types.UnionType):
        inner = [part for part in get_args(annotation) if part is not type(None)]
        return _kind(inner[0]) if len(inner) == 1 else None
    return None


@cache
def searchable() -> tuple[str, ...]:
    """The paths that may be searched: every single value that training reads and that decides."""
    return tuple(path for path in known_paths() if not unsearchable(path))


def unsearchable(path: str) -> str:
    """Why a known path cannot be searched; empty where it can."""
    *parents, _ = path.split(".")
    section = path.partition(".")[0]
    if section in OTHER_SECTIONS:
        return OTHER_SECTIONS[section]
    if section not in ACTIONS[Action.TRAIN].sections and section in {*Action}:
        return readers([section])
    for depth in range(1, len(parents) + 1):
        if reason := _noted(field_at(".".join(parents[:depth]))):
            return reason
    field = field_at(path)
    if _kind(field.annotation) is None:
        return "it is not a single value"
    return HELD.get(path) or _noted(field)


def _noted(field: FieldInfo) -> str:
    note = note_of(field)
    if note.dead:
        return f"it has no effect: {note.dead}"
    if note.resource:
        return f"the resource decides it ({note.resource})"
    if note.only and Action.TRAIN not in note.only:
        return readers(note.only)
    return "" if note.decides else "it does not change the result"


def default_space(
    experiment: Mapping[str, Any], num_classes: int | None = None
) -> tuple[SearchParameter, ...]:
    """What is searched where spec.search says nothing; keys that the experiment sets are left out.

    Learning rates and weight decay work by their order of magnitude, so they are drawn by their
    logarithm, from a twentieth to twice or three times the default: drawn uniformly from 0 to 1, as
    TAO does, one rate in 500 trains at all (reference: TAO AutoML 0.1.0, brain/bayesian.py).
    num_queries starts at 100, as fewer candidates than objects cap the recall, and where the
    experiment sets num_select, above what that needs; it ends where images of one size have no more
    tokens. Dropout above 0.3 underfits. The backbone is not searched: a file of weights fits one
    network, and a search that draws others compares trials that start from random numbers.
    """
    return tuple(
        SearchParameter.model_validate(one)
        for default in _DEFAULTS
        if (one := _fitted(default, experiment, num_classes)) is not None
    )


def _fitted(
    default: dict[str, Any], experiment: Mapping[str, Any], num_classes: int | None
) -> dict[str, Any] | None:
    path = default["path"]
    if is_set(experiment, path):
        return None
    if path == "train.optim.lr_backbone":
        frozen = value_at(experiment, "model.train_backbone") is False
        unread = is_vit(str(value_at(experiment, _BACKBONE)))
        return None if frozen or unread else default
    if path == "model.num_queries":
        return _queries(default, experiment, num_classes or 1)
    return default


def _queries(
    default: dict[str, Any], experiment: Mapping[str, Any], classes: int
) -> dict[str, Any] | None:
    """num_select must stay below num_queries x classes, over the whole range, and there are no more
    queries than tokens where all images have one size."""
    low, high = _QUERIES
    select = value_at(experiment, "model.num_select")
    while isinstance(select, int) and low <= high and select >= low * classes:
        low += _QUERY_STEP
    most = _fewest_tokens(experiment)
    while most is not None and high > most:
        high -= _QUERY_STEP
    return default | {"min": low, "max": high} if low < high else None


def _fewest_tokens(experiment: Mapping[str, Any]) -> int | None:
    """Of images of the one size that the experiment asks for; None where they differ, or where what
    it says is refused anyway."""
    augmentation = value_at(experiment, "dataset.augmentation") or {}
    jitter = augmentation.get("fixed_random_crop")
    size = augmentation.get("fixed_size") or [jitter, jitter]
    levels = value_at(experiment, _LEVELS) or field_at(_LEVELS).get_default(
        call_default_factory=True
    )
    if not (_are_whole(size) and _are_whole(levels) and len(size) == 2 and levels[0] in range(4)):
        return None
    backbone = value_at(experiment, _BACKBONE) or field_at(_BACKBONE).get_default()
    return tokens.count(str(backbone), levels, *size)


def _are_whole(values: Any) -> bool:
    return isinstance(values, list | tuple) and all(type(one) is int and one >= 0 for one in values)
