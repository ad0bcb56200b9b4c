"""From what was found in an image to its files, while the detector goes on with the next ones.

Decoding an image a second time, drawing on it and packing it again takes as long as a small
detector: threads do it, and only a few images wait for them at a time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from dino_trainer.data.pictures import Picture
from dino_trainer.inference.drawing import draw_objects, drawn_names, encode
from dino_trainer.inference.files import label_names, open_sink
from dino_trainer.inference.objects import Objects, coco, kitti
from dino_trainer.inference.stream import Unreadable, read_upright
from dino_trainer.machine.cores import cores_each
from dino_trainer.pages.marks import Colour, as_jpeg, no_larger
from dino_trainer.results.output import Output

LABELS, PICTURES = "labels", "images_annotated"
MOST_SHOWN = 24
_WAITING = 4


@dataclass(frozen=True)
class Style:
    """How pictures are drawn. names, colours: by label. width: of outlines, in pixels."""

    names: tuple[str, ...]
    colours: Sequence[Colour]
    width: int

    @cached_property
    def named(self) -> NDArray[np.bool_]:
        """By label: whether the class has a name."""
        return np.array([bool(name) for name in self.names])


class ImageFiles:
    """The files that are left of each image: their names, by its place, and what takes them.

    pictures: all images; what is written of one lies under its own path.
    """

    def __init__(self, output: Output, pictures: Sequence[Picture]) -> None:
        paths = [picture.path for picture in pictures]
        self.label_names, self.drawn_names = label_names(paths), drawn_names(paths)
        self.labels, self.drawn = open_sink(output, LABELS), open_sink(output, PICTURES)
        chosen = np.linspace(0, len(pictures) - 1, min(MOST_SHOWN, len(pictures)))
        self.shown = frozenset(chosen.round().astype(int).tolist())
        """The places of the images that the report shows."""


@dataclass(frozen=True)
class FinishedImage:
    """What is to be written of one image: all of it but what only follows from those before it.

    index: its place. why: a few words where it cannot be read, and then nothing else is known.
    nameless: detections that are left out. entries: as of `coco`. label, drawn: files as their sink
    takes them. small: a JPEG for the report, empty where it is not shown.
    """

    index: int
    why: str = ""
    size: tuple[int, int] = (0, 0)
    objects: Objects | None = None
    nameless: int = 0
    entries: list[str] = field(default_factory=list)
    label: bytes = b""
    drawn: bytes = b""
    small: bytes = b""

    @property
    def length(self) -> int:
        """Bytes: about as much as it takes to send it."""
        return len(self.label) + len(self.drawn) + len(self.small) + sum(map(len, self.entries))


class Renderer:
    """Makes the files of images. For one thread, in a `with`: at its end nothing waits any more."""

    def __init__(self, pictures: Sequence[Picture], style: Style, files: ImageFiles) -> None:
        self._pictures, self._style, self._files = pictures, style, files
        self._threads = cores_each()
        self._pool = ThreadPoolExecutor(self._threads)
        self._pending: deque[Future[FinishedImage]] = deque()
        self._finished: deque[FinishedImage] = deque()

    def __enter__(self) -> Renderer:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def add(self, index: int, size: tuple[int, int], objects: Objects, nameless: int) -> None:
        """The image at `index`, of `size` (height, width). Raises what ended one before it."""
        self._pending.append(self._pool.submit(self._made, index, size, objects, nameless))
        while len(self._pending) > _WAITING * self._threads:
            self._wait()

    def skip(self, one: Unreadable) -> None:
        """An image that cannot be used."""
        known: Future[FinishedImage] = Future()
        known.set_result(FinishedImage(one.index, one.why))
        self._pending.append(known)

    def taken(self, most: int) -> list[FinishedImage]:
        """What is finished, in the order in which it came, each once; no more than `most` bytes,
        or one image that has more. Raises DiskFull, InvalidDataset."""
        while self._pending and self._pending[0].done():
            self._wait()
        images: list[FinishedImage] = []
        while self._finished and (not images or most >= self._finished[0].length):
            images.append(self._finished.popleft())
            most -= images[-1].length
        return images

    def finish(self) -> None:
        """Waits until all are finished."""
        while self._pending:
            self._wait()

    @property
    def more(self) -> bool:
        """Whether something is finished and was not taken."""
        return bool(self._finished)

    def _wait(self) -> None:
        """For the image that waits for longest."""
        self._finished.append(self._pending.popleft().result())

    def _made(
        self, index: int, size: tuple[int, int], objects: Objects, nameless: int
    ) -> FinishedImage:
        files, style = self._files, self._style
        text = kitti(objects, style.names).encode(errors="backslashreplace")
        image = read_upright(self._pictures[index], size)
        draw_objects(image, objects, style.names, style.colours, style.width)
        small = as_jpeg(no_larger(image)) if index in files.shown else b""
        drawn = encode(image, files.drawn_names[index])
        return FinishedImage(
            index,
            size=size,
            objects=objects,
            nameless=nameless,
            entries=coco(objects, index + 1),
            label=files.labels.packed(files.label_names[index], text),
            drawn=files.drawn.packed(files.drawn_names[index], drawn),
            small=small,
        )
