"""`${a.b}` and `???` in a spec, as OmegaConf reads them in TAO, and templates nobody filled in.

`${results_dir}/train` and `${model.num_queries}` stand for what another key of the spec says, or
for that key's default. `${.x}` begins beside the key itself, `${..x}` one section further out. A
text that is nothing else has the type of what it stands for. `???` is a value still to be given.
Resolvers (`${oc.env:HOME}`, `${now:%Y}`) would make a spec mean something else on each machine:
they are refused by name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from dino_api.actions import ACTIONS
from dino_api.base import Section, note_of
from dino_api.experiment.paths import Loc, NearPaths, dotted, field_at, section_of
from dino_api.experiment.spec import OTHER_SECTIONS, ExperimentSpec
from dino_api.names import Action
from dino_api.problem import Problem

MISSING = "???"
MOST_VALUES, LONGEST, DEEPEST = 10_000, 65_536, 50
"""What a spec may grow to by references to references."""

_OPEN = re.compile(r"(?P<slashes>\\*)\$\{")
_RESOLVER = re.compile(r"\s*(?P<name>[A-Za-z_][\w.]*)\s*:")
_WHOLE = re.compile(r"\$\{([^{}:]+)\}")
_INDEX = re.compile(r"-?[0-9]{1,6}")
_PATH = re.compile(r"[^\[\].]+(?:\.[^\[\].]+|\[[^\[\].]+\])*")
_PARTS = re.compile(r"\[([^\[\].]+)\]|([^\[\].]+)")
_TEMPLATE = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|<%.*?%>|\$\([A-Za-z_]\w*\)", re.DOTALL)
_VARIABLE = re.compile(r"(?:^|(?<=/))\$[A-Za-z_]\w*(?=/|$)")
_FILL_IN = "Write the value itself, or give it on the command line as KEY=VALUE."


class _UnresolvedReference(ValueError):
    """A text that stands for nothing; rule and remedy as in a Problem."""

    def __init__(self, rule: str, remedy: str, id: str = "interpolation") -> None:
        super().__init__(rule)
        self.rule, self.remedy, self.id = rule, remedy, id


class _Reference(NamedTuple):
    """What stands in `${…}`, others within it still to be resolved."""

    inner: str


def interpolated(
    mapping: Mapping[str, Any], action: Action
) -> tuple[dict[str, Any], list[Problem]]:
    """A copy of the mapping with every reference resolved, and what is wrong with them.

    Keys that cannot be resolved are left out of it: an error where `action` reads them, else a
    warning, as OmegaConf complains about a value only once it is read.
    """
    return _Resolver(mapping).all(action)


class _Resolver:
    """Resolves the texts of one spec."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self.root = root
        self.open: list[Loc] = []
        self.count = 0
        self.near = NearPaths()

    def all(self, action: Action) -> tuple[dict[str, Any], list[Problem]]:
        """The whole spec, and a problem for each key that could not be resolved."""
        problems: list[Problem] = []

        def each(node: Any, loc: Loc) -> Any:
            if isinstance(node, Mapping):
                members = {name: each(value, (*loc, name)) for name, value in node.items()}
                return {name: value for name, value in members.items() if value is not _GONE}
            if isinstance(node, list):
                items = [each(value, (*loc, place)) for place, value in enumerate(node)]
                return _GONE if any(value is _GONE for value in items) else items
            try:
                return self.value(node, loc)
            except _UnresolvedReference as error:
                problems.append(_problem(error, node, loc, action))
                return _GONE

        return each(self.root, ()), problems

    def value(self, node: Any, loc: Loc) -> Any:
        """What a value stands for. Raises _UnresolvedReference."""
        self._count()
        if isinstance(node, Mapping):
            return {name: self.value(each, (*loc, name)) for name, each in node.items()}
        if isinstance(node, list):
            return [self.value(each, (*loc, place)) for place, each in enumerate(node)]
        if not isinstance(node, str):
            return node
        _refuse_placeholders(node)
        if "${" not in node:
            return node
        with self._entered(loc):
            return self._joined(list(_split(node)), loc)

    @contextmanager
    def _entered(self, loc: Loc) -> Iterator[None]:
        """While a reference is followed. Raises _UnresolvedReference where it already is."""
        if loc in self.open:
            way = " -> ".join(dotted(each) for each in [*self.open[self.open.index(loc) :], loc])
            raise _UnresolvedReference(f"refers to itself ({way})", "Give one of them a value.")
        if len(self.open) >= DEEPEST:
            raise _UnresolvedReference(f"goes through more than {DEEPEST} references", _FILL_IN)
        self.open.append(loc)
        try:
            yield
        finally:
            self.open.pop()

    def _count(self) -> None:
        self.count += 1
        if self.count > MOST_VALUES:
            raise _UnresolvedReference(f"makes the spec longer than {MOST_VALUES} values", _FILL_IN)

    def _joined(self, pieces: list[str | _Reference], loc: Loc) -> Any:
        if len(pieces) == 1 and isinstance(pieces[0], _Reference):
            return self._target(pieces[0], loc)
        text = ""
        for piece in pieces:
            text += piece if isinstance(piece, str) else self._as_text(piece, loc)
            if len(text) > LONGEST:
                raise _UnresolvedReference(
                    f"makes a text of more than {LONGEST} characters", _FILL_IN
                )
        return text

    def _as_text(self, reference: _Reference, loc: Loc) -> str:
        value = self._target(reference, loc)
        if isinstance(value, Mapping | list):
            what = "a list" if isinstance(value, list) else "a section"
            rule = f"has ${{{reference.inner}}} within a text, and that is {what}"
            raise _UnresolvedReference(rule, "Refer to one value of it.")
        return str(value)

    def _target(self, reference: _Reference, loc: Loc) -> Any:
        inner = reference.inner
        if "${" in inner:
            inner = str(self._joined(list(_split(inner)), loc))
        if resolver := _RESOLVER.match(inner):
            raise _resolver(resolver["name"])
        at, named = _absolute(inner, loc)
        if (standing := self._node_at(at)) is None:
            return _default(at, named, self.near)
        node, place = standing
        if node is None and _is_key(at):
            return _default(at, named, self.near)
        if node == MISSING:
            rule = f"refers to {named}, which is {MISSING}: its value is still missing"
            raise _UnresolvedReference(rule, f"Give {named} a value.", "missing-value")
        return self.value(node, place)

    def _node_at(self, at: Loc) -> tuple[Any, Loc] | None:
        """What stands at a place, unresolved, and where that really is; None where nothing does."""
        node: Any = self.root
        for depth, part in enumerate(at):
            if isinstance(node, str) and (whole := _WHOLE.fullmatch(node)):
                return self._behind(whole[1], at, depth)
            node = _item(node, part)
        return None if node is _GONE else (node, at)

    def _behind(self, inner: str, at: Loc, depth: int) -> tuple[Any, Loc] | None:
        """Goes on from where a section refers to another one."""
        with self._entered(at[:depth]):
            target, _ = _absolute(inner, at[:depth])
            return self._node_at((*target, *at[depth:]))


_GONE: Any = object()


def _item(node: Any, part: Any) -> Any:
    """One step down; _GONE where there is none."""
    if isinstance(node, Mapping):
        return node.get(part, _GONE)
    if isinstance(node, list) and _INDEX.fullmatch(str(part)):
        place = int(part)
        return node[place] if -len(node) <= place < len(node) else _GONE
    return _GONE


def _split(text: str) -> Iterator[str | _Reference]:
    """The text's pieces. A backslash before `${` takes its meaning away, as in OmegaConf."""
    place = 0
    while match := _OPEN.search(text, place):
        slashes = len(match["slashes"])
        before = text[place : match.start()] + "\\" * (slashes // 2)
        if slashes % 2:
            yield f"{before}${{"
            place = match.end()
            continue
        if before:
            yield before
        end = _closing(text, match.end())
        yield _Reference(text[match.end() : end])
        place = end + 1
    if place < len(text):
        yield text[place:]


def _closing(text: str, place: int) -> int:
    """Where the brace closes that was opened just before `place`."""
    depth = 1
    for at in range(place, len(text)):
        depth += text.startswith("${", at) - (text[at] == "}")
        if not depth:
            return at
    raise _UnresolvedReference(
        "has a ${ without its }", "Close it, or write \\${ for the characters."
    )


def _absolute(inner: str, loc: Loc) -> tuple[Loc, str]:
    """The place that a reference names, and its name."""
    path = inner.strip()
    rest = path.lstrip(".")
    dots = len(path) - len(rest)
    parts = tuple(a or b for a, b in _PARTS.findall(rest))
    if dots > len(loc) or not _PATH.fullmatch(rest):
        raise _UnresolvedReference(f"has ${{{inner}}}, which names no key", "Write ${section.key}.")
    at = (*(loc[:-dots] if dots else ()), *parts)
    shown = (int(part) if _INDEX.fullmatch(str(part)) else part for part in at)
    return at, dotted(tuple(shown))


def _default(at: Loc, named: str, near: NearPaths) -> Any:
    """The default of a key that nobody gave. Raises _UnresolvedReference for no key."""
    try:
        field = field_at(".".join(map(str, at)))
    except KeyError:
        close = near.of(named)
        hint = f"Did you mean {' or '.join(close)}?" if close else "Variables are not read."
        raise _UnresolvedReference(
            f"refers to {named}, and the spec has no such key", hint
        ) from None
    default = field.get_default(call_default_factory=True)
    return default.model_dump(mode="json") if isinstance(default, Section) else default


def _is_key(at: Loc) -> bool:
    """Whether the spec has such a key: one that is null is as if left out."""
    try:
        field_at(".".join(map(str, at)))
    except KeyError:
        return False
    return True


def _refuse_placeholders(text: str) -> None:
    if text == MISSING:
        raise _UnresolvedReference(f"is {MISSING}: its value is still missing", "", "missing-value")
    if match := _TEMPLATE.search(text):
        raise _UnresolvedReference(f"holds {match[0]}, a template that nobody filled in", _FILL_IN)
    if match := _VARIABLE.search(text):
        raise _UnresolvedReference(f"holds {match[0]}, and variables are not read", _FILL_IN)


def _resolver(name: str) -> _UnresolvedReference:
    known = "only ${section.key}, another key of the spec, is resolved here"
    return _UnresolvedReference(f"asks for the resolver {name}, and {known}", _FILL_IN)


def _problem(error: _UnresolvedReference, node: Any, loc: Loc, action: Action) -> Problem:
    got = None if node == MISSING else node
    if _is_read(loc, action):
        remedy = error.remedy or "Give it a value, or leave the key out."
        return Problem(dotted(loc), got, error.rule, remedy, id=error.id)
    rule = f"{error.rule}; it is left out, since {action.value} does not read it"
    return Problem(dotted(loc), got, rule, "", "warning", error.id)


def _is_read(loc: Loc, action: Action) -> bool:
    """Whether the action reads the key; one that is unknown is a mistake anyway."""
    name = str(loc[0])
    read = ACTIONS[action].reads_key(".".join(map(str, loc)))
    if name in OTHER_SECTIONS or (_is_section_of_another(name) and not read):
        return False
    section: Any = ExperimentSpec
    for part in loc:
        if section is None or part not in section.model_fields:
            return True
        note = note_of(section.model_fields[part])
        if note.dead or (note.only and action not in note.only):
            return False
        section = section_of(section.model_fields[part].annotation)
    return True


def _is_section_of_another(name: str) -> bool:
    return any(name in each.sections for each in ACTIONS.values())
