"""`python -m demo.picture JOB FILE.svg`: what an inference found, beside what `kubectl get` says.

Reads the job's predictions.json and the images it was made from, with this machine's settings for
S3, and asks kubectl for all jobs of the namespace. README's picture is one of these.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import sys
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from demo.cluster import DemoCluster, find
from demo.coco import IMAGES
from demo.errors import DemoError
from demo.plan import DEV_HOME
from dino_api.names import PREDICTIONS_FILE
from dino_trainer.errors import TrainerError
from dino_trainer.pages.marks import class_colour
from dino_trainer.storage.opening import open_store

Object = dict[str, Any]
WIDE, GAP, SHARPER = 960, 8, 1.5  # of the whole; between tiles; pixels of a photograph by its own
QUALITY = 70
TEXT, LETTER = 13.5, 0.602  # pixels; the width of a letter in such
STYLE = """\
.shell {font: %spx ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace;
fill: #e6edf3; white-space: pre} .prompt {fill: #7ee787} .name {font: 10px sans-serif}
.box {fill: none; stroke-width: 1.5}"""


@dataclass(frozen=True)
class DetectedObject:
    """An object in a photograph. box: left, top, width, height in its pixels. label: its class."""

    label: int
    score: float
    box: tuple[float, float, float, float]


@dataclass(frozen=True)
class Photograph:
    """An upright image and what was found in it."""

    image: Image.Image
    found: tuple[DetectedObject, ...]


def photographs(predictions: Object, archive: bytes, names: Sequence[str]) -> list[Photograph]:
    """The named images, or the first three, from the archive. Raises DemoError for one that is
    not there."""
    by_name = {one["file_name"]: one["id"] for one in predictions["images"]}
    taken = []
    for name in names or list(by_name)[:3]:
        whole = next((each for each in by_name if _is_called(each, name)), "")
        if not whole:
            raise DemoError(f"the job has seen no image {name}")
        found = [
            DetectedObject(one["category_id"], one["score"], tuple(one["bbox"]))
            for one in predictions["annotations"]
            if one["image_id"] == by_name[whole]
        ]
        taken.append(Photograph(_image(archive, whole), tuple(found)))
    return taken


def _is_called(path: str, name: str) -> bool:
    """Whether a path is that name, or ends in it behind a folder."""
    return path == name or path.endswith(f"/{name}")


def _image(archive: bytes, name: str) -> Image.Image:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for member in tar:
            content = tar.extractfile(member) if _is_called(member.name, name) else None
            if content:
                image = Image.open(io.BytesIO(content.read()))
                return ImageOps.exif_transpose(image).convert("RGB")
    raise DemoError(f"{name} is not in the archive of images")


def picture(
    photos: Sequence[Photograph], classes: dict[int, str], said: str, notice: str = ""
) -> str:
    """The whole as SVG. said: a terminal's lines, commands after `$ `. notice: of the images'
    authors."""
    wide = (WIDE - GAP * (len(photos) - 1)) / len(photos)
    high = max(wide * each.image.height / each.image.width for each in photos)
    tiles = [_tile(each, at * (wide + GAP), wide, classes) for at, each in enumerate(photos)]
    shell, shell_high = _shell(said, high + GAP)
    size = f"0 0 {WIDE} {high + GAP + shell_high:.0f}"
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{size}">',
            *([f"<metadata>{escape(notice)}</metadata>"] if notice else []),
            f"<style>{STYLE % TEXT}</style>",
            *tiles,
            *shell,
            "</svg>\n",
        )
    )


def _tile(photo: Photograph, left: float, wide: float, classes: dict[int, str]) -> str:
    """A photograph at its place, with its boxes as lines of their own."""
    scale = wide / photo.image.width
    high = photo.image.height * scale
    best_last = sorted(photo.found, key=lambda one: one.score)
    return "\n".join(
        (
            f'<svg x="{left:.1f}" width="{wide:.1f}" height="{high:.1f}">',
            f'<image width="{wide:.1f}" height="{high:.1f}" href="{_jpeg(photo.image, wide)}"/>',
            *(_box(each, scale, classes[each.label]) for each in best_last),
            "</svg>",
        )
    )


def _jpeg(image: Image.Image, wide: float) -> str:
    size = round(wide * SHARPER), round(wide * SHARPER * image.height / image.width)
    small, content = image.resize(size, Image.Resampling.LANCZOS), io.BytesIO()
    small.save(content, "JPEG", quality=QUALITY, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}"


def _box(found: DetectedObject, scale: float, name: str) -> str:
    """A rectangle, and above it, or within where there is no room, the class and the score."""
    left, top, wide, high = (side * scale for side in found.box)
    colour = "#{:02x}{:02x}{:02x}".format(*class_colour(found.label))
    text = f"{name} {found.score:.2f}"
    base = top - 2 if top >= 12 else top + 10
    return (
        f'<rect class="box" x="{left:.1f}" y="{top:.1f}" width="{wide:.1f}" height="{high:.1f}" '
        f'stroke="{colour}"/><rect x="{left:.1f}" y="{base - 9:.1f}" width="{5.6 * len(text):.0f}" '
        f'height="11" fill="{colour}"/><text class="name" x="{left + 2:.1f}" y="{base:.1f}">'
        f"{escape(text)}</text>"
    )


def _shell(said: str, top: float) -> tuple[list[str], float]:
    """A terminal with these lines, and its height."""
    lines, row = said.rstrip().splitlines(), TEXT * 1.5
    high = row * len(lines) + 24
    longest = max(len(line) for line in lines) * LETTER * TEXT
    shrunk = f' transform="scale({min(1, (WIDE - 40) / longest):.3f})"'
    parts = [f'<rect y="{top:.0f}" width="{WIDE}" height="{high:.0f}" rx="6" fill="#0d1117"/>']
    parts.append(f'<g transform="translate(20 {top + 12:.0f})"><g{shrunk}>')
    for at, line in enumerate(lines):
        kind = "shell prompt" if line.startswith("$ ") else "shell"
        y = row * (at + 0.75)
        parts.append(f'<text class="{kind}" y="{y:.1f}" xml:space="preserve">{escape(line)}</text>')
    return [*parts, "</g></g>"], high


def drawn(cluster: DemoCluster, name: str, images: Sequence[str], notice: str) -> str:
    """The picture of a job on the cluster. Raises DemoError, and TrainerError of the store."""
    job = json.loads(cluster.kubectl("get", "dinojob", name, "-o", "json"))
    artifacts = {each["name"]: each["uri"] for each in job.get("status", {}).get("artifacts", ())}
    source = job["spec"].get("datasets", {}).get("inference")
    if PREDICTIONS_FILE not in artifacts or not source:
        raise DemoError(f"{name} is no inference that has ended", cluster.typed("get", "dinojobs"))
    predictions = json.loads(_read(artifacts[PREDICTIONS_FILE]))
    archive = _read(f"{source['uri']}/{source.get('images', IMAGES)}")
    classes = {each["id"]: each["name"] for each in predictions["categories"]}
    command = ("get", "dinojobs")
    typed = f"$ kubectl -n {cluster.namespace} {' '.join(command)}"
    photos = photographs(predictions, archive, images)
    return picture(photos, classes, f"{typed}\n{cluster.kubectl(*command)}", notice)


def _read(uri: str) -> bytes:
    folder, _, file = uri.rpartition("/")
    return open_store(folder).read_bytes(file)


def main(arguments: list[str] | None = None) -> int:
    """Draws it. Returns 0, or 1 after a sentence."""
    parser = argparse.ArgumentParser(prog="python -m demo.picture", description=__doc__)
    parser.add_argument("job", help="an inference that has ended")
    parser.add_argument("file", type=Path, help="the SVG that is written")
    parser.add_argument("-n", "--namespace", default="demo", help="of the jobs (demo)")
    parser.add_argument("--image", action="append", default=[], help="by name; else three")
    parser.add_argument("--notice", type=Path, help="a text that goes with the images: a licence")
    words = parser.parse_args(arguments)
    try:
        programs = DEV_HOME / "bin"
        kubectl = find("kubectl", programs)
        cluster = DemoCluster(kubectl, "", "", words.namespace)
        notice = words.notice.read_text() if words.notice else ""
        words.file.write_text(drawn(cluster, words.job, words.image, notice))
    except (DemoError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except TrainerError as error:
        print(f"error: {error.message} {error.remedy}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
