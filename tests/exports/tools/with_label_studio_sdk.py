"""label-studio-sdk: its converter, on an export with a task without a result and a turned box."""

import functools
import http.server
import json
import threading
import urllib.parse

from common import CLASSES, IMAGES, OUT, SCENE, write, wrote
from label_studio_sdk.converter import Converter

CONFIG = (
    '<View><Image name="image" value="$image"/><RectangleLabels name="label" toName="image">'
    + "".join(f'<Label value="{name}"/>' for name in CLASSES)
    + "</RectangleLabels></View>"
)


def region(image, box, rotation):
    width, height = image["width"], image["height"]
    x, y, w, h = box["box"]
    return {
        "id": "region",
        "type": "rectanglelabels",
        "from_name": "label",
        "to_name": "image",
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "value": {
            "x": 100 * x / width,
            "y": 100 * y / height,
            "width": 100 * w / width,
            "height": 100 * h / height,
            "rotation": rotation,
            "rectanglelabels": [box["class"]],
        },
    }


def task(place, image, address, rotation):
    result = [
        region(image, box, rotation if (place, number) == (1, 0) else 0)
        for number, box in enumerate(image["boxes"])
    ]
    return {
        "id": place,
        "data": {"image": address},
        "annotations": [{"id": 100 + place, "was_cancelled": False, "result": result}],
    }


def export(name, what, address, rotation=0):
    folder = OUT / name
    tasks = [
        task(place, image, address(image["name"]), rotation)
        for place, image in enumerate(SCENE["images"], 1)
    ]
    listed = write(folder / "tasks.json", json.dumps(tasks))
    converter = Converter(CONFIG, str(OUT), download_resources=True)
    converter.convert_to_coco(str(listed), str(folder / "out"), is_dir=False)
    wrote(what, folder / "out/result.json", folder / "out")


export("whole", "images by path", lambda name: str(IMAGES / name))
export("turned", "images by path, one box turned", lambda name: str(IMAGES / name), rotation=30)
export("away", "images that it cannot fetch", lambda name: f"s3://bucket/folder/{name}")
export("local", "images as local files", lambda name: f"/data/local-files/?d=upload/{name}")
handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(IMAGES))
with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}/"
    export("fetched", "images that it fetches", lambda name: address + urllib.parse.quote(name))
    server.shutdown()
