"""What the rules of a CRD say of an edit, which `dino_operator.admission` does not ask."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dino_api.experiment.paths import Loc
from dino_operator.admission.cel import evaluate
from dino_operator.admission.keywords import of_key
from dino_operator.plan.model import Object
from dino_operator.plan.observed import crd_schema
from dino_operator.plan.observed.crd_schema import named

Refused = tuple[str, str]
"""Field and sentence."""


def refusals_of_edit(old: Object, new: Object) -> list[Refused]:
    """What the rules that compare with what was there refuse. Both are as they are stored."""
    return list(_broken(new, old, crd_schema.of_kind(new["kind"]), ()))


def _broken(value: Any, old: Any, known: Object, at: Loc) -> Iterator[Refused]:
    if value is None or old is None:
        return
    for rule in known.get("x-kubernetes-validations", ()):
        compares = "oldSelf" in rule["rule"] and not rule.get("optionalOldSelf")
        if compares and not evaluate(rule["rule"], {"self": value, "oldSelf": old}):
            yield (named(at) + rule.get("fieldPath", "")).lstrip("."), rule["message"]
    for name, item in value.items() if isinstance(value, dict) else ():
        before = old.get(name) if isinstance(old, dict) else None
        yield from _broken(item, before, of_key(name, known), (*at, name))
