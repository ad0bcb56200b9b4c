"""The archive of `kubectl dino` for Krew, and its manifest, in build/krew.

    python operator/krew/pack.py https://github.com/OWNER/REPOSITORY

The archive is to lie under that address as a file of the release.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import subprocess
import tarfile
import tempfile
import tomllib
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
ARCHIVE, MANIFEST, PROGRAM = "kubectl-dino.tar.gz", "dino.yaml", "kubectl-dino"


def built_wheel(folder: Path) -> Path:
    """The package, as `uv tool install` takes it."""
    command = ["uv", "build", "--wheel", "--quiet", "--out-dir", str(folder), str(ROOT)]
    subprocess.run(command, check=True)
    return next(folder.glob("*.whl"))


def packed(files: list[tuple[Path, int]]) -> bytes:
    """A .tar.gz of those files with their modes; the same files always give the same bytes."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as archive:
        for path, mode in files:
            entry = tarfile.TarInfo(path.name)
            entry.size, entry.mode = path.stat().st_size, mode
            archive.addfile(entry, io.BytesIO(path.read_bytes()))
    return gzip.compress(plain.getvalue(), mtime=0)


def manifest(archive: bytes, homepage: str) -> str:
    """The template, filled in."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    values = {
        "VERSION": str(version),
        "HOMEPAGE": homepage.rstrip("/"),
        "SHA256": hashlib.sha256(archive).hexdigest(),
    }
    text = (HERE / MANIFEST).read_text().partition("\n")[2]
    for name, value in values.items():
        text = text.replace(name, value)
    return text


def main() -> None:
    """Writes both."""
    made = argparse.ArgumentParser(description=__doc__)
    made.add_argument("homepage", help="of the repository, which has the releases")
    homepage = made.parse_args().homepage
    folder = ROOT / "build" / "krew"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as work:
        wheel = built_wheel(Path(work))
        archive = packed([(HERE / PROGRAM, 0o755), (wheel, 0o644), (ROOT / "LICENSE", 0o644)])
    (folder / ARCHIVE).write_bytes(archive)
    (folder / MANIFEST).write_text(manifest(archive, homepage))
    for name in (ARCHIVE, MANIFEST):
        print(f"{folder / name}")


if __name__ == "__main__":
    main()
