"""Base classes of the models and `key`, which states a field once for every reader of it.

A field's type, range, default and description stand here; the CRD, the JSON Schemas, the spec
template, the loader and `kubectl explain` are all derived from it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Annotated, Any, TypedDict, Unpack

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, Strict
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticKnownError

# Caps that keep the CRD's CEL rules within the API server's cost budget.
NAME = 63
SHORT = 256
URI = 1024
REPORTED_URI = 1536
"""Of a file below the longest output, or the longest folder of data."""
TEXT = 4096

NO_NULL: dict[str, JsonValue] = {"nullable": True}
"""Of a choice: the API server then keeps null, and refuses it as no choice, in place of dropping it
without a word. kubectl apply drops it itself; `resources/null_keys.py` is for that."""
NOT_BLANK: dict[str, JsonValue] = {"minLength": 1}
"""Of a text that names something: empty, it would be taken for none without a word. The API
server's alone: an object that it took before it asked for this can still be read."""


@dataclass(frozen=True)
class Note:
    """What a field means beyond its type.

    dead: why the key is accepted and does nothing.
    resource: the field of the DinoJob that decides this instead (refused inside spec.experiment).
    decides: whether the value can change the trained weights or the reported numbers.
    only: the actions that read it, where not every action does that reads its section.
    """

    dead: str = ""
    resource: str = ""
    decides: bool = True
    only: tuple[str, ...] = ()


@dataclass(frozen=True)
class NumberOrString:
    """Marks a text that manifests may write as a number, such as `cpu: 2` or `cpu: 0.5`."""

    pattern: str

    def __get_pydantic_json_schema__(self, core_schema: Any, handler: Any) -> dict[str, Any]:
        """The schema of a positive number or a text that follows the pattern.

        Kubernetes' own form for this, x-kubernetes-int-or-string, takes whole numbers alone.
        """
        return {
            "x-kubernetes-preserve-unknown-fields": True,
            "pattern": self.pattern,
            "exclusiveMinimum": 0,
            "maxItems": 0,
            "maxProperties": 0,
            "not": {"enum": [True, False]},
        }


class Section(BaseModel):
    """One mapping of the experiment spec. Unknown keys are errors, as in TAO."""

    model_config = ConfigDict(
        extra="forbid", validate_assignment=True, allow_inf_nan=False, protected_namespaces=()
    )


class Camel(BaseModel):
    """Part of a Kubernetes object: camelCase on the wire, snake_case in Python.

    Unknown fields are ignored: a newer API server may know more than this program.
    """

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="ignore", protected_namespaces=()
    )

    def to_dict(self) -> dict[str, Any]:
        """The object as JSON types, by wire names, without fields that are None."""
        return self.model_dump(by_alias=True, exclude_none=True, mode="json")


def _not_bool(value: object) -> object:
    """Refuses a flag in a number's place, where pydantic would read true as 1."""
    if isinstance(value, bool):
        raise ValueError("a number is expected, not true or false")
    return value


def _whole(value: object) -> object:
    """Refuses "10", as the API server does, where pydantic would read 10."""
    if isinstance(value, str | bytes):
        raise PydanticKnownError("int_type")
    return _not_bool(value)


def _number(value: object) -> object:
    if isinstance(value, str | bytes):
        raise PydanticKnownError("float_type")
    return _not_bool(value)


# Put them after Field(...) in an Annotated: pydantic loses limits that come behind a validator.
IsWhole = BeforeValidator(_whole)
IsNumber = BeforeValidator(_number)
Int = Annotated[int, IsWhole]
Float = Annotated[float, IsNumber]
Bool = Annotated[bool, Strict()]


class FieldOptions(TypedDict, total=False):
    """What `key` takes about a field: the members of its Note, and pydantic's limits.

    size: maxLength of a string or maxItems of a list.
    """

    dead: str
    resource: str
    decides: bool
    only: tuple[str, ...]
    size: int
    ge: float
    gt: float
    le: float
    lt: float
    min_length: int
    max_length: int
    pattern: str


_OF_NOTE = {field.name for field in fields(Note)}


def key(default: Any, text: str, **facts: Unpack[FieldOptions]) -> Any:
    """A field of a Section: its default, or what makes one, and a teaching text."""
    limits: dict[str, Any] = {name: fact for name, fact in facts.items() if name not in _OF_NOTE}
    if "size" in limits:
        limits["max_length"] = limits.pop("size")
    limits["default_factory" if callable(default) else "default"] = default
    dead = facts.get("dead", "")
    note = Note(
        dead=dead,
        resource=facts.get("resource", ""),
        decides=facts.get("decides", True) and not dead,
        only=facts.get("only", ()),
    )
    return Field(description=text, json_schema_extra={"note": note}, **limits)  # type: ignore[dict-item]


def either(words: Iterable[str]) -> str:
    """The words as a sentence offers them: `.pth, .tlt or .onnx`."""
    *most, last = words
    return f"{', '.join(most)} or {last}" if most else last


def note_of(field: Any) -> Note:
    """The Note of a pydantic FieldInfo; an empty one where the field was made without `key`."""
    extra = field.json_schema_extra
    note = extra.get("note") if isinstance(extra, dict) else None
    return note if isinstance(note, Note) else Note()
