"""`dino doctor`: what it says of machines that it is shown, and how it ends."""

from __future__ import annotations

import http.server
import json
import os
import threading
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dino_api.failures import exit_code
from dino_api.names import Env, FailureReason
from dino_trainer.command import doctor as command
from dino_trainer.command.cli import main
from dino_trainer.doctor import examination, host, s3
from dino_trainer.doctor.gpu import Driver, Torch, bf16_line, driver_here, gpu_lines
from dino_trainer.doctor.line import Line, LineState
from dino_trainer.doctor.s3 import s3_lines
from dino_trainer.doctor.software import onnx_runtime_line, tensorrt_line
from dino_trainer.machine.inventory import Gpu
from tests.patience import LONG
from tests.unit.s3_server import BUCKET, S3Server, free_port

GIB = 1 << 30
L4 = Gpu("NVIDIA L4", 23 * GIB, (8, 9))
OLD = Gpu("Tesla P40", 24 * GIB, (6, 1))
DRIVER = Driver("550.54.14", ("NVIDIA L4",), (12, 4))
NO_GPU = FailureReason.NO_GPU
SECRET = "never-to-be-shown-71b2"
# As PyTorch writes them, which lists such a GPU nevertheless.
NO_KERNELS = (
    "Found GPU0 Tesla P40 which is of compute capability (CC) 6.1.\nThe following list shows the "
    "CCs this version of PyTorch was built for and the hardware CCs it supports:\n- 7.5 which "
    "supports hardware CC >=7.5,<8.0"
)
NO_CUBINS = "\nTesla P40 with CUDA capability sm_61 is not compatible with the current PyTorch.\n"


def torch(cuda: str | None = "12.8", *gpus: Gpu, said: str = "") -> Torch:
    return Torch("2.14.0", cuda, gpus, (said,) if said else ())


GPU_CASES = {
    "one that works": (torch("12.8", L4), DRIVER, {}, "ok", "driver 550.54.14", "", None),
    "no driver": (torch(), None, {}, "missing", "no NVIDIA driver", "train.num_gpus: 0", None),
    "PyTorch for CPUs": (
        torch(None), DRIVER, {}, "missing", "NVIDIA L4 with driver", "without CUDA", NO_GPU
    ),
    "hidden": (
        torch(), DRIVER, {"CUDA_VISIBLE_DEVICES": ""}, "missing", "cannot use", "Unset it", NO_GPU
    ),
    "an older driver": (
        torch("13.0", said="The NVIDIA driver on your system is too old"), DRIVER, {}, "missing",
        "PyTorch says: The NVIDIA driver on your system is too old",
        "The driver runs CUDA up to 12.4, and PyTorch is built for 13.0.", NO_GPU
    ),
    "an older driver, and hidden": (
        torch("13.0"), DRIVER, {"CUDA_VISIBLE_DEVICES": "0"}, "missing", "cannot use",
        "The driver runs CUDA up to 12.4", NO_GPU
    ),
    "a newer minor is no mismatch": (
        torch("12.8"), DRIVER, {}, "missing", "cannot use", "nvidia-smi", NO_GPU
    ),
    "a driver without GPUs": (
        torch(), Driver("550.54.14", (), None), {}, "missing", "no NVIDIA driver", "--gpus", None
    ),
    "one that PyTorch has no kernels for": (
        torch("13.0", OLD, said=NO_KERNELS), DRIVER, {}, "missing",
        "PyTorch 2.14.0 has no kernels: Found GPU0 Tesla P40 which is of compute capability",
        "a PyTorch that is built for compute capability 6.1: https", NO_GPU
    ),
    "known by its library alone": (
        torch(), Driver("of unknown version", (), (12, 4)), {}, "missing", "a GPU with driver",
        "nvidia-smi", NO_GPU
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", GPU_CASES)
def test_why_there_is_no_gpu_is_told_apart(case: str) -> None:
    torch_, driver, env, state, found, remedy, reason = GPU_CASES[case]
    line, *_ = gpu_lines(torch_, driver, env)
    assert (line.name, line.state, line.reason) == ("GPU", state, reason)
    assert found in line.detail
    assert remedy in line.remedy


def test_every_gpu_has_its_line() -> None:
    names = [line.name for line in gpu_lines(torch("12.8", L4, L4), DRIVER, {})]
    assert names == ["GPU", "GPU"]


def test_a_gpu_that_cannot_be_used_is_no_failure_beside_one_that_can() -> None:
    both = Torch("2.14.0", "13.0", (L4, OLD), (NO_KERNELS, NO_CUBINS))
    fine, lacking = gpu_lines(both, DRIVER, {})
    assert (fine.state, lacking.state, lacking.reason) == (LineState.OK, LineState.MISSING, None)
    assert "sm_61 is not compatible" in lacking.detail
    assert "\n" not in lacking.detail, "a line is one line"


def test_other_warnings_of_pytorch_are_shown_beside_a_gpu() -> None:
    said = "The NVIDIA L4 Ti which is no L4 has a capability."
    fine, warned = gpu_lines(torch("12.8", L4, said=said), DRIVER, {})
    assert (fine.state, warned.state, warned.reason) == (LineState.OK, LineState.WARN, None)
    assert said in warned.detail
    assert warned.remedy


@pytest.mark.parametrize(
    "gpus, flags, state, found",
    [
        ((L4,), "", "ok", "NVIDIA L4"),
        ((OLD,), "avx512_bf16", "missing", "Tesla P40"),
        ((), "avx512_bf16", "ok", "this CPU"),
        ((), "avx512f", "missing", "this CPU"),
        ((), "asimd bf16", "ok", "this CPU"),
        ((), "asimd", "missing", "this CPU"),
        ((), "", "warn", "does not list the CPU's instructions, so it is not known"),
    ],
)
def test_bf16_is_that_of_what_trains(
    gpus: tuple[Gpu, ...], flags: str, state: str, found: str
) -> None:
    line = bf16_line(gpus, frozenset(flags.split()))
    assert (line.name, line.state) == ("bf16", state)
    assert found in line.detail
    assert ("fp16" in line.remedy) == (state == "missing" and bool(gpus))


def test_the_driver_is_read_where_the_kernel_tells_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dino_trainer.doctor.gpu._newest_cuda", lambda: None)
    assert driver_here(tmp_path) is None
    (tmp_path / "version").write_text(
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.14  Thu Feb 22 01:44:30 UTC 2024\n"
    )
    (tmp_path / "gpus/0000:01:00.0").mkdir(parents=True)
    (tmp_path / "gpus/0000:01:00.0/information").write_text("Model: \t\t NVIDIA L4\nIRQ: 7\n")
    assert driver_here(tmp_path) == Driver("550.54.14", ("NVIDIA L4",), None)


Usage = namedtuple("Usage", "total used free")


def of_host(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    shared: int,
    free: int,
    cores: int = 4,
    memory: int = 16 * GIB,
    flags: str = "avx2",
) -> dict[str, Line]:
    sizes = {tmp_path / "shm": Usage(shared, 0, shared), tmp_path: Usage(free, 0, free)}

    def usage(path: Path) -> Usage:
        if path not in sizes:
            raise FileNotFoundError(path)
        return sizes[path]

    monkeypatch.setattr(host.shutil, "disk_usage", usage)
    lines = [
        host.cpu_line(cores, 8),
        host.memory_line(memory),
        host.shared_memory_line(tmp_path / "shm"),
        host.disk_line(tmp_path / "not/yet"),
        *host.instruction_lines(frozenset(flags.split())),
    ]
    return {line.name: line for line in lines}


def test_a_machine_with_enough_of_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = "avx2 avx512f avx512_vnni"
    found = of_host(tmp_path, monkeypatch, 2 * GIB, 50 * GIB, flags=flags)
    assert {line.state for line in found.values()} == {LineState.OK}
    assert found["CPU"].detail == "4 of 8 cores may be used"
    assert not any(line.remedy for line in found.values())


def test_a_container_with_dockers_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = of_host(tmp_path, monkeypatch, 64 << 20, 3 * GIB, cores=1, memory=2 * GIB)
    remedies = {name: line.remedy for name, line in found.items() if line.state == LineState.WARN}
    assert remedies.keys() == {"CPU", "memory", "shared memory", "disk"}
    for name, remedy in {
        "CPU": "--cpus", "memory": "batch_size", "shared memory": "--shm-size",
        "disk": Env.CACHE_DIR,
    }.items():  # fmt: skip
        assert remedy in remedies[name]
    assert found["VNNI"].state == LineState.MISSING
    assert "as exactly" in found["VNNI"].detail, "docs/runtime.md: exact on every CPU"


@pytest.mark.parametrize(
    "flags, state, found",
    [
        ("asimd bf16", LineState.MISSING, "this is no x86 CPU"),
        (
            "",
            LineState.WARN,
            "this system does not list the CPU's instructions, so it is not known",
        ),
    ],
    ids=["ARM", "macOS"],
)
def test_instructions_of_another_kind_of_cpu(flags: str, state: LineState, found: str) -> None:
    for line in host.instruction_lines(frozenset(flags.split())):
        assert (line.state, line.detail, line.remedy) == (state, found, "")


def test_each_instruction_has_the_cpus_that_have_it() -> None:
    """Intel's for desktops have VNNI and no AVX-512 since Alder Lake."""
    avx512, vnni = host.instruction_lines(frozenset({"avx2"}))
    assert "Alder Lake" in avx512.remedy
    assert "Core since the 11th generation" in vnni.remedy
    avx512, vnni = host.instruction_lines(frozenset({"avx2", "avx_vnni"}))
    assert (avx512.state, vnni.state) == (LineState.MISSING, LineState.OK)


@pytest.mark.parametrize(
    "providers, tensorrt, gpus, states, remedy",
    [
        (["CPUExecutionProvider"], None, False, ["ok", "missing"], "needs an NVIDIA GPU"),
        (["CPUExecutionProvider"], None, True, ["warn", "missing"], "pip install tensorrt"),
        (["CUDAExecutionProvider"], "10.13.3", True, ["ok", "ok"], ""),
        (["CUDAExecutionProvider"], "9.2", True, ["ok", "warn"], "10 and 11 are known"),
        (["CPUExecutionProvider"], "10.13.3", False, ["ok", "warn"], "Run it on a GPU"),
        ("cannot be loaded: no", "11.0.1", True, ["missing", "ok"], ""),
    ],
)
def test_what_runs_files(
    providers: Any, tensorrt: str | None, gpus: bool, states: list[str], remedy: str
) -> None:
    lines = [onnx_runtime_line(providers, gpus), tensorrt_line(tensorrt, gpus)]
    assert [line.state for line in lines] == states
    assert remedy in lines[1].remedy


@pytest.fixture
def no_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """None on this machine, wherever boto3 looks."""
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))


@pytest.fixture
def refusing() -> Iterator[str]:
    """A server that refuses everybody, as S3 refuses those without credentials."""

    class Refuses(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/ssh":
                self.wfile.write(b"SSH-2.0-OpenSSH_9.2\r\n")
            else:
                self.send_error(403)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refuses)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.mark.usefixtures("no_credentials")
def test_without_credentials_nothing_fails_until_they_are_needed() -> None:
    (line,) = s3_lines("", {})
    assert (line.state, line.reason) == (LineState.MISSING, None)
    line, listed = s3_lines("s3://photos/digits", {})
    assert line.reason == listed.reason == FailureReason.ACCESS_DENIED
    assert Env.S3_SECRET_KEY in line.remedy


@pytest.mark.usefixtures("no_credentials")
def test_credentials_are_told_by_their_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(Env.S3_ACCESS_KEY, f"{SECRET}-key")
    monkeypatch.setenv(Env.S3_SECRET_KEY, SECRET)
    (line,) = s3_lines("", {})
    assert (line.state, line.detail.partition(";")[0]) == (LineState.OK, "found by env")
    monkeypatch.delenv(Env.S3_SECRET_KEY)
    (line,) = s3_lines("", {})
    assert line.state == LineState.MISSING
    assert "Partial credentials" in line.detail
    assert SECRET not in str(line)


@pytest.mark.usefixtures("no_credentials")
def test_an_endpoint_is_asked_whether_it_answers(
    refusing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3, "_SECONDS", LONG)
    _, line = s3_lines("", {Env.S3_ENDPOINT: refusing})
    assert line.state == LineState.OK
    assert "answers (HTTP 403" in line.detail
    _, line = s3_lines("", {Env.S3_ENDPOINT: f"http://127.0.0.1:{free_port()}"})
    assert line.reason == FailureReason.STORAGE_UNAVAILABLE
    assert "Connection refused" in line.detail
    _, line = s3_lines("", {Env.S3_ENDPOINT: refusing.replace("http:", "https:")})
    assert "AWS_CA_BUNDLE" in line.remedy
    _, line = s3_lines("", {Env.S3_ENDPOINT: refusing, "AWS_CA_BUNDLE": "/none.pem"})
    assert "AWS_CA_BUNDLE" in line.remedy
    _, line = s3_lines("", {Env.S3_ENDPOINT: f"{refusing}/ssh"})
    assert line.reason == FailureReason.STORAGE_UNAVAILABLE
    assert line.detail.endswith("cannot be reached: BadStatusLine: SSH-2.0-OpenSSH_9.2")
    _, line = s3_lines("", {Env.S3_ENDPOINT: "http://my server:9000"})
    assert line.reason == FailureReason.STORAGE_UNAVAILABLE
    assert "InvalidURL" in line.detail
    _, line = s3_lines("", {Env.S3_ENDPOINT: "minio:9000"})
    assert line.reason == FailureReason.INVALID_SPEC


def test_a_bucket_is_listed_and_the_key_is_not_shown(
    s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = list(s3_lines(f"s3://{BUCKET}/doctor"))
    assert [line.state for line in lines] == [LineState.OK, LineState.OK]
    assert "can be listed; writing was not tried" in lines[1].detail
    *_, none = s3_lines("s3://no-such-bucket")
    assert none.reason == FailureReason.INPUT_NOT_FOUND
    assert s3_server.env[Env.S3_SECRET_KEY] not in str([*lines, none])


def shown(monkeypatch: pytest.MonkeyPatch, *lines: Line) -> None:
    monkeypatch.setattr(command, "examine", lambda uri, work: list(lines))


FINE = Line("CPU", LineState.OK, "4 cores")
LACKS = Line("GPU", LineState.MISSING, "no NVIDIA driver", "Install it.")
FAILS = Line("S3 bucket", LineState.MISSING, "refused", "Ask.", FailureReason.ACCESS_DENIED)


def test_text_is_a_line_each_with_the_remedy_below(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shown(monkeypatch, FINE, LACKS)
    assert main(["doctor"]) == 0, "a machine may lack a GPU"
    assert capsys.readouterr().out.splitlines() == [
        "ok       CPU  4 cores",
        "missing  GPU  no NVIDIA driver",
        "              -> Install it.",
    ]


def test_json_says_the_same(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shown(monkeypatch, LACKS, FAILS)
    assert main(["doctor", "s3://photos", "--output", "json"]) == 77
    told = json.loads(capsys.readouterr().out)
    assert (told["schema"], told["exitCode"]) == (1, exit_code(FailureReason.ACCESS_DENIED))
    assert told["lines"][1] == {
        "name": "S3 bucket",
        "state": "missing",
        "found": "refused",
        "remedy": "Ask.",
        "reason": "AccessDenied",
    }


def test_what_is_no_uri_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "photos"]) == 64
    assert "photos is no S3 URI" in capsys.readouterr().err


@pytest.mark.usefixtures("no_credentials")
def test_this_very_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that there is to look at, for real."""
    monkeypatch.setenv(Env.CACHE_DIR, str(tmp_path / "kept"))
    lines = examination.examine("", tmp_path)
    names = {line.name for line in lines}
    assert names >= {"GPU", "bf16", "CPU", "memory", "disk", "ONNX Runtime", "TensorRT"}
    assert all(line.remedy for line in lines if line.reason)
    disk = next(line.detail for line in lines if line.name == "disk")
    assert f"free in {tmp_path / 'kept' / 'data'}, where data is copied to" in disk
    assert "CPU" in next(line.detail for line in lines if line.name == "ONNX Runtime")
