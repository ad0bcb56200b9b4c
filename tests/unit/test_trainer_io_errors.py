"""Every exception has a reason and an exit code."""

from __future__ import annotations

import errno
import os
import pickle

import pytest
from onnxruntime.capi import onnxruntime_pybind11_state as states

from dino_api import failures
from dino_api.names import FailureReason
from dino_trainer.errors import TrainerError, failure_of, from_os_error
from dino_trainer.model.dino import UnfitImages


def test_a_reason_brings_exit_code_and_remedy() -> None:
    for rule in failures.TABLE:
        error = TrainerError(rule.reason, "what happened")
        assert error.exit_code == (rule.exit_code or 1)
        assert error.remedy == rule.remedy
        failure = error.as_failure()
        assert (failure.reason, failure.message) == (rule.reason, "what happened")
    assert TrainerError("DiskFull", "x", "buy a disk").remedy == "buy a disk"
    with pytest.raises(KeyError):
        TrainerError("NoSuchReason", "x")


def test_survives_the_way_from_a_worker_process() -> None:
    error = TrainerError("InvalidDataset", "a broken image", "mend it")
    back = pickle.loads(pickle.dumps(error))
    assert (back.reason, back.message, back.remedy) == (error.reason, error.message, error.remedy)


def test_torch_loses_neither_reason_nor_remedy_of_a_workers_error() -> None:
    utilities = pytest.importorskip("torch._utils")
    for error in (TrainerError("InvalidDataset", "two\nlines", "mend it"), OSError(28, "No space")):
        try:
            raise error
        except Exception:  # noqa: BLE001 - as the data loader's worker does
            wrapped = utilities.ExceptionWrapper(where="in DataLoader worker process 0")
        with pytest.raises((RuntimeError, OSError)) as caught:
            wrapped.reraise()
        failure = failure_of(caught.value)
        if isinstance(error, TrainerError):
            assert (failure.reason, failure.message, failure.remedy) == (
                "InvalidDataset",
                "two\nlines",
                "mend it",
            )
        else:
            assert failure.reason == "DiskFull"


def raised(error: Exception) -> Exception:
    """As it looks to who catches it."""
    try:
        raise error
    except Exception as caught:  # noqa: BLE001 - any exception is a case here
        return caught


KILLED = "Worker 7 was killed by signal: Killed."
CASES: dict[str, tuple[BaseException, str, int]] = {
    "our own stays": (TrainerError("Diverged", "x"), "Diverged", 76),
    "no memory": (MemoryError(), "OutOfMemory", 137),
    "a worker out of memory": (RuntimeError(KILLED), "OutOfMemory", 137),
    "no shared memory": (
        RuntimeError("Worker 7 was killed by signal: Bus error."),
        "OutOfMemory",
        137,
    ),
    "no shared memory, noticed at once": (
        RuntimeError(
            "Caught RuntimeError in DataLoader worker process 0.\nunable to allocate shared memory"
            "(shm) for file </torch_7_0>: No space left on device (28)\n"
        ),
        "OutOfMemory",
        137,
    ),
    "torch finds no memory": (
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
        "OutOfMemory",
        137,
    ),
    "ONNX Runtime finds no memory": (
        states.Fail("BFCArena::AllocateRawInternal Failed to allocate memory for requested buffer"),
        "OutOfMemory",
        137,
    ),
    "another failure of ONNX Runtime": (states.Fail("Non-zero status code"), "InternalError", 70),
    "a full disk": (OSError(errno.ENOSPC, "No space left on device", "/w/x"), "DiskFull", 74),
    "a full quota": (OSError(errno.EDQUOT, "Disk quota exceeded"), "DiskFull", 74),
    "Ctrl-C twice": (KeyboardInterrupt(), "Preempted", 143),
    "our bug": (KeyError("x"), "InternalError", 70),
    "a bug without words": (AssertionError(), "InternalError", 70),
}


@pytest.mark.parametrize("case", CASES)
def test_exceptions_get_a_reason(case: str) -> None:
    error, reason, code = CASES[case]
    failure = failure_of(error)
    assert (failure.reason, failure.exit_code) == (reason, code)
    assert failure.message.endswith((".", "x", "'x'", "no message", "status code"))


def test_a_bug_names_its_place_in_one_line() -> None:
    failure = failure_of(raised(ValueError("first line\nsecond line")))
    assert "ValueError in test_trainer_io_errors.py:" in failure.message
    assert failure.message.endswith("first line")


def test_images_that_do_not_suit_the_model_are_no_bug_of_ours() -> None:
    failure = failure_of(UnfitImages("These images give 177 tokens."))
    assert failure.reason == FailureReason.INVALID_SPEC
    assert failure.message == "These images give 177 tokens."
    assert (failure.remedy or "").startswith("Lower model.num_queries")


def test_a_gpu_without_memory() -> None:
    torch = pytest.importorskip("torch")
    failure = failure_of(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"))
    assert (failure.reason, failure.exit_code) == ("DeviceOutOfMemory", 71)


OS_ERRORS = {
    errno.ENOENT: 66,
    errno.ENOTDIR: 66,
    errno.EACCES: 77,
    errno.EPERM: 77,
    errno.EROFS: 77,
    errno.ENOSPC: 74,
    errno.EIO: 69,
}


@pytest.mark.parametrize("number", OS_ERRORS)
def test_operating_system_errors(number: int) -> None:
    error = from_os_error(OSError(number, "words"), "/some/path")
    assert error.exit_code == OS_ERRORS[number]
    assert "/some/path" in error.message


def test_a_local_place_that_is_refused_is_not_blamed_on_the_object_stores_secret() -> None:
    foreign = failure_of(PermissionError(errno.EACCES, "Permission denied", "/out/report.html"))
    fixed = from_os_error(OSError(errno.EROFS, "Read-only file system"), "/claim/results")
    for error, place, words in (
        (foreign, "/out/report.html", ("chmod or chown", f"user {os.getuid()}", "volume claim")),
        (fixed, "/claim/results", ("mounted read-only", "readOnly: true", "ReadWriteMany")),
    ):
        assert error.reason == "AccessDenied"
        assert place in error.message
        assert "secret" not in error.remedy
        assert all(each in error.remedy for each in words)
    assert "endpoint" not in from_os_error(OSError(errno.EIO, "words"), "/some/path").remedy
