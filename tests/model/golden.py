"""Does our DINO compute the published model's numbers?

    uv run python -m tests.model.golden [FOLDER …]

Each folder holds what the published code computed for one small configuration (see README.md
here). Without folders: those beside this file, and ../shared/golden next to the checkout if it
exists. Prints the worst error of each quantity; exits 0 only if all are within tolerance:
outputs 1e-4 absolute, losses 1e-5 relative, gradient norms 5e-3 relative.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.model.golden_case import GoldenFolder
from tests.model.golden_compare import Check, compare
from tests.model.golden_ties import run_with_ties

HERE = Path(__file__).resolve().parent
SHARED = HERE.parents[2] / "shared" / "golden"


def default_folders() -> list[Path]:
    """Return the committed folders, and the shared ones if they are there."""
    roots = (HERE / "golden", SHARED)
    return sorted(path.parent for root in roots for path in root.glob("*/expected.json"))


def check_folder(folder: Path) -> list[Check]:
    """Run our model on a folder's weights and inputs and compare."""
    case = GoldenFolder(folder)
    result = run_with_ties(case, case.model())
    return compare(case, result)


def render(folder: Path, checks: list[Check]) -> str:
    """Return a table of the checks, one line each."""
    rows = [
        f"  {check.quantity:<38} {check.error:>9.2g} {check.tolerance:>8.0e} {check.unit:<9}"
        f" {'ok' if check.passed else 'FAIL'}  {check.where}".rstrip()
        for check in checks
    ]
    head = f"  {'quantity':<38} {'error':>9} {'allowed':>8}"
    return "\n".join([str(folder), head, *rows])


def main(arguments: list[str] | None = None) -> int:
    """Check every folder; return 0 if all agree, 1 if one differs, 2 if one cannot be run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="*", type=Path, metavar="FOLDER")
    folders = parser.parse_args(arguments).folders or default_folders()
    status = 0
    for folder in folders:
        try:
            checks = check_folder(folder)
        except ValueError as error:
            print(f"{folder}: {error}", file=sys.stderr)
            status = 2
            continue
        print(render(folder, checks), flush=True)
        if not all(check.passed for check in checks):
            status = max(status, 1)
    print({0: "All numbers agree.", 1: "Some numbers differ."}.get(status, "Not all could be run."))
    return status


if __name__ == "__main__":
    sys.exit(main())
