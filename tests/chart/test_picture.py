"""README's picture: photographs with the boxes of an inference, and what `kubectl get` says."""

from __future__ import annotations

import base64
import io
import re
import tarfile
import xml.etree.ElementTree as Xml

import pytest
import yaml
from PIL import Image

from demo import picture
from demo.errors import DemoError
from tests.chart.conftest import ROOT

SVG = "{http://www.w3.org/2000/svg}"
SHOWN = ROOT / "docs" / "cells.svg"
README = (ROOT / "README.md").read_text()
CLASSES = {1: "cell", 2: "<odd & name>"}
PREDICTIONS = {
    "images": [{"id": 7, "file_name": "images/a.jpg"}, {"id": 9, "file_name": "images/b.jpg"}],
    "annotations": [
        {"image_id": 7, "category_id": 1, "bbox": [40, 30, 80, 60], "score": 0.91},
        {"image_id": 7, "category_id": 2, "bbox": [0, 0, 20, 20], "score": 0.5},
    ],
}
SAID = "$ kubectl get\nNAME  MAP50\ndigits  0.7\n"


def archive(*names: str) -> bytes:
    """As a dataset has it: images of 160x120."""
    content, image = io.BytesIO(), io.BytesIO()
    Image.new("RGB", (160, 120), "teal").save(image, "JPEG")
    with tarfile.open(fileobj=content, mode="w:gz") as tar:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = len(image.getvalue())
            tar.addfile(member, io.BytesIO(image.getvalue()))
    return content.getvalue()


BOTH = archive("images/a.jpg", "images/b.jpg")


def texts(svg: str) -> list[str]:
    return [each.text or "" for each in Xml.fromstring(svg).iter(f"{SVG}text")]


def test_boxes_are_where_the_job_found_them() -> None:
    """Two photographs of 160 pixels beside each other in 960: each pixel is 2.975 wide."""
    photos = picture.photographs(PREDICTIONS, BOTH, [])
    whole = Xml.fromstring(picture.picture(photos, CLASSES, SAID))
    tiles = whole.findall(f"{SVG}svg")
    assert [float(tile.get("x", "")) for tile in tiles] == [0, 484]
    boxes = [each for each in tiles[0].iter(f"{SVG}rect") if each.get("class") == "box"]
    sides = [[float(box.get(side, "")) for side in ("x", "y", "width", "height")] for box in boxes]
    assert sides[0] == pytest.approx([0, 0, 59.5, 59.5], abs=0.1)
    assert sides[1] == pytest.approx([119, 89.25, 238, 178.5], abs=0.1)
    assert not list(tiles[1].iter(f"{SVG}rect")), "nothing was found in it"


def test_names_scores_and_the_terminal_are_as_they_were_said() -> None:
    photos = picture.photographs(PREDICTIONS, BOTH, ["a.jpg"])
    said = texts(picture.picture(photos, CLASSES, SAID))
    assert said == ["<odd & name> 0.50", "cell 0.91", *SAID.splitlines()]


def test_a_name_is_not_the_end_of_another() -> None:
    """Neither among those that the job has seen nor in the archive."""
    names = ("images/15.png", "images/5.png")
    seen = {
        "images": [{"id": at, "file_name": name} for at, name in enumerate(names)],
        "annotations": [{"image_id": 1, "category_id": 1, "bbox": [0, 0, 9, 9], "score": 0.9}],
    }
    (photo,) = picture.photographs(seen, archive(*names), ["5.png"])
    assert [each.label for each in photo.found] == [1]
    with pytest.raises(DemoError, match=r"seen no image ages/5\.png"):
        picture.photographs(seen, archive(*names), ["ages/5.png"])
    without_folder = {"images": [{"id": 1, "file_name": "5.png"}], "annotations": []}
    assert picture.photographs(without_folder, archive("images/5.png"), [])
    with pytest.raises(DemoError, match=r"5\.png is not in the archive"):
        picture.photographs(without_folder, archive("images/15.png"), [])


def test_photographs_are_within_the_file_and_upright() -> None:
    photos = picture.photographs(PREDICTIONS, BOTH, ["b.jpg"])
    svg = picture.picture(photos, CLASSES, SAID, notice="(c) <somebody>")
    (image,) = Xml.fromstring(svg).iter(f"{SVG}image")
    kind, _, data = (image.get("href") or "").partition(",")
    assert kind == "data:image/jpeg;base64"
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == (1440, 1080)
    assert Xml.fromstring(svg).findtext(f"{SVG}metadata") == "(c) <somebody>"


@pytest.mark.parametrize(
    "names, content, message",
    [(["c.jpg"], BOTH, "seen no image c.jpg"), (["a.jpg"], archive("b.jpg"), "not in the archive")],
)
def test_an_image_that_is_not_there_is_named(
    names: list[str], content: bytes, message: str
) -> None:
    with pytest.raises(DemoError, match=message):
        picture.photographs(PREDICTIONS, content, names)


def test_the_readmes_picture_is_of_a_job_whose_score_it_shows() -> None:
    """Its columns are those of kubectl, and nothing in it is asked of another host."""
    assert f"]({SHOWN.relative_to(ROOT)})" in README
    text = SHOWN.read_text()
    assert len(text) < 150_000
    crd = yaml.safe_load((ROOT / "crds" / "dino-operator.io_dinojobs.yaml").read_text())
    columns = crd["spec"]["versions"][0]["additionalPrinterColumns"]
    (head,) = (line for line in texts(text) if line.startswith("NAME "))
    shown = [each["name"].upper() for each in columns if not each.get("priority")]
    assert head.split() == ["NAME", *shown]
    (row,) = (line for line in texts(text) if re.match(r"\S+ +train ", line))
    assert re.search(r" Complete +Finished +100% +0\.\d+ ", row)
    assert set(re.findall(r'href="([^:"]*):', text)) == {"data"}
    assert "Permission is hereby granted" in text, "the licence of the photographs"
