"""The picture of the floors in docs/architecture.md, from the contracts that import-linter holds.

`python -m tests.floors` writes it anew; tests/unit/test_floors.py refuses one that is out of date.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "architecture.md"
BLOCK = re.compile(r"(<!-- floors -->\n```text\n)(.*?)(```\n)", re.DOTALL)
UNFOLDED = ("dino_operator.plan", "dino_operator.plan.job", "dino_operator.plan.search")


def contracts(text: str) -> dict[str, list[str]]:
    """Layers of each container of pyproject.toml's text, the highest first."""
    listed = tomllib.loads(text)["tool"]["importlinter"]["contracts"]
    layered = (each for each in listed if each["type"] == "layers")
    return {name: each["layers"] for each in layered for name in each["containers"]}


def rows(floors: Mapping[str, Sequence[str]], package: str, depth: int = 0) -> Iterator[str]:
    """A line for each floor of the package, and below it those of a folder that is unfolded."""
    for layer in floors[package]:
        yield "  " * depth + layer
        for name in layer.split(" | "):
            if f"{package}.{name}" in UNFOLDED:
                several = " | " in layer
                yield from (f"{'  ' * (depth + 1)}{name}/" for _ in range(several))
                yield from rows(floors, f"{package}.{name}", depth + 1 + several)


def picture(text: str) -> str:
    """The floors of all packages, the operator's beside the trainer's, and the contract below."""
    floors = contracts(text)
    left, right = (
        [name, "-" * len(name), *rows(floors, name)] for name in ("dino_operator", "dino_trainer")
    )
    width = max(map(len, left)) + 3
    above = [f"{a:{width}}{b}".rstrip() for a, b in zip_longest(left, right, fillvalue="")]
    ground = ["dino_api, on which both stand", "-" * 29, *rows(floors, "dino_api")]
    return "\n".join([*above, "", *ground, ""])


def drawn(page: str) -> str:
    """The picture that the page has."""
    found = BLOCK.search(page)
    return found[2] if found else ""


def main() -> int:
    """Write the picture into the page."""
    wanted = picture((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(BLOCK.sub(lambda found: found[1] + wanted + found[3], page), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
