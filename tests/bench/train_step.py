"""One training step on a CPU, ours and the published code's in turns: R50, 900 queries.

Forward pass, loss, backward pass, clipping, AdamW; six encoder and six decoder layers. The peer is
the published code as it runs on a CPU, in float32: it has no lower precision there. What it takes
when autocast is put around it from outside stands in the parts.
"""

from __future__ import annotations

from typing import Any

import torch  # noqa: F401 - machine() then knows the number of threads

from tests.bench.harness import Bench, Pair, Times, cannot_run, machine, paired
from tests.bench.train_step_batch import Size
from tests.bench.train_step_published import VARIABLE, published_code
from tests.bench.train_step_worker import Worker

SIZES = (Size(1, 256, 320), Size(1, 480, 640))
ROUNDS = 3  # a step of the peer takes up to ten seconds
TARGETS = {"fp32": 1.5, "bf16": 2.5}


def main() -> None:
    """Print one result for each precision."""
    if published_code() is None:
        cannot_run(f"Set {VARIABLE} to a checkout of github.com/IDEA-Research/DINO.")
    with Worker("ours") as ours, Worker("peer") as peer:
        for precision in TARGETS:
            measure(precision, ours, peer).emit()


def measure(precision: str, ours: Worker, peer: Worker) -> Bench:
    """Seconds of a step at every size; the result speaks of all sizes together."""
    bf16 = precision == "bf16"
    parts: dict[str, Any] = {}
    pairs, work = [], 0.0
    for size in SIZES:
        for side in (ours, peer):
            side.ask("prepare", size=list(size))
        pair = paired(lambda: ours.run(bf16), peer.run, ROUNDS)
        pairs.append(pair)
        gflop = ours.ask("gflop")
        work += gflop
        parts |= describe(str(size), pair, gflop)
        if bf16:
            parts[f"{size} peer under autocast"] = round(under_autocast(peer).best, 3)
    peak = ours.ask("peak", bf16=bf16)
    whole = Pair(total([p.ours for p in pairs]), total([p.peer for p in pairs]))
    parts |= {f"GFLOP/s of a {name}": speed for name, speed in peak.items()}
    parts["share of the matrix product's speed"] = round(
        work / whole.ours.best / peak["matrix product"], 3
    )
    parts["percent of our step"] = ours.ask("profile", bf16=bf16)
    return whole.bench(
        f"train_step_{precision}",
        machine(),
        parts,
        target=f">= {TARGETS[precision]}x",
        note=f"Both sizes together, ours in {precision}, the published code in fp32. Parts: "
        "seconds [ours, peer] in the middle and in the best round, and their ratio; percentages "
        f"are of {SIZES[-1]}.",
    )


def describe(size: str, pair: Pair, gflop: float) -> dict[str, Any]:
    """What one size shows."""
    middle, best = (pair.ours.median, pair.peer.median), (pair.ours.best, pair.peer.best)
    return {
        f"{size} median": [round(seconds, 3) for seconds in middle],
        f"{size} best": [round(seconds, 3) for seconds in best],
        f"{size} ratio": round(middle[1] / middle[0], 2),
        f"{size} GFLOP/s": round(gflop / best[0], 1),
    }


def under_autocast(peer: Worker) -> Times:
    """Seconds of the published code's steps under autocast to bfloat16."""
    both = paired(lambda: peer.run(True), lambda: None, rounds=2)
    return both.ours


def total(sides: list[Times]) -> Times:
    """The rounds of all sizes added up."""
    return Times(tuple(sum(seconds) for seconds in zip(*(s.rounds for s in sides), strict=True)))


if __name__ == "__main__":
    main()
