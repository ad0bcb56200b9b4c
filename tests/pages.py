"""Pages of the docs that tests run word for word: their blocks, and the shell that runs them."""

from __future__ import annotations

import difflib
import os
import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.patience import LONG

BLOCK = re.compile(r"(?:`([\w.-]+)`:\n\n)?```(\w+)\n(.*?)```", re.DOTALL)
OWN = ("AWS_", "CUDA_", "DINO_")
"""What a developer may have set: another server, hidden GPUs, other folders."""
MAKES = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES")
"""What a make hands to those below it; a reader's is the first."""
ANYTHING = "..."
"""A line of a shown output that stands for any lines."""
VARIES = (
    (r"(?m)^\[[a-z0-9-]+-\d+-[a-z0-9]{5}\] ", ""),  # whose log it is, where two are followed
    (r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\dZ?", "TIME"),
    (r"\bsrc-[0-9a-f]{12}\b", "src-DIGEST"),
    (r"\b(?:\d+[dhms]){1,2}\b", "SPAN"),
    (r"\b\d+\.\d+", "NUMBER"),
    (r"[▁▂▃▄▅▆▇█]+", "CURVE"),
    (r"#+", "#"),
    (r" +<- best", ""),
    (r" +", " "),
)
"""What is another one in every run, and what stands for it where two are compared."""


@dataclass(frozen=True)
class Block:
    """A fenced part of a page. file: the name that the words before it give it, if they do."""

    file: str
    language: str
    text: str


def blocks(page: str) -> list[Block]:
    """All of them, in order."""
    return [Block(*found) for found in BLOCK.findall(page)]


def indented(page: str) -> list[str]:
    """Commands outside of the blocks: a test does not run these."""
    rest = re.sub(r"```.*?```", "", page, flags=re.DOTALL)
    return [line.strip() for line in rest.splitlines() if line.startswith("    ")]


def environment(keep: Iterable[str] = ()) -> dict[str, str]:
    """This process's variables without what a reader would not have. keep: those of OWN to have."""
    given = os.environ.items()
    mine = {name: value for name, value in given if not name.startswith(OWN) or name in keep}
    return {name: value for name, value in mine.items() if name not in MAKES}


def run(block: str, folder: Path, env: dict[str, str]) -> str:
    """What a shell prints that ends at the first command which fails."""
    done = subprocess.run(
        ["sh", "-ec", block],
        stdin=subprocess.DEVNULL,
        cwd=folder,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=3 * LONG,  # a training, or the export, whose minute is ten on a busy machine
        check=False,
    )
    assert done.returncode == 0, f"{block}{done.stdout}"
    return done.stdout


class Shell:
    """A shell whose folder and variables stay from block to block, as a reader's do."""

    def __init__(self, folder: Path, env: dict[str, str], notes: Path) -> None:
        self.folder, self.env, self._notes = folder, env, notes

    def run(self, block: str) -> str:
        """What it prints. All that is set in it counts as exported."""
        after = f'{{ pwd; env -0; }} > "{self._notes}"'
        said = run(f"set -a\n{block}\n{after}\n", self.folder, self.env)
        folder, _, variables = self._notes.read_text().partition("\n")
        pairs = (each.partition("=") for each in variables.split("\0") if each)
        self.folder, self.env = Path(folder), {name: value for name, _, value in pairs}
        return said


def steady(text: str) -> list[str]:
    """Its lines without what varies from run to run."""
    for what, word in VARIES:
        text = re.sub(what, word, text)
    return [line.strip() for line in text.strip().splitlines()]


def assert_shown(shown: str, said: str) -> None:
    """What a page shows is what was said, but for what varies."""
    lines, real = steady(shown), steady(said)
    parts = [r"(?:.*\n)*?" if line == ANYTHING else re.escape(line) + "\n" for line in lines]
    there = re.fullmatch("".join(parts), "".join(f"{line}\n" for line in real))
    assert there, "\n".join(difflib.unified_diff(lines, real, "shown", "said", lineterm=""))


def recorded(page: str, said: Iterable[str]) -> str:
    """The page with its blocks of text as they were said; those with `...` stay as they are."""
    answers = iter(said)

    def anew(found: re.Match[str]) -> str:
        block = Block(*found.groups())
        if block.language != "text":
            return found[0]
        answer = next(answers)
        kept = ANYTHING in block.text.splitlines()
        lines = block.text if kept else "".join(f"{x.rstrip()}\n" for x in answer.splitlines())
        return f"```text\n{lines}```"

    return BLOCK.sub(anew, page)
