"""A test module has one name: that from the repository's root."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
SCRIPTS = TESTS / "exports" / "tools"
"""Run by the Python of an annotation tool, which has nothing of ours on its path."""
MODULES = sorted(path for path in TESTS.rglob("*.py") if path.parent != SCRIPTS)
NEIGHBOURS = {
    folder: {path.stem for path in folder.glob("*.py")}
    for folder in {path.parent for path in MODULES}
}


def imported(source: str) -> Iterator[tuple[int, str]]:
    """Line and module of every import, at whatever depth it stands."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                yield from ((node.lineno, alias.name) for alias in names)
            case ast.ImportFrom(module=str(module), level=0):
                yield node.lineno, module


def bare(source: str, neighbours: set[str]) -> list[tuple[int, str]]:
    """Imports that reach a neighbour only where its own folder is on the path."""
    return [(line, name) for line, name in imported(source) if name.split(".")[0] in neighbours]


def test_no_test_module_is_imported_by_its_bare_name() -> None:
    """Else it is loaded twice, with classes and state of its own each time."""
    places = [
        f"{path.relative_to(TESTS)}:{line}: {name}"
        for path in MODULES
        for line, name in bare(path.read_text(encoding="utf-8"), NEIGHBOURS[path.parent])
    ]
    assert not places, "write tests.<folder>.<module>:\n" + "\n".join(places)


def test_every_folder_of_tests_is_a_package() -> None:
    """Else pytest puts the folder on the path, and two files of one name collide."""
    without = [folder for folder, modules in NEIGHBOURS.items() if "__init__" not in modules]
    names = sorted(str(folder.relative_to(TESTS)) for folder in without)
    assert not names, f"add __init__.py to {', '.join(names)}"


@pytest.mark.parametrize(
    "source, wrong",
    [
        ("import ranks", True),
        ("from ranks import in_ranks", True),
        ("def test() -> None:\n    from ranks import in_ranks", True),
        ("if TYPE_CHECKING:\n    import ranks as processes", True),
        ("from tests.unit.ranks import in_ranks", False),
        ("from tests.unit import ranks", False),
        ("import torch", False),
    ],
)
def test_every_form_of_import_is_looked_at(source: str, wrong: bool) -> None:
    assert bool(bare(source, {"ranks"})) is wrong
