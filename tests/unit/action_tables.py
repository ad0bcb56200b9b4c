"""Finds tables keyed by action in source: what ought to be a fact of `dino_api.actions.ACTIONS`.

python -m tests.unit.action_tables      prints each, and how many there are
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path

from dino_api.formats import ENDINGS
from dino_api.names import Action

ROOT = Path(__file__).parents[2]
PACKAGES = ("api/dino_api", "operator/dino_operator", "trainer_image/dino_trainer")
NAMES = frozenset(each.value for each in Action)
MEMBERS = frozenset(each.name for each in Action)
TRAINS = ("TRAINS", "_TRAINS")


Counts = Callable[[ast.expr], int]
"""How many members of a vocabulary an expression is."""


def actions_in(node: ast.expr) -> int:
    """One for an action, by its name or as a member of the enum; `*TRAINS` is two."""
    if isinstance(node, ast.Starred):
        return 2 * (isinstance(node.value, ast.Name) and node.value.id in TRAINS)
    if isinstance(node, ast.Attribute) and node.attr == "value":
        node = node.value
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        return node.value.id == "Action" and node.attr in MEMBERS
    return isinstance(node, ast.Constant) and node.value in NAMES


def endings_in(node: ast.expr) -> int:
    """One for an ending of a model's file."""
    return isinstance(node, ast.Constant) and node.value in ENDINGS


def in_repository(counts: Counts = actions_in) -> Iterator[tuple[str, str]]:
    """(path, what it is assigned to or stands in) of each table."""
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            where = str(path.relative_to(ROOT))
            yield from ((where, name) for name in tables(path.read_text(), counts))


def tables(source: str, counts: Counts = actions_in) -> list[str]:
    """Of a module: the name that the statement around each table binds, or the line's start.

    A table is a dict, list, tuple, set or Literal with two or more actions as keys or members, and
    a dict made for each of several actions; within one statement it is counted once.
    """
    found = (each for each in ast.walk(ast.parse(source)) if isinstance(each, ast.stmt))
    return [_name(each) for each in found if any(_is_table(node, counts) for node in _own(each))]


def _own(statement: ast.stmt) -> Iterator[ast.AST]:
    """Nodes of a statement, those of statements within it left out."""
    waiting: list[ast.AST] = list(ast.iter_child_nodes(statement))
    while waiting:
        here = waiting.pop()
        if not isinstance(here, ast.stmt):
            yield here
            waiting += ast.iter_child_nodes(here)


def _is_table(node: ast.AST, counts: Counts) -> bool:
    if isinstance(node, ast.Dict):
        return sum(counts(key) for key in node.keys if key is not None) >= 2
    if isinstance(node, ast.Tuple | ast.List | ast.Set):
        return sum(map(counts, node.elts)) >= 2
    if isinstance(node, ast.DictComp):
        return any(_is_actions(each.iter) for each in node.generators)
    made = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    return made and node.func.attr == "fromkeys" and any(map(_is_actions, node.args[:1]))


def _is_actions(node: ast.expr) -> bool:
    """`Action` itself, or the set of those that train."""
    return isinstance(node, ast.Name) and node.id in ("Action", *TRAINS)


def _name(statement: ast.stmt) -> str:
    if isinstance(statement, ast.AnnAssign):
        return ast.unparse(statement.target)
    if isinstance(statement, ast.Assign):
        return ast.unparse(statement.targets[0])
    return ast.unparse(statement).splitlines()[0]


if __name__ == "__main__":
    found = list(in_repository())
    print("\n".join(f"{path}: {name}" for path, name in found))
    print(f"{len(found)} tables keyed by action")
