#!/bin/sh
# pycocotools 2.0.11 (numpy 2.4.6).
#
# A detector that finds the one box there is scores 1.0, unless a number in the annotation file is an odd one. No word is said:
#
#   annotation id 0: the detection counts as having found nothing (evaluateImg keeps the id of what was found, and 0 is "none")
#   negative area: the box is left out of every size, "all" too
#   iscrowd "0", a text: it is true, and the box a crowd
#
# and an empty list of results ends in IndexError (loadRes), though a detector that finds nothing has the score 0.
#
# Seen:
#   as it should be: 1.000
#   annotation id 0: 0.000
#   negative area: -1.000
#   iscrowd "0": -1.000
#   no results: IndexError
#
# Fails where that is no longer so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT TERM
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pycocotools==2.0.11 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import contextlib
import io

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval


def score(results, **changes):
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        box = {"id": 1, "image_id": 3, "category_id": 1, "bbox": [5, 5, 20, 20], "area": 400, "iscrowd": 0}
        truth.dataset = {
            "images": [{"id": 3, "width": 100, "height": 100}],
            "annotations": [{**box, **changes}],
            "categories": [{"id": 1, "name": "c"}],
        }
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats[0]


def perfect():
    return [{"image_id": 3, "category_id": 1, "bbox": [5, 5, 20, 20], "score": 0.9}]


cases = {
    "as it should be": {},
    "annotation id 0": {"id": 0},
    "negative area": {"area": -400},
    'iscrowd "0"': {"iscrowd": "0"},
}
seen = {name: score(perfect(), **changes) for name, changes in cases.items()}
for name, value in seen.items():
    print(f"{name}: {value:.3f}")
assert [round(value) for value in seen.values()] == [1, 0, -1, -1]
try:
    score([])
except IndexError:
    print("no results: IndexError")
else:
    raise AssertionError("an empty list of results is read")
PYTHON
