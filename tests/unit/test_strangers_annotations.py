"""Annotation files that are no COCO, or nearly: said as what they are."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dino_api.experiment.paths import nearest
from dino_api.loading import load
from dino_api.problem import SpecErrors
from dino_trainer.data.coco_json import NotCoco, read_json
from dino_trainer.data.name_forms import apart
from dino_trainer.data.shifted_ids import shifted
from tests.unit.preflight_lab import document

TEXT = json.dumps(document(1, 3)).encode()
SAID: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "gzip": (gzip.compress, "is not JSON text, but compressed with gzip."),
    "a ZIP": (lambda b: b"PK\x03\x04\xff" + b, "is not JSON text: it is a ZIP archive."),
    "Latin-1": (
        lambda b: b.replace(b"cell", b"z\xfclle"),
        "is not JSON text in UTF-8: the byte 0xfc in line 1 is none of it.",
    ),
    "JSON Lines": (
        lambda b: b + b"\n" + b,
        "is not JSON: a second text begins at line 2, column 1 (JSON Lines?).",
    ),
    "a list around it": (lambda b: b"[" + b + b"]", "it holds a list around the object."),
    "detections": (lambda b: b'[{"image_id": 1}]', "it holds a list (detections?)."),
    "a list twice": (
        lambda b: b[:-1] + b', "annotations": []}',
        "has 'annotations' twice, of which readers keep the last one alone.",
    ),
}


@pytest.mark.parametrize(("spoil", "said"), SAID.values(), ids=SAID)
def test_a_file_is_called_what_it_is(
    spoil: Callable[[bytes], bytes], said: str, tmp_path: Path
) -> None:
    path = tmp_path / "annotations.json"
    path.write_bytes(spoil(TEXT))
    with pytest.raises(NotCoco) as why:
        read_json(path)
    assert said in why.value.message


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_other_encodings_of_json_are_read(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "annotations.json"
    path.write_text(TEXT.decode(), encoding=encoding)
    assert read_json(path) == json.loads(TEXT)


def test_a_name_within_another_object_is_no_second_list(tmp_path: Path) -> None:
    path = tmp_path / "annotations.json"
    content = {**json.loads(TEXT), "info": {"images": 3, "annotations": "none"}}
    path.write_text(json.dumps(content))
    assert read_json(path) == content


def boxes(*ids: Any) -> list[dict[str, Any]]:
    return [{"category_id": id} for id in ids]


@pytest.mark.parametrize(
    ("listed", "used", "said"),
    [
        (range(3), [1, 2, 3], "(the list has 0 to 2, the boxes 1 to 3)"),
        (range(3), [3, 3], "(the list has 0 to 2, the boxes 3)"),
        (range(1, 4), [0, 1, 2], "(the list has 1 to 3, the boxes 0 to 2)"),
        ([0], [1], "(the list has 0, the boxes 1)"),
    ],
)
def test_a_shift_is_told(listed: Any, used: list[int], said: str) -> None:
    flaw = shifted({id: f"class {id}" for id in listed}, boxes(*used), "a.json")
    assert flaw is not None
    assert (flaw.rule, flaw.where) == ("category-ids-shifted", said)


NO_SHIFT: dict[str, tuple[dict[int, str], list[Any]]] = {
    "all listed": ({0: "a", 1: "b"}, [0, 1]),
    "both ends in use": ({0: "a", 1: "b"}, [0, 1, 2]),
    "two are unknown": ({0: "a", 1: "b"}, [1, 2, 3]),
    "far away": ({0: "a", 1: "b"}, [1, 7]),
    "a background, which has no box": ({0: "_background_", 1: "b"}, [1, 2]),
    "gaps in the list": ({0: "a", 2: "b"}, [2, 3]),
    "a list that begins elsewhere": ({5: "a", 6: "b"}, [6, 7]),
    "texts": ({0: "a", 1: "b"}, ["1", "2", None, True]),
    "no list": ({}, [1]),
    "no boxes": ({0: "a"}, []),
}


@pytest.mark.parametrize(("listed", "used"), NO_SHIFT.values(), ids=NO_SHIFT)
def test_what_is_no_shift(listed: dict[int, str], used: list[Any]) -> None:
    assert shifted(listed, [*boxes(*used), None, 3], "a.json") is None


def test_names_that_look_the_same_are_told_apart() -> None:
    shown = apart(["Käfer", "Ka\u0308fer", "cell"])
    assert shown == {
        "Käfer": r"'K\xe4fer'",
        "Ka\u0308fer": r"'Ka\u0308fer'",
        "cell": "'cell'",
    }


def test_a_key_with_dots_in_its_name_is_not_asked_for_by_the_same_name() -> None:
    assert nearest("model.num_queries") == ["model.num_queries"]
    with pytest.raises(SpecErrors) as why:
        load({"model.num_queries": 5})
    assert "is one key with dots in its name" in str(why.value)
    assert "Did you mean" not in str(why.value)
