"""Looks into image files as training would: is it there, whole, of the annotated size, upright?

Every file is decoded once, in several processes. JPEGs are decoded at an eighth of their size,
which reads every byte and so notices a cut or a broken stream as a full decode does.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from pathlib import PurePath
from typing import NamedTuple

from dino_api.names import FailureReason
from dino_trainer.data import image_store
from dino_trainer.data.decode import (
    IMAGE_FORMATS,
    EncodedPicture,
    Pixels,
    UnreadableImage,
    open_image,
)
from dino_trainer.data.image_metadata import UPRIGHT
from dino_trainer.data.image_store import FileInMemory
from dino_trainer.errors import TrainerError
from dino_trainer.machine.child_processes import (
    end_with_parent,
    leave_unusable_folder,
    starting,
)
from dino_trainer.storage.byte_meter import ByteMeter
from dino_trainer.storage.store import Say

# Raise when `look` finds anything else than before: facts that were kept are then found anew.
VERSION = 2
_CHUNK = 32
# Chunks that wait for each process, so that none waits for one.
_AHEAD = 4
# Below this many images, starting processes costs more than it saves.
_FEW = 200


class ImageToCheck(NamedTuple):
    """One image to look into, and the size that its annotations say. bytes: how large it is."""

    file: image_store.ImageFile
    width: int
    height: int
    bytes: int = 0


class ImageFacts(NamedTuple):
    """What is in one file. digest: of its content. flaws: ids of rules with a detail each."""

    digest: str
    flaws: tuple[tuple[str, str], ...]


def look(one: ImageToCheck) -> ImageFacts:
    """Reads and decodes one file that exists."""
    try:
        content = one.file.read_bytes()
    except OSError as error:
        return ImageFacts("", (("image-unreadable", error.strerror or str(error)),))
    digest = hashlib.sha256(content).hexdigest()[:32]
    wanted = (one.width, one.height)
    try:
        opened = open_image(FileInMemory(one.file.name, content))
        opened.rgb(wanted, shrink=8)
    except UnreadableImage as error:
        return ImageFacts(digest, (("image-unreadable", error.why),))
    return ImageFacts(digest, tuple(_flaws(opened, wanted)))


def _flaws(opened: EncodedPicture, wanted: Pixels) -> Iterator[tuple[str, str]]:
    expected = IMAGE_FORMATS.get(PurePath(opened.name).suffix.lower())
    if expected not in (None, opened.kind):
        yield "image-mislabelled", f"is {opened.kind}"
    if opened.mode == "CMYK":
        yield "image-cmyk", ""
    if opened.mode.startswith(("I", "F")):
        yield "image-deep", f"mode {opened.mode}"
    yield from _size(opened, wanted)


def _size(opened: EncodedPicture, annotated: Pixels) -> Iterator[tuple[str, str]]:
    """As training reads it: upright, unless only the stored pixels have the annotated size."""
    stored, upright, orientation = opened.stored, opened.upright, opened.orientation
    if annotated not in (stored, upright):
        detail = f"is {upright[0]}x{upright[1]}, annotated {annotated[0]}x{annotated[1]}"
        yield "image-size-differs", detail
    elif orientation != UPRIGHT and stored == upright:
        yield "exif-unclear", f"orientation {orientation}"
    elif orientation != UPRIGHT:
        id = "exif-turned" if annotated == upright else "exif-unturned"
        yield id, f"orientation {orientation}"


def look_at_all(
    looks: Sequence[ImageToCheck], say: Say, stop: threading.Event | None = None
) -> list[ImageFacts]:
    """The facts of each, in order.

    Raises Preempted when `stop` is set, and Crashed where a process that looks is killed.
    """
    sizes = [one.bytes for one in looks]
    meter = ByteMeter(f"checking {len(looks)} images", sum(sizes), say, stop)
    if len(looks) < _FEW:
        return [_count(look(one), meter, size) for one, size in zip(looks, sizes, strict=True)]
    chunks = [looks[i : i + _CHUNK] for i in range(0, len(looks), _CHUNK)]
    weights = [sum(sizes[i : i + _CHUNK]) for i in range(0, len(looks), _CHUNK)]
    workers = min(len(os.sched_getaffinity(0)), len(chunks))
    counted = zip(chunks, weights, strict=True)
    # A fork of a process whose threads hold locks may hang; a fork server has no threads.
    context = multiprocessing.get_context("forkserver")
    leave_unusable_folder()
    with ProcessPoolExecutor(workers, context, initializer=_quiet) as pool:
        try:
            examined = look_at_chunks(pool, counted, _AHEAD * workers, meter)
        except BrokenProcessPool as error:
            raise _killed() from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [facts for chunk in examined for facts in chunk]


def _killed() -> TrainerError:
    """By which signal, the pool does not tell."""
    return TrainerError(
        FailureReason.CRASHED,
        "A process that looks into images was killed.",
        "The kernel kills one where memory runs out: give more of it (spec.resources.memory in a "
        "DinoJob) or fewer cores, each of which looks into images of its own.",
    )


def look_at_chunks(
    pool: Executor,
    chunks: Iterable[tuple[Sequence[ImageToCheck], int]],
    most: int,
    meter: Callable[[int], None],
) -> list[list[ImageFacts]]:
    """The facts of each chunk, in order; at most so many wait at a time.

    To wait for the first of many jobs takes as long as there are jobs: of all of a million images
    it would cost the square of their number. chunks: with their bytes, which the meter hears of.
    """
    left, facts = enumerate(chunks), dict[int, list[ImageFacts]]()
    under_way: dict[Future[list[ImageFacts]], tuple[int, int]] = {}
    while True:
        for place, (chunk, weight) in islice(left, most - len(under_way)):
            with starting():
                job = pool.submit(_look_at, chunk)
            under_way[job] = place, weight
        if not under_way:
            return [facts[place] for place in range(len(facts))]
        done, _ = wait(under_way, timeout=0.5, return_when=FIRST_COMPLETED)
        moved = 0
        for job in done:
            place, weight = under_way.pop(job)
            facts[place], moved = job.result(), moved + weight
        meter(moved)


def _look_at(chunk: Sequence[ImageToCheck]) -> list[ImageFacts]:
    return [look(one) for one in chunk]


def _quiet() -> None:
    """Ctrl-C goes to every process of the terminal; the parent decides what it means."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()


def _count(facts: ImageFacts, meter: ByteMeter, size: int) -> ImageFacts:
    meter(size)
    return facts
