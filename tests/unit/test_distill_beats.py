"""A student beside a teacher ends better than the same student alone after as many steps."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.bench.distill_runs import best_of, learn, make_data

SEEDS = (21, 22, 23)  # no setting was chosen by what they give
EPOCHS = 16  # of 8 steps
TEACHER_EPOCHS = 6  # of 64 steps


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Scenes of handwritten digits, and a teacher that has seen eight times the student's."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("beats")
    make_data(folder)
    learn(folder, "teacher", "many", TEACHER_EPOCHS, seed=7)
    yield folder
    torch.set_num_threads(threads)


def test_a_distilled_student_beats_the_same_student_alone(taught: Path) -> None:
    """In each pair: the same first weights, pictures, order and number of steps.

    Scored on digits of other writers. Measured: 0.119 beside the teacher (0.160, 0.143, 0.053),
    0.031 alone (0.040, 0.035, 0.019). Asked for is much less, since other processors round
    otherwise and trainings this short differ by that.
    """
    teacher = best_of(taught, "teacher")
    alone = [learn(taught, f"alone{n}", "few", EPOCHS, n).mAP or 0.0 for n in SEEDS]
    beside = [learn(taught, f"beside{n}", "few", EPOCHS, n, teacher).mAP or 0.0 for n in SEEDS]
    assert statistics.fmean(beside) >= 1.2 * statistics.fmean(alone), (beside, alone)
    assert all(b > a for a, b in zip(alone, beside, strict=True)), (beside, alone)
