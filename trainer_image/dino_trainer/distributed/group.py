"""A process with peers: gradients over NCCL or gloo, everything else over gloo.

The second, gloo, group carries counts, flags and results. Its messages start and end on the CPU, so
that they never wait for a GPU that is still computing.
"""

# Annotations are no text here: torch compares those of a hook with its own types.
import os
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.nn.parallel import DistributedDataParallel

from dino_trainer.distributed.processes import end_without_launcher
from dino_trainer.distributed.world import T, World
from dino_trainer.machine.devices import pick_device

# A rank that ends closes its connections, which the others notice at once. These limits are for
# one that hangs, or whose node vanished. Within a step all ranks keep pace; between steps they wait
# while rank 0 scores, saves and uploads.
STEP_LIMIT = timedelta(minutes=10)
CONTROL_LIMIT = timedelta(minutes=60)


class DataParallelModel(DistributedDataParallel):
    """A model whose gradients are averaged over the ranks while the backward pass still runs.

    A static graph: every pass uses the same parameters, which spares a search of the graph and lets
    buckets be sent in the order in which they become ready. torch's own `no_sync` cannot be used
    with it: the first pass must not be one without communication, and an exactly resumed training
    begins anywhere. Here a pass without communication runs the same way and sends nothing.

    Buffers are constants (frozen batch norm, anchors) and are never sent.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__(
            model, static_graph=True, gradient_as_bucket_view=True, forward_sync_buffers=False
        )
        # Depthwise convolutions do it, and it costs nothing that could be measured.
        warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
        self._quiet = False
        self.register_comm_hook(None, self._average)

    @contextmanager
    def no_sync(self) -> Iterator[None]:
        before, self._quiet = self._quiet, True
        try:
            yield
        finally:
            self._quiet = before

    def _average(self, _: None, bucket: dist.GradBucket) -> torch.futures.Future[torch.Tensor]:
        if self._quiet:
            done: torch.futures.Future[torch.Tensor] = torch.futures.Future()
            done.set_result(bucket.buffer())
            return done
        return allreduce_hook(self.process_group, bucket)


@dataclass(frozen=True)
class Group(World):
    """The World of a process that has peers; made by `joined`."""

    control: dist.ProcessGroup | None = field(default=None, repr=False, compare=False)

    def reduce(self, values: Sequence[float]) -> list[float]:
        sums = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(sums, group=self.control)
        return sums.tolist()

    def wrap(self, model: nn.Module) -> nn.Module:
        return DataParallelModel(model)

    def no_sync(self, wrapped: nn.Module) -> AbstractContextManager[None]:
        assert isinstance(wrapped, DataParallelModel)
        return wrapped.no_sync()

    def barrier(self) -> None:
        dist.barrier(group=self.control)

    def broadcast(self, value: T) -> T:
        box = [value]
        dist.broadcast_object_list(box, src=0, group=self.control)
        return box[0]

    def gather(self, value: T) -> list[T] | None:
        parts: list[T] | None = [value] * self.size if self.is_main else None
        dist.gather_object(value, parts, dst=0, group=self.control)
        return parts


@contextmanager
def joined(gpus: int, env: Mapping[str, str] = os.environ) -> Iterator[World]:
    """Meets the other ranks and leaves them at the end.

    gpus: of this node; each process takes `cuda:<local rank>`. 0, or none to be found: the CPU.
    env: RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT, as torchrun sets them.
    """
    rank, size, local = (int(env[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    device = pick_device(gpus, local)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    met = threading.Event()
    threading.Thread(target=end_without_launcher, args=(met, env), daemon=True).start()
    backend, store = "nccl" if device.type == "cuda" else "gloo", _store(env, rank)
    dist.init_process_group(backend, timeout=STEP_LIMIT, store=store, rank=rank, world_size=size)
    control = dist.new_group(backend="gloo", timeout=CONTROL_LIMIT)
    met.set()
    assert isinstance(control, dist.ProcessGroup)  # of all ranks, so of this one, too
    yield Group(rank, size, local, control)
    # Only after success: a group that lost a rank could wait for it here, and the process ends
    # anyway.
    dist.destroy_process_group()


def _store(env: Mapping[str, str], rank: int) -> dist.Store:
    """Where ranks find each other: kept by the launcher, or else by rank 0.

    A launcher keeps one store for all its attempts. Each has its own keys in it, or ranks would
    call those that are dead.
    """
    kept = env.get("TORCHELASTIC_USE_AGENT_STORE") == str(True)
    at, port = env["MASTER_ADDR"], int(env["MASTER_PORT"])
    store = dist.TCPStore(at, port, is_master=rank == 0 and not kept, timeout=STEP_LIMIT)
    return dist.PrefixStore(f"attempt {env.get('TORCHELASTIC_RESTART_COUNT', 0)}", store)
