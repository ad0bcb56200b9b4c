"""A value is called by what it is: a status, a plan, an answer; not by how one came by it."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("api", "operator", "runtime", "trainer_image")
PARTICIPLES = {"found", "said", "told"}
"""Each was once a plan, a result, a status or a list of observations, on hundreds of lines."""
SAME_THING_TWICE = {
    "Condition",  # of the API, and as a plan says it
    "Detector",  # of the runtime, which imports nothing of ours, and of the trainer
    "DinoJob",  # of the API, and as a plan sees the stored one
}


def names(source: str) -> Iterator[tuple[int, str]]:
    """Line and name of all that a module calls something: values, parameters, fields, functions."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Name(id=name) | ast.arg(arg=name) | ast.Attribute(attr=name):
                yield node.lineno, name
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield node.lineno, name
            case ast.ClassDef(name=name):
                yield node.lineno, name
            case ast.alias(asname=str(name)) | ast.ExceptHandler(name=str(name)):
                yield node.lineno, name
            case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                yield node.lineno, name


def participles(source: str) -> list[tuple[int, str]]:
    return [(at, name) for at, name in names(source) if name.strip("_").lower() in PARTICIPLES]


def test_no_value_is_called_by_how_one_came_by_it() -> None:
    places = [
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
        for line, name in participles(path.read_text(encoding="utf-8"))
    ]
    assert not places, "say what it is (a result, a status, a plan):\n" + "\n".join(places)


def test_a_class_has_a_name_of_its_own() -> None:
    counted = Counter(
        node.name
        for folder in (*PACKAGES, "charts", "demo", "devcluster")
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef)
    )
    assert {name for name, count in counted.items() if count > 1} == SAME_THING_TWICE


@pytest.mark.parametrize(
    "source, name",
    [
        ("found = read()", "found"),
        ("for told in all: pass", "told"),
        ("if found := read(): pass", "found"),
        ("def read(said): pass", "said"),
        ("def _found(): pass", "_found"),
        ("class Told: pass", "Told"),
        ("class A:\n    said: str", "said"),
        ("print(line.found)", "found"),
        ("try: pass\nexcept Exception as told: pass", "told"),
        ("import a as found", "found"),
        ("match a:\n    case {'key': found}: pass", "found"),
    ],
)
def test_every_kind_of_name_is_looked_at(source: str, name: str) -> None:
    assert [one for _, one in participles(source)] == [name]


def test_sentences_and_longer_names_may_have_the_word() -> None:
    assert participles('not_found = "it was found"  # as they told') == []
