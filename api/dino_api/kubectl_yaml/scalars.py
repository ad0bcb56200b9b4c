"""What a YAML scalar is worth to kubectl: the rules of go-yaml v2, then JSON's.

kubectl reads YAML 1.1 by go-yaml v2, which is not quite YAML 1.1 (1e1 is a number, 1:30 is none),
writes it as JSON, and that is what the API server gets: 10.0 arrives as 10.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
import struct
from decimal import Decimal
from typing import Any

PLAIN = "plain"
"""In place of a tag: neither quotes nor a tag say what the text is."""
PREFIX = "tag:yaml.org,2002:"
STR, INT, FLOAT = f"{PREFIX}str", f"{PREFIX}int", f"{PREFIX}float"
BOOL, NULL, BINARY = f"{PREFIX}bool", f"{PREFIX}null", f"{PREFIX}binary"
TIMESTAMP = f"{PREFIX}timestamp"
_RESOLVED = (PLAIN, BOOL, INT, FLOAT, NULL, TIMESTAMP)
LARGEST = 2**63 - 1
"""A whole number beyond a signed 64-bit one reaches the API server as a floating-point one."""

_KINDS = {bool: BOOL, int: INT, float: FLOAT, str: STR, type(None): NULL}
_WORDS: dict[str, Any] = {
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE"), True),
    **dict.fromkeys(("on", "On", "ON"), True),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "false", "False", "FALSE"), False),
    **dict.fromkeys(("off", "Off", "OFF"), False),
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), math.inf),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), -math.inf),
}
_INTEGER = re.compile(
    r"(?P<sign>[-+]?)(?:0[xX](?P<x>[0-9a-fA-F]+)|0[oO](?P<o>[0-7]+)|0[bB](?P<b>[01]+)"
    r"|0(?P<old>[0-7]+)|(?P<d>0|[1-9][0-9]*))"
)
_BASES = {"x": 16, "o": 8, "b": 2, "old": 8, "d": 10}
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_POINT = re.compile(r"\.[0-9]+(_[0-9]+)*([eE][-+]?[0-9]+(_[0-9]+)*)?")
_DATE = re.compile(r"[0-9]{4}-")


def value_of(text: str, tag: str = PLAIN) -> Any:
    """The JSON value of a scalar. Raises ValueError for a text that is not what its tag says."""
    if tag == STR:
        return _sound(text)
    if tag == BINARY:
        return _decoded(text)
    if tag not in _RESOLVED:
        return text
    value = _plain(text)
    kind = TIMESTAMP if _is_date(text) else _KINDS[type(value)]
    if tag not in (PLAIN, kind) and (tag, kind) != (FLOAT, INT):
        raise ValueError(f"{text!r} is not what !!{tag.removeprefix(PREFIX)} says")
    return as_json(value)


def as_json(value: Any) -> Any:
    """A number as it comes out of JSON again. Raises ValueError for one that JSON does not have."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError("JSON has neither infinity nor .nan, so kubectl refuses it")
        if not value.is_integer() or abs(value) >= 1e21:
            return value
        value = int(Decimal(repr(value)))
    if -LARGEST - 1 <= value <= LARGEST:
        return value
    try:
        return float(value)
    except OverflowError:
        raise ValueError("a number is too large for a program to hold") from None


def key_of(text: str, tag: str = PLAIN) -> str:
    """A mapping's key, which in JSON is a text. Raises ValueError where kubectl refuses it."""
    value = _plain(text) if tag == PLAIN else value_of(text, tag)
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None or (isinstance(value, int) and value > LARGEST):
        raise ValueError(f"{text or 'nothing'} cannot be a key. Quote it")
    return _written(value) if isinstance(value, float) else str(value)


def _sound(text: str) -> str:
    if any("\ud800" <= each <= "\udfff" for each in text):
        raise ValueError("half of a surrogate pair is no character")
    return text


def _plain(text: str) -> Any:
    """The value of a bare word; whole numbers of any size are int."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] == ".":
        return _float(text) if _POINT.fullmatch(text) else text
    if text[0] not in "+-0123456789" or _is_date(text):
        return text
    digits = text.replace("_", "")
    match = _INTEGER.fullmatch(digits)
    if match and (number := _integer(match)) is not None:
        return number
    return _float(digits, text) if _FLOAT.fullmatch(digits) else text


def _integer(match: re.Match[str]) -> int | None:
    """The number, if 64 bits hold it; one sign more than those of an unsigned one does not."""
    base = next(name for name in _BASES if match[name] is not None)
    number = int(match[base], _BASES[base])
    if match["sign"]:
        number = -number if match["sign"] == "-" else number
        return number if -LARGEST - 1 <= number <= LARGEST else None
    return number if number < 2**64 else None


def _float(digits: str, text: str = "") -> float | str:
    """The number, or the text where it is too large for one."""
    number = float(digits)
    return text or digits if math.isinf(number) else number


def _is_date(text: str) -> bool:
    """Dates and times stay texts; what else begins like one is no number either."""
    return bool(_DATE.match(text))


def _decoded(text: str) -> str:
    try:
        return base64.b64decode("".join(text.splitlines()), validate=True).decode(errors="replace")
    except binascii.Error:
        raise ValueError("what !!binary says is not base64") from None


def _written(value: float) -> str:
    """A number as go-yaml writes it: as few digits as tell it from others of 32 bits."""
    single = _single(value)
    if not math.isfinite(single):
        return str(single).replace("inf", ".inf").replace("nan", ".nan")
    tried = (f"{single:.{digits}e}" for digits in range(10))
    text = next(each for each in tried if _single(float(each)) == single)
    exponent = int(text.partition("e")[2])
    return format(Decimal(text), "f") if -4 <= exponent < 6 else text


def _single(value: float) -> float:
    try:
        return float(struct.unpack("f", struct.pack("f", value))[0])
    except OverflowError:
        return math.copysign(math.inf, value)
