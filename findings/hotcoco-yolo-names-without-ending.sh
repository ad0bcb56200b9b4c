#!/bin/sh
# hotcoco 1.3.0 (Pillow 12.3.0).
#
# COCO.from_yolo writes file names without their ending, though it opened the pictures to read their size. No picture of
# the file that it saves can be found by its name. from_voc and from_cvat keep the ending.
#
# Seen:
#   from_yolo: ['1', '2']
#   from_voc: ['1.jpg']
#
# Fails where that is no longer so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT TERM
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet hotcoco==1.3.0 pillow==12.3.0
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import json
from pathlib import Path

from hotcoco import COCO
from PIL import Image

for name in ("images", "labels", "voc"):
    Path(name).mkdir()
Image.new("RGB", (96, 72)).save("images/1.jpg")
Image.new("RGB", (96, 72)).save("images/2.png")
Path("labels/1.txt").write_text("0 0.5 0.5 0.25 0.25\n")
Path("labels/2.txt").write_text("0 0.5 0.5 0.25 0.25\n")
Path("labels/data.yaml").write_text("nc: 1\nnames: [cat]\n")
Path("voc/1.xml").write_text(
    "<annotation><filename>1.jpg</filename><size><width>96</width><height>72</height><depth>3</depth></size>"
    "<object><name>cat</name><bndbox><xmin>11</xmin><ymin>10</ymin><xmax>40</xmax><ymax>28</ymax></bndbox></object>"
    "</annotation>"
)


def names(how, dataset):
    dataset.save("out.json")
    found = [one["file_name"] for one in json.loads(Path("out.json").read_text())["images"]]
    print(f"{how}: {found}")
    return found


assert names("from_yolo", COCO.from_yolo("labels", "images")) == ["1", "2"]
assert names("from_voc", COCO.from_voc("voc")) == ["1.jpg"]
PYTHON
