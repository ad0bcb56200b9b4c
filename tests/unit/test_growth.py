"""Nothing costs more than in proportion to the images, boxes and classes, and no id is a size.

What is counted is work and bytes, never time: see tests/bench/growth_data.py for curves of both.
"""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import nullcontext
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from torch import nn

from dino_api.experiment import AugmentationConfig
from dino_trainer.data import image_facts, nearby, scorable
from dino_trainer.data.coco import load_coco
from dino_trainer.data.image_facts import ImageFacts, ImageToCheck, look_at_chunks
from dino_trainer.data.image_store import FileInMemory, Folder
from dino_trainer.data.nearby import Nearby
from dino_trainer.data.random_streams import AUGMENT, Draws
from dino_trainer.data.sizes import planned
from dino_trainer.data.splits import TrainingData
from dino_trainer.data.stage import StagedSource
from dino_trainer.data.transforms import draw_train
from dino_trainer.distributed.world import World
from dino_trainer.evaluation import pictures
from dino_trainer.evaluation.summary import LARGEST_MATRIX, _confusion
from dino_trainer.inference.objects import Objects
from dino_trainer.inference.tally import Tally
from dino_trainer.preflight import places as preflight_places
from dino_trainer.preflight.annotations import check_source
from dino_trainer.preflight.findings import Findings
from dino_trainer.preflight.sources import PreflightSplit, read_split_for_check
from dino_trainer.preflight.splits import check_contents, check_leakage, check_splits
from dino_trainer.scoring.detection import NOTHING
from dino_trainer.scoring.matching import NOBODY, BoxSet
from dino_trainer.scoring.scorer import Scorer
from dino_trainer.scoring.statistics import PrecisionRecall, Truth, detection_statistics
from dino_trainer.scoring.verdict import (
    ConfusionMatrix,
    DetectionKind,
    Mistakes,
    Verdict,
    confusion_matrix,
)
from dino_trainer.train import setup
from tests.unit.coco_builders import a_document
from tests.unit.training_builders import a_dataset, a_spec, load_folder

# Twice the data is twice the work, and a little more for what does not grow in step with it.
TWICE = 2.2


class Sized(dict[Any, Any]):
    """A mapping that counts how many of its entries are walked over."""

    walked = 0

    def items(self) -> Any:
        type(self).walked += len(self)
        return super().items()


class Counted(np.ndarray):
    """An array that counts the elements that are computed with."""

    elements = 0

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        plain = [one.view(np.ndarray) if isinstance(one, Counted) else one for one in inputs]
        Counted.elements += max(np.size(one) for one in plain)
        if outs := options.get("out"):
            options["out"] = tuple(
                o.view(np.ndarray) if isinstance(o, Counted) else o for o in outs
            )
        return getattr(ufunc, method)(*plain, **options)


def counted(values: Any) -> Counted:
    return np.asarray(values).view(Counted)


def peak_bytes(run: Callable[[], object]) -> int:
    """The most memory that is held at one time while it runs, NumPy's arrays included."""
    tracemalloc.start()
    try:
        run()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def a_split(
    folder: Path, document: dict[str, Any], findings: Findings, name: str
) -> PreflightSplit:
    """A split as the preflight reads it; there is not one image."""
    path = folder / f"{name}.json"
    path.write_text(json.dumps(document))
    staged = StagedSource(Folder(folder), path, "")
    return read_split_for_check(name, [object()], lambda _: staged, findings)  # type: ignore[list-item]


def categories(count: int, called: str = "class") -> list[dict[str, Any]]:
    return [{"id": id, "name": f"{called} {id}"} for id in range(1, count + 1)]


# ---- preflight ----------------------------------------------------------------------------------


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many places were compared with those of a cause, one entry a comparison."""
    sizes: list[int] = []
    plain = preflight_places._is_in

    def is_in(own: Any, others: Any) -> Any:
        sizes.append(len(own) + len(others))
        return plain(own, others)

    monkeypatch.setattr(preflight_places, "_is_in", is_in)
    return sizes


def an_entry_for_each_box(count: int) -> dict[str, Any]:
    """Each file is listed twice, and has its boxes at the first of both."""
    document = a_document(count)
    more = [{**image, "id": image["id"] + count} for image in document["images"]]
    return {**document, "images": [*document["images"], *more]}


def ids_twice(count: int) -> dict[str, Any]:
    """Each image id stands twice, for another file the second time, and no box is in its image."""
    document = a_document(count)
    more = [{**image, "file_name": f"x{image['file_name']}"} for image in document["images"]]
    boxes = [{**box, "bbox": [500, 500, 5, 5]} for box in document["annotations"]]
    return {**document, "images": [*document["images"], *more], "annotations": boxes}


@pytest.mark.parametrize(
    "make, told",
    [(an_entry_for_each_box, "file-name-repeats"), (ids_twice, "image-id-repeats")],
)
def test_what_follows_is_asked_once_of_all_images(
    make: Callable[[int], dict[str, Any]], told: str, tmp_path: Path, compared: list[int]
) -> None:
    """Not once of each repeated one: that is the square of their number."""
    work = []
    for count in (200, 400):
        compared.clear()
        findings = Findings()
        split = a_split(tmp_path, make(count), findings, "train")
        check_source(split.sources[0], findings)
        check_splits([split], findings)
        [found] = [one for one in findings.all() if one.rule.id == told]
        assert found.count == count
        work.append(sum(compared))
    assert 0 < work[1] <= TWICE * work[0]


def test_classes_of_other_names_are_compared_once(tmp_path: Path, compared: list[int]) -> None:
    """Every class is called otherwise in the other split: one common list may move any of them."""
    work, walked = [], []
    for count in (150, 300):
        compared.clear()
        findings = Findings()
        document = a_document(3)
        splits = [
            a_split(tmp_path, {**document, "categories": categories(count, name)}, findings, name)
            for name in ("train", "validation")
        ]
        for split in splits:
            entries = split.sources[0].entries
            object.__setattr__(entries, "categories", Sized(entries.categories))
        Sized.walked = 0
        check_splits(splits, findings)
        found = {one.rule.id: one.count for one in findings.all()}
        assert found["category-conflict"] == count
        work.append(sum(compared))
        walked.append(Sized.walked)
    assert work[1] <= TWICE * work[0]
    assert walked[1] <= TWICE * walked[0]


def test_the_list_of_categories_is_made_once(tmp_path: Path) -> None:
    """Of 200 classes of one split another lists none; each is looked up in both lists."""
    findings = Findings()
    document = a_document(3)
    train = a_split(tmp_path, {**document, "categories": categories(200)}, findings, "train")
    other = a_split(tmp_path, {**document, "categories": categories(2)}, findings, "validation")
    for split in (train, other):
        entries = split.sources[0].entries
        object.__setattr__(entries, "categories", Sized(entries.categories))
    Sized.walked = 0
    check_splits([train, other], findings)
    assert {one.rule.id: one.count for one in findings.all()}["category-lists-differ"] == 198
    assert Sized.walked <= 3 * (200 + 2)


def test_categories_of_one_name_are_listed_once_for_each_name(tmp_path: Path) -> None:
    findings = Findings()
    twice = [{**one, "name": f"class {one['id'] % 100}"} for one in categories(200)]
    split = a_split(tmp_path, {**a_document(3), "categories": twice}, findings, "train")
    entries = split.sources[0].entries
    object.__setattr__(entries, "categories", Sized(entries.categories))
    Sized.walked = 0
    check_source(split.sources[0], findings)
    [found] = [one for one in findings.all() if one.rule.id == "category-name-repeats"]
    assert (found.count, found.examples[0]) == (100, "train 'class 1': 1 and 101")
    assert Sized.walked <= 2 * 200


def test_images_of_both_splits_are_one_finding(tmp_path: Path) -> None:
    """A million of them would else be a million parts of one."""
    findings = Findings()
    splits = [a_split(tmp_path, a_document(50), findings, name) for name in ("train", "validation")]
    for split in splits:
        split.sources[0].facts = [ImageFacts(f"digest {place}", ()) for place in range(50)]
    check_contents(splits, findings)
    check_leakage(splits[0], splits[1], findings)
    assert len(findings._parts["leakage"]) == 1
    [found] = [one for one in findings.all() if one.rule.id == "leakage"]
    assert (found.count, found.examples[0]) == (50, "train 1.jpg = validation 1.jpg")


def test_few_chunks_of_images_wait_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """To wait for the first of n jobs costs n, and there are as many moments to wait."""
    waited: list[int] = []

    def noted(jobs: Sequence[Future[Any]], **options: Any) -> Any:
        waited.append(len(jobs))
        return wait(jobs, **options)

    monkeypatch.setattr(image_facts, "wait", noted)
    looks = [ImageToCheck(FileInMemory(f"{n}.jpg", str(n).encode()), 1, 1, 10) for n in range(120)]
    chunks = [(looks[at : at + 3], 30) for at in range(0, 120, 3)]
    moved: list[int] = []
    with ThreadPoolExecutor(2) as pool:
        found = look_at_chunks(pool, chunks, 5, moved.append)
    assert max(waited) <= 5
    assert sum(moved) == 1200
    in_order = [image_facts.look(one).digest for one in looks]
    assert [facts.digest for chunk in found for facts in chunk] == in_order


def test_a_chunk_that_fails_ends_the_looking() -> None:
    class Gone(FileInMemory):
        def read_bytes(self) -> bytes:
            raise MemoryError("no room")

    chunks = [([ImageToCheck(Gone("1.jpg", b""), 1, 1)], 1)] * 9
    with ThreadPoolExecutor(2) as pool, pytest.raises(MemoryError, match="no room"):
        look_at_chunks(pool, chunks, 4, lambda _: None)


class Name(str):
    """A file name that counts how often its letters are looked at."""

    looked = 0

    def lower(self) -> str:
        Name.looked += 1
        return super().lower()


def test_what_a_folder_holds_instead_is_looked_at_once() -> None:
    others = Nearby(Name(f"frame-{n}.txt") for n in range(100))
    Name.looked = 0
    assert [others.hint(f"{n}.jpg") for n in range(1000, 1100)] == [None] * 100
    assert Name.looked <= 100


def test_files_of_one_name_in_many_folders_are_sorted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """video-7/frame.jpg lies in another folder, as all of its kind do: each is asked for."""
    looked = []

    def dirname(path: str) -> str:
        looked.append(path)
        return path.rpartition("/")[0]

    there = Nearby(f"data/video-{n:03}/frame.jpg" for n in range(200))
    monkeypatch.setattr(nearby.posixpath, "dirname", dirname)
    hints = [there.hint(f"video-{n}x/frame.jpg") for n in range(200)]
    assert {hint.cause for hint in hints if hint} == {"files of that name lie in several folders"}
    assert hints[0] is not None
    assert "'data/video-000/frame.jpg' or 'data/video-001/frame.jpg'" in hints[0].remedy
    assert len(looked) <= 2 * 200 + 200


# ---- scoring ------------------------------------------------------------------------------------


def found_as(classes: int, objects: int) -> tuple[BoxSet, BoxSet, Verdict]:
    """Objects of all classes in turn; each is found as one of the next class, or missed."""
    labels = np.arange(objects) % classes
    boxes, images = np.zeros((objects, 4)), np.arange(objects)
    truth = BoxSet(images, labels, boxes, np.ones(objects), np.zeros(objects, np.bool_))
    detections = BoxSet(images, (labels + 1) % classes, boxes, truth.scores, truth.crowd)
    missed = np.arange(objects) % 2 == 0
    kinds = np.where(missed, DetectionKind.HIDDEN, DetectionKind.CONFUSED)
    return detections, truth, Verdict(kinds, np.where(missed, NOBODY, images), missed)


def test_a_confusion_matrix_takes_as_much_as_there_are_confusions() -> None:
    """Of 10,000 classes a table would have 100 million places."""
    parts = found_as(classes=10_000, objects=5000)
    made: list[ConfusionMatrix] = []
    peak = peak_bytes(lambda: made.append(confusion_matrix(*parts, np.arange(10_000))))
    assert peak < 5e6
    assert (made[0].counts.sum(), len(made[0].counts)) == (5000, 5000)
    assert made[0].most_frequent(2) == [(1, 2, 1), (3, 4, 1)]


@pytest.mark.parametrize("classes", [1, 3, 7])
def test_a_confusion_matrix_is_its_table(classes: int) -> None:
    random = np.random.default_rng(classes)
    rows, columns = random.integers(0, classes + 1, (2, 200))
    table = np.zeros((classes + 1, classes + 1), np.int64)
    np.add.at(table, (rows, columns), 1)
    made = ConfusionMatrix.of(classes, rows, columns)
    np.testing.assert_array_equal(made.table(), table)
    off = table[:-1, :-1] - np.diag(np.diagonal(table)[:-1])
    order = np.argsort(-off, axis=None, kind="stable")[:4]
    want = [(*map(int, np.unravel_index(at, off.shape)), int(off.flat[at])) for at in order]
    assert made.most_frequent(4) == [one for one in want if one[2]]


def statistics_of(classes: int, objects: int) -> Any:
    detections, truth, _ = found_as(classes, objects)
    zeros = PrecisionRecall(np.zeros((10, 101, classes)), np.zeros((10, classes)))
    names = {label: f"class {label}" for label in range(classes)}
    return detection_statistics(detections, Truth(truth, names, objects), zeros)


def test_metrics_json_has_a_table_of_few_classes_alone() -> None:
    few = _confusion(statistics_of(3, 6))
    assert few["ids"] == [0, 1, 2]
    table = np.zeros((4, 4), np.int64)
    for true, predicted, count in few["pairs"]:  # type: ignore[attr-defined]
        places = [3 if id is None else id for id in (true, predicted)]
        table[places[0], places[1]] = count
    assert few["matrix"] == table.tolist()
    assert table.sum() > 0
    many = _confusion(statistics_of(LARGEST_MATRIX + 1, 50))
    assert "matrix" not in many
    assert len(json.dumps(many)) < 40 * (LARGEST_MATRIX + 50)


def test_the_worst_images_of_each_class_are_found_in_one_pass(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All mistakes are on two images, so that no class fills the page."""
    work = []
    for classes in (100, 200):
        images, labels = np.arange(10 * classes) % 2, np.arange(10 * classes) % classes
        monkeypatch.setattr(
            pictures, "mistaken", lambda *_, i=images, c=labels: (counted(i), counted(c))
        )
        made = statistics_of(2, 4)
        none = np.zeros(2, np.int64)
        object.__setattr__(made, "mistakes", Mistakes(none, none, none, none))
        Counted.elements = 0
        chosen = pictures.pictured(made, *found_as(2, 4)[:2])
        assert sorted(chosen) == [0, 1]
        work.append(Counted.elements)
    assert work[1] <= TWICE * work[0]


def test_the_best_possible_map_looks_at_each_count_once() -> None:
    work = []
    for classes in (100, 200):
        labels, counts = np.arange(5 * classes) % classes, np.full(5 * classes, 150)
        Counted.elements = 0
        best = scorable._best_map(counted(labels), counted(counts), 100)
        assert best == pytest.approx((np.floor(100 * 100 / 150) + 1) / 101)
        work.append(Counted.elements)
    assert work[1] <= TWICE * work[0]


def test_a_tally_touches_the_classes_of_an_image_alone() -> None:
    """Of 10,000 classes a count of each would take 80 kB an image."""
    tally = Tally(tuple(f"class {n}" for n in range(10_000)))
    labels = np.array([7, 9000, 7])
    found = Objects(labels, np.full(3, 0.5, np.float32), np.zeros((3, 4), np.float32))
    tally.add(found)
    assert peak_bytes(lambda: tally.add(found)) < 20_000
    assert (tally.objects[7], tally.objects[9000], tally.images[7]) == (4, 2, 2)
    assert (tally.total, int(tally.images.sum())) == (6, 4)


# ---- training -----------------------------------------------------------------------------------


def test_sizes_of_images_are_numbers_and_not_objects() -> None:
    """Of each image eight bytes are kept; as pairs in a list they were fifteen times as many."""

    class Stored:
        height, width = 480, 640

    sizes = planned([Stored()] * 25_000, AugmentationConfig(planned_sizes=True), 0)
    assert sizes is not None
    assert sizes.images.nbytes == 8 * 25_000
    sizes = planned([Stored()] * 3, AugmentationConfig(planned_sizes=True), 0)
    assert sizes is not None
    pairs = [(480, 640)] * 3
    draws = [Draws(AUGMENT, 0, 2, place) for place in range(3)]
    drawn = [draw_train(sizes.config, *one).size for one in zip(pairs, draws, strict=True)]
    assert sizes.of(2).tolist() == [list(size) for size in drawn]


def test_only_who_scores_has_an_index_of_the_true_boxes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of eight processes seven need none, and the eighth needs it once."""
    made: list[object] = []
    plain = Scorer.__init__

    def noted(scorer: Scorer, *arguments: Any) -> None:
        made.append(arguments)
        plain(scorer, *arguments)

    monkeypatch.setattr(Scorer, "__init__", noted)
    folder = a_dataset(tmp_path / "data", 2)
    dataset = load_folder(folder)
    context = SimpleNamespace(world=World.alone(), stop=Event())
    data = TrainingData(dataset, dataset, 4, [])
    spec = a_spec(folder, folder)
    validate = setup.validator(spec, context, data)  # type: ignore[arg-type]
    monkeypatch.setattr(setup, "in_training", lambda *_: nullcontext())
    monkeypatch.setattr(setup, "detect", lambda *_: None)
    assert validate(nn.Identity()) is None
    assert made == []
    monkeypatch.setattr(setup, "detect", lambda *_: NOTHING)
    for _ in range(2):
        assert validate(nn.Identity()) is not None
    assert len(made) == 1


# ---- ids ----------------------------------------------------------------------------------------


def loaded_bytes(folder: Path, document: dict[str, Any]) -> int:
    (folder / "a.json").write_text(json.dumps(document))
    for image in document["images"]:
        (folder / image["file_name"]).touch()
    staged = StagedSource(Folder(folder), folder / "a.json", "")
    load_coco([staged])
    return peak_bytes(lambda: load_coco([staged]))


def test_no_id_is_a_size(tmp_path: Path) -> None:
    """Image ids of 15 digits and the largest class that is possible: all takes the same memory."""
    plain = a_document(40)
    large = {
        **plain,
        "images": [{**one, "id": 10**15 + one["id"]} for one in plain["images"]],
        "annotations": [
            {**one, "image_id": 10**15 + one["image_id"], "category_id": 9_999 * one["category_id"]}
            for one in plain["annotations"]
        ],
        "categories": [{**one, "id": 9_999 * one["id"]} for one in plain["categories"]],
    }
    assert loaded_bytes(tmp_path, large) <= 1.1 * loaded_bytes(tmp_path, plain) + 10_000
