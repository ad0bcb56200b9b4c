"""Datumaro: a dataset made in memory, and a task of CVAT's with a turned box, written as COCO."""

import shutil

from common import CLASSES, IMAGES, OUT, SCENE, cvat, wrote
from datumaro.components.annotation import AnnotationType, Bbox, LabelCategories
from datumaro.components.dataset import Dataset
from datumaro.components.dataset_base import DatasetItem
from datumaro.components.media import Image


def item(image, **attributes):
    boxes = [
        Bbox(*box["box"], label=CLASSES.index(box["class"]), attributes=attributes)
        for box in image["boxes"]
    ]
    media = Image.from_file(path=str(IMAGES / image["name"]))
    return DatasetItem(image["name"].rpartition(".")[0], media=media, annotations=boxes)


def export(dataset, name, what):
    folder = OUT / name
    dataset.export(str(folder), "coco_instances", save_media=True)
    for annotations in sorted((folder / "annotations").iterdir()):
        subset = annotations.stem.rpartition("_")[2]
        wrote(what, annotations, folder / "images" / subset)


labels = {AnnotationType.label: LabelCategories.from_iterable(CLASSES)}
made = Dataset.from_iterable([item(image) for image in SCENE["images"]], categories=labels)
export(made, "made", "Dataset.from_iterable")
# CVAT's server hands boxes to a Datumaro of its own in this way: the angle is an attribute.
turned = [item(image, occluded=False, rotation=30.0) for image in SCENE["images"]]
export(Dataset.from_iterable(turned, categories=labels), "turned", "as CVAT's server, boxes turned")

cvat(OUT / "task" / "annotations.xml", rotation=30)
shutil.copytree(IMAGES, OUT / "task" / "images")
export(Dataset.import_from(str(OUT / "task"), "cvat"), "cvat", "from CVAT, one box turned")
