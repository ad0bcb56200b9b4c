"""YAML as people write it, and what reaches the API server of it.

`tests/unit/test_api_yaml.py` asks our reader, `tests/api/test_yaml.py` the real kubectl.
"""

from __future__ import annotations

from typing import Any

READ: dict[str, Any] = {
    # Whole numbers.
    "1e1": 10,
    "1.0e+3": 1000,
    "10.0": 10,
    "1E5": 100000,
    "5.": 5,
    "+1": 1,
    "-0": 0,
    "-0.0": 0,
    "1_000": 1000,
    "1_": 1,
    "017": 15,
    "010": 8,
    "08": 8,
    "09e1": 90,
    "0o17": 15,
    "0x1F": 31,
    "-0x1f": -31,
    "0b11": 3,
    "9007199254740993": 2**53 + 1,
    "9223372036854775807": 2**63 - 1,
    "9223372036854775808": 2.0**63,
    "18446744073709551616": 2.0**64,
    "-9223372036854775809": -(2.0**63),
    "123456789012345678.0": 123456789012345680,
    # Other numbers.
    "1e-4": 0.0001,
    "1e-400": 0,
    ".5": 0.5,
    "-.5": -0.5,
    "+.5e1": 5,
    "1_0.5": 10.5,
    "1e21": 1e21,
    "1e300": 1e300,
    # Texts that look like numbers.
    "1e400": "1e400",
    "0o8": "0o8",
    "0b12": "0b12",
    "0x": "0x",
    "1:30": "1:30",
    "1,000": "1,000",
    "1e": "1e",
    ".e5": ".e5",
    "_1": "_1",
    "nan": "nan",
    "inf": "inf",
    "2001-01-01": "2001-01-01",
    "2001-12-14t21:59:43.10-05:00": "2001-12-14t21:59:43.10-05:00",
    "12:30:45": "12:30:45",
    "=": "=",
    '"10"': "10",
    "'1e3'": "1e3",
    "|-\n    1e1": "1e1",
    # Flags.
    "yes": True,
    "No": False,
    "on": True,
    "OFF": False,
    "y": True,
    "n": False,
    "True": True,
    "tRUE": "tRUE",
    # Tags.
    "!!str 1": "1",
    '!!int "1"': 1,
    "!!float 1": 1,
    "!!bool 'yes'": True,
    "!!binary aGk=": "hi",
    "!mine 1": "1",
    # What is no scalar.
    "[1e1, 'a', b:c]": [10, "a", "b:c"],
    "{1: a, true: b, 1.5: c}": {"1": "a", "true": "b", "1.5": "c"},
    "{1e6: a, 0x10: b, 2001-01-01: c}": {"1e+06": "a", "16": "b", "2001-01-01": "c"},
    "[&a {b: 1}, {<<: *a, c: 2}, {b: 3, <<: *a}]": [{"b": 1}, {"b": 1, "c": 2}, {"b": 1}],
    "{a:\t1}": {"a": 1},
}
"""The text of a value -> its JSON."""

EMPTY = ("~", "null", "Null", "")
"""Values that are null."""
REFUSED = {
    ".inf": "JSON has neither infinity nor .nan",
    "-.inf": "JSON has neither infinity nor .nan",
    ".nan": "JSON has neither infinity nor .nan",
    "!!int 1.5": "not what !!int says",
    "{null: a}": "null cannot be a key. Quote it",
    "{[1]: a}": "a list or a mapping cannot be a key",
    "&a [*a]": "an anchor's value contains itself",
    "{<<: 1}": "<< takes a mapping or a list of mappings",
    "*a": "found undefined alias",
    "@x": "cannot start any token",
    "b: c": "mapping values are not allowed here",
    "'x": "unexpected end of stream",
    '"\\ud83d"': "half of a surrogate pair",
}
"""Text of a value that kubectl refuses -> part of our sentence."""
TWICE = ("{a: 1, a: 2}", "{1: a, '1': b}")
"""Of these kubectl takes one value without a word; we refuse them."""
