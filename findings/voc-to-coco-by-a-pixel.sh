#!/bin/sh
# datumaro 1.13.12, globox 2.9.0, hotcoco 1.3.0, pylabel 0.1.55 (pandas 2.3.3), supervision 0.31.2.
#
# One Pascal VOC file, five converters, two answers. The corners of VOC are pixels, counted from 1, and the last one is inside:
# xmin 11 and xmax 40 are the 30 columns 10 to 39, in COCO [10, …, 30, …]. hotcoco and supervision write that. datumaro,
# globox and pylabel take the numbers as edges counted from 0: a pixel to the lower right, and a pixel smaller. On a box of
# 10 pixels that is an IoU of 0.81, on one of 4 pixels 0.56.
#
# Seen:
#   datumaro: [11.0, 10.0, 29.0, 18.0]
#   globox: [11.0, 10.0, 29.0, 18.0]
#   hotcoco: [10.0, 9.0, 30.0, 19.0]
#   pylabel: [11.0, 10.0, 29.0, 18.0]
#   supervision: [10.0, 9.0, 30.0, 19.0]
#
# Fails where that is no longer so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT TERM
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet \
  datumaro==1.13.12 globox==2.9.0 hotcoco==1.3.0 pylabel==0.1.55 pandas==2.3.3 supervision==0.31.2
cd "$folder"
"$folder/venv/bin/python" -W ignore - 2>"$folder/log" <<'PYTHON' || { cat "$folder/log" >&2; exit 1; }
import json
from pathlib import Path

import supervision as sv
from datumaro.components.dataset import Dataset
from globox import AnnotationSet
from hotcoco import COCO
from PIL import Image
from pylabel import importer

for name in ("voc/JPEGImages", "voc/Annotations", "voc/ImageSets/Main"):
    Path(name).mkdir(parents=True)
Image.new("RGB", (96, 72)).save("voc/JPEGImages/1.jpg")
Path("voc/ImageSets/Main/train.txt").write_text("1\n")
Path("voc/Annotations/1.xml").write_text(
    "<annotation><folder>JPEGImages</folder><filename>1.jpg</filename>"
    "<size><width>96</width><height>72</height><depth>3</depth></size><segmented>0</segmented>"
    "<object><name>cat</name><pose>Unspecified</pose><truncated>0</truncated><difficult>0</difficult>"
    "<bndbox><xmin>11</xmin><ymin>10</ymin><xmax>40</xmax><ymax>28</ymax></bndbox></object></annotation>"
)


def told(tool, path):
    (box,) = (one["bbox"] for one in json.loads(Path(path).read_text())["annotations"])
    print(f"{tool}: {[float(value) for value in box]}")
    return box


Dataset.import_from("voc", "voc_detection").export("datumaro", "coco_instances")
AnnotationSet.from_pascal_voc(Path("voc/Annotations")).save_coco(Path("globox.json"), auto_ids=True)
COCO.from_voc("voc/Annotations").save("hotcoco.json")
importer.ImportVOC("voc/Annotations").export.ExportToCoco("pylabel.json")
sv.DetectionDataset.from_pascal_voc("voc/JPEGImages", "voc/Annotations").as_coco("sv", "supervision.json")
found = {
    "datumaro": told("datumaro", next(Path("datumaro/annotations").iterdir())),
    **{tool: told(tool, f"{tool}.json") for tool in ("globox", "hotcoco", "pylabel", "supervision")},
}
inside, edges = [10, 9, 30, 19], [11, 10, 29, 18]
assert found == {
    "datumaro": edges, "globox": edges, "hotcoco": inside, "pylabel": edges, "supervision": inside,
}
PYTHON
