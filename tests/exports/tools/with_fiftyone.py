"""FiftyOne: its exporter of COCO, by itself; a dataset would need a MongoDB server."""

import os

from common import CLASSES, IMAGES, OUT, SCENE, wrote

os.environ["FIFTYONE_DO_NOT_TRACK"] = "true"
import fiftyone as fo
import fiftyone.utils.coco as fouc


def export(name, pictures, **options):
    folder = OUT / name
    exporter = fouc.COCODetectionDatasetExporter(str(folder), rel_dir=str(IMAGES), **options)
    with exporter:
        for image in pictures:
            path = str(IMAGES / image["name"])
            exporter.export_sample(path, labels(image), fo.ImageMetadata.build_for(path))
    return folder / "labels.json"


def labels(image):
    width, height = image["width"], image["height"]
    return fo.Detections(
        detections=[
            fo.Detection(
                label=box["class"],
                bounding_box=[
                    value / side
                    for value, side in zip(box["box"], [width, height] * 2, strict=True)
                ],
                iscrowd=0,
                occluded=True,
            )
            for box in image["boxes"]
        ]
    )


every = SCENE["images"]
zebras = [image for image in every if {box["class"] for box in image["boxes"]} == {"zebra"}]
found = export("found", every)
wrote("COCODetectionDatasetExporter", found, OUT / "found/data")
wrote("classes=CLASSES", export("given", every, classes=CLASSES), OUT / "given/data")
wrote("training and validation exported apart", found, validation=export("zebras", zebras))
