"""What decides a step's speed on a GPU, counted on a CPU: waits, operations, breaks, bytes.

Both sides run live, two images of 256x320, seven boxes each; bytes at one image of 480x640.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import torch  # noqa: F401 - machine() then knows the number of threads

from dino_api.names import Env
from tests.bench.harness import Bench, cannot_run, machine
from tests.bench.train_step_batch import Size
from tests.bench.train_step_published import VARIABLE, published_code
from tests.bench.train_step_worker import Worker

COUNTED, KEPT = Size(2, 256, 320), Size(1, 480, 640)
LARGE, BATCH = Size(1, 800, 1333), 4  # what a GPU of 24 GB should train with


def main() -> None:
    """Print one result for each count."""
    if published_code() is None:
        cannot_run(f"Set {VARIABLE} to a checkout of github.com/IDEA-Research/DINO.")
    with Worker("ours") as ours, Worker("peer") as peer:
        for bench in (*counts(ours, peer), graph_breaks(ours, peer), *activations(ours, peer)):
            bench.emit()


def counts(ours: Worker, peer: Worker) -> tuple[Bench, Bench]:
    """Waits of the host and dispatcher operations of one step, the optimiser's included."""
    found = []
    for side in (ours, peer):
        side.ask("prepare", size=list(COUNTED))
        side.run()  # the first step makes the optimiser's state
        found.append(side.ask("operations"))
    waits, operations = ([side[what] for side in found] for what in ("waits", "operations"))
    return (
        Bench(
            "host_syncs",
            *waits,
            "waits",
            machine(),
            target="<= 2",
            note="Moments of a training step, its logging included, at which the host would wait "
            "for a GPU: the dispatcher's item, nonzero and their like, .cpu() and .tolist().",
        ),
        Bench(
            "dispatcher_ops",
            *operations,
            "operations",
            machine(),
            target="<= 4000",
            note="Operations that reach the dispatcher in one training step, the optimiser's "
            "included. Sampling is one each way on our side, with a kernel for CPUs and one for "
            "GPUs; grid_sample on the peer's. In the parts: our side without such a kernel.",
            parts={"ours with grid_sample": without_kernel()},
        ),
    )


def without_kernel() -> int:
    """Operations of our step where sampling goes through grid_sample."""
    os.environ[Env.SAMPLING] = "grid_sample"
    try:
        with Worker("ours") as ours:
            ours.ask("prepare", size=list(COUNTED))
            ours.run()
            return int(ours.ask("operations")["operations"])
    finally:
        del os.environ[Env.SAMPLING]


def graph_breaks(ours: Worker, peer: Worker) -> Bench:
    """How often tracing for compilation stops: our regions, the published model as a whole."""
    found = [side.ask("graph_breaks") for side in (ours, peer)]
    return Bench(
        "graph_breaks",
        *found,
        "breaks",
        machine(),
        target="0",
        note="Where torch.compile has to leave the graph in a forward pass in training mode. Ours: "
        "the four regions of the model (features, geometry, encoder, decoder).",
    )


def activations(ours: Worker, peer: Worker) -> Iterator[Bench]:
    """Megabytes that one image's forward pass keeps, and with train.activation_checkpoint."""
    for side in (ours, peer):
        side.ask("prepare", size=list(KEPT))
    plain = ours.ask("gflop")
    theirs = _megabytes(peer)
    note = f"Kept by the forward pass and the loss for the backward pass, {KEPT}, float32; "
    for checkpoint in (False, True):
        ours.ask("recompute", on=checkpoint)
        kept = _megabytes(ours)
        work = ours.ask("gflop")
        ours.ask("prepare", size=list(LARGE))
        large = ours.ask("activations", bf16=False) * BATCH / 1e9
        ours.ask("prepare", size=list(KEPT))
        yield Bench(
            f"activation_bytes{'_checkpointed' if checkpoint else ''}",
            kept[0],
            theirs[0],
            "MB",
            machine(),
            target=f">= {6 if checkpoint else 2.5}x",
            note=note + "weights are not counted. The published code keeps everything.",
            parts={
                "bf16 autocast [ours, peer]": [kept[1], theirs[1]],
                "GFLOP of a step": round(work, 1),
                "GFLOP of one that is not checkpointed": round(plain, 1),
                f"GB of a batch of {BATCH} of 800x1333": round(large, 2),
            },
        )


def _megabytes(side: Worker) -> list[float]:
    """What is kept in float32 and in bf16."""
    return [round(side.ask("activations", bf16=bf16) / 1e6, 1) for bf16 in (False, True)]


if __name__ == "__main__":
    main()
