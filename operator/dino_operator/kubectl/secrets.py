"""Takes secrets out of objects and texts. Pure.

What is known by its place is taken out whole: values of variables that are not the operator's own,
of keys and options that are called after a secret, what was applied. What is known by its form is
taken out of any text: passwords in URLs, signatures, headers, keys of well-known services. And what
was taken out once is taken out everywhere, in whatever form a log shows it.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import quote

import yaml

from dino_api.kubectl_yaml.writer import Dumper
from dino_api.names import Env
from dino_operator import options as installation
from dino_operator.plan.annotations import LAST_APPLIED

REMOVED = "REMOVED"
SHORTEST = 6
"""Shorter values are taken out where they stand, and not looked for elsewhere."""
_OURS = "DINO_"
_CLOSED = {Env.S3_ACCESS_KEY.value, Env.S3_SECRET_KEY.value} | {
    each.variable for each in installation.SETTINGS if each.name == "trainer_env"
}
_WORDS = r"passw(?:or)?d|passphrase|pwd|secret|token|api[-_]?key|access[-_]?key|private[-_]?key"
_MORE = rf"{_WORDS}|credential|authorization|signature|cookie|(?<![a-z])auth(?![a-z])"
SECRET_KEY = re.compile(rf"(?i){_MORE}")
REFERENCE = re.compile(
    r"(?i)(secrets?(name|ref|keyref|namespace)|tokens?(expirationseconds|path|file))$|^imagepullsecrets$"
    r"|^automountserviceaccounttoken$|^serviceaccounttoken$"
)
"""Keys that name a secret, and hold none."""
_FLAG = re.compile(rf"(?i)^--?[\w-]*(?:{_MORE})[\w-]*$")
_VALUE = r"""(?P<x>"(?:[^"\\\n]|\\.)*"|'[^'\n]*'|[^\s"',;&)}\]]+)"""
_PEM = r"PRIVATE KEY(?: BLOCK)?-----"
PATTERNS = tuple(
    map(
        re.compile,
        (
            rf"(?s)(?P<x>-----BEGIN [A-Z ]*{_PEM}.*?(?:-----END [A-Z ]*{_PEM}|\Z))",
            rf"(?P<x>(?:[A-Za-z0-9+/=]{{16,}}\s+)+-----END [A-Z ]*{_PEM})",
            r"[A-Za-z][A-Za-z0-9+.-]*://(?P<x>[^/\s'\"?#]+)@",
            r"(?i)[?&;](?:x-amz-(?:signature|credential|security-token)|awsaccesskeyid|sig"
            r"|x-goog-(?:signature|credential)|googleaccessid|signature|key|code)=(?P<x>[^&\s'\"]+)",
            r"(?i)\b(?:proxy-)?authorization[\"']?[ \t]*[:=][ \t]*[\"']?(?P<x>[^\n\"']+)",
            r"(?i)\b(?:set-)?cookie[\"']?[ \t]*:[ \t]*[\"']?(?P<x>[^\n\"']+)",
            r"(?i)\bbearer\s+(?P<x>[A-Za-z0-9._~+/=-]{8,})",
            r"(?i)\blogin\s+\S+\s+password\s+(?P<x>\S+)",
            r"(?:\s-u|--user)[ =](?P<x>[^\s:]+:\S+)",
            rf"(?i)(?P<key>--?[\w-]*(?:{_WORDS})[\w-]*)[ \t]+(?P<x>[^\s-]\S*)",
            rf"(?i)(?P<key>[\w.-]*(?:{_WORDS})[\w.-]*)[\"']?[ \t]*:[ \t]*{_VALUE}",
            rf"(?i)(?P<key>[\w.-]*(?:{_MORE})[\w.-]*)[\"']?[ \t]*=[ \t]*{_VALUE}",
            r"\"auth\"\s*:\s*\"(?P<x>[^\"]+)\"",
            r"\b(?P<x>(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16})\b",
            r"\b(?P<x>eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*)",
            r"\b(?P<x>(?:gh[opsur]_|github_pat_|glpat-|hf_|npm_|dckr_pat_|pypi-|hvs\.|sk-)[\w-]{16,})",
            r"\b(?P<x>xox[abeprs]-[\w-]{10,}|AIza[\w-]{35}|ya29\.[\w-]{20,})",
        ),
    )
)


class Cleaner:
    """Takes secrets out. kept: names that stay although a secret may be spelt like them.

    First everything is given to `learn`, then `clean` is asked for each: what one object tells is
    taken out of all others. removed: how often something was taken out.
    """

    def __init__(self, kept: Iterable[str] = ()) -> None:
        self.removed = 0
        self._kept, self._known = set(kept), set[str]()
        self._forms: re.Pattern[str] | None = None

    def learn(self, thing: Any) -> None:
        """Finds the secrets in an object or a text."""
        for value in self._found(thing):
            self._known |= set(_forms(value))
        self._forms = None

    def clean(self, thing: Any) -> Any:
        """The same without secrets."""
        return self._without(self._stripped(thing, []))

    def _found(self, thing: Any) -> Iterator[str]:
        gone: list[str] = []
        left = self._stripped(thing, gone)
        for text in _texts(left):
            _cut(text, gone)
        for value in gone:
            yield value
            yield from _inner(value)

    def _without(self, thing: Any) -> Any:
        if isinstance(thing, dict):
            return {name: self._without(each) for name, each in thing.items()}
        if isinstance(thing, list):
            return [self._without(each) for each in thing]
        return self._text(thing) if isinstance(thing, str) else thing

    def _text(self, text: str) -> str:
        gone: list[str] = []
        left = _cut(text, gone)
        self.removed += len(gone)
        if self._forms is None:
            known = sorted(self._known - self._kept - {REMOVED}, key=len, reverse=True)
            self._forms = re.compile("|".join(map(re.escape, known)) or r"(?!)")
        left, count = self._forms.subn(REMOVED, left)
        self.removed += count
        return left

    def _stripped(self, thing: Any, gone: list[str]) -> Any:
        """Without what is known by its place, which goes into the list."""
        if isinstance(thing, list):
            return [self._stripped(each, gone) for each in thing]
        if not isinstance(thing, dict):
            return thing
        left = {}
        for name, each in thing.items():
            if name in (LAST_APPLIED, "managedFields"):
                self._stripped(_parsed(each) if name == LAST_APPLIED else None, gone)
            else:
                left[name] = self._member(str(name), each, gone)
        return left

    def _member(self, name: str, each: Any, gone: list[str]) -> Any:
        if name == "env" and isinstance(each, list):
            return [self._variable(one, gone) for one in each]
        if name in ("args", "command") and isinstance(each, list):
            return self._words(each, gone)
        if name == "data" and isinstance(each, dict):
            return {key: self._document(text, gone) for key, text in each.items()}
        if SECRET_KEY.search(name) and not REFERENCE.search(name):
            return self._secret(each, gone)
        return self._stripped(each, gone)

    def _secret(self, each: Any, gone: list[str]) -> Any:
        if isinstance(each, list):
            return [self._secret(one, gone) for one in each]
        if isinstance(each, dict) or each is None or isinstance(each, bool) or each == "":
            return self._stripped(each, gone)
        return self._take(each, gone)

    def _take(self, each: Any, gone: list[str]) -> str:
        gone.append(str(each))
        self.removed += 1
        return REMOVED

    def _variable(self, one: Any, gone: list[str]) -> Any:
        hidden = isinstance(one, dict) and one.get("value") and not _is_open(str(one.get("name")))
        return {**one, "value": self._take(one["value"], gone)} if hidden else one

    def _words(self, words: list[Any], gone: list[str]) -> list[Any]:
        """The words of a command: what follows an option that is called after a secret goes."""
        before = ("", *map(str, words))
        return [
            self._take(word, gone) if _FLAG.match(flag) and not str(word).startswith("-") else word
            for flag, word in zip(before, words, strict=False)
        ]

    def _document(self, text: Any, gone: list[str]) -> Any:
        """A file of a ConfigMap; written anew where something was taken out."""
        held, count = _parsed(text), len(gone)
        left = self._stripped(held, gone)
        if len(gone) == count:
            return text
        return yaml.dump(left, Dumper=Dumper, sort_keys=False, width=100000, allow_unicode=True)


def _is_open(variable: str) -> bool:
    """Whether the value of a variable stays: the operator's own, whose names people cannot use."""
    ours = variable.startswith(_OURS) or variable in set(Env)
    return ours and variable not in _CLOSED


def _cut(text: str, gone: list[str]) -> str:
    """The text without what is known by its form, which goes into the list."""

    def swapped(match: re.Match[str]) -> str:
        key = match.groupdict().get("key") or ""
        value = match["x"]
        if REFERENCE.search(key) or key.lower().endswith("tokens") or REMOVED in value:
            return match[0]
        gone.append(value.strip("\"'"))
        start, end = match.start("x") - match.start(), match.end("x") - match.start()
        return f"{match[0][:start]}{REMOVED}{match[0][end:]}"

    for pattern in PATTERNS:
        text = pattern.sub(swapped, text)
    return text


def _inner(value: str) -> Iterator[str]:
    """What a secret is made of: the leaves of JSON, the lines of a key, and those of its words that
    are no word of a language."""
    held = _parsed(value)
    parts = list(_texts(held)) if isinstance(held, dict | list) else []
    parts += value.splitlines()
    parts += [each for each in re.split(r"[\s=;,:\"'@/]+", value) if re.search(r"\d", each)]
    for text in parts:
        yield text.strip()


def _forms(value: str) -> Iterator[str]:
    """The spellings of a secret in logs; none where it is too short to be told from words."""
    if len(value) < SHORTEST or REMOVED in value:
        return
    yield value
    yield json.dumps(value)[1:-1]
    yield quote(value, safe="")
    yield base64.b64encode(value.encode()).decode().rstrip("=")


def _texts(thing: Any) -> Iterator[str]:
    if isinstance(thing, dict):
        thing = list(thing.values())
    if isinstance(thing, list):
        for each in thing:
            yield from _texts(each)
    elif isinstance(thing, str):
        yield thing


def _parsed(text: Any) -> Any:
    """YAML or JSON; None where it is neither."""
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, AttributeError, ValueError):
        return None
