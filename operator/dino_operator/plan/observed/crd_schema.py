"""What the API server does with a spec: unknown keys, types and nulls, by the CRD's schema."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from functools import cache
from typing import Any

from dino_api.experiment.paths import Loc, NearPaths, dotted
from dino_api.generate import crd
from dino_api.kubectl_yaml.scalars import value_of
from dino_api.problem import show
from dino_operator.plan.model import Object

KINDS = {kind.kind: kind for kind in crd.KINDS}
EXPERIMENT = "experiment"
LARGEST = 2**63
SAFE = 2**53
"""Larger numbers with an exponent are no whole numbers to the API server."""
_WANTED = {
    "integer": "a whole number",
    "number": "a number",
    "string": "text",
    "boolean": "true or false",
    "array": "a list",
    "object": "a mapping of keys",
}


@cache
def of_kind(kind: str) -> Object:
    """The schema of the whole object, with its rules."""
    return dict(crd.root_schema(KINDS[kind]))


def of_spec(kind: str) -> Object:
    """The schema of `spec` of that kind."""
    return dict(of_kind(kind)["properties"]["spec"])


def unknown(value: Any, schema: Object, at: Loc = ()) -> Iterator[Loc]:
    """The place of every key that the schema does not know."""
    for index, item in enumerate(value) if isinstance(value, list) else ():
        yield from unknown(item, schema.get("items", {}), (*at, index))
    known = schema.get("properties")
    if not isinstance(value, dict) or known is None:
        return
    for name, item in value.items():
        if name in known:
            yield from unknown(item, known[name], (*at, name))
        else:
            yield (*at, name)


def named(at: Loc) -> str:
    """The place as users write it; a key that is a path itself is told from the path."""
    return "".join(map(_step, at)).lstrip(".")


def _step(part: str | int) -> str:
    if isinstance(part, int):
        return f"[{part}]"
    return f'["{part}"]' if "." in part else f".{part}"


def near(at: Loc, schema: Object, paths: NearPaths) -> str:
    """`Did you mean …?` for an unknown key; empty where nothing is like it."""
    if EXPERIMENT in at:  # as the loader finds it: also at other levels
        before = at.index(EXPERIMENT) + 1
        close = paths.of(dotted(at[before:]))[:1]
        meant = [dotted(("spec", *at[:before], each)) for each in close]
    else:
        return did_you_mean(at[-1], _below(at[:-1], schema), f"{dotted(('spec', *at[:-1]))}.")
    return f" Did you mean {meant[0]}?" if meant else ""


def did_you_mean(word: object, known: Iterable[str], before: str = "") -> str:
    """A sentence with the known word that is most like this one; empty where none is."""
    close = get_close_matches(str(word), list(known), n=1)
    return f" Did you mean {before}{close[0]}?" if close else ""


def _below(at: Loc, schema: Object) -> Object:
    for part in at:
        schema = schema["items"] if isinstance(part, int) else schema["properties"][part]
    return dict(schema["properties"])


def without_nulls(value: Any, schema: Object) -> Any:
    """The value as it is stored: keys without a value are dropped, but where null is let in."""
    if isinstance(value, list):
        return [without_nulls(each, schema.get("items", {})) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        name: without_nulls(item, _of_key(name, schema))
        for name, item in value.items()
        if item is not None or _keeps_null(_of_key(name, schema))
    }


def _keeps_null(schema: Object) -> bool:
    """Of a choice, too, which the API server then refuses."""
    return not schema or bool(schema.get("nullable"))


def _of_key(name: str, schema: Object) -> Object:
    below = schema.get("properties", {}).get(name) or schema.get("additionalProperties")
    return below if isinstance(below, dict) else {}


def mistyped(value: Any, schema: Object, at: Loc = ()) -> Iterator[str]:
    """A sentence for every value of another type than the schema says."""
    return (f"{named(where)}: {sentence}" for where, sentence in mistyped_at(value, schema, at))


def mistyped_at(value: Any, schema: Object, at: Loc = ()) -> Iterator[tuple[Loc, str]]:
    """The place of each of them, and the rest of the sentence."""
    wanted = schema.get("type")
    if value is None and schema.get("nullable"):
        return
    if wanted is not None and not _fits(value, wanted):
        given = "nothing" if value is None else _as_written(value)
        size = " of 64 bits" if wanted == "integer" and _is_too_large(value) else ""
        yield at, f"must be {_WANTED[wanted]}{size} (given {given}).{_remedy(value, wanted)}"
        return
    for name, item in value.items() if isinstance(value, dict) else ():
        yield from mistyped_at(item, _of_key(name, schema), (*at, name))
    for index, item in enumerate(value) if isinstance(value, list) else ():
        yield from mistyped_at(item, schema.get("items", {}), (*at, index))


def _fits(value: Any, wanted: str) -> bool:
    if isinstance(value, bool):
        return wanted == "boolean"
    if isinstance(value, float) and wanted == "integer":
        return value.is_integer() and abs(value) < SAFE
    if wanted == "integer" and _is_too_large(value):
        return False
    kinds = {"array": list, "object": dict, "string": str, "integer": int, "number": int | float}
    return wanted in kinds and isinstance(value, kinds[wanted])


def _is_too_large(value: Any) -> bool:
    """Whether the API server reads a whole number as one with a fraction."""
    return isinstance(value, int) and not -LARGEST <= value < LARGEST


def _as_written(value: Any) -> str:
    return json.dumps(value) if isinstance(value, bool) else show(value)


def _remedy(value: Any, wanted: str) -> str:
    """Quotes that are too many, or that are missing."""
    if wanted == "string" and isinstance(value, bool):
        return " YAML reads yes, no, on, off, y and n as true or false: put it in quotes."
    if wanted == "string" and isinstance(value, int | float):
        return " Put it in quotes."
    if not isinstance(value, str):
        return ""
    try:
        meant = value_of(value)
    except ValueError:
        return ""
    return (
        f" It is text: write {_as_written(meant)}, without quotes." if _fits(meant, wanted) else ""
    )
