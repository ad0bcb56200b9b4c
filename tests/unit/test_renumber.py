"""`dino renumber`: what preflight says to do about ids that no model can have, to the letter."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from dino_trainer.command.cli import main
from dino_trainer.data.coco_file import read_coco
from tests.unit.preflight_lab import Lab, lab

__all__ = ["lab"]


def shifted(lab: Lab, *ids: Any) -> None:
    """Every file has these in place of the category ids 1 and 2."""
    for side in lab.sides:
        for category in side.coco["categories"]:
            category["id"] = ids[category["id"] - 1]
        for box in side.coco["annotations"]:
            box["category_id"] = ids[box["category_id"] - 1]


def renumbered(lab: Lab) -> int:
    """Writes the files, renumbers them all at once, and names what was written in the spec."""
    paths = []
    for side in lab.sides:
        side.write()
        paths.append(str(side.folder / "annotations.json"))
    for key in ("train_data_sources", "val_data_sources"):
        for source in lab.spec["dataset"][key]:
            source["json_file"] = source["json_file"].replace(".json", ".renumbered.json")
    return main(["renumber", *paths])


@pytest.mark.parametrize(
    "ids",
    [(3_904_355_907, 112_844_655), (2**53, 2**53 + 1), (2**70, 2**64), (-3, -1), ("a", "b")],
    ids=str,
)
def test_the_files_that_it_writes_pass(lab: Lab, ids: tuple[Any, Any]) -> None:
    shifted(lab, *ids)
    assert lab.run() == 65
    assert renumbered(lab) == 0
    assert lab.check() == 0
    assert lab.findings == {}
    assert lab.reported.dataset is not None
    assert lab.reported.dataset.num_classes == 3
    wanted = ["", "cell", "dot"] if list(ids) == sorted(ids) else ["", "dot", "cell"]
    assert lab.reported.dataset.class_names == wanted


def test_the_remedy_is_a_command_that_works(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """The words between backquotes, with the names of files that it speaks of."""
    shifted(lab, 3_904_355_907, 112_844_655)
    assert lab.run() == 65
    command = lab.err.split("`")[1]
    assert command == "dino renumber train.json val.json"
    monkeypatch.chdir(lab.folder)
    for side, name in zip(lab.sides, ("train", "val"), strict=True):
        Path(f"{name}.json").write_text(json.dumps(side.coco))
    assert main(shlex.split(command)[1:]) == 0
    for key, name in (("train_data_sources", "train"), ("val_data_sources", "val")):
        lab.spec["dataset"][key][0]["json_file"] = str(lab.folder / f"{name}.renumbered.json")
    assert lab.check() == 0
    assert lab.findings == {}


def test_an_id_is_the_same_in_all_files_and_nothing_else_changes(lab: Lab) -> None:
    """Though one of them lacks a category, and texts have other letters than ASCII."""
    shifted(lab, 70_000, 90_000)
    lab.validation.coco["categories"].insert(0, {"id": 80_000, "name": "Häuser"})
    lab.train.coco["info"] = {"note": "unchanged"}
    assert renumbered(lab) == 0
    written = [
        json.loads((side.folder / "annotations.renumbered.json").read_text()) for side in lab.sides
    ]
    assert [one["id"] for one in written[0]["categories"]] == [1, 3]
    assert [(c["id"], c["name"]) for c in written[1]["categories"]] == [
        (2, "Häuser"), (1, "cell"), (3, "dot")
    ]  # fmt: skip
    assert written[0]["info"] == {"note": "unchanged"}
    assert written[0]["images"] == lab.train.coco["images"]
    before = [{**box, "category_id": 0} for box in lab.train.coco["annotations"]]
    assert [{**box, "category_id": 0} for box in written[0]["annotations"]] == before
    assert json.loads((lab.train.folder / "annotations.json").read_text()) == lab.train.coco


def test_what_cannot_be_mapped_is_named_and_nothing_is_written(
    lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused() -> str:
        assert renumbered(lab) == 65
        assert not list(lab.folder.rglob("*.renumbered.json"))
        return capsys.readouterr().err

    shifted(lab, 70_000, 90_000)
    lab.validation.box()["category_id"] = 5
    assert "annotations[0] has category_id 5, and no file lists it" in refused()
    lab.validation.box()["category_id"] = 70_000
    lab.validation.coco["categories"][0]["name"] = "cat"
    assert "category 70000 is 'cat' here and 'cell' in another file" in refused()
    lab.validation.coco["categories"][0] = {"id": 1.5, "name": "cell"}
    assert "categories[0] has no id that is a whole number or a text" in refused()
    lab.validation.coco["categories"] = [{"id": 90_000, "name": "dot"}] * 2
    assert "has the id 90000, as one before it" in refused()
    lab.validation.coco["categories"] = {"90000": "dot"}
    assert "'categories' is no list of objects" in refused()


def test_files_that_are_elsewhere_or_nowhere(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["renumber", "s3://bucket/train.json"]) == 64
    assert "Copy it here" in capsys.readouterr().err
    assert main(["renumber", "/no/such.json"]) == 66
    assert "/no/such.json" in capsys.readouterr().err


def test_help_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["renumber", "--help"])
    assert ended.value.code == 0
    assert "annotations.renumbered.json" in capsys.readouterr().out


def test_a_training_refuses_what_preflight_refuses(lab: Lab, tmp_path: Path) -> None:
    shifted(lab, 3_904_355_907, 112_844_655)
    lab.train.write()
    with pytest.raises(Exception, match=r"largest category id is 3904355907 \('cell'\)"):
        read_coco(lab.train.folder / "annotations.json")


def test_names_that_are_no_utf8_stay_what_they_are(
    lab: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of images, as other tools write them, of categories, and of the file itself."""
    shifted(lab, 70_000, 90_000)
    lab.train.image()["file_name"] = "\udce9.jpg"
    lab.train.coco["categories"][0]["name"] = "caf\udce9, café"
    path = tmp_path / "\udce9.json"
    path.write_text(json.dumps(lab.train.coco))
    assert main(["renumber", str(path)]) == 0
    text = (tmp_path / "\udce9.renumbered.json").read_text(encoding="utf-8")
    assert "café" in text, "what is text stays so"
    assert json.loads(text)["images"][0]["file_name"] == "\udce9.jpg"
    assert json.loads(text)["categories"][0]["name"] == "caf\udce9, café"
    assert "\\udce9.renumbered.json" in capsys.readouterr().out
