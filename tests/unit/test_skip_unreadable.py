"""`dataset.skip_unreadable`: damaged images are left out where somebody asked for it, and named."""

from __future__ import annotations

from pathlib import Path
from threading import Event

import pytest
from preflight_lab import Lab, Side, lab
from training_builders import Recorder, a_context, a_spec, load_folder, run, source, spec_for

from dino_api.experiment import digest
from dino_api.loading import load
from dino_api.names import Action
from dino_trainer.actions import train
from dino_trainer.data.coco import CocoDataset, digest_of, load_coco
from dino_trainer.data.image_store import Folder
from dino_trainer.data.stage import StagedSource
from dino_trainer.errors import TrainerError

__all__ = ["lab"]


def damage(folder: Path, *names: str) -> None:
    for name in names:
        (folder / "images" / name).write_bytes(b"nothing")


def test_few_are_a_warning_that_names_them(lab: Lab) -> None:
    damage(lab.train.folder, "1.jpg")
    assert lab.run("dataset.skip_unreadable=0.2") == 0, lab.err
    assert set(lab.findings) == {"image-skipped"}
    assert lab.findings["image-skipped"]["examples"] == ["train 1.jpg (it is a text)"]
    dataset = lab.reported.dataset
    assert dataset is not None
    assert (dataset.images, dataset.annotations) == (5, 10), "of 6 with two boxes each"
    assert "train 1.jpg (it is a text)" in " ".join(dataset.warnings)


@pytest.mark.parametrize("share, damaged", [("0", 1), ("0.1", 1), ("0.2", 2)])
def test_more_than_the_share_is_an_error(lab: Lab, share: str, damaged: int) -> None:
    damage(lab.train.folder, *[f"{at}.jpg" for at in range(1, damaged + 1)])
    assert lab.run(f"dataset.skip_unreadable={share}") == 65
    assert lab.findings["image-unreadable"]["count"] == damaged
    assert "image-skipped" not in lab.findings
    assert "dataset.skip_unreadable" in lab.findings["image-unreadable"]["remedy"]


def test_the_share_is_of_each_source(lab: Lab) -> None:
    """Not of all together, where a source without one sound image could hide."""
    damage(lab.validation.folder, "101.jpg")
    assert lab.run("dataset.skip_unreadable=0.2") == 65, "one of three"
    assert lab.run("dataset.skip_unreadable=0.34") == 0


def test_the_report_names_each_of_them(lab: Lab) -> None:
    """However many; the sentence has the first five."""
    side = Side(lab.folder / "many", 201, 16)
    lab.sides.append(side)
    lab.spec["dataset"]["train_data_sources"] = [side.source]
    names = [f"{at}.jpg" for at in range(201, 209)]
    damage(side.folder, *names)
    assert lab.run("dataset.skip_unreadable=0.5") == 0, lab.err
    finding = lab.findings["image-skipped"]
    assert finding["examples"] == [f"train {name} (it is a text)" for name in names]
    assert "205.jpg (it is a text), and 3 more)" in finding["message"]


def test_a_training_goes_on_without_them_and_says_so(tmp_path: Path) -> None:
    spec = spec_for(tmp_path, "dataset.skip_unreadable=0.2", "train.num_epochs=1")
    damage(tmp_path / "train", "5.png")
    result = run(spec)
    assert result.dataset.images == 7
    assert any("5.png (it is a text)" in text for text in result.dataset.warnings)


def test_a_training_is_not_begun_with_too_many(tmp_path: Path) -> None:
    spec = spec_for(tmp_path, "dataset.skip_unreadable=0.2")
    damage(tmp_path / "train", "5.png", "6.png")
    with pytest.raises(TrainerError, match=r"2 of 8 images .* more than .*skip_unreadable = 0\.2"):
        run(spec)


def test_a_repaired_image_does_not_slip_into_a_begun_training(tmp_path: Path) -> None:
    """Names and sizes of the files may be the same; what is trained on is not."""
    spec = spec_for(tmp_path, "dataset.skip_unreadable=0.2")
    image = tmp_path / "train/images/5.png"
    sound = image.read_bytes()
    image.write_bytes(b"x" * len(sound))
    stop = Event()
    recorder = Recorder(lambda step: stop.set() if step == 2 else None)
    with pytest.raises(TrainerError, match="after step 2 of 6"):
        train.run(spec, a_context(spec, recorder, stop))
    image.write_bytes(sound)
    with pytest.raises(TrainerError, match="is not the data that the checkpoint was trained on"):
        run(spec)


def loaded(folder: Path, skip: float) -> CocoDataset:
    staged = StagedSource(Folder(folder / "images"), folder / "annotations.json", "digest")
    return load_coco([staged], skip)


def test_sound_data_has_the_digest_that_it_always_had(tmp_path: Path) -> None:
    spec_for(tmp_path)
    known = load_folder(tmp_path / "train")
    assert loaded(tmp_path / "train", 0.5).digest == known.digest == digest_of(known.sources)
    damage(tmp_path / "train", "5.png")
    assert loaded(tmp_path / "train", 0.5).digest != known.digest


def test_the_preflight_tells_the_digest_of_what_is_trained_on(lab: Lab) -> None:
    damage(lab.train.folder, "1.jpg")
    assert lab.run("dataset.skip_unreadable=0.2") == 0
    told = lab.reported.dataset
    assert lab.run("dataset.skip_unreadable=0.3") == 0
    assert told
    assert lab.reported.dataset
    assert told.digest == lab.reported.dataset.digest
    lab.train.put("1.jpg", (lab.train.folder / "images/2.jpg").read_bytes())
    assert lab.run("dataset.skip_unreadable=0.2") == 0
    assert lab.reported.dataset.digest != told.digest


def test_the_key_decides_and_its_default_is_as_if_it_were_not_there(tmp_path: Path) -> None:
    """What an older release began is resumed; another share is another experiment."""
    plain = {"train": {"num_epochs": 3}}
    default = {**plain, "dataset": {"skip_unreadable": 0}}
    asked = {**plain, "dataset": {"skip_unreadable": 0.1}}
    for action in (Action.TRAIN, Action.EVALUATE):
        first, second, third = (digest(load(one)[0], action) for one in (plain, default, asked))
        assert first == second != third


@pytest.mark.parametrize("value", ["-0.1", "0.51", "all"])
def test_a_share_is_at_most_a_half(value: str, lab: Lab) -> None:
    assert lab.run(f"dataset.skip_unreadable={value}") == 64
    assert "dataset.skip_unreadable" in lab.err


def test_validation_data_is_counted_by_itself(tmp_path: Path) -> None:
    spec_for(tmp_path)
    spec = a_spec(
        tmp_path / "train", tmp_path / "val", "dataset.skip_unreadable=0.5", "train.num_epochs=1"
    )
    assert spec.dataset.val_data_sources[0].model_dump() == source(tmp_path / "val")
    first = sorted((tmp_path / "val/images").iterdir())[0]
    first.write_bytes(b"nothing")
    result = run(spec)
    assert result.dataset.images == 8
    assert any(first.name in text for text in result.dataset.warnings)
