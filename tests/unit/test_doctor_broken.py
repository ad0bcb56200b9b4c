"""`dino doctor` on a machine on which a part of it breaks: the lines of all others are there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dino_api.failures import exit_code
from dino_api.names import FailureReason
from dino_trainer.doctor import examination, gpu, host, s3
from dino_trainer.doctor.gpu import Driver, Torch, gpu_lines, torch_here, torch_line
from dino_trainer.doctor.line import Line, LineState
from dino_trainer.machine.inventory import Gpu

ALL = [
    "GPU", "bf16", "CPU", "memory", "shared memory", "disk", "AVX-512", "VNNI", "ONNX Runtime",
    "TensorRT", "S3 credentials",
]  # fmt: skip
# What breaks, and which lines then stand in place of which.
PARTS = {
    "torch_here": ({"PyTorch"}, set()),
    "driver_here": ({"GPU"}, {"GPU"}),
    "cores": ({"CPU"}, {"CPU"}),
    "memory": ({"memory"}, {"memory"}),
    "shared_memory_line": ({"shared memory"}, {"shared memory"}),
    "disk_line": ({"disk"}, {"disk"}),
    "cpu_instructions": ({"bf16", "CPU instructions"}, {"bf16", "AVX-512", "VNNI"}),
    "onnx_providers": ({"ONNX Runtime"}, {"ONNX Runtime"}),
    "tensorrt_version": ({"TensorRT"}, {"TensorRT"}),
    "s3_lines": ({"S3"}, {"S3 credentials"}),
}


def breaks(*_: Any) -> Any:
    raise ZeroDivisionError("by a driver of tomorrow")


@pytest.fixture
def examined(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """The lines of a machine without GPU and credentials; torch is not asked."""
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr(examination, "torch_here", lambda: Torch("2.14.0", None, ()))
    monkeypatch.setattr(examination, "driver_here", lambda: None)
    return lambda: examination.examine("", tmp_path)


def test_a_machine_where_nothing_breaks(examined: Any) -> None:
    """Else the tests below would compare with nothing."""
    assert [line.name for line in examined()] == ALL


@pytest.mark.parametrize("part", PARTS)
def test_one_part_breaks_alone(part: str, examined: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examination, part, breaks)
    broken, lost = PARTS[part]
    lines: list[Line] = examined()
    told = {line.name: line for line in lines if "by a driver of tomorrow" in line.detail}
    assert told.keys() == broken
    for line in told.values():
        assert (line.state, line.reason) == (LineState.MISSING, FailureReason.INTERNAL_ERROR)
        assert "cannot be looked at: Unexpected ZeroDivisionError in test_doctor" in line.detail
        assert line.remedy
    assert {line.name for line in lines} - broken == set(ALL) - lost
    assert examination.code_of(lines) == exit_code(FailureReason.INTERNAL_ERROR)


def test_what_a_part_said_before_it_broke_is_kept(
    examined: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3.S3Settings, "from_env", breaks)
    assert [line.name for line in examined()] == [*ALL, "S3"]


def test_everything_breaks(examined: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for part in PARTS:
        monkeypatch.setattr(examination, part, breaks)
    wanted = {name for broken, _ in PARTS.values() for name in broken}
    assert {line.name for line in examined()} == wanted


@pytest.mark.parametrize("error", [ImportError, OSError])
def test_pytorch_that_cannot_be_loaded_is_a_line(
    error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Refuses:
        def find_spec(self, name: str, *_: object) -> None:
            if name == "torch":
                raise error("libcudart.so.13: no such file")

    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Refuses(), *sys.meta_path])
    why = torch_here()
    assert why == "cannot be loaded: libcudart.so.13: no such file"
    line = torch_line(why)
    assert (line.name, line.state) == ("PyTorch", LineState.MISSING)
    assert "make setup" in line.remedy
    (found,) = gpu_lines(why, Driver("550.54.14", ("NVIDIA L4",), (12, 4)), {})
    assert (found.state, found.reason) == (LineState.MISSING, FailureReason.NO_GPU)
    assert "NVIDIA L4 with driver 550.54.14" in found.detail
    (none,) = gpu_lines(why, None, {})
    assert none.reason is None


def test_gpus_that_are_listed_and_do_not_begin_to_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> tuple[Gpu, ...]:
        raise RuntimeError("CUDA driver initialization failed.\nCompile with ...")

    monkeypatch.setattr(gpu, "gpus", fails)
    found = torch_here()
    assert isinstance(found, Torch)
    assert (found.gpus, found.warnings) == ((), ("CUDA driver initialization failed.",))


def test_a_machine_without_pytorch(tmp_path: Path) -> None:
    """The command itself, in a process in which nothing can import torch."""
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from dino_trainer.command.cli import main\n"
        "sys.exit(main(['doctor']))"
    )
    env = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    env |= {"AWS_EC2_METADATA_DISABLED": "true", "DINO_WORK_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == exit_code(FailureReason.INTERNAL_ERROR), done.stderr
    assert "missing  PyTorch         cannot be loaded: import of torch halted" in done.stdout
    for name in ALL:
        assert f"  {name} " in done.stdout


def test_a_folder_that_nobody_may_look_into(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: Path) -> Any:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(host.shutil, "disk_usage", refused)
    line = host.disk_line(tmp_path / "data")
    assert (line.name, line.state, line.reason) == (
        "disk", LineState.MISSING, FailureReason.ACCESS_DENIED
    )  # fmt: skip
    assert f"Not allowed to use {tmp_path / 'data'}: Permission denied." in line.detail
    assert "Or name another folder" in line.remedy
