"""The book of results: docs/benchmarks.json, and docs/benchmarks.md made from it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Entry = dict[str, Any]  # a bench's record with "bench" (its module) and "date" added
HEAD = """# Benchmarks

Made by `make bench` from the programs in `tests/bench/`; do not edit. Ours and the peer ran in
turns within one run; a ratio above 1 says that ours is better. Absolute numbers mean little
beyond the machine that stands above them. An entry keeps its date until its bench runs again.
"""
TABLE = (
    "| bench | ours | peer | unit | ratio | promised | date |",
    "|---|--:|--:|---|--:|---|---|",
)


CURVES = (
    "## Growth\n",
    "Seconds of the processor and megabytes of memory at each size, and the exponents with which",
    "the last sizes grow: 1 is in proportion, 2 with the square. What small sizes take of memory",
    "that was free already is not seen, which raises the exponent of memory. Fixed costs are",
    "within: an exponent near 0 says that what grows is small at these sizes, not how it grows.\n",
    "| curve | of | sizes | seconds | MB | exponent of time | of memory | promised |",
    "|---|---|--:|--:|--:|--:|--:|---|",
)


def read(path: Path) -> list[Entry]:
    """The entries of earlier runs, none where there is no file."""
    entries: list[Entry] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    return entries


def merge(old: Sequence[Entry], new: Mapping[str, Sequence[Entry]]) -> list[Entry]:
    """Old entries, with those of each bench that ran now replaced.

    A bench that ran on a GPU replaces its GPU entries only, and on a CPU its CPU entries.

    Args:
        new: entries by bench; a bench that could not run is not in it, or has none.
    """
    measured = [entry for entries in new.values() for entry in entries]
    fresh = {(entry["bench"], _device(entry)) for entry in measured}
    kept = [entry for entry in old if (entry["bench"], _device(entry)) not in fresh]
    return sorted([*kept, *measured], key=lambda e: (_device(e), e["bench"], e["name"]))


def write(entries: Sequence[Entry], folder: Path) -> None:
    """Both files."""
    text = json.dumps(entries, indent=1, ensure_ascii=False)
    (folder / "benchmarks.json").write_text(text + "\n", encoding="utf-8")
    (folder / "benchmarks.md").write_text(render(entries), encoding="utf-8")


def render(entries: Sequence[Entry]) -> str:
    """The page: a table for each machine, the curves, then what each number is made of."""
    parts = [HEAD]
    for sentence in dict.fromkeys(_machine(entry) for entry in entries):
        rows = [_row(entry) for entry in entries if _machine(entry) == sentence]
        parts.append("\n".join([f"## {sentence}\n", *TABLE, *rows, ""]))
    curves = [_curve(entry) for entry in entries if entry.get("curve")]
    if curves:
        parts.append("\n".join([*CURVES, *curves, ""]))
    notes = [_note(entry) for entry in entries if entry.get("note") or entry.get("parts")]
    if notes:
        parts.append("\n".join(["## What the numbers are\n", *notes, ""]))
    return "\n".join(parts)


def number(value: float | None) -> str:
    """Four significant digits; a dash for nothing."""
    if value is None:
        return "-"
    if value == int(value) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def _row(entry: Entry) -> str:
    ratio = entry["ratio"]
    cells = [
        entry["name"],
        number(entry["ours"]),
        number(entry["peer"]),
        entry["unit"],
        "-" if ratio is None else f"{ratio:,.3g}x" if ratio < 1000 else f"{ratio:,.0f}x",
        entry.get("target", ""),
        entry["date"],
    ]
    return f"| {' | '.join(cells)} |"


def _curve(entry: Entry) -> str:
    curve = entry["curve"]
    cells = [
        entry["name"],
        curve["of"],
        *(_series(curve[key]) for key in ("sizes", "seconds", "megabytes")),
        f"{entry['ours']:.2f}",
        f"{curve['exponent of memory']:.2f}",
        entry.get("target", ""),
    ]
    return f"| {' | '.join(cells)} |"


def _series(values: Sequence[float]) -> str:
    return "; ".join(number(float(f"{value:.3g}")) for value in values)


def _note(entry: Entry) -> str:
    parts = ", ".join(f"{name} {_part(value)}" for name, value in entry.get("parts", {}).items())
    device = entry["machine"].get("gpu")
    name = f"**{entry['name']}**" + (f" ({device})" if device else "")
    return f"- {name}: " + " ".join(filter(None, [entry.get("note", ""), parts and f"({parts})"]))


def _part(value: Any) -> str:
    return number(value) if isinstance(value, int | float) else str(value)


def _device(entry: Entry) -> str:
    return str(entry["machine"].get("gpu", ""))


def _machine(entry: Entry) -> str:
    facts = entry["machine"]
    words = [facts["gpu"]] if "gpu" in facts else []
    words.append(f"{facts['cpu']}, {facts['cores']} cores")
    words += [f"{facts['threads']} threads"] if "threads" in facts else []
    words += [f"torch {facts['torch']}"] if "torch" in facts else []
    return ", ".join(words)
