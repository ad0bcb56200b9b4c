"""The one exception a user of the trainer can meet, and what it means for the process.

Every failure that somebody outside this program can cause or cure is a `TrainerError`. Its reason
is one of the reasons in `dino_api.failures`, which also decides the exit code, whether the operator
tries again, and what to do about it. `failure_of` turns any other exception into one.
"""

from __future__ import annotations

import errno
import json
import os
import sys
import traceback
from pathlib import Path

from dino_api import failures, memory
from dino_api.names import SHARED_MEMORY, Env, FailureReason
from dino_api.result import Failure, Result
from dino_api.rules.data import data_rule

_NOTE = "dino-failure: "
_READ_ONLY = (
    "It lies on a file system that is mounted read-only. Mount the volume or claim for writing "
    "(without readOnly: true, with accessMode ReadWriteOnce or ReadWriteMany), or name another "
    "folder."
)
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class TrainerError(Exception):
    """A failure with a reason, a sentence and a remedy.

    reason: a reason of `dino_api.failures`; KeyError for any other, since that is our own mistake.
    message: what happened and where, as full sentences.
    remedy: what to do; left out, the failure table's remedy for the reason is used.
    kept: what the run has found out and published nevertheless, such as the comparison that a gate
    was closed for; it is reported with the failure.
    """

    def __init__(
        self, reason: str, message: str, remedy: str | None = None, kept: Result | None = None
    ) -> None:
        super().__init__(message)
        # Torch raises a worker's exception again by its text alone, so the text must hold it all.
        self.add_note(_NOTE + json.dumps([reason, message, remedy]))
        self.rule = failures.by_reason(reason)
        self.reason = str(reason)
        self.message = message
        self.remedy = remedy or self.rule.remedy
        self.kept = kept

    def __reduce__(self) -> tuple[type[TrainerError], tuple[str, ...]]:
        """Survives the way from a worker process."""
        return type(self), (self.reason, self.message, self.remedy)

    @property
    def exit_code(self) -> int:
        """The process exit code of this reason (1 for a reason that no process ends with)."""
        code = self.rule.exit_code
        return 1 if code is None else code

    def as_failure(self) -> Failure:
        """The same failure in the form of the resource's status."""
        return Failure(
            reason=self.reason, message=self.message, remedy=self.remedy, exit_code=self.exit_code
        )


def invalid_spec(message: str, remedy: str | None = None) -> TrainerError:
    """The experiment asks for something that cannot be done."""
    return TrainerError(FailureReason.INVALID_SPEC, message, remedy)


def invalid_dataset(message: str, remedy: str | None = None) -> TrainerError:
    """The images or annotations are there but cannot be used."""
    return TrainerError(FailureReason.INVALID_DATASET, message, remedy)


def from_os_error(error: OSError, where: str) -> TrainerError:
    """An operating system error about `where` (a path or URI) with the reason that fits it."""
    what = f"{where}: {error.strerror or error}."
    if error.errno in _FULL:
        return TrainerError(FailureReason.DISK_FULL, f"No space left while writing {what}")
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return TrainerError(FailureReason.INPUT_NOT_FOUND, f"There is no {where}.")
    if _is_refusal(error):
        remedy = _READ_ONLY if error.errno == errno.EROFS else _not_ours()
        return TrainerError(FailureReason.ACCESS_DENIED, f"Not allowed to use {what}", remedy)
    return TrainerError(
        FailureReason.STORAGE_UNAVAILABLE,
        f"Input or output failed on {what}",
        "Check the disk, or the volume that is mounted there and its server.",
    )


def _is_refusal(error: OSError) -> bool:
    return isinstance(error, PermissionError) or error.errno == errno.EROFS


def _not_ours() -> str:
    return (
        f"Give user {os.getuid()} the right to it: ls -ld shows the permissions of the file and of "
        "its folders, chmod or chown changes them. The files of a volume claim must be those of "
        f"that user, or of group {os.getgid()}. Or name another folder."
    )


def failure_of(error: BaseException) -> TrainerError:
    """Whatever ended the run, as a TrainerError.

    Torch is looked up only if something already imported it: a spec error must not wait for it.
    """
    if isinstance(error, TrainerError):
        return error
    if from_worker := _noted(error):
        return from_worker
    if is_of_memory(error):
        return _too_little_memory(error)
    if isinstance(error, OSError) and (error.errno in _FULL or "[Errno 28]" in str(error)):
        return TrainerError(
            FailureReason.DISK_FULL, f"No space left while writing {error.filename or 'a file'}."
        )
    if isinstance(error, OSError) and _is_refusal(error) and error.filename:
        return from_os_error(error, str(error.filename))
    if _is_unfit(error):
        return invalid_spec(first_line(error), data_rule("queries-over-tokens").remedy)
    if _is_lost_peer(error):
        return TrainerError(
            FailureReason.PEER_LOST,
            f"Another process of the job is gone: {first_line(error)}",
        )
    if isinstance(error, KeyboardInterrupt):
        return TrainerError(FailureReason.PREEMPTED, "Stopped at once, at the user's request.")
    return TrainerError(
        FailureReason.INTERNAL_ERROR,
        f"Unexpected {type(error).__name__} in {_place(error)}: {first_line(error)}",
    )


def _too_little_memory(error: BaseException) -> TrainerError:
    """Of the GPU, of what processes share, or of the host."""
    of_any = memory.of_any
    if _is_device_memory(error):
        return TrainerError(
            FailureReason.DEVICE_OUT_OF_MEMORY,
            f"The GPU ran out of memory: {first_line(error)}",
            f"{of_any(FailureReason.DEVICE_OUT_OF_MEMORY)} Outside of a DinoJob, "
            f"{Env.MICRO_BATCH} set to half of the batch takes half as many images at a time, with "
            "the same result.",
        )
    if _is_shared_memory(error):
        return TrainerError(
            FailureReason.OUT_OF_MEMORY,
            f"There is no room left in {SHARED_MEMORY}, through which a loader's workers hand over "
            "their images.",
            f"{of_any(FailureReason.OUT_OF_MEMORY)} Outside of a DinoJob, give the container more "
            "of it (docker run --shm-size=8g), or set dataset.workers: 0, which needs none.",
        )
    return TrainerError(FailureReason.OUT_OF_MEMORY, "The process ran out of host memory.")


def _noted(error: BaseException) -> TrainerError | None:
    """The TrainerError that a data loader's worker ended with."""
    for line in str(error).splitlines():
        if line.startswith(_NOTE):
            return TrainerError(*json.loads(line.removeprefix(_NOTE)))
    return None


def _is_unfit(error: BaseException) -> bool:
    """What the detector raises where the images do not suit its configuration."""
    detector = sys.modules.get("dino_trainer.model.dino")
    return detector is not None and isinstance(error, detector.UnfitImages)


def _is_device_memory(error: BaseException) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(error, torch.OutOfMemoryError)


def is_of_memory(error: BaseException) -> bool:
    """Whether memory did not suffice, of the host or of a GPU, whatever was asked of it."""
    known = (_is_host_memory, _is_shared_memory, _is_device_memory)
    return isinstance(error, MemoryError) or any(one(error) for one in known)


def _is_host_memory(error: BaseException) -> bool:
    """What is raised where the host's memory does not suffice.

    By ONNX Runtime's arena (also on a GPU; it does not say where), by torch and its loaders.
    """
    text = str(error)
    if type(error).__module__.startswith("onnxruntime."):
        return "Failed to allocate memory" in text
    words = ("killed by signal: Killed", "DefaultCPUAllocator")
    return isinstance(error, RuntimeError) and any(one in text for one in words)


def _is_shared_memory(error: BaseException) -> bool:
    """What loaders raise where shared memory does not suffice: torch at once, ours when written."""
    words = ("unable to allocate shared memory", "killed by signal: Bus error")
    return isinstance(error, RuntimeError) and any(one in str(error) for one in words)


def _is_lost_peer(error: BaseException) -> bool:
    """What torch.distributed raises where a process ended, hangs, or cannot be reached.

    gloo raises RuntimeError, with the place in its own source.
    """
    distributed = sys.modules.get("torch.distributed")
    known = distributed is not None and isinstance(error, distributed.DistError)
    return known or (isinstance(error, RuntimeError) and "gloo/transport" in str(error))


def _place(error: BaseException) -> str:
    """File and line of the innermost frame: what a bug report needs most."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "an unknown place"


def first_line(error: BaseException) -> str:
    """The first line of what an error says, of 300 characters at most."""
    text = str(error).strip()
    return text.splitlines()[0][:300] if text else "no message"
