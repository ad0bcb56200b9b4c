"""`python -m tests.gpu`: all checks, each in a process of its own, as one table and one JSON."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from tests.gpu.checks import ORDER
from tests.gpu.rows import Row, skipped, table

ROOT = Path(__file__).resolve().parents[2]
WORD = "row "
"""How the lines begin that a check's process writes for this one."""


def main(arguments: list[str] | None = None) -> int:
    """Returns 1 where a figure is wrong or a check ended without one."""
    parser = argparse.ArgumentParser(prog="python -m tests.gpu", description=__doc__)
    parser.add_argument("checks", nargs="*", metavar="CHECK", help=f"of {', '.join(ORDER)}; all")
    parser.add_argument(
        "--device", default="cuda", help="cuda, or cpu for a rehearsal at small sizes"
    )
    parser.add_argument("--minutes", type=float, default=8, help="what does not fit is skipped")
    parser.add_argument("--out", type=Path, default=Path("build/gpu-check"), help="a folder")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if unknown := set(given.checks) - set(ORDER):
        parser.error(f"there is no check {', '.join(sorted(unknown))}")
    if given.one:
        return run_here(given.one, given.device)
    given.out.mkdir(parents=True, exist_ok=True)
    ends = time.monotonic() + 60 * given.minutes
    rows = [about(given.device)]
    for name in given.checks or ORDER:
        rows += run_apart(name, given.device, ends)
        write(given.out, rows)
    print(table(rows))
    print(f"{given.out / 'gpu.json'} has the same for programs.")
    return int(any(row.verdict == "wrong" for row in rows))


def run_here(name: str, device: str) -> int:
    """One check in this process: each row is written as it comes."""
    import torch

    from tests.gpu.checks import check_of
    from tests.gpu.machine import Machine

    if device == "cuda" and not torch.cuda.is_available():
        row = skipped(name, "everything", f"torch {torch.__version__} finds no CUDA device")
        print(WORD + row.line(), flush=True)
        return 0
    for row in check_of(name)(Machine(torch.device(device), rehearsal=device == "cpu")):
        print(WORD + row.line(), flush=True)
    return 0


def run_apart(name: str, device: str, ends: float) -> list[Row]:
    """The rows of a check in a process of its own, until the time of all is over."""
    left = ends - time.monotonic()
    if left <= 0:
        return [skipped(name, "everything", "no time is left")]
    print(f"{name} … ", end="", flush=True)
    began = time.monotonic()
    paths = [str(ROOT), *(str(ROOT / part) for part in ("api", "operator", "trainer_image"))]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([*paths, os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-m", "tests.gpu", "--device", device, "--one", name]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # trainings that it has started end with it
    )
    try:
        out, late = process.communicate(timeout=left)[0], False
    except subprocess.TimeoutExpired:
        end(process)
        out, late = process.communicate()[0], True
    except BaseException:
        end(process)
        raise
    lines = out.splitlines()
    rows = [Row.read(line.removeprefix(WORD)) for line in lines if line.startswith(WORD)]
    if late:
        rows.append(skipped(name, "the rest", "no time is left"))
    elif process.returncode:
        rest = [line for line in lines if line.strip() and not line.startswith(WORD)]
        lacks = rest[-1] if rest else "no word"
        missing = lacks.startswith("ModuleNotFoundError")
        note = f"{lacks} (exit code {process.returncode})"
        rows.append(Row(name, "the check itself", "skipped" if missing else "wrong", note=note))
    print(f"{len(rows)} rows, {time.monotonic() - began:.0f} s", flush=True)
    return rows


def end(process: subprocess.Popen[str]) -> None:
    """It and all that it has started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def about(device: str) -> Row:
    """The machine in a row: device, driver, versions."""
    import torch

    versions = f"torch {torch.__version__}, Python {sys.version.split()[0]}"
    if device != "cuda" or not torch.cuda.is_available():
        return Row("machine", "a rehearsal on a CPU", "seen", note=versions)
    properties = torch.cuda.get_device_properties(0)
    note = (
        f"{versions}, CUDA {torch.version.cuda}, capability {properties.major}.{properties.minor}"
    )
    return Row("machine", properties.name, "seen", properties.total_memory / 2**30, "GiB", note)


def write(folder: Path, rows: list[Row]) -> None:
    """Both forms, after each check: what ran is kept whatever comes."""
    (folder / "gpu.json").write_text(json.dumps([json.loads(row.line()) for row in rows], indent=1))
    (folder / "gpu.md").write_text(table(rows))


if __name__ == "__main__":
    sys.exit(main())
