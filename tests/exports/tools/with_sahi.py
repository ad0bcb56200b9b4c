"""sahi: a Coco made in memory, and its slices with their pictures."""

import json

from common import CLASSES, IMAGES, OUT, SCENE, coco, write, wrote
from sahi.slicing import slice_coco
from sahi.utils.coco import Coco, CocoAnnotation, CocoCategory, CocoImage
from sahi.utils.file import save_json

made = Coco()
for place, name in enumerate(CLASSES):
    made.add_category(CocoCategory(id=place, name=name))
for image in SCENE["images"]:
    entry = CocoImage(file_name=image["name"], height=image["height"], width=image["width"])
    for box in image["boxes"]:
        kind = CLASSES.index(box["class"])
        entry.add_annotation(
            CocoAnnotation(bbox=box["box"], category_id=kind, category_name=box["class"])
        )
    made.add_image(entry)
save_json(made.json, str(OUT / "made.json"))
wrote("Coco", OUT / "made.json")

plain = write(OUT / "coco_in.json", json.dumps(coco()))
sliced = slice_coco(
    str(plain), str(IMAGES), "sliced", str(OUT / "slices"), slice_height=48, slice_width=48
)
wrote("slice_coco", OUT / "slices/sliced_coco.json", OUT / "slices")
