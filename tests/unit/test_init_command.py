"""`dino init`: the layouts that it reads, the spec that it writes, and what it refuses."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dino_api.loading import load
from dino_trainer.command import init
from dino_trainer.command.cli import main
from dino_trainer.machine import inventory
from dino_trainer.machine.inventory import Gpu, Machine
from dino_trainer.spec.file import read_mapping, read_spec_file
from tests.unit.coco_builders import a_document, an_archive
from tests.unit.convert_lab import put, put_image, put_json

GIB = 1 << 30
CPU = Machine(2, 8 * GIB, frozenset())
GPUS = Machine(8, 64 * GIB, frozenset(), (Gpu("NVIDIA L4", 23 * GIB, (8, 9)),) * 2)
SIZE = (32, 24)


@dataclass
class Init:
    """`dino init` in an empty folder, on a machine that is said."""

    folder: Path
    capture: pytest.CaptureFixture[str]
    out: str = ""
    err: str = ""

    @property
    def spec(self) -> Path:
        return self.folder / "spec.yaml"

    def run(self, *words: str) -> int:
        code = main(["init", *(words or ("coco",))])
        self.out, self.err = self.capture.readouterr()
        assert "Traceback" not in self.out + self.err
        return code

    def wrote(self, *words: str) -> dict[str, Any]:
        """What the spec says; it passes all that `dino train` checks before it begins."""
        assert self.run(*words) == 0, self.err
        read_spec_file(self.spec, [])
        return read_mapping(self.spec)

    def refused(self, *words: str) -> str:
        assert self.run(*words) in (64, 65, 66)
        assert not self.spec.exists()
        return self.err


@pytest.fixture
def dino(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Init:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(init, "this_machine", lambda: CPU)
    return Init(tmp_path, capsys)


def annotated(file: Path, images: Path, count: int = 3, **changes: Any) -> None:
    put_json(file, a_document(count, **changes))
    for i in range(1, count + 1):
        put_image(images / f"{i}.jpg", SIZE, seed=i)


def by_split(root: Path, *names: str) -> None:
    for name in names:
        annotated(root / name / "annotations.json", root / name / "images")


LAYOUTS = {
    "dino convert": (
        lambda root: by_split(root, "train", "val", "test"),
        {
            "train": ("train/images", "train/annotations.json"),
            "val": ("val/images", "val/annotations.json"),
            "test": ("test/images", "test/annotations.json"),
        },
    ),
    "Roboflow": (
        lambda root: [
            annotated(root / name / "_annotations.coco.json", root / name)
            for name in ("train", "valid")
        ],
        {
            "train": ("train", "train/_annotations.coco.json"),
            "val": ("valid", "valid/_annotations.coco.json"),
        },
    ),
    "COCO": (
        lambda root: [
            (
                annotated(root / f"annotations/instances_{name}.json", root / name),
                put_json(root / f"annotations/captions_{name}.json", {}),
            )
            for name in ("train2017", "val2017")
        ],
        {
            "train": ("train2017", "annotations/instances_train2017.json"),
            "val": ("val2017", "annotations/instances_val2017.json"),
        },
    ),
    "YOLO-like folders of COCO": (
        lambda root: annotated(root / "annotations/train.json", root / "images/train"),
        {"train": ("images/train", "annotations/train.json")},
    ),
    "names that hold the other split's": (
        lambda root: [
            annotated(root / f"annotations/valves_{name}.json", root / "images" / name)
            for name in ("train", "val")
        ],
        {
            "train": ("images/train", "annotations/valves_train.json"),
            "val": ("images/val", "annotations/valves_val.json"),
        },
    ),
    "both splits in a third file": (
        lambda root: [
            annotated(root / f"annotations/instances_{name}.json", root / "images" / name)
            for name in ("train", "val", "trainval", "train_val")
        ],
        {
            "train": ("images/train", "annotations/instances_train.json"),
            "val": ("images/val", "annotations/instances_val.json"),
        },
    ),
    "one split": (
        lambda root: annotated(root / "result.json", root),
        {"train": (".", "result.json")},
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_layout_becomes_the_data_sources_of_its_splits(layout: str, dino: Init) -> None:
    make, wanted = LAYOUTS[layout]
    make(dino.folder / "coco")  # type: ignore[no-untyped-call]
    dataset = dino.wrote()["dataset"]
    found = {
        name: tuple(dataset[f"{name}_data_sources"][0].values())
        for name in ("train", "val", "test")
        if f"{name}_data_sources" in dataset
    }
    assert found == {
        name: tuple(str(Path("coco") / path) for path in paths) for name, paths in wanted.items()
    }
    said = "There is no validation data" in dino.out
    assert said == ("val" not in wanted) == ("which flatters" in dino.spec.read_text())


def test_no_file_is_both_of_two_splits(dino: Init) -> None:
    """It would be validated on what it is trained with."""
    for name in ("trainval", "test"):
        file = f"coco/annotations/instances_{name}.json"
        annotated(dino.folder / file, dino.folder / "coco/images")
    assert "has no split for training, only test" in dino.refused()


def test_an_archive_goes_before_a_folder(dino: Init) -> None:
    put_json(dino.folder / "coco/train/annotations.json", a_document())
    an_archive(dino.folder / "coco/train/images.tar.gz")
    (source,) = dino.wrote()["dataset"]["train_data_sources"]
    assert source["image_dir"] == "coco/train/images.tar.gz"


@pytest.mark.parametrize(
    "archive, folder, taken",
    [
        ("images.tar.gz", "images", "images.tar.gz"),
        ("Images.TGZ", "images", "Images.TGZ"),
        ("backup.tar.gz", "images", "images"),
        ("backup.tar", ".", "."),
        ("train.tar.gz", "", "train.tar.gz"),
    ],
)
def test_an_archive_is_taken_for_its_name_or_alone(
    archive: str, folder: str, taken: str, dino: Init
) -> None:
    """It is not opened, so that one of another name is no reason to leave the images aside."""
    train = dino.folder / "coco/train"
    if folder:
        annotated(train / "annotations.json", train / folder)
    else:
        put_json(train / "annotations.json", a_document())
    an_archive(train / archive)
    (source,) = dino.wrote()["dataset"]["train_data_sources"]
    assert Path(source["image_dir"]) == Path("coco/train", taken)


def test_images_are_measured_beside_their_archive(dino: Init) -> None:
    by_split(dino.folder / "coco", "train")
    put_json(dino.folder / "coco/train/annotations.json", unsized())
    an_archive(dino.folder / "coco/train/images.tar.gz")
    (source,) = dino.wrote()["dataset"]["train_data_sources"]
    assert source["image_dir"] == "coco/train/images.tar.gz"
    assert f"{SIZE[1]} by {SIZE[0]}" in dino.spec.read_text()


def test_its_spec_passes_the_preflight(dino: Init) -> None:
    by_split(dino.folder / "coco", "train", "val")
    dino.wrote()
    code = main(["preflight", "-e", "spec.yaml"])
    out, err = dino.capture.readouterr()
    assert code == 0, err + out
    assert "error:" not in out


def test_its_spec_trains(dino: Init) -> None:
    by_split(dino.folder / "coco", "train", "val")
    dino.wrote()
    assert main(["train", "-e", "spec.yaml", "train.num_epochs=1"]) == 0
    assert (dino.folder / "results/train/dino_model_best.pth").is_file()


def test_it_counts_classes_as_the_project_does(dino: Init) -> None:
    """The largest id plus one, whatever ids there are; names stand in comments, of one line."""
    categories = [{"id": 2, "name": "dot"}, {"id": 1, "name": "a\nb: {c"}, {"id": 90, "name": "z"}]
    annotated(
        dino.folder / "coco/annotations.json", dino.folder / "coco/images", categories=categories
    )
    spec = dino.wrote()
    assert spec["dataset"]["num_classes"] == 91
    assert "1 a\N{REPLACEMENT CHARACTER}b: {c, 2 dot, 90 z" in dino.spec.read_text()


def test_a_folder_of_any_name(dino: Init) -> None:
    name = "Fotos: \U0001f600 #1, {neu}"
    by_split(dino.folder / name, "train", "val")
    (source,) = dino.wrote(name)["dataset"]["train_data_sources"]
    assert source["image_dir"] == f"{name}/train/images"


def unsized(count: int = 3) -> dict[str, Any]:
    return a_document(images=[{"id": i, "file_name": f"{i}.jpg"} for i in range(1, count + 1)])


@pytest.mark.parametrize(
    "file, images",
    [
        ("annotations.json", "images"),
        ("annotations/train.json", "images/train"),
        ("annotations/instances_train2017.json", "train2017"),
        ("train/annotations.json", "images/train"),
    ],
)
def test_images_without_sizes_are_measured_where_they_lie(
    file: str, images: str, dino: Init
) -> None:
    """Folders that have none of them stand in the way."""
    annotated(dino.folder / "coco" / file, dino.folder / "coco" / images)
    put_json(dino.folder / "coco" / file, unsized())
    put_image(dino.folder / "coco/images/other.jpg")
    (source,) = dino.wrote()["dataset"]["train_data_sources"]
    assert source["image_dir"] == f"coco/{images}"
    assert f"{SIZE[1]} by {SIZE[0]}" in dino.spec.read_text()


def test_the_folder_that_has_most_of_the_images_is_taken(dino: Init) -> None:
    """One picture of that name, somewhere else, is another picture."""
    annotated(dino.folder / "coco/train/annotations.json", dino.folder / "coco/images/train")
    put_image(dino.folder / "coco/train/images/1.jpg")
    (source,) = dino.wrote()["dataset"]["train_data_sources"]
    assert source["image_dir"] == "coco/images/train"


def test_images_that_are_measured_nowhere_are_told_by_name(dino: Init) -> None:
    put_json(dino.folder / "coco/annotations.json", unsized())
    assert "lists '1.jpg', which lies in none of coco" in dino.refused()


def test_the_spec_of_a_machine_with_gpus(dino: Init, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(init, "this_machine", lambda: GPUS)
    by_split(dino.folder / "coco", "train", "val")
    spec = dino.wrote()
    assert (spec["train"]["num_gpus"], spec["train"]["precision"]) == (1, "bf16")
    assert "2 of NVIDIA L4 with 23 GiB" in dino.out
    assert "not measured" in dino.spec.read_text(), "nothing ran on a GPU"


def test_a_folder_whose_name_no_spec_can_hold(dino: Init) -> None:
    by_split(dino.folder / "caf\udce9", "train")
    said = dino.refused("caf\udce9")
    assert "caf\ufffd/train/images has bytes that are no UTF-8" in said


def test_each_file_of_annotations_is_read_once(dino: Init, monkeypatch: pytest.MonkeyPatch) -> None:
    """They may be gigabytes."""
    by_split(dino.folder / "coco", "train", "val")
    reads: Counter[str] = Counter()
    read_bytes = Path.read_bytes

    def counting(path: Path) -> bytes:
        reads[str(path)] += 1
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", counting)
    assert dino.run() == 0, dino.err
    files = {name: count for name, count in reads.items() if name.endswith(".json")}
    assert files == {f"coco/{split}/annotations.json": 1 for split in ("train", "val")}


def test_a_gpu_that_pytorch_has_no_kernels_for_trains_nothing(
    dino: Init, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyTorch lists it, and says so in a warning alone."""
    monkeypatch.setattr(init, "this_machine", inventory.this_machine)
    monkeypatch.setattr(inventory, "gpus", lambda: (Gpu("Tesla P40", 24 * GIB, (6, 1)),))
    monkeypatch.setattr(inventory, "architectures", lambda: ("sm_75", "sm_90", "sm_120"))
    by_split(dino.folder / "coco", "train")
    assert dino.wrote()["train"]["num_gpus"] == 0
    assert "and no GPU" in dino.out
    monkeypatch.setattr(inventory, "architectures", lambda: ("sm_60", "sm_90"))
    dino.spec.unlink()
    assert dino.wrote()["train"]["num_gpus"] == 1


def test_every_value_is_said_why(dino: Init) -> None:
    """Four in five lines have a comment; no line is a default that goes without saying."""
    by_split(dino.folder / "coco", "train", "val")
    dino.wrote()
    lines = [line for line in dino.spec.read_text().splitlines() if line and line[0] != "#"]
    values = [line for line in lines if not line.endswith(":") and "image_dir" not in line]
    assert sum("#" in line for line in values) / len(values) > 0.6
    assert "# whether this CPU has bf16 in hardware is not known here" in dino.spec.read_text()


def test_entries_that_cannot_be_used_are_counted(dino: Init) -> None:
    by_split(dino.folder / "coco", "train", "val")
    file = dino.folder / "coco/train/annotations.json"
    document = json.loads(file.read_text())
    document["annotations"][0]["category_id"] = 77
    file.write_text(json.dumps(document))
    dino.wrote()
    assert "Entries that cannot be used: 1. dino preflight names them" in dino.out


def test_a_spec_that_is_there_is_left_alone(dino: Init) -> None:
    by_split(dino.folder / "coco", "train", "val")
    dino.spec.write_text("mine")
    assert dino.run() == 64
    assert "spec.yaml is there already" in dino.err
    assert dino.spec.read_text() == "mine"
    assert dino.run("coco", "--output", "other.yaml") == 0
    load(read_mapping(dino.folder / "other.yaml"))


VOC = "<annotation><filename>a.jpg</filename></annotation>"
OTHERS = {
    "voc": ({"Annotations/a.xml": VOC}, "voc coco --output out --split"),
    "voc with lists": (
        {"Annotations/a.xml": VOC, "ImageSets/Main/train.txt": "a"},
        "voc coco --output out   and",
    ),
    "voc beside images": ({"a.xml": VOC, "a.jpg": None}, "voc coco --output out --split"),
    "voc by split": ({"train/a.xml": VOC, "valid/b.xml": VOC}, "voc coco --output out   and"),
    "voc in its devkit": (
        {"VOC2012/Annotations/a.xml": VOC},
        "voc coco/VOC2012 --output out --split",
    ),
    "yolo": ({"data.yaml": "names: [a]", "train/labels/a.txt": ""}, "yolo coco --output out   and"),
    "yolo of Label Studio": (
        {"classes.txt": "a", "labels/a.txt": "0 0.5 0.5 0.1 0.1\n"},
        "yolo coco --output out --split",
    ),
    "kitti": (
        {"label_2/a.txt": "Car 0 0 0 1 2 3 4 0 0 0 0 0 0 0\n"},
        "kitti coco --output out --split",
    ),
    "label-studio": (
        {"project-1.json": '[{"id": 1}]'},
        "label-studio coco/project-1.json --output out --split",
    ),
    "cvat": ({"annotations.xml": "<annotations/>"}, "cvat coco --output out --split"),
    "datumaro": (
        {"annotations/default.json": '{"items": [], "categories": {}}'},
        "datumaro coco --output out --split",
    ),
    "fiftyone": ({"samples.json": "{}", "metadata.json": "{}"}, "fiftyone coco --output out"),
}


@pytest.mark.parametrize("case", OTHERS)
def test_another_format_is_told_with_the_command_that_helps(case: str, dino: Init) -> None:
    files, command = OTHERS[case]
    for name, text in files.items():
        path = dino.folder / "coco" / name
        put_image(path) if text is None else put(path, text)
    said = dino.refused()
    assert f"it looks like {case.split()[0]}" in said
    assert f"dino convert {command.replace('--output out', '--output coco-dataset')}" in said


def test_the_command_that_is_told_makes_a_folder_that_is_taken(dino: Init) -> None:
    """Word for word."""
    for name in "abcdefgh":
        put_image(dino.folder / f"shots/images/{name}.jpg", (64, 48))
        put(dino.folder / f"shots/labels/{name}.txt", "0 0.5 0.5 0.25 0.5\n")
    put(dino.folder / "shots/classes.txt", "ant\n")
    said = dino.refused("shots").partition("dino convert ")[2]
    convert, _, again = said.partition("   and then   dino init ")
    assert main(["convert", *convert.split()]) == 0
    dino.capture.readouterr()
    dino.wrote(again.split()[0])


@pytest.mark.parametrize(
    "make, words, said",
    [
        (lambda root: None, "coco", "There is no coco."),
        (lambda root: root.mkdir(), "coco", "coco holds no annotations that are COCO."),
        (lambda root: put_image(root / "a.jpg"), "coco", "holds images, and no annotations"),
        (lambda root: put(root, "x"), "coco", "coco is a file."),
        (lambda root: None, "s3://bucket/coco", "lies in an object store"),
        (lambda root: put(root / "annotations.json", "{"), "coco", "annotations.json is not JSON"),
        (
            lambda root: put_json(root / "annotations.json", a_document()),
            "coco",
            "lists '1.jpg', which lies in none of coco",
        ),
        (lambda root: by_split(root, "val"), "coco", "has no split for training, only val."),
        (
            lambda root: put_json(
                root / "annotations.json", a_document(categories=[{"id": 2**31, "name": "a"}])
            ),
            "coco",
            "dino renumber",
        ),
        (
            lambda root: annotated(root / "annotations.json", root, categories=[{}]),
            "coco",
            "lists no category",
        ),
    ],
    ids=["nothing", "empty", "images", "a file", "s3", "no JSON", "no images", "no train",
         "checksums", "no category"],
)  # fmt: skip
def test_what_is_no_coco_folder_is_refused_in_a_sentence(
    make: Any, words: str, said: str, dino: Init
) -> None:
    make(dino.folder / "coco")
    assert said in dino.refused(words)


def test_a_folder_that_nobody_may_write_to(dino: Init) -> None:
    by_split(dino.folder / "coco", "train")
    assert dino.run("coco", "--output", "none/spec.yaml") == 66
    assert "none/spec.yaml" in dino.err
    shutil.rmtree(dino.folder / "coco")
