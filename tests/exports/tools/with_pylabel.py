"""PyLabel: read from Pascal VOC, YOLO and COCO, written as COCO."""

import json

from common import CLASSES, IMAGES, OUT, coco, voc, write, wrote, yolo
from pylabel import importer


def export(dataset, what, images):
    path = OUT / f"{what.split()[1].lower()}.json"
    try:
        dataset.export.ExportToCoco(str(path))
    except Exception as error:  # noqa: BLE001
        print(f"{what}: {type(error).__name__}: {error}")
    else:
        wrote(what, path, images)


voc(OUT / "voc_in")
export(importer.ImportVOC(str(OUT / "voc_in"), path_to_images=str(IMAGES)), "from VOC", IMAGES)
yolo(OUT / "yolo_in")
read = importer.ImportYoloV5(
    str(OUT / "yolo_in/labels"), path_to_images="../images", cat_names=CLASSES
)
export(read, "from YOLO", OUT / "yolo_in/images")
plain = write(OUT / "coco_in.json", json.dumps(coco()))
export(importer.ImportCoco(str(plain), path_to_images=str(IMAGES)), "from COCO", IMAGES)
