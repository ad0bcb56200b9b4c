"""promtool: the machine's own, or that of Debian's package, unpacked and not installed.

Installing it would start a server. The package is one that APT has verified; what was taken out of
it lies in the dev cluster's folder, so that it is fetched once.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

VERSION = "2.42.0"
"""Debian 12's. Its security updates change what comes after that."""
APT = ("-o", "Acquire::Retries=3")


class NoPromtool(Exception):
    """There is none, in a sentence that says why."""


def promtool() -> str:
    """The program's path. Raises NoPromtool."""
    return shutil.which("promtool") or str(_fetched())


def _fetched() -> Path:
    home = os.environ.get("DINO_DEVCLUSTER_HOME") or Path.home() / ".cache" / "dino-devcluster"
    kept = Path(home, "programs", f"promtool-{VERSION}-{platform.machine()}")
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
            _unpacked(Path(folder)).rename(kept)
    return kept


def _unpacked(into: Path) -> Path:
    """promtool out of Debian's package. Raises NoPromtool."""
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        raise NoPromtool("promtool is not in PATH, and there is no apt-get to fetch Debian's")
    fetch = ("apt-get", *APT, "download", f"prometheus={VERSION}*")
    said = _quietly(fetch, into)
    if (
        said is not None and os.geteuid() == 0
    ):  # most often the lists of packages are missing or old
        _quietly(("apt-get", *APT, "update"), into)
        said = _quietly(fetch, into)
    package = next(into.glob("prometheus_*.deb"), None)
    if said is None and package is not None:
        said = _quietly(("dpkg-deb", "--extract", str(package), str(into / "all")), into)
    made = into / "all" / "usr" / "bin" / "promtool"
    if said is not None or not made.exists():
        raise NoPromtool(
            f"promtool is not in PATH, and apt-get has no prometheus {VERSION}: {said}"
        )
    return made


def _quietly(command: tuple[str, ...], folder: Path) -> str | None:
    """Runs a command there; None when it succeeded, else the end of what it said."""
    done = subprocess.run(
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=300,
    )
    return None if done.returncode == 0 else " ".join(done.stdout.splitlines()[-2:])
