"""Writes what was found, image after image, while the detector goes on with the next ones.

Decoding an image a second time, drawing on it and packing it again takes as long as a small
detector: threads do it, and only a few images wait for them at a time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from dino_api.names import PREDICTIONS_FILE
from dino_api.result import Artifact
from dino_trainer.data.pictures import Picture
from dino_trainer.inference.drawing import draw_objects, drawn_names, encode
from dino_trainer.inference.files import PredictionsFile, label_names, open_sink
from dino_trainer.inference.objects import Objects, kitti
from dino_trainer.inference.page import ReportPicture
from dino_trainer.inference.stream import read_upright
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


class PredictionWriter:
    """Writes what is found. For one thread, in a `with`: at its end nothing waits any more.

    pictures: all images; what is written of one lies under its own path.
    """

    def __init__(self, output: Output, pictures: Sequence[Picture], style: Style) -> None:
        self._output, self.pictures, self._style = output, pictures, style
        paths = [picture.path for picture in pictures]
        self._label_names, self._drawn_names = label_names(paths), drawn_names(paths)
        self._labels, self._pictures = open_sink(output, LABELS), open_sink(output, PICTURES)
        self._predictions = PredictionsFile(output.dir)
        chosen = np.linspace(0, len(pictures) - 1, min(MOST_SHOWN, len(pictures)))
        self._chosen = set(chosen.round().astype(int).tolist())
        self._threads = cores_each()
        self._pool = ThreadPoolExecutor(self._threads)
        self._pending: deque[tuple[int, Future[PictureWithBoxes]]] = deque()
        self.shown: list[ReportPicture] = []

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the classes, by label."""
        return self._style.names

    def __enter__(self) -> PredictionWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._predictions.close()

    def add(self, index: int, size: tuple[int, int], objects: Objects) -> None:
        """The image at `index`, of `size` (height, width). Raises DiskFull, InvalidDataset."""
        text = kitti(objects, self._style.names)
        self._labels.add(self._label_names[index], text.encode(errors="backslashreplace"))
        self._predictions.add(index + 1, self.pictures[index].path, size, objects)
        self._pending.append((index, self._pool.submit(self._drawn, index, size, objects)))
        while len(self._pending) > _WAITING * self._threads:
            self._take()

    def finish(self, info: dict[str, object]) -> list[Artifact]:
        """Makes everything safe. info: what predictions.json says about itself."""
        while self._pending:
            self._take()
        self._predictions.write(info, self._style.names)
        predictions = self._output.publish(PREDICTIONS_FILE).artifact(PREDICTIONS_FILE)
        return [predictions, *self._labels.close(), *self._pictures.close()]

    def _take(self) -> None:
        """Writes the picture that waits for longest."""
        index, future = self._pending.popleft()
        drawn = future.result()
        self._pictures.add(self._drawn_names[index], drawn.content)
        if drawn.small:
            path = self.pictures[index].path
            self.shown.append(ReportPicture(path, drawn.small, drawn.objects, drawn.classes))

    def _drawn(self, index: int, size: tuple[int, int], objects: Objects) -> PictureWithBoxes:
        image = read_upright(self.pictures[index], size)
        draw_objects(image, objects, self._style.names, self._style.colours, self._style.width)
        small = as_jpeg(no_larger(image)) if index in self._chosen else b""
        classes = frozenset(self._style.names[label] for label in objects.labels.tolist())
        content = encode(image, self._drawn_names[index])
        return PictureWithBoxes(content, small, len(objects), classes)


@dataclass(frozen=True)
class PictureWithBoxes:
    """A picture with its boxes.

    content: the file. small: a JPEG for the report, empty where it is not shown. classes: of its
    objects.
    """

    content: bytes
    small: bytes
    objects: int
    classes: frozenset[str]
