"""A machine that lacks something: the first command says what, and how to get it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from lib import build, cli

ROOT = Path(__file__).resolve().parents[2]


def program(path: Path, script: str) -> None:
    """A program that does no more than the script."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.fixture
def bare(tmp_path: Path) -> dict[str, str]:
    """The environment of a machine with Debian's own programs, and an empty home."""
    home = tmp_path / "home"
    home.mkdir()
    path = f"{tmp_path / 'own'}:/usr/bin:/bin"
    return {"PATH": path, "HOME": str(home), "LC_ALL": "C.UTF-8"}


def make(bare: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    """`make` as one types it there."""
    command = ["make", "-C", str(ROOT), "--no-print-directory", *words]
    return subprocess.run(command, env=bare, capture_output=True, text=True, check=False)


OWN = ".cache/dino-devcluster/uv/bin/uv"


@pytest.mark.parametrize(
    "version, used", [(None, False), ("0.8.24", False), ("0.9.0", True), ("0.11.2", True)]
)
def test_uv_is_the_machines_where_it_is_new_enough(
    version: str | None, used: bool, bare: dict[str, str], tmp_path: Path
) -> None:
    """The lock file needs 0.9; anything else would end in uv's own complaint."""
    bare["PATH"] = f"{tmp_path / 'own'}:{least(tmp_path)}"
    if version:
        program(tmp_path / "own" / "uv", f"echo 'uv {version} (x86_64-unknown-linux-gnu)'")
    done = make(bare, "-n", "setup")
    assert done.returncode == 0, done.stderr
    own = f"{bare['HOME']}/{OWN}"
    assert (f"{own} sync" in done.stdout, "from PyPI" in done.stdout) == (not used, not used)
    if used:
        assert f"{tmp_path / 'own' / 'uv'} sync" in done.stdout


def least(tmp_path: Path) -> Path:
    """A folder with the programs that the Makefile itself runs, and no Python."""
    folder = tmp_path / "programs"
    folder.mkdir()
    for name in ("bash", "sh", "make", "cut", "sort"):
        found = shutil.which(name)
        assert found, name
        (folder / name).symlink_to(found)
    return folder


@pytest.mark.parametrize("target", ["machine", f"$HOME/{OWN}"])
def test_no_python_at_all_is_said_with_its_package(
    target: str, bare: dict[str, str], tmp_path: Path
) -> None:
    bare["PATH"] = str(least(tmp_path))
    done = make(bare, target.replace("$HOME", bare["HOME"]))
    assert done.returncode != 0
    assert "apt-get install python3-venv" in done.stderr
    assert "not found" not in done.stderr


def test_a_python_without_pip_and_venv_says_which_package_brings_it(
    bare: dict[str, str], tmp_path: Path
) -> None:
    """Debian packs pip and ensurepip apart; what was begun is not taken for uv."""
    (tmp_path / "less").mkdir()
    for name in ("pip", "ensurepip"):
        (tmp_path / "less" / f"{name}.py").write_text("raise ImportError('not packed')\n")
    done = make({**bare, "PYTHONPATH": str(tmp_path / "less")}, f"{bare['HOME']}/{OWN}")
    assert done.returncode != 0
    assert "apt-get install python3-venv" in done.stderr
    assert not list(Path(bare["HOME"]).rglob("uv"))


def test_the_pip_that_is_there_brings_uv_without_venv(bare: dict[str, str], tmp_path: Path) -> None:
    """Into the folder of its own; a pip that answers as the real one does stands for PyPI."""
    (tmp_path / "less").mkdir()
    (tmp_path / "less" / "ensurepip.py").write_text("raise ImportError('not packed')\n")
    (tmp_path / "less" / "pip.py").write_text(
        "import pathlib, sys\n"
        "home = pathlib.Path(sys.argv[sys.argv.index('--target') + 1], 'bin')\n"
        "home.mkdir(parents=True)\n"
        "(home / 'uv').write_text('#!/bin/sh\\n')\n"
    )
    done = make({**bare, "PYTHONPATH": str(tmp_path / "less")}, f"{bare['HOME']}/{OWN}")
    assert done.returncode == 0, done.stderr
    assert (Path(bare["HOME"]) / OWN).is_file()


def test_make_machine_says_what_is_missing_before_anything_is_fetched(bare: dict[str, str]) -> None:
    """Without Go; and, for who is not root, that first."""
    done = make(bare, "machine")
    assert done.returncode != 0
    assert "root" in done.stderr if os.geteuid() else "Go 1.25 or newer" in done.stderr
    assert not list(Path(bare["HOME"]).iterdir()), "nothing was built"


def test_a_machine_that_has_the_programs_needs_no_go(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("lib.doctor.check_platform", lambda *, node: None)
    monkeypatch.setenv("DINO_DEVCLUSTER_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", "/nowhere")
    assert cli.main(["check"]) == 1
    (tmp_path / "programs").mkdir()
    for one in build.PROGRAMS:
        one.binary.touch()
    assert cli.main(["check"]) == 0


@pytest.mark.parametrize("target", ["demo", "test"])
def test_the_two_commands_begin_with_it(target: str, bare: dict[str, str]) -> None:
    lines = make(bare, "-n", target).stdout.splitlines()
    first = next(line for line in lines if "devcluster/cluster" in line or "sync" in line)
    assert "devcluster/cluster check" in first
