"""From a mapping to a checked ExperimentSpec, with every problem at once."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from dino_api.actions import ACTIONS
from dino_api.base import Section, note_of
from dino_api.experiment.interpolation import MOST_VALUES, interpolated
from dino_api.experiment.overrides import apply_overrides
from dino_api.experiment.paths import Loc, NearPaths, dotted, section_of, without_nulls
from dino_api.experiment.spec import OTHER_SECTIONS, ExperimentSpec, readers
from dino_api.kubectl_yaml.scalars import value_of
from dino_api.names import Action
from dino_api.problem import THE_SPEC, Problem, SpecErrors
from dino_api.rules.experiment import check

_RULES = {
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "literal_error": "must be one of {expected}",
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "string_type": "must be text",
    "string_too_long": "must have at most {max_length} characters",
    "too_short": "must have at least {min_length} entries",
    "too_long": "must have at most {max_length} entries",
    "list_type": "must be a list",
    "dict_type": "must be a mapping of keys",
    "model_type": "must be a section with keys below it",
}


NULL = "null"
"""The id of what is said of a key without a value."""
_NULL = "has no value (null), and is taken as left out"


def template_file(action: Action) -> str:
    """Where, in the repository, every key that the action reads stands with its meaning."""
    return f"schemas/spec_template_{action}.yaml"


_TEMPLATE = f"See {template_file(Action.TRAIN)}, and those of the other actions beside it."


def load(
    mapping: Mapping[str, Any] | None,
    overrides: Iterable[str] = (),
    action: Action = Action.TRAIN,
) -> tuple[ExperimentSpec, list[Problem]]:
    """The spec, and warnings. Raises SpecErrors with all problems where one is an error.

    mapping: what the YAML file held, None for an empty one. overrides: `key=value` texts, applied
    before the check. action: what the spec is for; keys that it does not read are checked, too, and
    a warning says that they have no effect.
    """
    return checked(*resolved(mapping, overrides, action), action)


def resolved(
    mapping: Mapping[str, Any] | None, overrides: Iterable[str], action: Action
) -> tuple[dict[str, Any], list[Problem]]:
    """What the spec says once overrides are applied and references resolved, its values unchecked;
    and what was wrong so far. For `checked`; parameters as of `load`.

    Raises SpecErrors where it is no mapping, or of more values than any spec has.
    """
    if not isinstance(mapping, Mapping | None):
        rule = "must be sections with keys below them"
        raise SpecErrors([Problem(THE_SPEC, mapping, rule, _TEMPLATE, id="value")])
    if _is_too_long(mapping):
        rule = f"has more than {MOST_VALUES:,} keys and values"
        raise SpecErrors([Problem(THE_SPEC, None, rule, "Shorten its lists.", id="value")])
    data, problems = apply_overrides(mapping or {}, overrides)
    problems += _drop_odd_keys(data, ())
    data, unresolved = interpolated(data, action)
    return data, problems + unresolved


def checked(
    data: dict[str, Any], problems: list[Problem], action: Action
) -> tuple[ExperimentSpec, list[Problem]]:
    """What `load` returns and raises. data, problems: what `resolved` gave; data stays as it is."""
    spec, invalid = _validate(data)
    problems = problems + invalid
    problems += check(spec, {problem.path.partition("[")[0] for problem in problems}, action)
    problems += list(_without_effect(spec, (), action))
    if any(problem.severity == "error" for problem in problems):
        raise SpecErrors(problems)
    return spec, problems


def left_out(mapping: Mapping[str, Any]) -> list[Problem]:
    """A warning for each key that is null where it has to have a value, and so is left out."""
    if without_nulls(mapping) == mapping:
        return []
    _, problems = _validate(dict(mapping))
    return [each for each in problems if each.id == NULL]


def _is_too_long(mapping: Mapping[str, Any] | None) -> bool:
    """Whether a sentence about each value would be more than anybody reads, or waits for."""
    nodes: list[Any] = [mapping]
    for _ in range(MOST_VALUES):
        if not nodes:
            return False
        node = nodes.pop()
        if isinstance(node, Mapping | list):
            nodes.extend(node.values() if isinstance(node, Mapping) else node)
    return bool(nodes)


def _drop_odd_keys(node: Any, prefix: Loc) -> list[Problem]:
    """Takes out keys that YAML read as something else than text, such as 1, null or on."""
    problems = []
    for name in list(node) if isinstance(node, dict) else ():
        if isinstance(name, str):
            problems += _drop_odd_keys(node[name], (*prefix, name))
        else:
            del node[name]
            path = dotted((*prefix, str(name)))
            problems.append(Problem(path, None, "a key must be text", "Remove it.", id="value"))
    return problems


def _validate(data: dict[str, Any]) -> tuple[ExperimentSpec, list[Problem]]:
    """The spec without its invalid keys, and a problem for each of those.

    Keys that fail are taken out and the rest is read again, so that the rules about several keys
    can still be checked in the same pass.
    """
    problems: list[Problem] = []
    near = NearPaths()
    while True:
        try:
            return ExperimentSpec.model_validate(data), problems
        except ValidationError as error:
            data = copy.deepcopy(data)
            for detail in error.errors():
                problems.append(_problem(detail, near))
                _discard(data, detail["loc"])


def _problem(detail: Any, near: NearPaths) -> Problem:
    path, kind, got = dotted(detail["loc"]), detail["type"], detail["input"]
    if kind == "extra_forbidden":
        return _unknown(path, near)
    if got is None and all(isinstance(part, str) for part in detail["loc"]):
        default = _remedy(detail["loc"], "").replace(_TEMPLATE, "")
        return Problem(path, None, _NULL, default, "warning", NULL)
    rule = _RULES.get(kind, "").format(**detail.get("ctx", {}))
    rule = rule or detail["msg"].removeprefix("Value error, ")
    return Problem(path, got, rule, _unquoted(got, kind) or _remedy(detail["loc"]), id="value")


def _unquoted(got: Any, kind: str) -> str:
    """What to do about "10" where 10 is wanted, or the other way round; empty for other
    mistakes."""
    if kind == "string_type" and isinstance(got, (bool, int, float)):
        return (
            "It is read as a number or a flag: put quotes around it, on a command line "
            "KEY='\"VALUE\"'."
        )
    wanted = {"int_type": int, "float_type": int | float, "bool_type": bool}.get(kind)
    if wanted is None or not isinstance(got, str):
        return ""
    try:
        meant = value_of(got)
    except ValueError:
        return ""
    fits = isinstance(meant, wanted) and isinstance(meant, bool) == (wanted is bool)
    return f"It is text: write {json.dumps(meant)}, without quotes." if fits else ""


def _unknown(path: str, near: NearPaths) -> Problem:
    close = near.of(path)
    if close == [path]:  # a key whose name holds the dots
        remedy = "Write each part below the one before, without dots: model: {num_queries: 300}."
        return Problem(path, None, "is one key with dots in its name", remedy, id="unknown-key")
    remedy = f"Did you mean {' or '.join(close)}?" if close else "Remove it."
    return Problem(path, None, "there is no such key", remedy, id="unknown-key")


def _remedy(loc: Loc, otherwise: str = "Leave it out.") -> str:
    """What the key's default is, which is most often the way out."""
    section: Any = ExperimentSpec
    field = None
    for part in loc:
        if isinstance(part, int) or not _is_section(section) or part not in section.model_fields:
            break
        field = section.model_fields[part]
        section = section_of(field.annotation)
    if field is None or _is_section(section):
        return _TEMPLATE
    default = field.get_default(call_default_factory=True)
    return f"The default is {default}." if default not in (None, "") else otherwise


def _is_section(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, Section)


def _discard(data: Any, loc: Loc) -> None:
    """Removes the deepest mapping key on the way to loc; a list with a bad entry goes whole."""
    parent, name = data, loc[0]
    here = data
    for part in loc:
        if isinstance(here, dict) and part in here:
            parent, name, here = here, part, here[part]
        else:
            break
    parent.pop(name, None)


def _without_effect(
    section: BaseModel, prefix: tuple[str, ...], action: Action
) -> Iterable[Problem]:
    """A warning for every key that was given and does nothing."""
    for name in sorted(section.model_fields_set):
        field, value = type(section).model_fields[name], getattr(section, name)
        path = dotted((*prefix, name))
        if reason := unread((*prefix, name), field, action):
            if value not in (None, []):
                yield Problem(path, None, reason, "", "warning", "other-action")
        elif note_of(field).dead:
            if value in (None, "", [], {}):
                continue
            rule = f"this key has no effect: {note_of(field).dead}"
            yield Problem(path, value, rule, "Leave it out.", "warning", "dead-key")
        elif isinstance(value, Section):
            yield from _without_effect(value, (*prefix, name), action)


def unread(path: tuple[str, ...], field: FieldInfo, action: Action) -> str:
    """Why this action does not read what others do; empty where it does."""
    note = note_of(field)
    if note.only and action not in note.only:
        return readers(note.only)
    if path[0] in OTHER_SECTIONS:
        return OTHER_SECTIONS[path[0]]
    by = [each for each, facts in ACTIONS.items() if path[0] in facts.sections]
    return readers(by) if by and not ACTIONS[action].reads_key(".".join(path)) else ""
