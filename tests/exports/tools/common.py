"""What every script here begins and ends with. Of the standard library alone: venvs differ."""

import json
import sys
from pathlib import Path

SOURCE, OUT = Path(sys.argv[1]), Path(sys.argv[2])
IMAGES = SOURCE / "images"
SCENE = json.loads((SOURCE / "scene.json").read_text())
CLASSES = SCENE["classes"]


def wrote(what: str, annotations: Path, images: Path = IMAGES, validation: Path | str = "") -> None:
    """Tells the caller of one export: how it was made, the file, and the folder of its images."""
    told = {"annotations": annotations, "images": images, "validation": validation}
    print(json.dumps({"what": what, **{key: str(value) for key, value in told.items()}}))


def boxes():
    """(image, box) for every box."""
    return [(image, box) for image in SCENE["images"] for box in image["boxes"]]


def coco() -> dict:
    """The scene as the plainest COCO, for tools that read nothing else, with ids from 1."""
    ids = {image["name"]: place for place, image in enumerate(SCENE["images"], 1)}
    return {
        "images": [
            {
                "id": ids[i["name"]],
                "file_name": i["name"],
                "width": i["width"],
                "height": i["height"],
            }
            for i in SCENE["images"]
        ],
        "annotations": [
            {
                "id": place,
                "image_id": ids[image["name"]],
                "category_id": CLASSES.index(box["class"]) + 1,
                "bbox": box["box"],
                "area": box["box"][2] * box["box"][3],
                "iscrowd": 0,
                "segmentation": [],
            }
            for place, (image, box) in enumerate(boxes(), 1)
        ],
        "categories": [{"id": place, "name": name} for place, name in enumerate(CLASSES, 1)],
    }


def write(path: Path, text: str) -> Path:
    """`path`, with the folders it lies in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def yolo(folder: Path) -> None:
    """The scene as YOLO: labels/*.txt beside images/, flat, and classes.txt."""
    import shutil

    for image in SCENE["images"]:
        name, width, height = Path(image["name"]), image["width"], image["height"]
        lines = []
        for box in image["boxes"]:
            x, y, w, h = box["box"]
            numbers = ((x + w / 2) / width, (y + h / 2) / height, w / width, h / height)
            lines.append(f"{CLASSES.index(box['class'])} " + " ".join(map(str, numbers)))
        write(folder / "labels" / f"{name.stem}.txt", "\n".join(lines))
        (folder / "images").mkdir(exist_ok=True)
        shutil.copy(IMAGES / name, folder / "images" / name.name)


def voc(folder: Path) -> None:
    """The scene as Pascal VOC: one XML a picture, 1-based corners, as LabelImg writes them."""
    for image in SCENE["images"]:
        objects = ""
        for box in image["boxes"]:
            x, y, w, h = box["box"]
            corners = {"xmin": x + 1, "ymin": y + 1, "xmax": x + w, "ymax": y + h}
            inner = "".join(f"<{k}>{round(v)}</{k}>" for k, v in corners.items())
            objects += (
                f"<object><name>{box['class']}</name><pose>Unspecified</pose><truncated>0"
                f"</truncated><difficult>0</difficult><bndbox>{inner}</bndbox></object>"
            )
        name = Path(image["name"])
        write(
            folder / f"{name.stem}.xml",
            f"<annotation><folder>{name.parent}</folder><filename>{name.name}</filename>"
            f"<path>{IMAGES / name}</path><source><database>Unknown</database></source>"
            f"<size><width>{image['width']}</width><height>{image['height']}</height>"
            f"<depth>3</depth></size><segmented>0</segmented>{objects}</annotation>",
        )


def cvat(path: Path, rotation: float = 0) -> Path:
    """The scene as "CVAT for images 1.1", one box turned by `rotation` degrees."""
    labels = "".join(f"<label><name>{name}</name><attributes/></label>" for name in CLASSES)
    body = ""
    for place, image in enumerate(SCENE["images"]):
        shapes = ""
        for number, box in enumerate(image["boxes"]):
            x, y, w, h = box["box"]
            turned = f' rotation="{rotation}"' if rotation and (place, number) == (0, 0) else ""
            shapes += (
                f'<box label="{box["class"]}" source="manual" occluded="0" xtl="{x}" ytl="{y}" '
                f'xbr="{x + w}" ybr="{y + h}" z_order="0"{turned}></box>'
            )
        body += (
            f'<image id="{place}" name="{image["name"]}" width="{image["width"]}" '
            f'height="{image["height"]}">{shapes}</image>'
        )
    return write(
        path,
        f'<?xml version="1.0" encoding="utf-8"?><annotations><version>1.1</version><meta><task>'
        f"<size>{len(SCENE['images'])}</size><mode>annotation</mode><labels>{labels}</labels></task>"
        f"</meta>{body}</annotations>",
    )


def labelme(folder: Path, backwards: bool = False) -> None:
    """The scene as Labelme writes it beside the pictures; `backwards`: from the lower right."""
    for image in SCENE["images"]:
        shapes = []
        for box in image["boxes"]:
            x, y, w, h = box["box"]
            points = [[x, y], [x + w, y + h]]
            shapes.append(
                {
                    "label": box["class"],
                    "points": points[::-1] if backwards else points,
                    "group_id": None,
                    "shape_type": "rectangle",
                    "flags": {},
                }
            )
        name = Path(image["name"])
        entry = {
            "version": "5.5.0",
            "flags": {},
            "shapes": shapes,
            "imagePath": name.name,
            "imageData": None,
            "imageHeight": image["height"],
            "imageWidth": image["width"],
        }
        write(folder / name.with_suffix(".json"), json.dumps(entry))
