"""The base of what is reported at the end of work: no bound of a report can end work that is done.

A value that the CRD would refuse is brought within its bounds where the report is made: text is
cut, a number that is none is left out. So what is written agrees with the CRD, which is made of the
same fields.
"""

from __future__ import annotations

import io
import math
from typing import Any, TextIO, get_args

from pydantic import model_validator
from pydantic.fields import FieldInfo

from dino_api.base import URI, Camel

CUT = "…"
# An API server takes no wider integer.
_WIDEST = (1 << 63) - 1


class ReportPart(Camel):
    """Part of a report."""

    @model_validator(mode="before")
    @classmethod
    def _within_bounds(cls, data: Any) -> Any:
        return cls.fitted(data) if isinstance(data, dict) else data

    @classmethod
    def fitted(cls, data: dict[str, Any]) -> dict[str, Any]:
        """The same values within the bounds of their fields. data: by either name of a field."""
        values = dict(data)
        for name, field in cls.model_fields.items():
            for key in {name, field.alias or name} & values.keys():
                values[key] = cls._fit(name, values[key], field)
        return values

    @classmethod
    def cut(cls, name: str, items: list[Any], most: int) -> list[Any]:
        """What is kept of a list that is too long. name: of its field."""
        return items[:most]

    @classmethod
    def _fit(cls, name: str, value: Any, field: FieldInfo) -> Any:
        most = _bound(field, "max_length")
        if isinstance(value, str):
            return shortened(sound(value), most)
        if isinstance(value, list | tuple):
            items = [shortened(sound(one), URI) if isinstance(one, str) else one for one in value]
            return cls.cut(name, items, most) if most is not None and len(items) > most else items
        if isinstance(value, int | float) and not isinstance(value, bool):
            return _number(value, field)
        return value

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON types, what was put in unchecked too: no NaN, no half surrogates."""
        values: dict[str, Any] = _as_json(super().to_dict())
        return values


def _bound(field: FieldInfo, kind: str) -> Any:
    return next((getattr(each, kind) for each in field.metadata if hasattr(each, kind)), None)


def _number(value: float, field: FieldInfo) -> float | None:
    """The number within the field's bounds, and whole where the field is.

    What is no number is left out, as JSON has none such; where a number must be, it is the least
    one, or -1, as COCO has it.
    """
    least, most = _bound(field, "ge"), _bound(field, "le")
    if isinstance(value, float) and not math.isfinite(value):
        return (-1 if least is None else least) if field.is_required() else field.default
    value = max(-_WIDEST - 1, min(value, _WIDEST)) if isinstance(value, int) else value
    value = value if least is None else max(value, least)
    value = value if most is None else min(value, most)
    whole = int in (field.annotation, *get_args(field.annotation))
    return max(-_WIDEST - 1, min(int(value), _WIDEST)) if whole else value


def sound(text: str) -> str:
    """Text that UTF-8 can hold: halves of a surrogate pair are joined, a lone one is replaced."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def print_any_text(*streams: TextIO) -> None:
    """Has half surrogates written as \\udce9 and the like, where Python raises an exception.

    Names of files that are no UTF-8 have them, and so may texts of JSON.
    """
    for stream in streams:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def shortened(text: str, most: int | None) -> str:
    """The text in at most so many characters; the last one shows that it was cut."""
    return text if most is None or len(text) <= most else text[: most - 1] + CUT


def without_middle(text: str, most: int) -> str:
    """The text in at most so many characters: the start says where, the end says what."""
    start = most // 2
    end = len(text) - (most - start - len(CUT))
    return text if len(text) <= most else f"{text[:start]}{CUT}{text[end:]}"


def clipped(text: str, most: int) -> str:
    """The text in at most so many bytes of UTF-8, never cut within a character."""
    raw = text.encode()
    if len(raw) <= most:
        return text
    return raw[: max(0, most - len(CUT.encode()))].decode(errors="ignore") + CUT


def _as_json(value: Any) -> Any:
    if isinstance(value, dict):
        made = {key: _as_json(each) for key, each in value.items()}
        return {key: each for key, each in made.items() if each is not None}
    if isinstance(value, list):
        return [each for each in map(_as_json, value) if each is not None]
    if isinstance(value, str):
        return sound(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
