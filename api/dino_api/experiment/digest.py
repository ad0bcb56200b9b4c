"""What decides the result of an action: a fingerprint of it, and where two specs differ in it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dino_api.actions import ACTIONS
from dino_api.base import Section, note_of
from dino_api.experiment.dataset import GEOMETRY, PIXELS
from dino_api.experiment.model import DETECTION
from dino_api.experiment.paths import field_at, section_of
from dino_api.experiment.spec import ExperimentSpec
from dino_api.names import TRAINS, Action
from dino_api.reported import shortened

_SHOWN, _LONGEST = 6, 60


def digest(spec: ExperimentSpec, action: Action = Action.TRAIN) -> str:
    """SHA-256, in hex, of every key that can change what the action makes or reports.

    Equal for specs that differ in workers, paths of results, GPU numbers, checkpoint interval,
    dead keys or keys that the action does not read: a job resumes across such changes. A key at its
    default counts as absent, so that a release with new keys resumes what an older one has begun.
    """
    text = json.dumps(deciding(spec, action), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def deciding(spec: ExperimentSpec, action: Action) -> dict[str, dict[str, Any]]:
    """The keys that the digest is of: by section, the keys that are not at their defaults."""
    facts = ACTIONS[action]
    parts = {name: _deciding(getattr(spec, name), action) for name in facts.sections}
    for path in facts.also_reads:
        name, _, leaf = path.partition(".")
        if other := _kept(_deciding(getattr(spec, name), action), (leaf,)):
            parts[name] = other
    if action not in TRAINS:
        parts["model"] = _kept(parts["model"], DETECTION)
        augment = _kept(parts["dataset"].pop("augmentation", {}), (*PIXELS, *GEOMETRY))
        parts["dataset"] |= {"augmentation": augment} if augment else {}
    return parts


def _kept(part: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: value for name, value in part.items() if name in names}


def _deciding(section: Section, action: Action) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name, field in type(section).model_fields.items():
        note, value = note_of(field), getattr(section, name)
        unread = note.only and action not in note.only
        default = field.get_default(call_default_factory=True)
        if unread or not note.decides or value == default:
            continue
        plain = _plain(value, action)
        if plain != {}:  # a section in which nothing decides
            result[name] = plain
    return result


def _plain(value: Any, action: Action) -> Any:
    if isinstance(value, Section):
        return _deciding(value, action)
    if isinstance(value, list):
        return [_plain(entry, action) for entry in value]
    return value


@dataclass(frozen=True)
class Difference:
    """A key with both of its values, defaults filled in."""

    path: str
    before: Any
    now: Any

    def in_words(self, before: str) -> str:
        """The sentence "train.optim.lr is 0.001, <before> 0.0002"."""
        return f"{self.path} is {value_in_words(self.now)}, {before} {value_in_words(self.before)}"


def differences(before: ExperimentSpec, now: ExperimentSpec, action: Action) -> list[Difference]:
    """The keys by which two specs have different digests for an action, in the spec's order."""
    old, new = (dict(_leaves(deciding(spec, action), ExperimentSpec, ())) for spec in (before, now))
    result = []
    for path in dict.fromkeys((*old, *new)):
        was, is_ = (values.get(path, ...) for values in (old, new))
        if was != is_:
            key = ".".join(path)
            default = field_at(key).get_default(call_default_factory=True)
            was, is_ = (default if value is ... else value for value in (was, is_))
            result.append(Difference(key, was, is_))
    return result


def in_words(differences: Iterable[Difference], before: str) -> str:
    """The differences in one line, at most six of them."""
    each = [one.in_words(before) for one in differences]
    more = f"; and {len(each) - _SHOWN} more" if len(each) > _SHOWN else ""
    return f"{'; '.join(each[:_SHOWN])}{more}"


def value_in_words(value: Any) -> str:
    """A value as a user may write it, shortened where it is long."""
    if value in (None, "", [], {}):
        return "empty"
    return shortened(str(value), _LONGEST)


def _leaves(
    node: Mapping[str, Any], section: type[Section], at: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], Any]]:
    """A mapping that is no section, such as inference.color_map, is the value of one key."""
    for name, value in node.items():
        inner = section_of(section.model_fields[name].annotation)
        if inner and isinstance(value, Mapping):
            yield from _leaves(value, inner, (*at, name))
        else:
            yield (*at, name), value
