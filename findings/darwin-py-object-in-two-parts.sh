#!/bin/sh
# darwin-py 3.6.3.
#
# An object in two parts (one polygon with two paths, as V7 has it where something stands before the object) becomes a crowd
# in COCO: iscrowd 1 and area 0, and a box that is rounded and a pixel too large. COCO's scoring ignores what is found in a
# crowd, and trainings leave crowds out: the object is gone.
# A folder in Darwin ("path") is left out of file_name, too: two pictures of one name in two folders become one.
#
# Seen:
#   one part: iscrowd 0, area 600.0, bbox [10, 8, 30, 20]
#   two parts: iscrowd 1, area 0, bbox [10, 8, 31, 21]
#   file names: ['1.jpg', '1.jpg']
#
# Fails where that is no longer so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT TERM
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet darwin-py==3.6.3
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import contextlib
import io
import json
from pathlib import Path

from darwin.exporter import export_annotations, get_exporter


def path(x, y, width, height):
    corners = ((x, y), (x + width, y), (x + width, y + height), (x, y + height))
    return [{"x": a, "y": b} for a, b in corners]


def file(folder, paths):
    slot = {"slot_name": "0", "type": "image", "width": 96, "height": 72, "source_files": [{"file_name": "1.jpg"}]}
    shape = {"id": folder, "name": "cat", "slot_names": ["0"], "polygon": {"paths": paths}}
    item = {"name": "1.jpg", "path": folder, "source_info": {}, "slots": [slot]}
    written = Path(f"{len(paths)}.json")
    written.write_text(json.dumps({"version": "2.0", "item": item, "annotations": [shape]}))
    return written


whole = file("/left", [path(10, 8, 30, 20)])
halves = file("/right", [path(10, 8, 13, 20), path(27, 8, 13, 20)])
with contextlib.redirect_stdout(io.StringIO()):
    export_annotations(get_exporter("coco"), [whole, halves], Path())
document = json.loads(Path("output.json").read_text())
for title, one in zip(("one part", "two parts"), document["annotations"]):
    print(f"{title}: iscrowd {one['iscrowd']}, area {one['area']}, bbox {one['bbox']}")
names = [one["file_name"] for one in document["images"]]
print("file names:", names)
one, two = document["annotations"]
assert (one["iscrowd"], one["area"], one["bbox"]) == (0, 600, [10, 8, 30, 20])
assert (two["iscrowd"], two["area"], two["bbox"]) == (1, 0, [10, 8, 31, 21])
assert names == ["1.jpg", "1.jpg"]
PYTHON
