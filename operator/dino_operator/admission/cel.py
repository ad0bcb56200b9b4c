"""CEL, as far as the rules of the CRDs use it: from a text to what it says of values.

What is not known here raises NotCel, so that a rule which uses it is seen by the test that reads
all rules, and is never taken as kept.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from dino_operator.admission.cel_values import (
    BINARY,
    METHODS,
    Absent,
    EvaluationError,
    mapped,
    select,
)

Node = tuple[Any, ...]
Names = Mapping[str, Any]
_TOKEN = re.compile(
    r"\s*(?:(?P<number>\d+\.\d+(?:e[+-]?\d+)?|\d+(?:e[+-]?\d+)?)"
    r"|(?P<text>'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\")"
    r"|(?P<name>[A-Za-z_][A-Za-z0-9_]*)"
    r"|(?P<sign>\|\||&&|==|!=|<=|>=|\.\?|[-+*/%!<>?:.,()\[\]]))"
)
_WORDS = {"true": True, "false": False, "null": None}
_LEVELS = (("||",), ("&&",), ("==", "!=", "<", "<=", ">", ">=", "in"), ("+", "-"), ("*", "/", "%"))
"""Operators, those that bind least first."""
_MACROS = frozenset({"all", "exists", "exists_one", "map", "optMap"})


class NotCel(ValueError):
    """The text is no CEL that is known here."""


@cache
def parsed(text: str) -> Node:
    """The expression as a tree. Raises NotCel."""
    return _Parser(text).whole()


def evaluate(text: str, names: Names) -> Any:
    """The value of the expression. Raises EvaluationError where CEL ends in an error, NotCel."""
    return _of(parsed(text), names)


class _Parser:
    """Reads tokens from left to right."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = list(_tokens(text))
        self.at = 0

    def whole(self) -> Node:
        """The one expression of the text."""
        node = self._ternary()
        if self.at < len(self.tokens):
            raise NotCel(f"{self.tokens[self.at][1]!r} in {self.text}")
        return node

    def _ternary(self) -> Node:
        asked = self._binary(0)
        if not self._has("?"):
            return asked
        then = self._ternary()
        self._need(":")
        return ("if", asked, then, self._ternary())

    def _binary(self, level: int) -> Node:
        if level == len(_LEVELS):
            return self._unary()
        left = self._binary(level + 1)
        while sign := self._has(*_LEVELS[level]):
            left = ("binary", sign, left, self._binary(level + 1))
        return left

    def _unary(self) -> Node:
        if sign := self._has("!", "-"):
            return ("unary", sign, self._unary())
        return self._member(self._primary())

    def _member(self, node: Node) -> Node:
        while sign := self._has(".", ".?", "["):
            if sign == "[":
                node = ("index", node, self._ternary())
                self._need("]")
                continue
            name = self._name()
            called = sign == "." and self._has("(")
            node = self._call(node, name) if called else ("select", node, name, sign == ".?")
        return node

    def _call(self, node: Node, name: str) -> Node:
        given = self._listed(")")
        if name in _MACROS:
            (kind, variable), body = given
            if kind != "name":
                raise NotCel(f"{name} of {self.text}")
            return ("macro", name, node, variable, body)
        if name not in METHODS:
            raise NotCel(f"there is no {name}(), in {self.text}")
        return ("method", name, node, given)

    def _primary(self) -> Node:
        kind, text = self._next()
        if kind == "number":
            return ("value", float(text) if re.search(r"[.e]", text) else int(text))
        if kind == "text":
            return ("value", ast.literal_eval(text))
        if text == "(":
            inner = self._ternary()
            self._need(")")
            return inner
        if text == "[":
            return ("list", self._listed("]"))
        if kind != "name":
            raise NotCel(f"{text!r} in {self.text}")
        return self._function(text) if self._has("(") else _word(text)

    def _function(self, name: str) -> Node:
        (given,) = self._listed(")")
        if name == "has" and given[0] == "select":
            return ("has", given[1], given[2])
        if name == "size":
            return ("method", "size", given, [])
        raise NotCel(f"there is no {name}(), in {self.text}")

    def _listed(self, end: str) -> list[Node]:
        nodes: list[Node] = []
        while not self._has(end):
            if nodes:
                self._need(",")
            nodes.append(self._ternary())
        return nodes

    def _next(self) -> tuple[str, str]:
        if self.at == len(self.tokens):
            raise NotCel(f"it ends too soon: {self.text}")
        self.at += 1
        return self.tokens[self.at - 1]

    def _name(self) -> str:
        kind, text = self._next()
        if kind != "name":
            raise NotCel(f"{text!r} is no name, in {self.text}")
        return text

    def _has(self, *signs: str) -> str:
        """The next token where it is one of them, which is read then; else empty."""
        if self.at < len(self.tokens) and self.tokens[self.at][0] != "text":
            text = self.tokens[self.at][1]
            if text in signs:
                self.at += 1
                return text
        return ""

    def _need(self, sign: str) -> None:
        if not self._has(sign):
            raise NotCel(f"{sign!r} is missing in {self.text}")


def _tokens(text: str) -> list[tuple[str, str]]:
    tokens, at, end = [], 0, len(text.rstrip())
    while at < end:
        token = _TOKEN.match(text, at)
        if token is None:
            raise NotCel(f"{text[at:]!r} in {text}")
        tokens.append((str(token.lastgroup), token[str(token.lastgroup)]))
        at = token.end()
    return tokens


def _word(text: str) -> Node:
    return ("value", _WORDS[text]) if text in _WORDS else ("name", text)


def _of(node: Node, names: Names) -> Any:
    return _KINDS[node[0]](node, names)


def _name(node: Node, names: Names) -> Any:
    if node[1] not in names:
        raise NotCel(f"nothing is named {node[1]}")
    return names[node[1]]


def _binary(node: Node, names: Names) -> Any:
    _, sign, left, right = node
    if sign in ("||", "&&"):
        return _either(sign == "||", left, right, names)
    return BINARY[sign](_of(left, names), _of(right, names))


def _either(wanted: bool, left: Node, right: Node, names: Names) -> bool:
    """Of || and &&: an error of one side counts only where the other does not decide."""
    try:
        if _of(left, names) is wanted:
            return bool(wanted)
    except EvaluationError:
        if _of(right, names) is wanted:
            return bool(wanted)
        raise
    return bool(_of(right, names))


def _unary(node: Node, names: Names) -> Any:
    value = _of(node[2], names)
    return not value if node[1] == "!" else -value


def _if(node: Node, names: Names) -> Any:
    return _of(node[2] if _of(node[1], names) else node[3], names)


def _has(node: Node, names: Names) -> bool:
    return not isinstance(select(_of(node[1], names), node[2], True), Absent)


def _select(node: Node, names: Names) -> Any:
    return select(_of(node[1], names), node[2], node[3])


def _index(node: Node, names: Names) -> Any:
    held, at = _of(node[1], names), _of(node[2], names)
    try:
        return held[at]
    except (IndexError, KeyError) as error:
        raise EvaluationError(f"index out of bounds: {at}") from error


def _method(node: Node, names: Names) -> Any:
    _, name, held, given = node
    return METHODS[name](_of(held, names), *(_of(each, names) for each in given))


def _macro(node: Node, names: Names) -> Any:
    _, name, held, variable, body = node
    if name == "optMap":
        return mapped(_of(held, names), lambda value: _of(body, {**names, variable: value}))
    values = [_of(body, {**names, variable: each}) for each in _of(held, names)]
    if name == "map":
        return values
    if name == "exists_one":
        return sum(map(bool, values)) == 1
    return all(values) if name == "all" else any(values)


_KINDS: dict[str, Callable[[Node, Names], Any]] = {
    "value": lambda node, names: node[1],
    "list": lambda node, names: [_of(each, names) for each in node[1]],
    "name": _name,
    "binary": _binary,
    "unary": _unary,
    "if": _if,
    "has": _has,
    "select": _select,
    "index": _index,
    "method": _method,
    "macro": _macro,
}
