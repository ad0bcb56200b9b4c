"""The one reader of YAML that people write: it agrees with kubectl's.

kubectl splits a file at lines of ---, reads each part by go-yaml v2 and turns it into JSON; a part
that is JSON is read as that. Manifests, spec files and values on the command line are read alike,
so that a text means the same in all of them. Where kubectl would drop something without a word (a
key that stands twice, what follows a line of ...) this reader refuses.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from typing import Any, NoReturn

from yaml import MarkedYAMLError, Node, SequenceNode, YAMLError
from yaml.composer import Composer
from yaml.constructor import ConstructorError
from yaml.nodes import MappingNode, ScalarNode
from yaml.parser import Parser
from yaml.reader import Reader
from yaml.resolver import BaseResolver
from yaml.scanner import Scanner

from dino_api.kubectl_yaml import scalars

DEEPEST = 100
"""Levels of a document; those of Kubernetes are not half as deep."""
MOST_VALUES, MOST_SHARED = 1000, 0.99
"""A document of more values may not consist of aliases alone; the numbers are go-yaml's."""
_MERGE = f"{scalars.PREFIX}merge"
_TEMPLATE = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|<%.*?%>")
_KEY = re.compile(r"\s*(?:-\s+)*(?P<key>[\w.-]+)\s*:")


class NotYaml(ValueError):
    """The text cannot be read; the message says why and where, without a full stop."""


def read(text: str) -> Any:
    """The JSON types of one document; None for an empty one. Raises NotYaml."""
    return _read(text, 0)


def read_all(text: str) -> list[Any]:
    """The JSON types of all documents that are not empty. Raises NotYaml."""
    documents = (_read(part, line) for part, line in _parts(text))
    return [each for each in documents if each is not None]


def _parts(text: str) -> Iterator[tuple[str, int]]:
    """The documents, each with the number of lines before it."""
    part: list[str] = []
    start = 0
    for number, line in enumerate(io.StringIO(text, newline=""), 1):
        if not line.startswith("---"):
            part.append(line)
            continue
        rest = line[3:].strip()
        if rest and not rest.startswith("#"):
            raise NotYaml(f"nothing but a comment may follow --- at line {number}")
        yield "".join(part), start
        part, start = [], number
    yield "".join(part), start


def _read(text: str, lines_before: int) -> Any:
    try:
        return _shallow(_value_of(text))
    except RecursionError:
        raise NotYaml("it is nested too deeply") from None
    except YAMLError as error:
        raise NotYaml(_unfilled(text, lines_before) or _sentence(error, lines_before)) from error


def _value_of(text: str) -> Any:
    if text.lstrip().startswith("{"):
        try:
            return _json(text)
        except ValueError:
            pass  # a flow mapping of YAML
    node = nodes_of(text)
    return None if node is None else _Values().of(node)


def _shallow(value: Any) -> Any:
    """The value. Raises RecursionError where it is deeper than whoever reads on may go.

    JSON is read by a program in C, which goes deeper.
    """
    level = [value]
    for _ in range(DEEPEST):
        inner = (each for each in level if isinstance(each, dict | list))
        level = [
            one for each in inner for one in (each.values() if isinstance(each, dict) else each)
        ]
        if not level:
            return value
    raise RecursionError


def nodes_of(text: str) -> Node | None:
    """The root of the one document in a text. Raises YAMLError, RecursionError."""
    loader = _Loader(text)
    try:
        return loader.get_single_node()
    except (OverflowError, ValueError) as error:  # of a character or a version beyond all numbers
        raise YAMLError("a number in it is out of range") from error
    finally:
        loader.dispose()


def _sentence(error: YAMLError, lines_before: int) -> str:
    if not isinstance(error, MarkedYAMLError) or error.problem_mark is None:
        return " ".join(str(error).split())
    mark = error.problem_mark
    return f"{error.problem} at line {mark.line + 1 + lines_before}, column {mark.column + 1}"


def _unfilled(text: str, lines_before: int) -> str | None:
    """The first template in a text that is no YAML for it, with its key and its line."""
    for number, line in enumerate(text.splitlines(), lines_before + 1):
        code = line.partition(" #")[0]
        if code.lstrip().startswith("#") or not (match := _TEMPLATE.search(code)):
            continue
        key = _KEY.match(code)
        whose = f"the value of {key['key']} is" if key else "it has"
        return f"{whose} {match[0]}, a template that nobody filled in, at line {number}"
    return None


def _json(text: str) -> Any:
    """Raises ValueError where it is not JSON, or would be read otherwise."""

    def number(digits: str) -> Any:
        return scalars.as_json(float(digits))

    def constant(word: str) -> NoReturn:
        raise ValueError(word)

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(members := dict(pairs)) != len(pairs):
            raise ValueError("a key stands twice")
        return members

    return json.loads(
        text,
        parse_float=number,
        parse_int=lambda digits: scalars.as_json(int(digits)),
        parse_constant=constant,
        object_pairs_hook=once,
    )


class _Loader(Reader, Scanner, Parser, Composer, BaseResolver):
    """PyYAML up to nodes. What a scalar means is left open."""

    def __init__(self, text: str) -> None:
        Reader.__init__(self, text)
        Scanner.__init__(self)
        Parser.__init__(self)
        Composer.__init__(self)
        BaseResolver.__init__(self)

    def resolve(self, kind: type[Node], value: Any, implicit: Any) -> str:
        """The tag of a node that has none."""
        if kind is ScalarNode and implicit[0]:
            return scalars.PLAIN
        return scalars.STR

    def scan_to_next_token(self) -> None:
        """Tabs may separate tokens of a line, as go-yaml has it; PyYAML refuses them."""
        super().scan_to_next_token()
        while self.peek() == "\t" and (self.flow_level or not self.allow_simple_key):
            self.forward()
            super().scan_to_next_token()


class _Values:
    """From the nodes of one document to JSON types. Raises ConstructorError."""

    def __init__(self) -> None:
        self.count = self.shared = self.depth = 0
        self.open: set[int] = set()
        self.seen: set[int] = set()

    def of(self, node: Node) -> Any:
        """The value of a node; one that was seen before stands behind an alias."""
        again = id(node) in self.seen
        if id(node) in self.open:
            _refuse("an anchor's value contains itself", node)
        self.seen.add(id(node))
        self.open.add(id(node))
        self.depth += again
        self._count(node)
        value = self._value(node)
        self.depth -= again
        self.open.discard(id(node))
        return value

    def _count(self, node: Node) -> None:
        self.count += 1
        self.shared += bool(self.depth)
        if self.count > MOST_VALUES and self.shared > MOST_SHARED * self.count:
            _refuse("its aliases make too much of it", node)

    def _value(self, node: Node) -> Any:
        if isinstance(node, MappingNode):
            return self._mapping(node)
        if isinstance(node, SequenceNode):
            return [self.of(each) for each in node.value]
        try:
            return scalars.value_of(node.value, node.tag)
        except ValueError as error:
            _refuse(str(error), node)

    def _mapping(self, node: MappingNode) -> dict[str, Any]:
        """The members in the order of the keys: a merge takes the place of what is before it."""
        members: dict[str, Any] = {}
        own: set[str] = set()
        for key, value in node.value:
            if _is_merge(key):
                for each in _merged(value):
                    members |= self.of(each)
                continue
            name = _key(key)
            if name in own:
                _refuse(f"the key {name!r} stands twice", key)
            own.add(name)
            members[name] = self.of(value)
        return members


def _is_merge(key: Node) -> bool:
    plain = isinstance(key, ScalarNode) and key.tag in (scalars.PLAIN, _MERGE)
    return plain and key.value == "<<"


def _merged(value: Node) -> list[Node]:
    """The mappings behind <<, the first of which counts most."""
    several = value.value if isinstance(value, SequenceNode) else [value]
    for each in several:
        if not isinstance(each, MappingNode):
            _refuse("<< takes a mapping or a list of mappings", each)
    return list(reversed(several))


def _key(node: Node) -> str:
    if not isinstance(node, ScalarNode):
        _refuse("a list or a mapping cannot be a key", node)
    try:
        return scalars.key_of(node.value, node.tag)
    except ValueError as error:
        _refuse(str(error), node)


def _refuse(problem: str, node: Node) -> NoReturn:
    raise ConstructorError(problem=problem, problem_mark=node.start_mark)
