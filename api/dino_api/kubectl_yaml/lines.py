"""Where each key of a YAML text stands."""

from __future__ import annotations

from contextlib import suppress

from yaml import Node, SequenceNode, YAMLError
from yaml.nodes import MappingNode, ScalarNode

from dino_api.kubectl_yaml.reader import nodes_of


def lines_of(text: str) -> dict[str, int]:
    """The line of every key of the first document, by dotted path; empty where it is no YAML.

    `a.b[0].c` is the path of a key in a list. What an alias or a merge brings has no line.
    """
    lines: dict[str, int] = {}
    with suppress(YAMLError, RecursionError):
        # JSON may be indented with tabs, YAML may not.
        node = nodes_of(text.replace("\t", " ") if text.lstrip().startswith("{") else text)
        _enter(lines, node, "")
    return lines


def _enter(lines: dict[str, int], node: Node | None, path: str) -> None:
    if isinstance(node, MappingNode):
        for key, value in node.value:
            if isinstance(key, ScalarNode):
                _note(lines, value, f"{path}.{key.value}".lstrip("."), key)
    elif isinstance(node, SequenceNode):
        for place, value in enumerate(node.value):
            _note(lines, value, f"{path}[{place}]", value)


def _note(lines: dict[str, int], value: Node, path: str, mark: Node) -> None:
    if path not in lines:  # else an alias that contains itself
        lines[path] = mark.start_mark.line + 1
        _enter(lines, value, path)
