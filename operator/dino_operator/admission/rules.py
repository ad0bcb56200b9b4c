"""The CEL rules of a CRD, asked of a new object."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dino_api.experiment.paths import Loc
from dino_operator.admission.cel import evaluate, parsed
from dino_operator.admission.cel_values import ABSENT, EvaluationError
from dino_operator.admission.keywords import of_key
from dino_operator.admission.model import FieldError, Schema
from dino_operator.plan.observed.crd_schema import named


def broken_rules(value: Any, known: Schema, at: Loc) -> Iterator[FieldError]:
    """Every rule that the value, or what is in it, breaks. None is asked of a null."""
    if value is None:
        return
    for rule in known.get("x-kubernetes-validations", ()):
        if not _of_edits(rule):
            yield from _asked(value, rule, at)
    for name, item in value.items() if isinstance(value, dict) else ():
        yield from broken_rules(item, of_key(name, known), (*at, name))
    for index, item in enumerate(value) if isinstance(value, list) else ():
        yield from broken_rules(item, known.get("items", {}), (*at, index))


def _of_edits(rule: Schema) -> bool:
    """Whether it compares with what was there before, and so is not asked of a new object."""
    return not rule.get("optionalOldSelf") and _names_old(parsed(rule["rule"]))


def _names_old(node: Any) -> bool:
    if not isinstance(node, tuple | list):
        return False
    return tuple(node) == ("name", "oldSelf") or any(map(_names_old, node))


def _asked(value: Any, rule: Schema, at: Loc) -> Iterator[FieldError]:
    try:
        if not evaluate(rule["rule"], {"self": value, "oldSelf": ABSENT}):
            where = named(at) + rule.get("fieldPath", "")
            yield FieldError(where.lstrip("."), rule["message"])
    except EvaluationError as error:  # which the API server says of the place of the rule
        yield FieldError(named(at), f"{error} evaluating rule: {rule['message']}")
