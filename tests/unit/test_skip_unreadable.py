"""`dataset.skip_unreadable`: damaged images are left out where somebody asked for it, by one list
for all processes, and named; what a disk or mount fails to read is no damage."""

from __future__ import annotations

import errno
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from dino_api.actions import ACTIONS, DatasetSplit
from dino_api.experiment import ExperimentSpec
from dino_api.loading import load
from dino_api.names import Action
from dino_api.problem import SpecErrors
from dino_api.result import ModelFile
from dino_api.search.space import unsearchable
from dino_trainer.data import image_facts, skipping
from dino_trainer.data.coco import digest_of, load_coco
from dino_trainer.data.image_store import Folder, Member
from dino_trainer.data.source_facts import Looking
from dino_trainer.data.splits import load_data
from dino_trainer.data.stage import StagedSource, stage
from dino_trainer.data.unreadable import SkipList, skip_list, skipped_in_words, without
from dino_trainer.errors import TrainerError
from dino_trainer.gates import engine_gate, onnx_gate
from dino_trainer.model_files import checkpoint
from dino_trainer.model_files.info import ModelInfo
from dino_trainer.quantize import engine_calibration
from tests.unit.coco_builders import pack
from tests.unit.html_page import Page
from tests.unit.preflight_lab import Lab, Side, check, counted_looks, encoded, lab, picture
from tests.unit.test_evaluate_action import painted, written
from tests.unit.test_export_action import spec_of as export_spec
from tests.unit.test_preflight_actions import given
from tests.unit.test_quantize_action import Quantization
from tests.unit.training_builders import (
    SIZE,
    Recorder,
    a_context,
    a_dataset,
    damage,
    interrupted,
    latest,
    load_folder,
    run,
    source,
    spec_for,
)

__all__ = ["lab"]
KEY = "dataset.skip_unreadable"


def staged(folder: Path) -> StagedSource:
    return StagedSource(Folder(folder / "images"), folder / "annotations.json", "digest")


def listed(folder: Path, share: float, stop: threading.Event | None = None) -> SkipList:
    return skip_list(staged(folder), share, Looking(folder / "work", print, stop))


@contextmanager
def failing(name: str, code: int, times: int = 1000) -> Iterator[None]:
    """The system does not hand out the files of that name, the first few times."""
    whole, left = Path.read_bytes, [times]

    def read(path: Path) -> bytes:
        if path.name == name and left[0]:
            left[0] -= 1
            raise OSError(code, os.strerror(code), str(path))
        return whole(path)

    with mock.patch.object(Path, "read_bytes", read):
        yield


# ---- the list -----------------------------------------------------------------------------------


PNG = encoded(picture(1, SIZE), "PNG")
JPEG = encoded(picture(1, SIZE))


@pytest.mark.parametrize(
    "content, why",
    [
        (b"", "it holds nothing"),
        (bytes(500), "it holds nothing but zeros"),
        (b"no image at all", "it is a text"),
        (PNG[: len(PNG) // 2], "truncated"),
        (JPEG[: len(JPEG) // 2], "truncated"),
        (JPEG[:20], ""),
    ],
    ids=["empty", "zeros", "a text", "half a PNG", "half a JPEG", "a header"],
)
def test_a_damaged_file_is_listed_with_what_is_wrong(
    content: bytes, why: str, tmp_path: Path
) -> None:
    folder = a_dataset(tmp_path / "train")
    (folder / "images" / "5.png").write_bytes(content)
    found = listed(folder, 0.2)
    assert (found.listed, found.names) == (8, {"5.png"})
    assert why in found.images[0].why
    assert found.images[0].why


@pytest.mark.parametrize(
    "share, damaged, most",
    [(0.1, 1, 0), (0.2, 2, 1), (0.25, 3, 2), (0.5, 5, 4)],
)
def test_more_than_the_share_is_refused_with_its_numbers(
    share: float, damaged: int, most: int, tmp_path: Path
) -> None:
    folder = a_dataset(tmp_path / "train")
    names = [f"{number}.png" for number in range(1, damaged + 1)]
    damage(folder, *names[:most])
    assert len(listed(folder, share).images) == most
    damage(folder, *names)
    with pytest.raises(TrainerError) as caught:
        listed(folder, share)
    error = caught.value
    assert error.reason == "InvalidDataset"
    assert f"{damaged} of 8 images {'is' if damaged == 1 else 'are'} damaged" in error.message
    assert f"{KEY} = {share:g} leaves out {most} at most" in error.message
    for name in names:
        assert f"{name} (it is a text)" in error.message
    assert f"raise {KEY}" in error.remedy


def test_a_share_that_floats_a_little_below_a_whole_number_is_that_number(tmp_path: Path) -> None:
    """0.29 x 100 is 28.999999999999996."""
    assert 0.29 * 100 < 29
    folder = a_dataset(tmp_path / "train", 100)
    damage(folder, *[f"{number}.png" for number in range(1, 30)])
    assert len(listed(folder, 0.29).images) == 29


def test_many_that_are_damaged_are_named_and_counted(tmp_path: Path) -> None:
    folder = a_dataset(tmp_path / "train", 30)
    damage(folder, *[f"{number}.png" for number in range(1, 15)])
    with pytest.raises(TrainerError, match=r"10\.png \(it is a text\) and 4 more\."):
        listed(folder, 0.1)


def test_an_image_whose_size_only_its_file_knows_is_listed_too(tmp_path: Path) -> None:
    """And not opened again."""
    folder = a_dataset(tmp_path / "train")
    path = folder / "annotations.json"
    document = json.loads(path.read_text())
    for place in (1, 4):
        document["images"][place].update(width=None, height=None)
    path.write_text(json.dumps(document))
    damage(folder, "5.png")
    found = listed(folder, 0.2)
    assert (found.listed, found.names) == (8, {"5.png"})
    data = load_coco([staged(folder)], [found])
    assert [image.file.name for image in data.images] == [f"{n}.png" for n in (1, 2, 3, 4, 6, 7, 8)]
    assert (data.images[1].width, data.images[1].height) == SIZE


def test_two_entries_of_one_file_count_twice_wherever_they_are_counted(tmp_path: Path) -> None:
    folder = a_dataset(tmp_path / "train")
    path = folder / "annotations.json"
    document = json.loads(path.read_text())
    document["images"].append({**document["images"][4], "id": 90})
    path.write_text(json.dumps(document))
    damage(folder, "5.png")
    with pytest.raises(TrainerError, match="2 of 9 images are damaged") as caught:
        listed(folder, 0.12)
    assert caught.value.message.endswith("leaves out 1 at most: 5.png (it is a text).")
    found = listed(folder, 0.3)
    assert (found.listed, found.entries, len(found.images)) == (9, 2, 1)
    [said] = skipped_in_words([found], "train_data_sources")
    assert "2 of 9 images are damaged and left out" in said
    assert without([found]) == ", without 2 that are damaged (5.png)"
    assert len(load_coco([staged(folder)], [found]).images) == 7


def test_what_is_left_out_leaves_no_box_and_no_id_behind(tmp_path: Path) -> None:
    folder = a_dataset(tmp_path / "train")
    whole = load_folder(folder)
    damage(folder, "5.png")
    data = load_coco([staged(folder)], [listed(folder, 0.2)])
    assert [image.id for image in data.images] == [1, 2, 3, 4, 6, 7, 8]
    assert data.annotations == whole.annotations - len(whole.images[4].labels)
    for image in data.images:
        same = whole.images[image.id - 1]
        assert image.boxes.tolist() == same.boxes.tolist()
        assert image.labels.tolist() == same.labels.tolist()
    document = json.loads((folder / "annotations.json").read_text())
    document["images"].append({**document["images"][0], "id": 5})
    (folder / "annotations.json").write_text(json.dumps(document))
    with pytest.raises(TrainerError, match="two images have the id 5"):
        load_coco([staged(folder)], [listed(folder, 0.2)])


def test_a_stop_ends_the_looking(tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(TrainerError, match="Stopped while checking 8 images") as caught:
        listed(a_dataset(tmp_path / "train"), 0.2, stop)
    assert caught.value.exit_code == 143


# ---- what is no damage --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "code, reason",
    [
        (errno.EIO, "StorageUnavailable"),
        (errno.ESTALE, "StorageUnavailable"),
        (errno.ETIMEDOUT, "StorageUnavailable"),
        (errno.EACCES, "AccessDenied"),
        (errno.EPERM, "AccessDenied"),
        (errno.ENOENT, "InputNotFound"),
    ],
    ids=errno.errorcode.get,
)
@pytest.mark.parametrize("sized", [True, False], ids=["with its size", "without"])
def test_a_file_that_the_system_does_not_hand_out_is_an_error_of_its_own(
    code: int, reason: str, sized: bool, tmp_path: Path
) -> None:
    """Beside one that is damaged, and however large the share is."""
    folder = a_dataset(tmp_path / "train")
    damage(folder, "5.png")
    if not sized:
        document = json.loads((folder / "annotations.json").read_text())
        document["images"][2].update(width=None, height=None)
        (folder / "annotations.json").write_text(json.dumps(document))
    with failing("3.png", code), pytest.raises(TrainerError) as caught:
        listed(folder, 0.5)
    error = caught.value
    assert error.reason == reason
    assert "3.png" in error.message
    assert "5.png" not in error.message
    if sized or reason != "StorageUnavailable":  # whose size is asked for first
        assert f"{KEY} does not leave it out" in error.remedy


def test_a_hiccup_costs_nothing(tmp_path: Path) -> None:
    folder = a_dataset(tmp_path / "train")
    damage(folder, "5.png")
    with failing("3.png", errno.EIO, times=1):
        assert listed(folder, 0.2).names == {"5.png"}


def test_a_hiccup_behind_which_damage_hides_hides_none(tmp_path: Path) -> None:
    folder = a_dataset(tmp_path / "train")
    damage(folder, "5.png")
    with failing("5.png", errno.EIO, times=1):
        assert listed(folder, 0.2).names == {"5.png"}


def an_archive(lab: Lab, *damaged: int) -> None:
    """The training images, packed."""
    members: list[Any] = [
        (f"images/{id}.jpg", b"broken" if id in damaged else encoded(picture(id)))
        for id in range(1, 7)
    ]
    archive = pack(lab.folder / "images.tar.gz", members)
    lab.spec["dataset"]["train_data_sources"][0]["image_dir"] = str(archive)


@pytest.mark.parametrize("share", ["0", "0.2"])
def test_what_a_hiccup_showed_is_not_kept(
    share: str, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Facts are kept by the content of an archive, to which a disk that fails says nothing."""
    an_archive(lab)
    with monkeypatch.context() as patch:

        def fail(member: Member) -> bytes:
            raise OSError(errno.EIO, os.strerror(errno.EIO), member.path)

        patch.setattr(Member, "read_bytes", fail)
        assert lab.run(f"{KEY}={share}") != 0
    assert lab.run(f"{KEY}={share}") == 0, lab.err
    assert lab.findings == {}


@pytest.mark.parametrize("share", ["0", "0.5"])
def test_a_preflight_ends_with_what_the_system_says(share: str, lab: Lab) -> None:
    """It is no finding about the data: another attempt may see none."""
    damage(lab.train.folder, "1.jpg")
    with failing("2.jpg", errno.ESTALE):
        assert lab.run(f"{KEY}={share}") == 69
    assert lab.reported.failure is not None
    assert lab.reported.failure.reason == "StorageUnavailable"
    assert "2.jpg" in lab.reported.failure.message


# ---- the preflight ------------------------------------------------------------------------------


def test_few_are_a_warning_that_names_them(lab: Lab) -> None:
    damage(lab.train.folder, "1.jpg")
    assert lab.run(f"{KEY}=0.2") == 0, lab.err
    assert set(lab.findings) == {"image-skipped"}
    assert lab.findings["image-skipped"]["examples"] == ["train 1.jpg (it is a text)"]
    dataset = lab.reported.dataset
    assert dataset is not None
    assert (dataset.images, dataset.annotations) == (5, 10), "of 6 with two boxes each"
    assert "train 1.jpg (it is a text)" in " ".join(dataset.warnings)
    assert "5 training images with 10 boxes" in lab.out


def test_nothing_is_left_out_unless_it_is_asked_for(lab: Lab) -> None:
    damage(lab.train.folder, "1.jpg")
    assert lab.run() == 65
    assert set(lab.findings) == {"image-unreadable"}
    assert KEY in lab.findings["image-unreadable"]["remedy"]
    assert "skipped" not in json.loads((lab.reports / "report.json").read_text())


def test_too_many_are_errors_with_the_numbers(lab: Lab) -> None:
    damage(lab.train.folder, "1.jpg", "2.jpg")
    assert lab.run(f"{KEY}=0.2") == 65
    assert set(lab.findings) == {"skip-exceeded", "image-unreadable"}
    assert lab.findings["image-unreadable"]["count"] == 2
    said = f"train: 2 of 6 images are damaged, and {KEY} = 0.2 leaves out 1 at most"
    assert lab.findings["skip-exceeded"]["examples"] == [said]
    assert lab.reported.dataset is not None
    assert lab.reported.dataset.images == 6, "nothing is left out"


def test_the_share_is_of_each_source(lab: Lab) -> None:
    """Not of all together, where a source without one sound image could hide."""
    damage(lab.validation.folder, "101.jpg")
    assert lab.run(f"{KEY}=0.2") == 65, "one of three"
    assert lab.run(f"{KEY}=0.34") == 0
    more = lab.another(50, count=2)
    damage(more.folder, "50.jpg")
    assert lab.run(f"{KEY}=0.34") == 65, "one of two, of nine"
    assert "train[1]: 1 of 2 images is damaged" in lab.err


def test_the_report_names_each_of_them(lab: Lab) -> None:
    """However many; the finding's sentence has the first five."""
    side = Side(lab.folder / "many", 201, 16)
    lab.sides.append(side)
    lab.spec["dataset"]["train_data_sources"] = [side.source]
    names = [f"{at}.jpg" for at in range(201, 209)]
    damage(side.folder, *names)
    assert lab.run(f"{KEY}=0.5") == 0, lab.err
    finding = lab.findings["image-skipped"]
    assert finding["count"] == 8
    assert "205.jpg (it is a text), and 3 more)" in finding["message"]
    report = json.loads((lab.reports / "report.json").read_text())
    each = [{"source": "train", "image": name, "why": "it is a text"} for name in names]
    assert report["skipped"] == each
    texts = Page((lab.reports / "report.html").read_text()).texts
    assert set(names) <= set(texts)


def test_the_sums_are_of_what_remains(lab: Lab) -> None:
    """Boxes, classes, images of a step and of a split without a box."""
    damage(lab.train.folder, "1.jpg", "2.jpg")
    assert lab.run(f"{KEY}=0.34", "dataset.batch_size=5") == 65, "six images, four of them sound"
    assert set(lab.findings) == {"image-skipped", "too-few-images"}
    assert lab.findings["too-few-images"]["examples"] == ["4 images, 5 a step"]
    for box in lab.train.coco["annotations"]:
        box["category_id"] = 2 if box["image_id"] <= 2 else 1
    assert lab.run(f"{KEY}=0.34") == 0
    assert lab.findings["class-untrained"]["examples"] == ["2 dot"]
    statistics = json.loads((lab.reports / "report.json").read_text())["statistics"]
    assert statistics["classes"][0]["train"] == 8
    assert statistics["classes"][1]["train"] == 0
    assert statistics["splits"]["train"]["boxes"] == 8
    for box in lab.train.coco["annotations"]:
        box["bbox"] = [4, 3, 10, 8] if box["image_id"] <= 2 else [4, 3, 0, 0]
    assert lab.run(f"{KEY}=0.34") == 65
    assert "no-boxes" in lab.findings


def test_what_is_wrong_with_images_that_remain_is_told(lab: Lab) -> None:
    """At their own place, though others before them are gone."""
    damage(lab.train.folder, "1.jpg")
    lab.train.put("4.jpg", encoded(picture(4, (20, 20))))
    assert lab.run(f"{KEY}=0.2") == 65
    assert set(lab.findings) == {"image-skipped", "image-size-differs"}
    found = lab.findings["image-size-differs"]["examples"]
    assert found == ["train 4.jpg (is 20x20, annotated 40x30)"]


def test_every_image_is_decoded_once(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    looked = counted_looks(monkeypatch)
    damage(lab.train.folder, "1.jpg")
    assert lab.run(f"{KEY}=0.2") == 0
    assert looked == [6, 3]


def test_annotations_that_are_to_be_written_anew_come_first(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before any image is looked into, as without the key."""
    monkeypatch.setattr(image_facts, "look_at_all", mock.Mock(side_effect=AssertionError))
    damage(lab.train.folder, "1.jpg")
    for side in lab.sides:
        for box in side.coco["annotations"]:
            box["bbox"] = [0.1, 0.1, 0.2, 0.2]
    assert lab.run(f"{KEY}=0.2") == 65
    assert set(lab.findings) == {"boxes-normalised"}
    assert "No image was looked at" in lab.out


def test_the_preflight_tells_the_digest_of_what_is_read(lab: Lab) -> None:
    damage(lab.train.folder, "1.jpg")
    assert lab.run(f"{KEY}=0.2") == 0
    side = type("Source", (), lab.train.source)
    [one] = stage([side], lab.folder / "x", print)  # type: ignore[list-item]
    looking = Looking(lab.folder / "x", print)
    read = load_coco([one], [skip_list(one, 0.2, looking)])
    assert lab.reported.dataset is not None
    assert lab.reported.dataset.digest == read.digest != digest_of([one])


def test_an_action_looks_at_nothing_that_its_preflight_has_seen(lab: Lab) -> None:
    """Where they share a cache, and the data is an archive, which cannot change under its name."""
    an_archive(lab, 2)
    assert lab.run(f"{KEY}=0.2") == 0, lab.err
    into, said = lab.folder / "work" / "data", list[str]()
    entry = type("Source", (), lab.spec["dataset"]["train_data_sources"][0])
    [one] = stage([entry], into, said.append)  # type: ignore[list-item]
    found = skip_list(one, 0.2, Looking(into, said.append))
    assert found.names == {"2.jpg"}
    assert f"The 6 images of {one.annotations} were checked before." in said


@pytest.mark.parametrize("action", [Action.EVALUATE, Action.EXPORT, Action.QUANTIZE])
def test_the_preflight_of_other_actions_leaves_out_what_they_do(action: Action, lab: Lab) -> None:
    given(lab, action)
    damage(lab.validation.folder, "101.jpg")
    assert check(lab, action) == 65
    assert check(lab, action, f"{KEY}=0.34") == 0, lab.err
    assert lab.findings["image-skipped"]["examples"] == ["test 101.jpg (it is a text)"]
    assert "image-unreadable" not in lab.findings


# ---- the actions --------------------------------------------------------------------------------


def test_a_training_goes_on_without_them_and_says_so(tmp_path: Path) -> None:
    spec = spec_for(tmp_path, f"{KEY}=0.2", "train.num_epochs=1")
    damage(tmp_path / "train", "5.png")
    recorder = Recorder()
    result = run(spec, recorder)
    assert result.dataset is not None
    assert result.dataset.images == 7
    said = (
        f"dataset.train_data_sources: 1 of 8 images is damaged and left out ({KEY}): "
        "5.png (it is a text). skipped_train_data_sources.json has each."
    )
    assert result.dataset.warnings[0] == said
    assert recorder.events.count(f"Warning: {said}") == 1


def test_without_the_key_a_training_reads_as_it_always_did(tmp_path: Path) -> None:
    """The same digest, no list, no look at any image before it is its turn."""
    spec = spec_for(tmp_path)
    damage(tmp_path / "train", "5.png")
    with mock.patch.object(image_facts, "look_at_all", side_effect=AssertionError("it looks")):
        data = load_data(spec, a_context(spec, Recorder()))
    assert len(data.train.images) == 8
    assert data.train.digest == digest_of(data.train.sources)
    assert data.train.skips == ()
    assert not list((tmp_path / "results").rglob("skipped_*"))
    with pytest.raises(TrainerError, match=r"5\.png cannot be read as an image: it is a text"):
        run(spec)


def test_an_image_that_breaks_after_the_list_was_made_ends_the_training(tmp_path: Path) -> None:
    spec = spec_for(tmp_path, f"{KEY}=0.5")
    damage(tmp_path / "train", "5.png")

    def too_late(*given: Any) -> SkipList:
        found = skip_list(*given)
        damage(tmp_path / "train", "6.png")
        return found

    with (
        mock.patch.object(skipping, "skip_list", too_late),
        pytest.raises(TrainerError, match=r"6\.png cannot be read as an image: it is a text"),
    ):
        run(spec)


def test_a_repaired_image_makes_other_data(tmp_path: Path) -> None:
    """Names and sizes of the files are the same; what is trained on is not."""
    spec = spec_for(tmp_path, f"{KEY}=0.2")
    image = tmp_path / "train/images/5.png"
    sound = image.read_bytes()
    whole = load_data(spec, a_context(spec, Recorder())).train
    damage(tmp_path / "train", "5.png")
    shorter = load_data(spec, a_context(spec, Recorder())).train
    image.write_bytes(sound)
    again = load_data(spec, a_context(spec, Recorder())).train
    assert whole.digest == again.digest == digest_of(whole.sources)
    assert shorter.digest != whole.digest


def left_out_of(spec: ExperimentSpec, key: str) -> list[str]:
    """What the list beside the results has."""
    path = Path(spec.results_dir) / "train" / f"skipped_{key}.json"
    [one] = json.loads(path.read_text())["sources"]
    return [image["name"] for image in one["skipped"]]


@pytest.mark.parametrize("side", ["train", "val"])
def test_a_training_that_would_go_on_without_other_images_says_which(
    side: str, tmp_path: Path
) -> None:
    """The list of the training that is there stays as it is; put back, they let it go on."""
    a_dataset(tmp_path / "train", 9 if side == "train" else 8)
    a_dataset(tmp_path / "val", 4, seed=1)
    spec = spec_for(tmp_path, f"{KEY}=0.5")
    key = f"{side}_data_sources"
    image = tmp_path / side / "images/3.png"
    sound = image.read_bytes()
    damage(tmp_path / side, "3.png")
    broken = image.read_bytes()
    interrupted(spec, 6)
    assert latest(spec)["left_out"][key] == [["3.png"]]
    image.write_bytes(sound)
    with pytest.raises(TrainerError, match=r"3\.png was left out then and can be read now") as why:
        run(spec)
    assert why.value.reason == "InvalidDataset"
    assert f"dataset.{key} is not the data" in why.value.message
    assert "as they were when the training began" in why.value.remedy
    assert left_out_of(spec, key) == ["3.png"]
    image.write_bytes(broken)
    damage(tmp_path / side, "2.png")
    with pytest.raises(TrainerError, match=r"2\.png was read then and cannot be now"):
        run(spec)
    assert left_out_of(spec, key) == ["3.png"]


def test_a_checkpoint_of_an_earlier_release_is_resumed_without_its_list(tmp_path: Path) -> None:
    spec = spec_for(tmp_path, f"{KEY}=0.5")
    damage(tmp_path / "val", "3.png")
    interrupted(spec, 6)
    content = latest(spec)
    del content["left_out"]
    checkpoint.write(content, Path(spec.results_dir) / "train" / checkpoint.LATEST)
    recorder = Recorder()
    run(spec, recorder)
    assert "Resuming after step 6." in recorder.events


def test_an_evaluation_says_it_wherever_its_numbers_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = a_dataset(tmp_path / "test", 24, seed=3)
    names = [f"{number}.png" for number in range(2, 14)]
    damage(folder, *names)
    result = painted(monkeypatch, folder, f"{KEY}=0.5")
    assert result.dataset is not None
    assert result.dataset.images == 12
    assert "12 of 24 images are damaged" in result.dataset.warnings[0]
    assert "11.png (it is a text) and 2 more" in result.dataset.warnings[0]
    shown = " ".join(Page(written(folder, "report.html").read_text()).texts)
    told = json.loads(written(folder, "metrics.json").read_text())
    kept = json.loads(written(folder, "skipped_test_data_sources.json").read_text())
    for name in names:
        assert f"{name} (it is a text)" in shown
        assert {"name": name, "why": "it is a text"} in told["data"]["skipped"]
        assert {"name": name, "why": "it is a text"} in kept["sources"][0]["skipped"]


def test_a_gate_says_what_it_goes_without(tmp_path: Path) -> None:
    """By the key of the spec that names the data: the action's own, or that of the training."""
    trained = spec_for(tmp_path, f"{KEY}=0.25")
    damage(tmp_path / "val", "2.png")
    file = ModelFile(uri="model.pth", format="checkpoint")
    info = ModelInfo(file, trained, ("", "red", "", "blue"), None, None, 10)
    spec, recorder = export_spec(tmp_path), Recorder()
    context = a_context(spec, recorder, action=Action.EXPORT)
    shown = onnx_gate.pictures(spec, info, context)
    left_out = "without one that is damaged (2.png)"
    assert shown.description == f"3 images of the training's val_data_sources, {left_out}"
    assert shown.note == f" Compared on {shown.description}."
    assert [event for event in recorder.events if "2.png (it is a text)" in event]
    entry = json.dumps(source(tmp_path / "val"))
    data = f"dataset.test_data_sources=[{entry}]"
    strict = onnx_gate.pictures(export_spec(tmp_path, data), info, context)
    assert strict.description == "all 4 images of dataset.test_data_sources"
    assert strict.note == ""
    given = export_spec(tmp_path, data, f"{KEY}=0.25")
    said = f"all 3 images of dataset.test_data_sources, {left_out}"
    assert onnx_gate.pictures(given, info, context).description == said
    assert engine_gate.pictures(given, context).description == said


def test_calibration_of_an_engine_goes_without_them(tmp_path: Path) -> None:
    folder = a_dataset(tmp_path / "calibration", 4)
    damage(folder, "2.png")
    spec = load(
        {
            "results_dir": str(tmp_path / "results"),
            "dataset": {
                "quant_calibration_data_sources": [source(folder)],
                "skip_unreadable": 0.25,
            },
        },
        (),
        Action.GEN_TRT_ENGINE,
    )[0]
    recorder = Recorder()
    context = a_context(spec, recorder, action=Action.GEN_TRT_ENGINE)
    files = engine_calibration._files(spec, context)
    assert [file.name for file in files] == ["1.png", "3.png", "4.png"]
    assert [event for event in recorder.events if "2.png (it is a text)" in event]


def test_a_quantization_says_it_on_its_page_and_in_its_note(tmp_path: Path) -> None:
    lab = Quantization(tmp_path)
    lab.spec()
    damage(tmp_path / "calibration12", "2.png", "3.png")
    damage(tmp_path / "test", "4.png")
    result = lab.run(f"{KEY}=0.25")
    assert result.comparison is not None
    assert result.comparison.images == 3
    assert result.note is not None
    assert "without one that is damaged (4.png)" in result.note
    page = " ".join(Page((tmp_path / "results/quantize/report.html").read_text()).texts)
    assert "without one that is damaged (4.png)" in page
    assert "the calibration goes without 2 that are damaged (2.png, 3.png)" in page
    assert {"skipped_test_data_sources.json", "skipped_quant_calibration_data_sources.json"} <= (
        lab.written
    )


@pytest.mark.parametrize("action", Action)
def test_whoever_reads_annotated_images_reads_the_key(action: Action) -> None:
    """An inference has none; it leaves out what it cannot read, and says so, without a key."""
    _, warnings = load({"dataset": {"skip_unreadable": 0.01}}, (), action)
    unread = [one for one in warnings if one.path == KEY]
    annotated = set(ACTIONS[action].reads) - {DatasetSplit.INFERENCE}
    assert bool(unread) == (not annotated)
    assert unread or action is not Action.INFERENCE
    assert len(ACTIONS) == len(Action)


@pytest.mark.parametrize("share", ["-0.1", "0.51", "true", "many"])
def test_no_other_share_is_taken(share: str) -> None:
    with pytest.raises(SpecErrors, match="skip_unreadable"):
        load({}, [f"{KEY}={share}"])


def test_no_search_draws_it() -> None:
    """Its trials would be compared on different images."""
    assert unsearchable(KEY) == "trials are compared on the same images"
