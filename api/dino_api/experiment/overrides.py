"""`key=value` overrides of the command line, as TAO (Hydra) writes them."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

from dino_api.kubectl_yaml.reader import NotYaml, read
from dino_api.problem import Problem

_FORM = "an override has the form key=value, such as train.num_epochs=20"


def apply_overrides(
    mapping: Mapping[str, Any], overrides: Iterable[str]
) -> tuple[dict[str, Any], list[Problem]]:
    """A copy of the mapping with the overrides in it, and what is wrong with them.

    `a.b.c=1` sets, `+a.b=1` and `++a.b=1` do the same, `~a.b` removes. Values are YAML,
    as kubectl reads it.
    """
    result = copy.deepcopy(dict(mapping))
    problems = [problem for text in overrides if (problem := _apply(result, text)) is not None]
    return result, problems


def _apply(target: dict[str, Any], text: str) -> Problem | None:
    if text.startswith("~"):
        return _remove(target, text[1:].partition("=")[0])
    path, equals, raw = text.lstrip("+").partition("=")
    if not equals or not path or not all(path.split(".")):
        return Problem(text, None, _FORM, "Write the whole dotted path.", id="override-form")
    try:
        value = read(raw)
    except NotYaml:
        return Problem(path, raw, "the value is not YAML", "Quote it.", id="override-value")
    return _set(target, path, value if raw else "")


def _set(target: dict[str, Any], path: str, value: Any) -> Problem | None:
    *parents, leaf = path.split(".")
    for name in parents:
        inner = target.get(name)
        if inner is None:
            inner = target[name] = {}
        if not isinstance(inner, dict):
            rule = f"{name} is a value, not a section"
            return Problem(path, value, rule, _FORM, id="override-path")
        target = inner
    target[leaf] = value
    return None


def _remove(target: dict[str, Any], path: str) -> Problem | None:
    *parents, leaf = path.split(".")
    for name in parents:
        inner = target.get(name)
        if not isinstance(inner, dict):
            return None
        target = inner
    target.pop(leaf, None)
    return None
