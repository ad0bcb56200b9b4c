"""What a check found: rows of one table, and lines of JSON between processes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal, Self

Verdict = Literal["ok", "wrong", "seen", "skipped"]
"""seen: a figure without a bound. skipped: `note` says what is missing."""


@dataclass(frozen=True)
class Row:
    """One figure, or one reason why there is none."""

    check: str
    what: str
    verdict: Verdict
    value: float | None = None
    unit: str = ""
    note: str = ""

    def line(self) -> str:
        """As JSON, for the process that started the check."""
        return json.dumps(asdict(self))

    @classmethod
    def read(cls, line: str) -> Self:
        """What `line` made. Raises ValueError for anything else."""
        try:
            return cls(**json.loads(line))
        except TypeError as error:
            raise ValueError(f"not a row: {line!r}") from error


def bounded(check: str, what: str, value: float, most: float, unit: str = "") -> Row:
    """A figure that is right up to `most`; a NaN is wrong."""
    verdict: Verdict = "ok" if value <= most else "wrong"
    return Row(check, what, verdict, value, unit, f"at most {most:g}")


def wanted(check: str, what: str, value: float, least: float, unit: str = "") -> Row:
    """A figure that is right from `least` on."""
    verdict: Verdict = "ok" if value >= least else "wrong"
    return Row(check, what, verdict, value, unit, f"at least {least:g}")


def seen(check: str, what: str, value: float, unit: str = "", note: str = "") -> Row:
    """A figure that is told, and not judged."""
    return Row(check, what, "seen", value, unit, note)


def skipped(check: str, what: str, why: str) -> Row:
    """What could not be looked at, and what it needs."""
    return Row(check, what, "skipped", note=why)


def table(rows: Sequence[Row]) -> str:
    """Markdown, a row each."""
    head = "| check | what | value | verdict | note |\n|---|---|---|---|---|\n"
    return head + "".join(
        f"| {row.check} | {row.what} | {shown(row)} | {row.verdict} | {row.note} |\n"
        for row in rows
    )


def shown(row: Row) -> str:
    """The figure with three digits and its unit; empty without one."""
    return "" if row.value is None else f"{row.value:.4g} {row.unit}".rstrip()
