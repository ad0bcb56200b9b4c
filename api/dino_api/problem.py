"""One shape for everything that can be wrong with an input, and its sentence."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

Severity = Literal["error", "warning"]
THE_SPEC = "the spec"
"""The path of what is wrong with all of it."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, where, and what to do.

    path: dotted path of the key ("train.optim.lr"), or THE_SPEC. got: the value given, None where
    none was. rule: what must hold. remedy: what to write instead. id: stable name of the rule.
    """

    path: str
    got: Any
    rule: str
    remedy: str
    severity: Severity = "error"
    id: str = ""

    def below(self, section: str) -> Problem:
        """The same, of a spec that stands at `section` of something else."""
        path = section if self.path == THE_SPEC else f"{section}.{self.path}"
        return replace(self, path=path)


class SpecErrors(ValueError):
    """A spec with problems; `.problems` has all of them, warnings included."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(render(problem) for problem in self.problems))


def show(value: Any) -> str:
    """The value as a user wrote it, at most 80 characters."""
    text = f'"{value}"' if isinstance(value, str) else str(value)
    return text if len(text) <= 80 else text[:77] + "..."


def sentence(problem: Problem) -> str:
    """The problem as a sentence or two: where, what was given, the rule, the remedy."""
    given = "" if problem.got is None else f" (given {show(problem.got)})"
    text = f"{problem.path}: {problem.rule}{given}"
    text += "" if text.endswith((".", "?")) else "."
    remedy = f" {problem.remedy}" if problem.remedy else ""
    return f"{text}{remedy}"


def render(problem: Problem) -> str:
    """The sentence, with "warning:" before it where the problem is one."""
    return f"{'warning: ' if problem.severity == 'warning' else ''}{sentence(problem)}"
