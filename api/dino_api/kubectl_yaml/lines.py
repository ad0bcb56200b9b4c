"""Where each key of a YAML text stands, and the templates in it that nobody filled in."""

from __future__ import annotations

import re

from yaml import Node, SequenceNode, YAMLError
from yaml.nodes import MappingNode, ScalarNode

_TEMPLATE = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|<%.*?%>")
_KEY = re.compile(r"\s*(?:-\s+)*(?P<key>[\w.-]+)\s*:")


def lines_of(text: str) -> dict[str, int]:
    """The line of every key of the first document, by dotted path; empty where it is no YAML.

    `a.b[0].c` is the path of a key in a list. What an alias or a merge brings has no line.
    """
    from dino_api.kubectl_yaml.reader import nodes_of

    found: dict[str, int] = {}
    try:
        # JSON may be indented with tabs, YAML may not.
        node = nodes_of(text.replace("\t", " ") if text.lstrip().startswith("{") else text)
    except (YAMLError, RecursionError):
        return found
    _enter(found, node, "")
    return found


def _enter(found: dict[str, int], node: Node | None, path: str) -> None:
    if isinstance(node, MappingNode):
        for key, value in node.value:
            if isinstance(key, ScalarNode):
                _note(found, value, f"{path}.{key.value}".lstrip("."), key)
    elif isinstance(node, SequenceNode):
        for place, value in enumerate(node.value):
            _note(found, value, f"{path}[{place}]", value)


def _note(found: dict[str, int], value: Node, path: str, mark: Node) -> None:
    if path not in found:  # else an alias that contains itself
        found[path] = mark.start_mark.line + 1
        _enter(found, value, path)


def unfilled(text: str, lines_before: int = 0) -> str | None:
    """The first template in a text that is no YAML for it, with its key and its line."""
    for number, line in enumerate(text.splitlines(), lines_before + 1):
        code = line.partition(" #")[0]
        if code.lstrip().startswith("#") or not (found := _TEMPLATE.search(code)):
            continue
        key = _KEY.match(code)
        whose = f"the value of {key['key']} is" if key else "it has"
        return f"{whose} {found[0]}, a template that nobody filled in, at line {number}"
    return None
