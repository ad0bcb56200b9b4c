"""The report, the result, and the command around the checks."""

from __future__ import annotations

import base64
import io
import json
import re
import tarfile
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from dino_api.names import Stage
from dino_trainer.command.cli import main
from dino_trainer.data.coco import load_coco
from dino_trainer.data.stage import stage
from dino_trainer.storage.opening import open_store
from tests.unit.coco_builders import pack
from tests.unit.html_page import Page
from tests.unit.preflight_lab import Lab, counted_looks, encoded, lab, picture, preflight_without
from tests.unit.s3_server import BUCKET, S3Server

__all__ = ["lab"]


def test_the_page_needs_no_other_file_and_shows_everything(lab: Lab) -> None:
    lab.train.box()["iscrowd"] = 1
    assert lab.run() == 0
    text = (lab.reports / "report.html").read_text()
    page = Page(text)
    assert not {"script", "link", "iframe"} & set(page.tags)
    assert all(link.startswith(("data:image/jpeg;base64,", "#")) for link in page.links)
    assert "url(" not in text
    shown = " ".join(page.texts)
    for words in ("Training can begin", "box-crowd", "cell", "dot", "Boxes per image", "6 images"):
        assert words in shown


def pictures(text: str) -> list[str]:
    """The pictures on a page, those of the findings before the samples."""
    return [link for link in Page(text).links if not link.startswith("#")]


def test_the_samples_are_augmented_images_with_their_boxes(lab: Lab) -> None:
    lab.spec["dataset"]["augmentation"] = {"fixed_size": [120, 160], "horizontal_flip_prob": 0}
    for side in lab.sides:
        for id in (image["id"] for image in side.coco["images"]):
            side.put(f"{id}.jpg", encoded(Image.new("RGB", (40, 30), (0, id, 0))))
    lab.train.coco["annotations"] = [{**lab.train.box(), "bbox": [10, 10, 20, 10]}]
    lab.run()
    *_, link = pictures((lab.reports / "report.html").read_text())
    sheet = Image.open(io.BytesIO(base64.b64decode(link.partition(",")[2])))
    assert sheet.size == (320, 240), "one image has a box"
    box = sheet.convert("HSV").point(lambda v: 255 * (v > 100)).getchannel("V").getbbox()
    assert box is not None
    factor = 316 / 160 * 4
    assert abs(box[0] - 10 * factor) < 4
    assert abs(box[2] - 30 * factor) < 4
    assert abs(box[3] - 20 * factor) < 4


def test_a_finding_leads_to_images_with_the_boxes_that_it_is_about(lab: Lab) -> None:
    """Three of the four; the box that is meant is orange, the others of the image are not."""
    for id in (1, 2, 3, 4):
        lab.train.put(f"{id}.jpg", encoded(Image.new("RGB", (40, 30), (0, id, 0))))
    for box in (0, 2, 4, 6):
        lab.train.box(box)["iscrowd"] = 1
    lab.train.box(1)["bbox"] = [24, 15, 12, 8]
    assert lab.run() == 0
    text = (lab.reports / "report.html").read_text()
    shown = re.findall(r'alt="(train \d.jpg), box-crowd" src="data:image/jpeg;base64,(.+?)"', text)
    assert [name for name, _ in shown] == ["train 1.jpg", "train 2.jpg", "train 3.jpg"]
    links = [link for link in Page(text).links if link.startswith("#picture-")]
    assert links[:3] == ["#picture-1", "#picture-2", "#picture-3"]
    image = Image.open(io.BytesIO(base64.b64decode(shown[0][1]))).convert("RGB")
    meant, other = image.getpixel((6, 2)), image.getpixel((30, 22))
    assert meant[0] > meant[2] + 50
    assert other[2] > other[0] + 50


def test_names_are_text_and_never_markup(lab: Lab) -> None:
    evil = "<script>alert(1)</script>&\"'"
    lab.train.coco["categories"][0]["name"] = evil
    lab.validation.coco["categories"][0]["name"] = evil
    lab.train.image()["file_name"] = "<img src=x>.jpg"
    assert lab.run() == 65
    page = Page((lab.reports / "report.html").read_text())
    assert [link[:5] for link in page.links if link[0] != "#"] == ["data:"], "the samples"
    assert "script" not in page.tags
    assert evil in page.texts
    assert any("<img src=x>.jpg" in text for text in page.texts)


def test_the_numbers_of_the_report(lab: Lab) -> None:
    lab.run()
    report = json.loads((lab.reports / "report.json").read_text())
    assert report["ok"] is True
    statistics = report["statistics"]
    assert statistics["classes"] == [
        {"id": 1, "name": "cell", "train": 6, "validation": 3},
        {"id": 2, "name": "dot", "train": 6, "validation": 3},
    ]
    train = statistics["splits"]["train"]
    assert (train["images"], train["boxes"], train["mostBoxesInOneImage"]) == (6, 12, 2)
    sizes = {(one["from"], one["below"]): one["count"] for one in train["boxSizes"]}
    assert sizes[8, 16] == 12, "the root of 80 is 8.9"
    assert sum(sizes.values()) == 12
    counts = {one["from"]: one["count"] for one in train["boxesPerImage"]}
    assert counts[2] == 6
    assert sum(counts.values()) == 6


def test_the_result_says_what_training_would_say(lab: Lab) -> None:
    lab.run()
    told, data = lab.reported, lab.reported.dataset
    assert told.action == Stage.PREFLIGHT
    assert data is not None
    assert (data.num_classes, data.images, data.annotations) == (3, 6, 12)
    assert data.class_names == ["", "cell", "dot"]
    assert [one.name for one in told.artifacts] == ["report.html", "report.json"]
    assert told.artifacts[0].uri == str(lab.reports / "report.html")
    source = type("Source", (), lab.train.source)
    assert data.digest == load_coco(stage([source], lab.folder / "x", print)).digest  # type: ignore[list-item]
    kept = json.loads((lab.reports / "result.json").read_text())
    assert kept == told.to_dict()


def test_the_number_of_classes_that_was_asked_for_is_told(lab: Lab) -> None:
    assert lab.run("dataset.num_classes=5") == 0
    assert lab.reported.dataset is not None
    assert lab.reported.dataset.num_classes == 5
    assert len(lab.reported.dataset.class_names) == 5


def test_errors_are_summed_up_with_their_examples(lab: Lab) -> None:
    for id in (1, 2, 3):
        (lab.train.folder / "images" / f"{id}.jpg").unlink()
    lab.train.box(11)["bbox"] = None
    assert lab.run() == 65
    failure = lab.reported.failure
    assert failure is not None
    assert (failure.reason, failure.exit_code) == ("InvalidDataset", 65)
    assert failure.message.startswith(
        "The data has 2 kinds of errors: box-entry (1), image-missing (3). "
    )
    assert "train 1.jpg, train 2.jpg, train 3.jpg" in failure.message
    assert failure.remedy is not None
    assert str(lab.reports / "report.html") in failure.remedy
    assert lab.reported.dataset is not None, "what is known is told all the same"


def test_examples_are_few_and_the_rest_is_counted(lab: Lab) -> None:
    for box in lab.train.coco["annotations"]:
        lab.train.coco["annotations"] = [*lab.train.coco["annotations"], {**box, "iscrowd": 1}]
    lab.run()
    crowd = lab.findings["box-crowd"]
    assert (crowd["count"], len(crowd["examples"])) == (12, 5)
    assert crowd["message"].endswith("and 7 more).")


def test_validation_that_is_the_training_data_is_no_validation(lab: Lab) -> None:
    """What the operator writes where a DinoJob names no validation data."""
    lab.spec["dataset"]["val_data_sources"] = lab.spec["dataset"]["train_data_sources"]
    assert lab.run() == 0
    assert set(lab.findings) == {"validation-omitted"}


def test_the_report_may_go_elsewhere(lab: Lab) -> None:
    del lab.spec["results_dir"]
    assert lab.run(options=["--report", str(lab.folder / "there")]) == 0
    assert sorted(path.name for path in (lab.folder / "there").iterdir()) == [
        "manifest.json",
        "report.html",
        "report.json",
        "result.json",
    ]


def test_reports_and_data_on_s3(lab: Lab, s3_server: S3Server) -> None:
    base = f"s3://{BUCKET}/{lab.folder.name}"
    store = open_store(base)
    lab.train.write()
    for path in lab.train.folder.rglob("*.*"):
        store.upload(path, f"train/{path.relative_to(lab.train.folder)}")
    lab.spec["results_dir"] = f"{base}/results"
    lab.spec["dataset"]["train_data_sources"] = [
        {"image_dir": f"{base}/train/images", "json_file": f"{base}/train/annotations.json"}
    ]
    assert lab.run() == 0
    assert lab.reported.artifacts[1].uri == f"{base}/results/preflight/report.json"
    assert json.loads(store.read_bytes("results/preflight/report.json"))["findings"] == []
    (lab.train.folder / "images" / "2.jpg").unlink()
    s3_server.client().delete_object(Bucket=BUCKET, Key=f"{lab.folder.name}/train/images/2.jpg")
    lab.spec["dataset"]["val_data_sources"] = [
        {"image_dir": f"{base}/no.tar.gz", "json_file": f"{base}/train/annotations.json"}
    ]
    assert lab.run() == 65, "both are told: an image that is missing and an archive"
    found = {finding["id"] for finding in _fetched(store)["findings"]}
    assert found == {"image-missing", "source-missing"}


def _fetched(store: Any) -> Any:
    return json.loads(store.read_bytes("results/preflight/report.json"))


def test_a_store_that_is_away_is_no_flaw_of_the_data(
    lab: Lab, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    monkeypatch.setenv("DINO_STORAGE_PATIENCE", "0")
    lab.spec["dataset"]["train_data_sources"][0]["json_file"] = "s3://data/a.json"
    assert lab.run() == 69
    assert lab.reported.failure is not None
    assert lab.reported.failure.reason == "StorageUnavailable"
    assert lab.reported.action == Stage.PREFLIGHT


def test_an_archive_is_looked_into_once(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its content decides: facts are kept beside the staged data, whatever else changes."""
    members: list[tuple[str | tarfile.TarInfo, bytes]] = [
        (f"images/{id}.jpg", encoded(picture(id))) for id in range(1, 7)
    ]
    members[1] = ("images/2.jpg", b"broken")
    archive = pack(lab.folder / "images.tar.gz", members)
    lab.spec["dataset"]["train_data_sources"][0]["image_dir"] = str(archive)
    assert lab.run() == 65
    first = lab.findings
    looked = counted_looks(monkeypatch)
    assert lab.run("model.num_queries=1", "model.num_select=1") == 65
    assert looked == [3], "the validation folder may have changed in place, the archive not"
    assert "were checked before" in lab.out
    assert lab.findings["image-unreadable"] == first["image-unreadable"]
    assert "boxes-over-queries" in lab.findings
    members[1] = ("images/2.jpg", encoded(picture(2)))
    archive.unlink()
    pack(archive, members)
    assert lab.run() == 0
    assert looked == [3, 6, 3]


def test_facts_that_cannot_be_read_are_found_anew(lab: Lab) -> None:
    members: list[tuple[str | tarfile.TarInfo, bytes]] = [
        (f"images/{id}.jpg", encoded(picture(id))) for id in range(1, 7)
    ]
    archive = pack(lab.folder / "images.tar.gz", members)
    lab.spec["dataset"]["train_data_sources"][0]["image_dir"] = str(archive)
    lab.run()
    [note] = (lab.folder / "work").rglob("checked/*.json")
    note.write_text("[[1]")
    assert lab.run() == 0
    assert json.loads(note.read_text())


def test_it_needs_no_torch(lab: Lab) -> None:
    """Half a second instead of three, and no room for it in a small pod."""
    for side in lab.sides:
        side.write()
    lab.run()
    preflight_without(lab, {"torch", "torchvision", "hotcoco", "boto3"})


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["preflight", "--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    for words in ("--report", "report.html", "DINO_CACHE_DIR", "65"):
        assert re.search(re.escape(words), text), words


def test_spec_errors_end_with_64_and_say_which_command(lab: Lab) -> None:
    assert lab.run("model.nheads=7") == 64
    assert lab.reported.action == Stage.PREFLIGHT
    assert lab.reported.failure is not None
    assert lab.reported.failure.reason == "InvalidSpec"


def test_a_file_name_that_is_no_text_can_be_told(lab: Lab) -> None:
    lab.train.image()["file_name"] = "\udce9.jpg"
    Path(lab.train.folder, "images", "1.jpg").rename(lab.train.folder / "images" / "\udce9.jpg")
    assert lab.run() == 0
