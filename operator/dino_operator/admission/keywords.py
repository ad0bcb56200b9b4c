"""Ranges, lengths, choices: the keywords of the CRDs' schemas, in the API server's words."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from dino_api.experiment.paths import Loc
from dino_operator.admission.cel_values import matches
from dino_operator.admission.model import FieldError, Schema
from dino_operator.plan.observed.crd_schema import did_you_mean, named


def broken(value: Any, known: Schema, at: Loc, skip: Collection[Loc] = ()) -> Iterator[FieldError]:
    """Every keyword that the value, or what is in it, does not keep. skip: places of values of
    another type, of which nothing else is asked. A null is let in where the schema has it, but for
    a choice: the API server takes it as none of them."""
    if at in skip or (value is None and known.get("nullable") and "enum" not in known):
        return
    for message, blocking in (*_of_any(value, known), *_of_its_type(value, known)):
        yield FieldError(named(at), message, blocking)
    if isinstance(value, dict):
        yield from _missing(value, known, at)
        yield from _one_of(value, known, at)
        for name, item in value.items():
            yield from broken(item, of_key(name, known), (*at, name), skip)
    for index, item in enumerate(value) if isinstance(value, list) else ():
        yield from broken(item, known.get("items", {}), (*at, index), skip)


def of_key(name: str, known: Schema) -> Schema:
    """The schema of a key."""
    schema = known.get("properties", {}).get(name) or known.get("additionalProperties")
    return schema if isinstance(schema, dict) else {}


Problem = tuple[str, bool]


def _of_any(value: Any, known: Schema) -> Iterator[Problem]:
    choices = known.get("enum")
    if choices is not None and not _among(value, choices):
        listed = ", ".join(map(json.dumps, choices))
        near = did_you_mean(value, map(str, choices))
        meant = near and f".{near}"
        yield f"Unsupported value: {json.dumps(value)}: supported values: {listed}{meant}", True
    if "not" in known and _among(value, known["not"]["enum"]):
        yield f"Invalid value: {json.dumps(value)}: must not validate the schema (not)", False


def _among(value: Any, choices: list[Any]) -> bool:
    """true is not 1 here."""
    return any(value == each and type(value) is type(each) for each in choices)


def _of_its_type(value: Any, known: Schema) -> Iterator[Problem]:
    if isinstance(value, str):
        return _of_text(value, known)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _of_number(value, known)
    return _of_length(value, known) if isinstance(value, list | dict) else iter(())


def _of_text(value: str, known: Schema) -> Iterator[Problem]:
    if len(value) > known.get("maxLength", len(value)):
        yield f"Too long: may not be more than {known['maxLength']} bytes", True
    elif len(value) < known.get("minLength", 0):
        yield f"should be at least {known['minLength']} chars long", False
    # Of its pattern nothing is said where its length is wrong.
    elif "pattern" in known and not matches(value, known["pattern"]):
        yield f"Invalid value: {json.dumps(value)}: should match '{known['pattern']}'", False


def _of_number(value: float, known: Schema) -> Iterator[Problem]:
    least, most = known.get("minimum"), known.get("maximum")
    above, below = known.get("exclusiveMinimum"), known.get("exclusiveMaximum")
    if least is not None and (value < least or (above and value == least)):
        bound = "greater than" if above else "greater than or equal to"
        yield f"Invalid value: {value}: should be {bound} {least}", False
    if most is not None and (value > most or (below and value == most)):
        bound = "less than" if below else "less than or equal to"
        yield f"Invalid value: {value}: should be {bound} {most}", False


def _of_length(value: list[Any] | dict[str, Any], known: Schema) -> Iterator[Problem]:
    """Of lists and mappings."""
    least, most, what = (
        ("minItems", "maxItems", "items")
        if isinstance(value, list)
        else ("minProperties", "maxProperties", "entries")
    )
    size = len(value)
    if size > known.get(most, size):
        yield f"Too many: {size}: must have at most {known[most]} items", True
    if size < known.get(least, 0):
        yield f"should have at least {known[least]} {what}", False


def _missing(value: Mapping[str, Any], known: Schema, at: Loc) -> Iterator[FieldError]:
    for name in known.get("required", ()):
        if name not in value:
            yield FieldError(named((*at, name)), "Required value", True)


def _one_of(value: Mapping[str, Any], known: Schema, at: Loc) -> Iterator[FieldError]:
    """Of alternatives that say which keys are required. Of none, the first is taken as meant."""
    alternatives = known.get("oneOf", ())
    fits = [each for each in alternatives if not list(_missing(value, each, at))]
    if not alternatives or len(fits) == 1:
        return
    matched = f"Found {len(fits)} valid alternatives" if fits else "Found none valid"
    message = f"must validate one and only one schema (oneOf). {matched}"
    yield FieldError(named(at), message)
    if not fits:
        yield from _missing(value, alternatives[0], at)
