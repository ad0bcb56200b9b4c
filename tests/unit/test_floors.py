"""The picture of the floors is the one that import-linter holds, and fits a screen."""

from __future__ import annotations

from tests.floors import PAGE, ROOT, contracts, drawn, picture

CONTRACTS = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
SCREEN = 60


def test_the_picture_is_what_import_linter_holds() -> None:
    shown = drawn(PAGE.read_text(encoding="utf-8"))
    assert shown == picture(CONTRACTS), "run `python -m tests.floors`"
    assert len(shown.splitlines()) <= SCREEN


def test_every_package_has_floors_and_no_module_of_its_top_is_left_out() -> None:
    floors = contracts(CONTRACTS)
    for folder in ("api/dino_api", "operator/dino_operator", "trainer_image/dino_trainer"):
        package = ROOT / folder
        listed = {name for layer in floors[package.name] for name in layer.split(" | ")}
        # A folder that moved away may still be there, empty or with compiled files.
        found = {each.parent.name for each in package.glob("*/__init__.py")}
        found |= {each.stem for each in package.glob("*.py")}
        assert listed == found - {"__init__"} - ({"__main__"} - listed), package.name
