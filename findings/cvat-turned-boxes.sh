#!/bin/sh
# datumaro 1.13.12, hotcoco 1.3.0.
#
# A box that is turned in CVAT ("CVAT for images 1.1", rotation in degrees): on its way to COCO, datumaro leaves it out
# without a word, and hotcoco writes it as if it had not been turned. Neither is the box around it, [6.2, 1.7, 43.7, 39.7]
# here, which Label Studio's converter writes for its turned boxes.
#
# Seen:
#   datumaro: turned None, the other [50.0, 30.0, 20.0, 24.0]
#   hotcoco: turned [10.0, 9.0, 36.0, 25.0], the other [50.0, 30.0, 20.0, 24.0]
#
# Fails where that is no longer so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT TERM
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet datumaro==1.13.12 hotcoco==1.3.0 pillow
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import json
from pathlib import Path

from datumaro.components.dataset import Dataset
from hotcoco import COCO
from PIL import Image

BOX = '<box label="{}" source="manual" occluded="0" xtl="{}" ytl="{}" xbr="{}" ybr="{}" z_order="0"{}></box>'
boxes = BOX.format("turned", 10, 9, 46, 34, ' rotation="30.00"') + BOX.format("level", 50, 30, 70, 54, "")
labels = "".join(f"<label><name>{name}</name><attributes/></label>" for name in ("turned", "level"))
Path("task/images").mkdir(parents=True)
Image.new("RGB", (96, 72)).save("task/images/1.jpg")
Path("task/annotations.xml").write_text(
    f"<annotations><version>1.1</version><meta><task><mode>annotation</mode><labels>{labels}</labels></task></meta>"
    f'<image id="0" name="1.jpg" width="96" height="72">{boxes}</image></annotations>'
)


def told(tool, path):
    document = json.loads(path.read_text())
    names = {one["id"]: one["name"] for one in document["categories"]}
    found = {names[one["category_id"]]: one["bbox"] for one in document["annotations"]}
    print(f"{tool}: turned {found.get('turned')}, the other {found.get('level')}")
    return found


Dataset.import_from("task", "cvat").export("datumaro", "coco_instances")
COCO.from_cvat("task/annotations.xml").save("hotcoco.json")
level = [50, 30, 20, 24]
assert told("datumaro", next(Path("datumaro/annotations").iterdir())) == {"level": level}
assert told("hotcoco", Path("hotcoco.json")) == {"turned": [10, 9, 36, 25], "level": level}
PYTHON
