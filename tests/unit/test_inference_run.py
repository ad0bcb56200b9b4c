"""`dino inference` from folders and archives to labels, pictures and a report."""

from __future__ import annotations

import io
import re
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dino_api.loading import load
from dino_trainer.actions import inference
from dino_trainer.data.pictures import Picture, PictureListing
from dino_trainer.data.transforms import read_image
from dino_trainer.errors import TrainerError
from dino_trainer.inference import files
from dino_trainer.inference.stream import stream
from dino_trainer.model import build_dino
from dino_trainer.model_files import checkpoint
from tests.unit.coco_builders import pack
from tests.unit.inference_lab import NAMES, InferenceLab, an_image, image_bytes
from tests.unit.s3_server import BUCKET, S3Server


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> InferenceLab:
    return InferenceLab(tmp_path, monkeypatch)


def test_folders_and_archives_of_equal_names_never_overwrite_each_other(lab: InferenceLab) -> None:
    an_image(lab.folder / "a" / "1.jpg")
    an_image(lab.folder / "a" / "deep" / "2.PNG", size=(20, 60), kind="PNG")
    an_image(lab.folder / "b" / "1.jpg")
    archive = pack(lab.folder / "c.tar.gz", [("images/1.jpg", image_bytes((64, 48)))])
    result = lab.run([lab.folder / "a", lab.folder / "b", archive])
    images = {"a/1.jpg", "a/deep/2.PNG", "b/1.jpg", "c/images/1.jpg"}
    assert lab.written("images_annotated") == images
    assert lab.written("labels") == {re.sub(r"\.\w+$", ".txt", name) for name in images}
    assert {one["file_name"] for one in lab.predictions["images"]} == images
    assert (lab.results / "labels" / "c" / "images" / "1.txt").read_text() == (
        "red 0.00 0 0.00 0.000 0.000 32.000 48.000 "
        "0.00 0.00 0.00 0.00 0.00 0.00 0.00 0.900\n"
    )  # fmt: skip
    drawn = Image.open(lab.results / "images_annotated" / "a" / "deep" / "2.PNG")
    assert drawn.size == (20, 60)
    assert drawn.getpixel((10, 50)) == (86, 180, 233)
    assert [artifact.name for artifact in result.artifacts] == ["predictions.json", "report.html"]
    assert result.model.sha256 == lab.predictions["info"]["model_sha256"] == "abc"
    assert (result.note, result.dataset.images, result.dataset.warnings) == (None, 4, [])
    assert [(p.step, p.steps, p.percent) for p in lab.recorder.steps] == [(4, 4, 100)]
    assert lab.recorder.events[-1].startswith("4 objects in 4 images, 0 of them without any")


def test_images_and_results_on_s3_go_over_in_a_few_files(
    lab: InferenceLab, s3_server: S3Server
) -> None:
    client, at = s3_server.client(), f"inference-{lab.folder.name}"
    archive = pack(lab.folder / "c.tar.gz", [(f"{n}.jpg", image_bytes()) for n in range(5)])
    client.upload_file(str(archive), BUCKET, f"{at}/images.tar.gz")
    client.put_object(Bucket=BUCKET, Key=f"{at}/classmap.txt", Body=b"red\n\nblue\n")
    uri = f"s3://{BUCKET}/{at}"
    overrides = [f"results_dir={uri}/results",
                 f"dataset.infer_data_sources.classmap={uri}/classmap.txt"]  # fmt: skip
    result = lab.run([f"{uri}/images.tar.gz"], *overrides)
    sent = client.list_objects_v2(Bucket=BUCKET, Prefix=f"{at}/results/inference/")["Contents"]
    names = {one["Key"].rpartition("/")[2] for one in sent}
    assert names - {"manifest.json"} == {artifact.name for artifact in result.artifacts}
    assert names >= {"predictions.json", "labels.tar.gz", "images_annotated.tar.gz", "report.html"}
    content = client.get_object(Bucket=BUCKET, Key=f"{at}/results/inference/labels.tar.gz")["Body"]
    with tarfile.open(fileobj=io.BytesIO(content.read())) as tar:
        assert tar.getnames() == [f"labels/{n}.txt" for n in range(5)]


def test_an_image_lies_as_its_exif_orientation_says_as_in_training(lab: InferenceLab) -> None:
    path = an_image(lab.folder / "a" / "1.jpg", size=(40, 30), turned=6)
    lab.run([lab.folder / "a"], "dataset.augmentation.fixed_size=[64,48]")
    assert lab.detector.batches == [(1, 3, 64, 48)]
    (image,) = lab.predictions["images"]
    assert (image["width"], image["height"]) == (30, 40) == read_image(path, 30, 40).size
    assert lab.predictions["annotations"][0]["bbox"] == [0, 0, 15, 40]
    assert Image.open(lab.results / "images_annotated" / "1.jpg").size == (30, 40)


def test_one_corrupt_image_among_many_is_named_counted_and_skipped(lab: InferenceLab) -> None:
    """As many as several batches; the broken ones are broken in different ways."""
    for number in range(12):
        an_image(lab.folder / "a" / f"{number}.jpg")
    whole = image_bytes((200, 200))
    (lab.folder / "a" / "3.jpg").write_bytes(whole[: len(whole) // 2])
    (lab.folder / "a" / "7.jpg").write_bytes(b"")
    (lab.folder / "a" / "9.jpg").write_text("<html>404</html>")
    broken = ["3.jpg", "7.jpg", "9.jpg"]
    result = lab.run([lab.folder / "a"])
    assert result.note == (
        "3 of 12 images cannot be read and are skipped: 3.jpg, 7.jpg, 9.jpg."
    )  # fmt: skip
    assert [one["file_name"] for one in lab.predictions["info"]["skipped"]] == broken
    assert lab.written("labels") == {f"{n}.txt" for n in range(12) if n not in (3, 7, 9)}
    warnings = [event for event in lab.recorder.events if event.startswith("Warning")]
    assert [warning.split()[1] for warning in warnings] == broken
    assert lab.detector.batches == [(3, 3, 32, 48)] * 3
    report = (lab.results / "report.html").read_text()
    assert "<td>9.jpg</td><td>it is an HTML page</td>" in report
    assert report.count('<figure class="picture"') == 9


def test_other_kinds_are_read_and_what_is_left_out_is_counted_and_named(lab: InferenceLab) -> None:
    """In the log, the result, predictions.json and the report; drawn ones are kinds people see."""
    for name, kind in (("a.jpg", "JPEG"), ("b.tif", "TIFF"), ("c.jfif", "JPEG"), ("d.gif", "GIF")):
        an_image(lab.folder / "a" / name, kind=kind)
    (lab.folder / "a" / "e.heic").touch()
    result = lab.run([lab.folder / "a"])
    left_out = "1 file is left out, not ending as images do (1 .heic): e.heic."
    assert result.dataset.images == 4
    assert result.dataset.warnings == [left_out]
    assert f"Warning: {left_out}" in lab.recorder.events
    assert lab.predictions["info"]["left_out"] == ["e.heic"]
    assert left_out in (lab.results / "report.html").read_text()
    drawn = {"a.jpg": "JPEG", "b.tif": "TIFF", "c.jfif": "JPEG", "d.gif.png": "PNG"}
    assert lab.written("images_annotated") == set(drawn)
    for name, kind in drawn.items():
        assert Image.open(lab.results / "images_annotated" / name).format == kind


def test_strips_are_looked_at(lab: InferenceLab) -> None:
    """Where the aspect ratio is kept, a strip of one pixel is not resized to none."""
    an_image(lab.folder / "a" / "1.png", kind="PNG", size=(1, 3000))
    an_image(lab.folder / "a" / "2.jpg", size=(3000, 3))
    result = lab.run([lab.folder / "a"], "dataset.augmentation.fixed_size=null",
                     "dataset.augmentation.test_random_resize=64",
                     "dataset.augmentation.random_resize_max_size=128")  # fmt: skip
    assert result.dataset.images == 2


def test_where_no_image_can_be_read_the_data_is_to_blame(lab: InferenceLab) -> None:
    for number in range(6):
        (lab.folder / "a").mkdir(exist_ok=True)
        (lab.folder / "a" / f"{number}.jpg").write_bytes(b"\xff\xd8 broken")
    with pytest.raises(TrainerError, match=r"None of the 6 images can be read; 0\.jpg: ") as why:
        lab.run([lab.folder / "a"])
    assert why.value.reason == "InvalidDataset"


def test_a_folder_without_images_is_a_sentence(lab: InferenceLab) -> None:
    (lab.folder / "a").mkdir()
    (lab.folder / "a" / "notes.txt").write_text("no picture")
    with pytest.raises(TrainerError, match="holds no image") as why:
        lab.run([lab.folder / "a"])
    assert why.value.reason == "InvalidDataset"


def test_a_class_map_of_other_classes_ends_before_any_image_is_read(lab: InferenceLab) -> None:
    an_image(lab.folder / "a" / "1.jpg")
    (lab.folder / "classmap.txt").write_text("blue\n\nred\n")
    with pytest.raises(TrainerError, match="its line 1 is 'blue', and class 1 of the model") as why:
        lab.run([lab.folder / "a"])
    assert why.value.reason == "InvalidDataset"
    assert not lab.written("labels")


def test_detections_below_the_threshold_and_without_a_name_are_left_out(lab: InferenceLab) -> None:
    an_image(lab.folder / "a" / "1.jpg")
    also = ((3, 0.5), (2, 0.8), (3, 0.49))
    result = lab.run([lab.folder / "a"], also=also)
    assert [one["category_id"] for one in lab.predictions["annotations"]] == [1, 3]
    assert result.dataset.warnings == [
        "Detections of classes without a name in the class map are left out: 1."
    ]
    lab.run([lab.folder / "a"], "inference.conf_threshold=0.85", also=also)
    assert [one["category_id"] for one in lab.predictions["annotations"]] == [1]


def test_a_colour_for_a_class_that_the_model_does_not_have(lab: InferenceLab) -> None:
    an_image(lab.folder / "a" / "1.jpg")
    with pytest.raises(TrainerError, match=r"inference.color_map names 'car'"):
        lab.run([lab.folder / "a"], "inference.color_map={car: red}")
    lab.run([lab.folder / "a"], 'inference.color_map={red: "#ff00ff"}')
    drawn = Image.open(lab.results / "images_annotated" / "1.jpg").convert("RGB")
    assert np.abs(np.array(drawn.getpixel((19, 25))) - (255, 0, 255)).max() < 40  # a JPEG


def test_a_stop_ends_it_between_two_batches(lab: InferenceLab) -> None:
    for number in range(9):
        an_image(lab.folder / "a" / f"{number}.jpg")
    lab.recorder.at_step = lambda step: lab.stop.set() if step == 4 else None
    with pytest.raises(TrainerError, match="Stopped on request after 4 of 9 images") as why:
        lab.run([lab.folder / "a"])
    assert why.value.reason == "Preempted"
    assert lab.detector.batches == [(4, 3, 32, 48)]


def test_a_thousand_images_are_never_held_at_once(
    lab: InferenceLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counts, not bytes: what is open between a file's first and last use."""
    content = image_bytes((8, 8))
    held, most = 0, 0

    class Counted(Picture):
        def read_bytes(self) -> bytes:
            nonlocal held, most
            held += 1
            most = max(most, held)
            return content

    added = files._Folder.add

    def add(self: Any, name: str, data: bytes) -> None:
        nonlocal held
        if name.endswith(".jpg"):
            held -= 2  # read once for the detector and once to draw on
        added(self, name, data)

    monkeypatch.setattr(files._Folder, "add", add)
    pictures = [Counted(f"{number}.jpg", Path()) for number in range(1000)]
    monkeypatch.setattr(inference, "gather", lambda *_: PictureListing(pictures))
    lab.run([lab.folder], "dataset.augmentation.fixed_size=[32,32]")
    assert len(lab.written("images_annotated")) == 1000
    assert held == 0
    assert most < 100


def test_a_checkpoint_finds_what_the_model_finds(lab: InferenceLab) -> None:
    """With a real model and the file's own names, in both kinds of process."""
    model_keys = {
        "backbone": "timm/test_efficientnet", "return_interm_indices": [2, 3],
        "num_feature_levels": 2, "hidden_dim": 32, "nheads": 2, "enc_layers": 1, "dec_layers": 1,
        "dim_feedforward": 32, "num_queries": 10, "num_select": 10,
    }  # fmt: skip
    own = {"model": model_keys, "dataset": {"augmentation": {"fixed_size": [64, 96]}}}
    made = load({**own, "results_dir": "x"})[0]
    torch.manual_seed(0)
    model = build_dino(made.model, 4)
    content = {"model": model.state_dict(), "spec": made.model_dump(mode="json"),
               "class_names": list(NAMES)}  # fmt: skip
    checkpoint.write(content, lab.folder / "model.pth")
    for number in range(3):
        an_image(lab.folder / "a" / f"{number}.png", kind="PNG", size=(50, 40 + number))
    spec = lab.spec(
        [str(lab.folder / "a")],
        "inference.conf_threshold=0",
        "dataset.augmentation.fixed_size=[64,96]",
        "dataset.infer_data_sources.classmap=",
        "dataset.workers=1",
    )
    result = inference.run(spec, lab.context(spec))
    assert result.model.format == "checkpoint"
    found = lab.predictions["annotations"]
    by_image = [[one for one in found if one["image_id"] == i] for i in (1, 2, 3)]
    # Each of 10 best, less those of the two classes without a name.
    assert all(0 < len(part) < 10 for part in by_image)
    assert {one["category_id"] for one in found} <= {1, 3}
    assert len((lab.results / "labels" / "1.txt").read_text().splitlines()) == len(by_image[1])


def test_pictures_are_prepared_as_validation_prepares_them(lab: InferenceLab) -> None:
    """The aspect ratio kept and the short side as in training, unless a size is set."""
    an_image(lab.folder / "a" / "1.jpg", size=(80, 40))
    spec = lab.spec([str(lab.folder / "a")])
    config = spec.dataset.model_copy(
        update={
            "augmentation": spec.dataset.augmentation.model_copy(
                update={"fixed_size": None, "test_random_resize": 64, "fixed_padding": False}
            )
        }
    )
    (turn,) = stream([Picture("1.jpg", lab.folder / "a" / "1.jpg")], config, [[0]], pin=False)
    assert tuple(turn.batch.images.shape) == (1, 3, 64, 128)
    assert turn.sizes.tolist() == [[40, 80]]
    lab.run([lab.folder / "a"], "inference.input_width=96", "inference.input_height=64")
    assert lab.detector.batches == [(1, 3, 64, 96)]
