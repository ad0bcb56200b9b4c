#!/bin/sh
# pylabel 0.1.55 (pandas 2.3.3, numpy 2.4.6).
#
# A picture without a box gets the box of the picture before it, once more: ExportToCoco repeats the last annotation, with
# the image_id and the id that it had. The file has one annotation too many for every picture without one, and two of the
# same id. Where the first picture has none, the export ends with an UnboundLocalError.
#
# Seen:
#   2 boxes in, 4 out: ids [0, 0, 2, 2], image ids [1, 1, 3, 3]
#   the first picture without a box: UnboundLocalError
#
# Fails where that is no longer so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT TERM
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pylabel==0.1.55 pandas==2.3.3 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" -W ignore - 2>"$folder/log" <<'PYTHON' || { cat "$folder/log" >&2; exit 1; }
import json

from pylabel import importer


def written(owners):
    """What comes back of four pictures, with a box for each of `owners`."""
    images = [{"id": n, "file_name": f"{n}.jpg", "width": 40, "height": 30} for n in (1, 2, 3, 4)]
    boxes = [
        {"id": 10 + n, "image_id": n, "category_id": 1, "bbox": [n, 2, 9, 9], "area": 81, "iscrowd": 0}
        for n in owners
    ]
    document = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "cell"}]}
    with open("in.json", "w") as file:
        json.dump(document, file)
    importer.ImportCoco("in.json").export.ExportToCoco("out.json")
    with open("out.json") as file:
        return json.load(file)["annotations"]


found = written([1, 3])
ids, owners = [box["id"] for box in found], [box["image_id"] for box in found]
print(f"2 boxes in, {len(found)} out: ids {ids}, image ids {owners}")
try:
    written([2, 3])
    first = "no error"
except UnboundLocalError as error:
    first = type(error).__name__
print("the first picture without a box:", first)
assert (ids, owners, first) == ([0, 0, 2, 2], [1, 1, 3, 3], "UnboundLocalError")
PYTHON
