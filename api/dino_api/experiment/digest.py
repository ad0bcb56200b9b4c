"""A fingerprint of what decides the result of a training."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from dino_api.base import Section, note_of
from dino_api.experiment.spec import ExperimentSpec


def digest(spec: ExperimentSpec) -> str:
    """SHA-256, in hex, of every key that can change the weights or the reported numbers.

    Equal for specs that differ in workers, paths of results, GPU numbers, checkpoint interval,
    dead keys or sections of other actions: a job resumes across such changes. A key at its default
    counts as absent, so that a release with new keys resumes what an older one has begun.
    """
    parts = {name: _deciding(getattr(spec, name)) for name in ("model", "dataset", "train")}
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _deciding(section: Section) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        default = field.get_default(call_default_factory=True)
        if not note_of(field).decides or value == default:
            continue
        plain = _plain(value)
        if plain != {}:  # a section in which nothing decides
            result[name] = plain
    return result


def _plain(value: Any) -> Any:
    if isinstance(value, Section):
        return _deciding(value)
    if isinstance(value, list):
        return [_plain(entry) for entry in value]
    return value
