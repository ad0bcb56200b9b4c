"""Looks into image files as training would: is it there, whole, of the annotated size, upright?

Every file is decoded once, in several processes. JPEGs are decoded at an eighth of their size,
which reads every byte and so notices a cut or a broken stream as a full decode does.
"""

from __future__ import annotations

import hashlib
import io
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from pathlib import PurePath
from typing import NamedTuple

from PIL import Image, ImageFile

from dino_trainer.byte_meter import ByteMeter
from dino_trainer.data import image_store
from dino_trainer.storage import Say

# Raise when `look` finds anything else than before: facts that were kept are then found anew.
VERSION = 1
_SUFFIXES = {
    ".jpg": "JPEG", ".jpeg": "JPEG", ".jpe": "JPEG", ".jfif": "JPEG", ".png": "PNG", ".bmp": "BMP",
    ".dib": "BMP", ".gif": "GIF", ".tif": "TIFF", ".tiff": "TIFF", ".webp": "WEBP", ".ppm": "PPM",
    ".pgm": "PPM",
}  # fmt: skip
# Cameras' JPEGs with a second picture inside, and what Pillow calls them.
_FAMILY = {"MPO": "JPEG", "DIB": "BMP"}
_ORIENTATION = 0x0112
_SIDEWAYS = range(5, 9)
_CHUNK = 32
# Below this many images, starting processes costs more than it saves.
_FEW = 200


class Look(NamedTuple):
    """One image to look into, and the size that its annotations say. bytes: how large it is."""

    file: image_store.ImageFile
    width: int
    height: int
    bytes: int = 0


class Facts(NamedTuple):
    """What is in one file. digest: of its content. flaws: ids of rules with a detail each."""

    digest: str
    flaws: tuple[tuple[str, str], ...]


def look(one: Look) -> Facts:
    """Reads and decodes one file that exists."""
    try:
        content = one.file.read_bytes()
    except OSError as error:
        return Facts("", (("image-unreadable", error.strerror or str(error)),))
    digest = hashlib.sha256(content).hexdigest()[:32]
    try:
        with Image.open(io.BytesIO(content)) as image:
            flaws = tuple(_flaws(image, one))
    # A broken file may raise anything in a decoder; whatever it is, it would end the training.
    except Exception as error:  # noqa: BLE001
        reason = str(error).replace(f" {type(content).__name__}", "")
        short = "no image" if "cannot identify" in reason else " ".join(reason.split())
        flaws = (("image-unreadable", short or type(error).__name__),)
    return Facts(digest, flaws)


def _flaws(image: ImageFile.ImageFile, one: Look) -> Iterator[tuple[str, str]]:
    stored, orientation = image.size, image.getexif().get(_ORIENTATION, 1)
    kind = image.format or ""
    kind = _FAMILY.get(kind, kind)
    expected = _SUFFIXES.get(PurePath(one.file.name).suffix.lower())
    if expected not in (None, kind):
        yield "image-mislabelled", f"is {kind}"
    if image.mode == "CMYK":
        yield "image-cmyk", ""
    if image.mode.startswith(("I", "F")):
        yield "image-deep", f"mode {image.mode}"
    yield from _size(stored, orientation, (one.width, one.height))
    if kind == "JPEG":
        image.draft(None, (stored[0] // 8, stored[1] // 8))  # type: ignore[arg-type]
    image.load()


def _size(
    stored: tuple[int, int], orientation: int, annotated: tuple[int, int]
) -> Iterator[tuple[str, str]]:
    """As training reads it: upright, unless only the stored pixels have the annotated size."""
    turned = orientation in range(2, 9)
    upright = stored[::-1] if orientation in _SIDEWAYS else stored
    if annotated not in (stored, upright):
        said = f"is {upright[0]}x{upright[1]}, annotated {annotated[0]}x{annotated[1]}"
        yield "image-size-differs", said
    elif turned and stored == upright:
        yield "exif-unclear", f"orientation {orientation}"
    elif turned:
        id = "exif-turned" if annotated == upright else "exif-unturned"
        yield id, f"orientation {orientation}"


def look_at_all(
    looks: Sequence[Look], say: Say, stop: threading.Event | None = None
) -> list[Facts]:
    """The facts of each, in order. Raises Preempted when `stop` is set."""
    sizes = [one.bytes for one in looks]
    meter = ByteMeter(f"checking {len(looks)} images", sum(sizes), say, stop)
    if len(looks) < _FEW:
        return [_count(look(one), meter, size) for one, size in zip(looks, sizes, strict=True)]
    chunks = [looks[i : i + _CHUNK] for i in range(0, len(looks), _CHUNK)]
    weights = [sum(sizes[i : i + _CHUNK]) for i in range(0, len(looks), _CHUNK)]
    workers = min(len(os.sched_getaffinity(0)), len(chunks))
    # A fork of a process whose threads hold locks may hang; a fork server has no threads.
    context = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(workers, context, initializer=_quiet) as pool:
        jobs = [pool.submit(_look_at, chunk) for chunk in chunks]
        try:
            _watch(jobs, weights, meter)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [facts for job in jobs for facts in job.result()]


def _look_at(chunk: Sequence[Look]) -> list[Facts]:
    return [look(one) for one in chunk]


def _quiet() -> None:
    """Ctrl-C goes to every process of the terminal; the parent decides what it means."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _watch(jobs: list[Future[list[Facts]]], weights: list[int], meter: ByteMeter) -> None:
    weight = dict(zip(jobs, weights, strict=True))
    left = set(jobs)
    while left:
        done, left = wait(left, timeout=0.5, return_when=FIRST_COMPLETED)
        meter(sum(weight[job] for job in done))


def _count(facts: Facts, meter: ByteMeter, size: int) -> Facts:
    meter(size)
    return facts
