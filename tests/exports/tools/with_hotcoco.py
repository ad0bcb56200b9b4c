"""hotcoco: read from YOLO, Pascal VOC, CVAT and COCO, written as COCO."""

import json

from common import CLASSES, IMAGES, OUT, coco, cvat, voc, write, wrote, yolo
from hotcoco import COCO


def export(dataset, name, what, images=IMAGES):
    dataset.save(str(OUT / f"{name}.json"))
    wrote(what, OUT / f"{name}.json", images)


export(COCO(coco()), "coco", "from COCO")
voc(OUT / "voc_in")
export(COCO.from_voc(str(OUT / "voc_in")), "voc", "from Pascal VOC")
yolo(OUT / "yolo_in")
names = "\n".join(f"  {place}: {name}" for place, name in enumerate(CLASSES))
write(OUT / "yolo_in/labels/data.yaml", f"nc: {len(CLASSES)}\nnames:\n{names}\n")
read = COCO.from_yolo(str(OUT / "yolo_in/labels"), str(OUT / "yolo_in/images"))
export(read, "yolo", "from YOLO", OUT / "yolo_in/images")
turned = cvat(OUT / "cvat_in.xml", rotation=30)
export(COCO.from_cvat(str(turned)), "cvat", "from CVAT for images 1.1, one box turned")
plain = write(OUT / "coco_in.json", json.dumps(coco()))
export(COCO.merge([COCO(str(plain)), COCO(str(plain))]), "merged", "merge of a file with itself")
