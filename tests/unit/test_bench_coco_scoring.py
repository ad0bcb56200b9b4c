"""The bench of scoring compares equal work."""

from __future__ import annotations

import numpy as np

from tests.bench.coco_scoring import make_case


def test_both_sides_of_the_bench_give_the_same_statistics() -> None:
    case = make_case(images=40, detections=20, classes=4, truths=9)
    ours = case.ours()
    np.testing.assert_array_equal(ours, case.peer())
    assert 0.01 < ours[0] < 0.9  # neither perfect nor nothing, or equality would say little
    assert (ours[3:6] > -1).all()  # small, medium and large boxes all took part
