"""`python -m dino_api.generate [--check]`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from dino_api.generate.files import files

ROOT = Path(__file__).resolve().parents[3]


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """Writes the files, or with --check names those that are stale and returns 1."""
    parser = argparse.ArgumentParser(
        prog="python -m dino_api.generate",
        description="Write crds/, schemas/, the chart's CRD template and generated docs.",
    )
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit 1 naming the files that differ"
    )
    check = parser.parse_args(arguments).check
    wanted = files()
    stale = [path for path, text in wanted.items() if _read(root / path) != text]
    if check:
        return _report(stale)
    for path in stale:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(wanted[path])
        print(f"wrote {path}")
    return 0


def _read(path: Path) -> str | None:
    return path.read_text() if path.exists() else None


def _report(stale: list[str]) -> int:
    if not stale:
        return 0
    print(f"Out of date: {', '.join(stale)}. Run `make generate`.", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
