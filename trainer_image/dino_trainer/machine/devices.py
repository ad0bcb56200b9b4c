"""What to train on, and how to use a CPU well."""

import ctypes
import os

import torch

from dino_api.experiment import CudnnConfig
from dino_api.names import Env, FailureReason
from dino_trainer.errors import TrainerError
from dino_trainer.machine.cores import cores_each

# Parameters of glibc's mallopt(3).
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4


def any_device() -> torch.device:
    """A GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def pick_device(gpus: int, local_rank: int = 0, key: str = "train.num_gpus") -> torch.device:
    """The GPU of this process if the spec asks for GPUs and there are any, else the CPU.

    Raises:
        TrainerError: NoGPU in a pod, where the CPU would waste what was asked for, and where there
            are fewer GPUs than processes.
    """
    available = torch.cuda.device_count() if gpus and torch.cuda.is_available() else 0
    if gpus and available < gpus and (available or os.environ.get(Env.JOB_NAME)):
        raise TrainerError(
            FailureReason.NO_GPU,
            f"{key} is {gpus}, but PyTorch {torch.__version__} finds {available or 'no'} GPU here.",
        )
    if not available:
        return torch.device("cpu")
    # Without peers just "cuda": a checkpoint's device names then fit any machine.
    return torch.device("cuda", local_rank) if gpus > 1 else torch.device("cuda")


def device_in_words(device: torch.device) -> str:
    """The device in words: "NVIDIA A100" or "the CPU with 2 threads"."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"the CPU with {torch.get_num_threads()} thread(s)"


def tune(cudnn: CudnnConfig) -> None:
    """Set up this process for training; call before the first tensor is made."""
    tune_cpu()
    if torch.cuda.is_available():
        torch.backends.cudnn.benchmark = cudnn.benchmark
        torch.backends.cudnn.deterministic = cudnn.deterministic


def tune_cpu() -> None:
    """Keep freed memory in the process, and start no more threads than there are cores.

    A training step frees and takes the same hundreds of megabytes each time. glibc hands large
    blocks back to the kernel at once and pays with page faults for every one of them, a sixth of
    a small model's step. Other C libraries lack mallopt and are left alone.

    In a container torch sees all cores of the node; more threads than the container's quota
    wait for each other. Training processes share the cores. OMP_NUM_THREADS, where set, is
    respected.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, 2**31 - 1)
        mallopt(_TOP_PAD, 64 << 20)
    if Env.OMP_NUM_THREADS not in os.environ:
        torch.set_num_threads(min(torch.get_num_threads(), cores_each()))
