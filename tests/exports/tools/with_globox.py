"""globox: read from Pascal VOC, YOLO and COCO, written as COCO."""

import json

from common import IMAGES, OUT, coco, voc, write, wrote, yolo
from globox import AnnotationSet

voc(OUT / "voc_in")
AnnotationSet.from_pascal_voc(OUT / "voc_in").save_coco(OUT / "voc.json", auto_ids=True)
wrote("from Pascal VOC, auto_ids", OUT / "voc.json")

yolo(OUT / "yolo_in")
for path in (OUT / "yolo_in/images").glob("*.png"):  # it takes one ending for all of them
    path.with_suffix(".jpg").write_bytes(path.read_bytes())
read = AnnotationSet.from_yolo_v5(OUT / "yolo_in/labels", image_folder=OUT / "yolo_in/images")
read.save_coco(OUT / "yolo.json", auto_ids=True)
wrote("from YOLO, auto_ids", OUT / "yolo.json", OUT / "yolo_in/images")

plain = write(OUT / "coco_in.json", json.dumps(coco()))
AnnotationSet.from_coco(plain).save_coco(OUT / "coco.json")
wrote("from COCO", OUT / "coco.json", IMAGES)
