"""One training step on a CPU, ours and the published code's in turns: R50, 900 queries.

Forward pass, loss, backward pass, clipping, AdamW; six encoder and six decoder layers. The peer is
the published code as it runs on a CPU, in float32: it has no lower precision there. What it takes
when autocast is put around it from outside stands in the parts.
"""

from __future__ import annotations

from typing import Any

import torch  # noqa: F401 - machine() then knows the number of threads

from tests.bench.harness import Bench, Times, cannot_run, machine, paired
from tests.bench.train_step_batch import Size
from tests.bench.train_step_published import VARIABLE, published_code
from tests.bench.train_step_worker import IN_A_POD, Worker

SIZES = (Size(1, 256, 320), Size(1, 480, 640))
ROUNDS = 3  # a step of the peer takes up to ten seconds
TARGETS = {"fp32": 2.3, "bf16": 3.8}  # at each size


def main() -> None:
    """Print one result for each precision and size."""
    if published_code() is None:
        cannot_run(f"Set {VARIABLE} to a checkout of github.com/IDEA-Research/DINO.")
    with Worker("ours", env=IN_A_POD) as ours, Worker("peer") as peer:
        for precision in TARGETS:
            peak = ours.ask("peak", bf16=precision == "bf16")
            for size in SIZES:
                measure(precision, size, (ours, peer), peak).emit()


def measure(
    precision: str, size: Size, sides: tuple[Worker, Worker], peak: dict[str, float]
) -> Bench:
    """Seconds of a step of ours and the peer's. peak: what ``Served.peak`` said of ours."""
    ours, peer = sides
    bf16 = precision == "bf16"
    for side in sides:
        side.ask("prepare", size=list(size))
    pair = paired(lambda: ours.run(bf16), peer.run, ROUNDS)
    speed = ours.ask("gflop") / pair.ours.best
    parts: dict[str, Any] = {"GFLOP/s": round(speed, 1)}
    if bf16:
        parts["peer under autocast"] = round(under_autocast(peer).best, 3)
    parts |= {f"GFLOP/s of a {name}": most for name, most in peak.items()}
    parts["share of the matrix product's speed"] = round(speed / peak["matrix product"], 3)
    parts["percent of our step"] = ours.ask("profile", bf16=bf16)
    return pair.bench(
        f"train_step_{precision}_{size.height}",
        machine(),
        parts,
        target=f">= {TARGETS[precision]}x",
        note=f"{size}, ours in {precision}, the published code in fp32.",
    )


def under_autocast(peer: Worker) -> Times:
    """Seconds of the published code's steps under autocast to bfloat16."""
    both = paired(lambda: peer.run(True), lambda: None, rounds=2)
    return both.ours


if __name__ == "__main__":
    main()
