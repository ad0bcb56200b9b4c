"""Distillation: the mAP of a student beside a teacher, and of the same student alone.

Paired: in each pair the same first weights, pictures, order and number of steps. The teacher has
seen eight times the scenes; validation scenes hold digits of other writers.
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path

from dino_api.result import Metrics
from tests.bench.distill_runs import best_of, learn, make_data
from tests.bench.harness import Bench, machine

SEEDS = (1, 2, 3)
EPOCHS = 16  # of 8 steps
TEACHER_EPOCHS = 6  # of 64 steps


def measure(folder: Path) -> Bench:
    """Mean mAP over the seeds; every pair as parts."""
    make_data(folder)
    taught = mAP(learn(folder, "teacher", "many", TEACHER_EPOCHS, seed=7))
    teacher = best_of(folder, "teacher")
    alone = [mAP(learn(folder, f"alone{n}", "few", EPOCHS, n)) for n in SEEDS]
    beside = [mAP(learn(folder, f"beside{n}", "few", EPOCHS, n, teacher)) for n in SEEDS]
    return Bench(
        name="distill_map",
        ours=statistics.fmean(beside),
        peer=statistics.fmean(alone),
        unit="mAP",
        better="more",
        machine=machine(),
        target="more in every pair",
        note=(
            f"Mean of {len(SEEDS)} seeds after {EPOCHS * 8} steps on 32 scenes of handwritten "
            "digits; peer: the same student, images and steps without its teacher."
        ),
        parts={"teacher": taught, "alone": alone, "beside": beside},
    )


def mAP(metrics: Metrics) -> float:
    """Four digits: 48 pictures tell no more."""
    return round(metrics.mAP or 0.0, 4)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        measure(Path(made)).emit()
