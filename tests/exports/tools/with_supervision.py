"""supervision: a DetectionDataset made in memory, and one read from YOLO, written as COCO."""

import numpy as np
import supervision as sv
from common import CLASSES, IMAGES, OUT, SCENE, write, wrote, yolo


def detections(image):
    if not image["boxes"]:
        return sv.Detections.empty()
    xywh = np.array([box["box"] for box in image["boxes"]], np.float32)
    kinds = np.array([CLASSES.index(box["class"]) for box in image["boxes"]])
    return sv.Detections(
        np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], 1), class_id=kinds
    )


def export(dataset, name, what):
    folder = OUT / name
    dataset.as_coco(str(folder / "images"), str(folder / "annotations.json"))
    wrote(what, folder / "annotations.json", folder / "images")


paths = {str(IMAGES / image["name"]): image for image in SCENE["images"]}
boxes = {path: detections(image) for path, image in paths.items()}
export(sv.DetectionDataset(CLASSES, list(paths), boxes), "made", "DetectionDataset")

yolo(OUT / "yolo_in")
names = "\n".join(f"  {place}: {name}" for place, name in enumerate(CLASSES))
listed = write(OUT / "yolo_in/data.yaml", f"nc: {len(CLASSES)}\nnames:\n{names}\n")
read = sv.DetectionDataset.from_yolo(
    str(OUT / "yolo_in/images"), str(OUT / "yolo_in/labels"), str(listed)
)
export(read, "yolo", "from YOLO")
