"""Takes secrets out of objects and texts. Pure.

Of resources that stays which is listed by its place (kept.py): every other value is hidden,
whatever it is. From texts, such as logs, that goes which looks like a secret (secret_text.py), as
well as it can be known. What was hidden in a resource is looked for in the texts, too, where it
cannot be taken for a word.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any
from urllib.parse import quote, quote_plus, unquote

import yaml

from dino_api.kubectl_yaml.writer import Dumper
from dino_operator.kubectl.kept import TEXT, VARIABLES, WORDS, Place, Shape, below, document
from dino_operator.kubectl.secret_text import REMOVED, is_secret, without_secrets

SHORTEST = 6
"""Shorter values are hidden where they stand, and not looked for elsewhere."""
_MOST = 10_000
_USERINFO = "userinfo"
_PLAIN = {
    *("absent", "default", "disabled", "enabled", "missing", "optional", "password", "required"),
    *("secret", "unknown", "username", "credentials", "redacted", "anonymous", "example"),
}
"""What stands in the place of a secret, and is none."""


class Cleaner:
    """Takes secrets out. kept: names that stay although a secret may be spelt like them.

    First everything is given to `take`, then what came of it to `finish`: what one object tells is
    taken out of all others. removed: how often something was taken out.
    """

    def __init__(self, kept: Iterable[str] = ()) -> None:
        self.removed = 0
        self._kept, self._known = set(kept), set[str]()
        self._longest_first: list[str] | None = None

    def take(self, thing: Any, shape: Shape = TEXT) -> Any:
        """What is let through of an object or a text, by its place and by its form."""
        return self._value(thing, shape, "")

    def finish(self, thing: Any) -> Any:
        """Without what was taken out of others."""
        if isinstance(thing, dict):
            return {name: self.finish(each) for name, each in thing.items()}
        if isinstance(thing, list):
            return [self.finish(each) for each in thing]
        return self._without_known(thing) if isinstance(thing, str) else thing

    def _without_known(self, text: str) -> str:
        if self._longest_first is None:
            self._longest_first = sorted(self._known - self._kept, key=len, reverse=True)
        for each in self._longest_first:
            if count := text.count(each):
                text = text.replace(each, REMOVED)
                self.removed += count
        return text

    def _value(self, value: Any, shape: Shape, name: str) -> Any:
        if isinstance(value, list):
            return self._list(value, shape, name)
        if isinstance(value, dict):
            return self._mapping(value, shape, name)
        if value is None or isinstance(value, bool) or value == "":
            return value
        if is_secret(name):
            return self._hidden(name, value)
        if isinstance(value, int | float):
            return value
        if shape in (TEXT, Place.OURS):
            return without_secrets(value, self._taken)
        return self._hidden(name, value)

    def _list(self, value: list[Any], shape: Shape, name: str) -> Any:
        if shape is Place.ENV:
            return [self._variable(each) for each in value]
        if shape is Place.WORDS:
            return [each if each in WORDS else self._hidden("", each) for each in value]
        return [self._value(each, shape, name) for each in value]

    def _mapping(self, value: dict[str, Any], shape: Shape, name: str) -> dict[str, Any]:
        if shape is Place.DOCUMENTS:
            return {key: self._document(key, text) for key, text in value.items()}
        beside = value.get("name")
        called = str(beside) if "value" in value else name
        return {
            key: self._value(each, below(shape, key), called if key == "value" else str(key))
            for key, each in value.items()
            if key not in ("managedFields", "binaryData")
        }

    def _variable(self, one: Any) -> Any:
        """A variable of a container. Where it comes from stays."""
        if not isinstance(one, dict) or not one.get("value"):
            return one
        name, value = str(one.get("name")), one["value"]
        open_value = name in VARIABLES and isinstance(value, str)
        left = without_secrets(value, self._taken) if open_value else self._hidden(name, value)
        return {**one, "value": left}

    def _document(self, name: str, text: Any) -> Any:
        """A file of a ConfigMap: what is let through of it, or nothing."""
        held, shape = _parsed(text), document(name)
        if not isinstance(held, dict) or not isinstance(shape, dict):
            return self._hidden(name, text)
        left = _Documents(self).take(held, shape)
        return yaml.dump(left, Dumper=Dumper, sort_keys=False, width=100000, allow_unicode=True)

    def _hidden(self, name: str, value: Any) -> str:
        self.removed += 1
        self._learn(name, str(value))
        return REMOVED

    def _taken(self, key: str, value: str) -> str:
        """Of free text that is looked for elsewhere which cannot be a word."""
        self.removed += 1
        self._learn(key if key == _USERINFO else "", value)
        return REMOVED

    def _learn(self, name: str, value: str) -> None:
        for each in islice(_secrets_of(name, value), _MOST):
            self._known |= set(_forms(each))
        self._longest_first = None


class _Documents(Cleaner):
    """Of a file whose values are not typed by Kubernetes: numbers are hidden like texts."""

    def __init__(self, outer: Cleaner) -> None:
        super().__init__()
        self._outer = outer

    def _value(self, value: Any, shape: Shape, name: str) -> Any:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if number and shape is Place.HIDDEN:
            return self._hidden(name, value)
        return super()._value(value, shape, name)

    def _hidden(self, name: str, value: Any) -> str:
        return self._outer._hidden(name, value)

    def _taken(self, key: str, value: str) -> str:
        return self._outer._taken(key, value)


def _secrets_of(name: str, value: str) -> Iterator[str]:
    """What of a value is looked for elsewhere: all of a secret's, else what looks like one."""
    held = _json(value)
    for key, leaf in _leaves(held, name):
        yield from _secrets_of_text(key, leaf)
    if held is None:
        yield from _secrets_of_text(name, value)


def _secrets_of_text(name: str, value: str) -> Iterator[str]:
    if name == _USERINFO:
        password = value.partition(":")[2]
        yield from (password, unquote(password))
    elif is_secret(name) or is_random(value):
        yield value.strip()
        yield from (each.strip() for each in value.splitlines() if is_random(each))
    for key, secret in _with_keys(value):
        if key == _USERINFO:
            yield from _secrets_of_text(key, secret)
        elif is_secret(name) or is_random(secret):
            yield secret
    yield from filter(is_random, re.split(r"[\s;,:\"'@]+", value))


def _with_keys(text: str) -> list[tuple[str, str]]:
    """What looks like a secret in a text, with the key of each."""
    secrets: list[tuple[str, str]] = []

    def noted(key: str, value: str) -> str:
        secrets.append((key, value))
        return REMOVED

    without_secrets(text, noted)
    return secrets


def is_random(text: str) -> bool:
    """Whether a text can be no word, version, date or path: letters and digits, again and again."""
    for run in re.findall(r"[A-Za-z0-9]{8,}", text[:100_000]):
        changes = re.findall(r"[A-Za-z](?=\d)|\d(?=[A-Za-z])", run)
        if len(changes) > 1 and not re.fullmatch(r"\d{8}T\d{6}Z?", run):
            return True
    return False


def _forms(value: str) -> Iterator[str]:
    """The spellings of a secret in logs; none where it is too short to be told from words."""
    if len(value) < SHORTEST or REMOVED in value or value.lower() in _PLAIN or value.isspace():
        return
    yield value
    written = json.dumps(value)[1:-1]
    yield from (written, json.dumps(value, ensure_ascii=False)[1:-1], repr(value)[1:-1])
    for sign in "&<>":
        written = written.replace(sign, f"\\u{ord(sign):04x}")
    yield written
    for each in (quote(value), quote(value, safe=""), quote_plus(value)):
        yield each
        yield re.sub(r"%[0-9A-F]{2}", lambda code: code[0].lower(), each)
    yield from _in_base64(value.encode())


def _in_base64(value: bytes) -> Iterator[str]:
    """Also within a longer text that is written so, as that of a user and a password."""
    for before in range(3) if len(value) >= 8 else (0,):
        text = base64.b64encode(b"\0" * before + value).decode().rstrip("=")
        whole = text if (before + len(value)) % 3 == 0 else text[:-1]
        whole = whole[(0, 2, 3)[before] :]
        yield whole
        yield whole.replace("+", "-").replace("/", "_")


def _leaves(thing: Any, name: str) -> Iterator[tuple[str, str]]:
    """Texts and numbers with the name of each: that beside a value, else its key."""
    if isinstance(thing, dict):
        called = str(thing.get("name")) if "value" in thing else name
        for key, each in thing.items():
            yield from _leaves(each, called if key == "value" else str(key))
    elif isinstance(thing, list):
        for each in thing:
            yield from _leaves(each, name)
    elif isinstance(thing, str | int | float) and not isinstance(thing, bool):
        yield name, str(thing)


def _json(text: str) -> Any:
    """A mapping or a list; None where it is neither."""
    if not text.lstrip().startswith(("{", "[")):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _parsed(text: Any) -> Any:
    """YAML or JSON without aliases, which may hold themselves; None where it is neither."""
    try:
        if any(isinstance(each, yaml.AliasEvent) for each in yaml.parse(text)):
            return None
        return yaml.safe_load(text)
    except (yaml.YAMLError, AttributeError, ValueError, RecursionError):
        return None
