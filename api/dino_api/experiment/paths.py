"""The dotted paths of the spec: walking them, their values, and the nearest to a misspelt one."""

from __future__ import annotations

import copy
import types
from collections.abc import Iterator, Mapping
from difflib import SequenceMatcher
from functools import cache
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from dino_api.base import Section
from dino_api.experiment.spec import ExperimentSpec

Loc = tuple[str | int, ...]

EPOCHS = "train.num_epochs"
"""How long a training is; searches and resuming ask for it by its path."""

# What other trainers call these keys; no likeness of letters would find them.
SYNONYMS = {
    "learning_rate": ("train.optim.lr",),
    "max_epochs": ("train.num_epochs",),
    "warmup": ("train.optim.warmup_steps",),
    "amp": ("train.precision",),
    "gradient_clip": ("train.clip_grad_norm",),
    "resume": ("train.resume_training_checkpoint_path",),
    "pretrained": ("train.pretrained_model_path", "model.pretrained_backbone_path"),
    "checkpoint": ("train.pretrained_model_path",),
    "image_size": ("dataset.augmentation.fixed_size",),
    "num_workers": ("dataset.workers",),
}

LEAST_ALIKE = 0.7
"""From where on a known path is what somebody may have meant."""
LONGEST_HINTED, MOST_HINTS = 200, 50
"""Characters of an unknown path, and paths of one spec, for which a like one is looked for."""
WEIGHTS = ("model.pretrained_backbone_path", "train.pretrained_model_path")
"""Keys that name the files of weights which a training begins with."""


def dotted(loc: Loc) -> str:
    """The path as text: ("a", "b", 0) is "a.b[0]"."""
    text = ""
    for part in loc:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.lstrip(".")


def section_of(annotation: Any) -> type[Section] | None:
    """The Section behind an annotation such as `EmaConfig | None` or `list[DataSource]`."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    if get_origin(annotation) in (Union, types.UnionType, list, Annotated):
        sections = (section_of(part) for part in get_args(annotation))
        return next((section for section in sections if section), None)
    return None


def walk(
    section: type[Section] = ExperimentSpec, prefix: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], FieldInfo]]:
    """Every key below a section with its field, sections before their keys."""
    for name, field in section.model_fields.items():
        path = (*prefix, name)
        yield path, field
        inner = section_of(field.annotation)
        if inner is not None:
            yield from walk(inner, path)


@cache
def known_paths() -> tuple[str, ...]:
    """Every dotted path of the spec, `distill.teacher.*` left out (it repeats `model.*`)."""
    paths = (".".join(path) for path, _ in walk())
    return tuple(path for path in paths if not path.startswith("distill.teacher."))


class NearPaths:
    """Finds what the unknown paths of one spec may mean, for the first MOST_HINTS of them: each
    takes a millisecond, and who has more of them mistyped none."""

    def __init__(self) -> None:
        self._left = MOST_HINTS

    def of(self, path: str) -> list[str]:
        """As `nearest`; empty for those beyond the first ones."""
        self._left -= 1
        return nearest(path) if self._left >= 0 else []


def nearest(path: str, limit: int = 3) -> list[str]:
    """Up to three known paths like this one; the same key at another level comes first."""
    if len(path) > LONGEST_HINTED:
        return []
    parent, _, leaf = path.rpartition(".")
    if leaf in SYNONYMS:
        return list(SYNONYMS[leaf])
    scored = [(_likeness(parent, leaf, known), known) for known in known_paths()]
    best = sorted((pair for pair in scored if pair[0] >= LEAST_ALIKE), key=lambda pair: -pair[0])
    if not best:
        return []
    # A near-certain match is not diluted by far ones.
    return [known for score, known in best[:limit] if score >= best[0][0] - 0.15]


def _likeness(parent: str, leaf: str, known: str) -> float:
    """How alike two paths are, 0 to 1.1: by the last names, and a little by the sections."""
    known_parent, _, known_leaf = known.rpartition(".")
    matcher = SequenceMatcher(None, leaf.lower(), known_leaf.lower())
    least = LEAST_ALIKE - 0.1  # the sections may add as much
    if matcher.real_quick_ratio() < least or matcher.quick_ratio() < least:
        return 0.0
    names = matcher.ratio()
    shared = SequenceMatcher(None, parent, known_parent).ratio() if parent != known_parent else 1
    return names + 0.1 * shared


def field_at(path: str) -> FieldInfo:
    """The field of a dotted path. Raises KeyError for a path that is not in the spec."""
    *parents, leaf = path.split(".")
    section: type[Section] = ExperimentSpec
    for name in parents:
        inner = section_of(section.model_fields[name].annotation)
        if inner is None:
            raise KeyError(path)
        section = inner
    return section.model_fields[leaf]


def is_set(mapping: Mapping[str, Any], path: str) -> bool:
    """Whether the mapping has a value at the dotted path; a null is as if left out."""
    return value_at(mapping, path) is not None


def value_at(mapping: Mapping[str, Any], path: str) -> Any:
    """The value at the dotted path, or None."""
    node: Any = mapping
    for name in path.split("."):
        node = node.get(name) if isinstance(node, Mapping) else None
    return node


def without_nulls(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """A copy without the keys that are null, which are as if left out; lists stay as they are."""
    return {
        name: without_nulls(value) if isinstance(value, Mapping) else copy.deepcopy(value)
        for name, value in mapping.items()
        if value is not None
    }


def put(target: dict[str, Any], path: str, value: Any) -> None:
    """Sets the dotted path in place and makes the sections on the way."""
    *parents, leaf = path.split(".")
    for name in parents:
        inner = target.get(name)
        if not isinstance(inner, dict):
            inner = target[name] = {}
        target = inner
    target[leaf] = value
