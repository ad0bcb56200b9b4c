"""darwin-py: Darwin JSON 2.0 of V7's, with a polygon of two parts, converted to COCO."""

import json
from pathlib import Path

from common import OUT, SCENE, write, wrote
from darwin.exporter import export_annotations, get_exporter


def darwin(image, parts):
    name = Path(image["name"])
    slot = {
        "slot_name": "0",
        "type": "image",
        "width": image["width"],
        "height": image["height"],
        "thumbnail_url": "",
        "source_files": [{"file_name": name.name, "url": "https://darwin.example/image"}],
    }
    shapes = []
    for place, box in enumerate(image["boxes"]):
        x, y, w, h = box["box"]
        shape = {"id": f"{name.stem}-{place}", "name": box["class"], "slot_names": ["0"]}
        shape["bounding_box"] = {"x": x, "y": y, "w": w, "h": h}
        if parts and place == 0:
            half = w / 2 - 2
            shape["polygon"] = {
                "paths": [corners(x, y, half, h), corners(x + w - half, y, half, h)]
            }
        shapes.append(shape)
    path = "/" if str(name.parent) == "." else f"/{name.parent}"
    item = {"name": name.name, "path": path, "source_info": {}, "slots": [slot]}
    return {"version": "2.0", "item": item, "annotations": shapes}


def corners(x, y, w, h):
    return [{"x": a, "y": b} for a, b in ((x, y), (x + w, y), (x + w, y + h), (x, y + h))]


def export(name, what, parts=False):
    files = []
    for place, image in enumerate(SCENE["images"]):
        entry = json.dumps(darwin(image, parts and place == 0))
        files.append(write(OUT / f"{name}_in/{place}.json", entry))
    (OUT / name).mkdir()
    export_annotations(get_exporter("coco"), files, OUT / name)
    wrote(what, OUT / name / "output.json")


export("boxes", "from Darwin JSON 2.0")
export("parts", "from Darwin JSON 2.0, one polygon of two parts", parts=True)
