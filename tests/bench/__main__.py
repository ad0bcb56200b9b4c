"""`python -m tests.bench [NAME …] [--only TEXT]`: run the benches and write the book of results.

Every bench is a process of its own, so that one that fails, or leaves memory or threads behind,
spoils no other.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tests.bench import book

HERE = Path(__file__).parent
DOCS = HERE.parents[1] / "docs"
LIMIT = 3600.0  # seconds a bench may take
MARK = '\nif __name__ == "__main__":'  # of a program, as against a helper module


@dataclass(frozen=True)
class Ran:
    """How a bench ended: its entries, or else why there are none."""

    entries: tuple[book.Entry, ...]
    why: str = ""
    failed: bool = False


def benches(folder: Path = HERE) -> list[str]:
    """Names of the programs in the folder: the files that run when called."""
    texts = {path.stem: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.py"))}
    return [name for name, text in texts.items() if name != "__main__" and MARK in text]


def run(name: str, date: str, package: str = "tests.bench", limit: float = LIMIT) -> Ran:
    """Run one bench in a process of its own and read its lines."""
    command = [sys.executable, "-m", f"{package}.{name}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit, check=False)
    except subprocess.TimeoutExpired:
        return Ran((), f"it was stopped after {limit:.0f} s", failed=True)
    lines = done.stdout.splitlines()
    if done.returncode:
        last = (done.stderr.strip().splitlines() or lines or ["it said nothing"])[-1]
        return Ran((), f"exit code {done.returncode}: {last}", failed=True)
    entries = tuple(
        {**json.loads(line), "bench": name, "date": date} for line in lines if line[:1] == "{"
    )
    return Ran(entries, "" if entries else (lines or ["it printed no result"])[-1])


def run_all(names: Sequence[str], date: str) -> dict[str, Ran]:
    """Run them one after another, with a line each."""
    results = {}
    for count, name in enumerate(names, 1):
        print(f"[{count}/{len(names)}] {name} …", end=" ", flush=True)
        start = time.monotonic()
        ran = results[name] = run(name, date)
        seconds = f"{time.monotonic() - start:.0f} s"
        if ran.entries:
            print(f"{seconds}, {len(ran.entries)} results", flush=True)
        else:
            print(f"{'FAILED' if ran.failed else 'not run'} ({seconds}): {ran.why}", flush=True)
    return results


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 1 if a bench failed; one that says what it lacks did not."""
    known = benches()
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of: {', '.join(known)}")
    parser.add_argument("--only", default="", metavar="TEXT", help="those whose name contains it")
    given = parser.parse_args(arguments)
    unknown = sorted(set(given.names) - set(known))
    chosen = [name for name in given.names or known if given.only in name]
    if unknown or not chosen:
        what = f"no bench {', '.join(unknown)}" if unknown else f"no bench with {given.only!r}"
        parser.error(f"there is {what}; there are {', '.join(known)}")
    results = run_all(chosen, datetime.now(UTC).date().isoformat())
    new = {name: ran.entries for name, ran in results.items()}
    book.write(book.merge(book.read(DOCS / "benchmarks.json"), new), DOCS)
    print(f"{DOCS.name}/benchmarks.md and benchmarks.json are written.")
    return int(any(ran.failed for ran in results.values()))


if __name__ == "__main__":
    sys.exit(main())
