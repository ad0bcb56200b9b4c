"""Matches, thresholds and confusions of an evaluation, against pycocotools and against cases."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from dino_trainer.evaluation import pictures
from dino_trainer.scoring.detection import DetectionSet, join
from dino_trainer.scoring.matching import NOBODY, BoxSet, match_boxes
from dino_trainer.scoring.operating import ThresholdCounts
from dino_trainer.scoring.statistics import (
    RECALLS,
    PrecisionRecall,
    Statistics,
    Truth,
    detection_statistics,
)
from dino_trainer.scoring.verdict import (
    DetectionKind,
    confused_at,
    confusion_matrix,
    hits,
    judge,
    mistaken,
    mistakes,
)
from tests.unit.test_scoring_coco import a_coco_dataset, found_in, random_case

CLASSES = [1, 3, 7]
NAMES = {1: "one", 3: "three", 7: "seven"}
CASES = {
    "boxes of all sizes": (1, 20, 0.1, False, False),
    "whole pixels, where overlaps tie": (4, 20, 0.1, True, False),
    "many crowds": (3, 15, 0.6, True, False),
}


def oracle(document: dict, found: DetectionSet, *, only_half: bool = False) -> COCOeval:
    """pycocotools, accumulated; only_half: at IoU 0.5 and for boxes of all sizes alone."""
    b = found.boxes.astype(np.float64)
    rows = np.column_stack(
        [
            [document["images"][i]["id"] for i in found.images],
            b[:, :2],
            b[:, 2:] - b[:, :2],
            found.scores.astype(np.float64),
            found.labels,
        ]
    )
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = document
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(rows), "bbox")
        if only_half:
            evaluation.params.iouThrs = [0.5]
            evaluation.params.areaRng = [[0, 1e10]]
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation


def known(found: DetectionSet) -> BoxSet:
    return BoxSet.of_detections(found.at(np.isin(found.labels, CLASSES)))


def precision(scores: np.ndarray, right: np.ndarray, truths: int) -> np.ndarray:
    """Precision at 101 recalls from detections in their order, as COCO defines it."""
    right = right[np.argsort(-scores, kind="mergesort")]
    recall = np.cumsum(right) / truths
    exact = np.cumsum(right) / (np.arange(1, len(right) + 1) + np.spacing(1))
    highest = np.maximum.accumulate(exact[::-1])[::-1]
    return np.append(highest, 0)[np.searchsorted(recall, RECALLS, side="left")]


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_matches_give_the_precision_of_pycocotools_to_the_last_bit(case) -> None:
    document, found = random_case(*case)
    want = oracle(document, found).eval["precision"][:, :, :, 0, 2]
    boxes, truth = known(found), BoxSet.true(a_coco_dataset(document))
    for t, iou in enumerate(np.linspace(0.5, 0.95, 10)):
        counted, partners = hits(boxes, truth, iou)
        for place, label in enumerate(CLASSES):
            own = counted & (boxes.labels == label)
            truths = int(((truth.labels == label) & ~truth.crowd).sum())
            got = precision(boxes.scores[own], partners[own] != NOBODY, truths)
            np.testing.assert_array_equal(got, want[t, :, place], f"IoU {iou}, class {label}")


def test_the_101st_detection_of_a_class_in_an_image_does_not_count() -> None:
    scores = np.linspace(1, 0.5, 150)
    rows = [(50 + place, 1, score) for place, score in enumerate(scores)]
    for hit, kind in ((99, DetectionKind.RIGHT), (100, DetectionKind.HIDDEN)):
        rows[hit] = (0, 1, scores[hit])
        found = boxes_at([*rows, (0, 3, 0.4)], score=True)
        truth = boxes_at([(0, 1, 0)], score=False)
        verdict = judge(found, truth, hits(found, truth), 0.0)
        assert verdict.kinds[hit] == kind
        assert (verdict.kinds == DetectionKind.HIDDEN).sum() == 50
        rows[hit] = (50, 1, scores[hit])


def test_a_chunk_more_or_less_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    document, found = random_case(*CASES["whole pixels, where overlaps tie"])
    boxes, truth = known(found), BoxSet.true(a_coco_dataset(document))
    whole = match_boxes(boxes, truth)
    monkeypatch.setattr("dino_trainer.scoring.matching._PAIRS_AT_ONCE", 7)
    np.testing.assert_array_equal(match_boxes(boxes, truth), whole)
    assert (whole != NOBODY).sum() > 20


def of_a_case(
    threshold: float | None = None, images: int = 12
) -> tuple[dict, DetectionSet, COCOeval, Statistics]:
    document, found = random_case(5, images, 0.2, False, False)
    evaluated = oracle(document, found)
    truth = BoxSet.true(a_coco_dataset(document))
    made = detection_statistics(
        known(found), Truth(truth, NAMES, images), PrecisionRecall.of(evaluated.eval), threshold
    )
    return document, found, evaluated, made


def test_detections_are_matched_within_their_classes_once(monkeypatch: pytest.MonkeyPatch) -> None:
    within: list[bool] = []

    def counting(found: BoxSet, truth: BoxSet, iou: float, same_class: bool = True) -> np.ndarray:
        within.append(same_class)
        return match_boxes(found, truth, iou, same_class=same_class)

    monkeypatch.setattr("dino_trainer.scoring.verdict.match_boxes", counting)
    of_a_case(images=3)
    assert within == [True, False], "and once across them, what is left over"


def counts_of_pycocotools(document: dict, found: DetectionSet, threshold: float) -> np.ndarray:
    """Right, wrong and missed of each class at IoU 0.5, of the detections that are left."""
    evaluated = oracle(document, found.at(found.scores >= threshold), only_half=True)
    table = np.zeros((3, 3), int)
    for one in filter(None, evaluated.evalImgs):
        counted = ~one["dtIgnore"][0].astype(bool)
        right = int((one["dtMatches"][0].astype(bool) & counted).sum())
        truths = int((one["gtIgnore"] == 0).sum())
        table[CLASSES.index(one["category_id"])] += right, counted.sum() - right, truths - right
    return table


def f1(right: int, wrong: int, missed: int) -> float:
    return 2 * right / (2 * right + wrong + missed)


def test_thresholds_have_the_largest_f1_that_pycocotools_can_count() -> None:
    document, found, _, made = of_a_case(images=3)
    tables = {t: counts_of_pycocotools(document, found, t) for t in np.unique(found.scores)}
    for place, one in enumerate(made.classes):
        largest = max(f1(*table[place]) for table in tables.values())
        assert one.best is not None
        assert one.best.f1 == pytest.approx(largest, abs=1e-12)
        right, wrong, missed = tables[np.float32(one.best.threshold)][place]
        assert one.best.precision == pytest.approx(right / (right + wrong))
        assert one.best.recall == pytest.approx(right / (right + missed))
    overall = max(f1(*table.sum(axis=0)) for table in tables.values())
    assert made.best is not None
    assert made.best.f1 == pytest.approx(overall, abs=1e-12)
    assert made.threshold == made.best.threshold


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.9])
def test_the_diagonal_holds_what_pycocotools_counts_as_right(threshold: float) -> None:
    document, found, _, made = of_a_case(threshold)
    table = counts_of_pycocotools(document, found, threshold)
    matrix = made.confusion.table()
    np.testing.assert_array_equal(np.diagonal(matrix)[:3], table[:, 0])
    np.testing.assert_array_equal(matrix.sum(axis=0)[:3], table[:, 0] + table[:, 1])
    np.testing.assert_array_equal(matrix.sum(axis=1)[:3], table[:, 0] + table[:, 2])
    assert matrix[3, 3] == 0
    assert made.mistakes.all.sum() == matrix.sum() - np.trace(matrix)
    assert made.mistakes.right.sum() == np.trace(matrix)


def test_scores_of_classes_are_those_of_pycocotools() -> None:
    _, _, evaluated, made = of_a_case()
    for place, one in enumerate(made.classes):
        own = evaluated.eval["precision"][:, :, place, 0, 2]
        assert (one.ap, one.ap50, one.ap75) == (own.mean(), own[0].mean(), own[5].mean())
        assert one.ar == evaluated.eval["recall"][:, place, 0, 2].mean()
    mean = evaluated.eval["precision"][0, :, :, 0, 2].mean(axis=1)
    np.testing.assert_allclose(made.curves[0], mean)


# true boxes (x, class, crowd) and detections (x, class, score), all 20 pixels wide and high;
# then the kinds, best score first, and what is missed
TABLE = {
    "the right class": ([(0, 1, 0)], [(0, 1, 0.9)], [DetectionKind.RIGHT], 0),
    "another class": ([(0, 1, 0)], [(0, 3, 0.9)], [DetectionKind.CONFUSED], 0),
    "the same object twice": (
        [(0, 1, 0)],
        [(0, 1, 0.9), (1, 1, 0.8)],
        [DetectionKind.RIGHT, DetectionKind.FALSE],
        0,
    ),
    "the right name wins over a better score": (
        [(0, 1, 0)],
        [(0, 3, 0.9), (0, 1, 0.8)],
        [DetectionKind.FALSE, DetectionKind.RIGHT],
        0,
    ),
    "too far away": ([(0, 1, 0)], [(15, 1, 0.9)], [DetectionKind.FALSE], 1),
    "below the threshold": ([(0, 1, 0)], [(0, 1, 0.4)], [DetectionKind.HIDDEN], 1),
    "in a crowd": (
        [(0, 1, 1)],
        [(0, 1, 0.9), (2, 1, 0.8)],
        [DetectionKind.CROWD, DetectionKind.CROWD],
        0,
    ),
    "in a crowd of others": ([(0, 1, 1)], [(0, 3, 0.9)], [DetectionKind.FALSE], 0),
    "a crowd is no confusion": ([(0, 1, 1), (0, 3, 0)], [(0, 7, 0.9)], [DetectionKind.CONFUSED], 0),
    "in another image": ([(0, 1, 0)], [(1000, 1, 0.9)], [DetectionKind.FALSE], 1),
    "nothing to find": ([], [(0, 1, 0.9)], [DetectionKind.FALSE], 0),
    "nothing found": ([(0, 1, 0), (50, 3, 0)], [], [], 2),
}


def boxes_at(rows: list[tuple[float, int, float]], score: bool) -> BoxSet:
    x = np.array([row[0] for row in rows], np.float64)
    third = np.array([row[2] for row in rows], np.float64)
    square = np.stack([x % 1000, x * 0, x * 0 + 20, x * 0 + 20], axis=1)
    labels = np.array([row[1] for row in rows], np.int64)
    ones = np.ones(len(rows))
    crowd = np.zeros(len(rows), np.bool_) if score else third.astype(np.bool_)
    return BoxSet((x // 1000).astype(np.int64), labels, square, third if score else ones, crowd)


@pytest.mark.parametrize("truths, detections, kinds, missed", TABLE.values(), ids=TABLE)
def test_verdict(truths, detections, kinds, missed) -> None:
    found, truth = boxes_at(detections, score=True), boxes_at(truths, score=False)
    verdict = judge(found, truth, hits(found, truth), 0.5)
    assert verdict.kinds.tolist() == kinds
    assert verdict.missed.sum() == missed
    table = confusion_matrix(found, truth, verdict, np.array(CLASSES)).table()
    assert table[:3].sum() == (~truth.crowd).sum()
    assert table[:, :3].sum() == sum(kind >= DetectionKind.RIGHT for kind in kinds)


def test_images_with_most_mistakes_come_first() -> None:
    truth = boxes_at([(0, 1, 0), (1000, 1, 0), (1050, 3, 0), (2000, 1, 0)], score=False)
    found = boxes_at([(0, 1, 0.9), (1000, 1, 0.9), (2100, 3, 0.9), (3000, 3, 0.9)], score=True)
    made = mistakes(found, truth, judge(found, truth, hits(found, truth), 0.5), images=5)
    assert made.all.tolist() == [0, 1, 2, 1, 0]
    assert made.worst(9).tolist() == [2, 3, 1]  # 3 before 1: nothing in it is right
    assert made.worst(1).tolist() == [2]


def test_a_mistake_is_about_the_classes_of_both_and_each_class_has_its_worst_images() -> None:
    """Image 0 has most mistakes, all about class 1; the only one about 7 is on image 3."""
    truths = [(100 * n, 1, 0) for n in range(4)] + [(1000, 3, 0), (2000, 1, 0), (3000, 7, 0)]
    truth = boxes_at(truths, score=False)
    found = boxes_at([(1000, 1, 0.9), (2000, 1, 0.8)], score=True)
    accumulated = PrecisionRecall(np.full((10, 101, 3), 0.5), np.full((10, 3), 0.5))
    made = detection_statistics(found, Truth(truth, NAMES, images=4), accumulated)
    images, labels = mistaken(found, truth, made.verdict)
    pairs = sorted(zip(images.tolist(), labels.tolist(), strict=True))
    assert pairs == [(0, 1)] * 4 + [(1, 1), (1, 3), (3, 7)]
    assert confused_at(1, found, truth, made.verdict) == {(3, 1)}
    assert confused_at(0, found, truth, made.verdict) == set()
    assert pictures.pictured(made, found, truth) == [0, 1, 3]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictures, "WORST", 1)
        patch.setattr(pictures, "OF_EACH_CLASS", 1)
        assert pictures.pictured(made, found, truth) == [0, 1, 3]
        patch.setattr(pictures, "MOST_PICTURED", 2)
        assert pictures.pictured(made, found, truth) == [0, 1]


def test_equal_scores_are_shown_together_or_not_at_all() -> None:
    scores = np.array([0.9, 0.5, 0.5, 0.5])
    tally = ThresholdCounts.of(scores, np.array([True, True, False, True]), truths=3)
    assert tally.thresholds.tolist() == [0.9, 0.5]
    assert (tally.right.tolist(), tally.wrong.tolist()) == ([1, 3], [0, 1])
    assert tally.at(0.7) == tally.at(0.9).__class__(0.7, 1.0, 1 / 3, 0.5)
    assert tally.at(0.95).f1 == 0.0
    assert tally.curve(np.array([0.0, 0.5, 0.6, 1.0])).tolist() == [6 / 7, 6 / 7, 0.5, 0.0]


@pytest.mark.parametrize("detections", [[], [(50, 1, 0.9)]], ids=["nothing", "nothing right"])
def test_without_a_right_detection_there_is_no_best_threshold(detections) -> None:
    found, truth = boxes_at(detections, score=True), boxes_at([(0, 1, 0)], score=False)
    zeros = PrecisionRecall(np.zeros((10, 101, 1)), np.zeros((10, 1)))
    made = detection_statistics(found, Truth(truth, {1: "one"}, images=1), zeros)
    assert (made.best, made.classes[0].best, made.threshold) == (None, None, 0.5)
    assert made.classes[0].ap == 0.0


def test_a_class_without_true_boxes_has_no_score_but_false_detections() -> None:
    found = boxes_at([(0, 1, 0.9), (50, 3, 0.8)], score=True)
    truth = boxes_at([(0, 1, 0)], score=False)
    arrays = PrecisionRecall(np.ones((10, 101, 2)), np.ones((10, 2)))
    arrays.precision[:, :, 1] = arrays.recall[:, 1] = -1
    made = detection_statistics(found, Truth(truth, {1: "one", 3: "three"}, images=1), arrays)
    absent = made.classes[1]
    assert (absent.ap, absent.ar, absent.best, absent.truths) == (None, None, None, 0)
    assert made.curves.min() == 1.0
    assert made.best is not None
    assert made.best.threshold == 0.9  # at 0.8 the false one would count


def test_many_detections_of_equal_score_keep_their_order() -> None:
    """The first of equals takes the box, as pycocotools' stable sort has it."""
    rows = [(1, [0.0, 0.0, 20.0, 20.0], 0.5)] * 3
    found = BoxSet.of_detections(join([found_in(0, rows)]))
    assert match_boxes(found, boxes_at([(0, 1, 0)], score=False)).tolist() == [0, NOBODY, NOBODY]
