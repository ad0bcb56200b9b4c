"""Writes what is left of images, one after the other, in their order."""

from __future__ import annotations

from collections.abc import Sequence

from dino_api.names import PREDICTIONS_FILE
from dino_api.result import Artifact
from dino_trainer.data.pictures import Picture
from dino_trainer.inference.files import PredictionsFile
from dino_trainer.inference.page import ReportPicture
from dino_trainer.inference.rendering import FinishedImage, ImageFiles
from dino_trainer.inference.tally import Tally
from dino_trainer.results.output import Output


class PredictionWriter:
    """Writes and counts what is found. In a `with`: its end gives scratch space back.

    tally: of the images that were written.
    """

    def __init__(
        self, output: Output, pictures: Sequence[Picture], files: ImageFiles, names: tuple[str, ...]
    ) -> None:
        self._output, self._pictures, self._files = output, pictures, files
        self._predictions = PredictionsFile(output.dir)
        self.tally = Tally(names)
        self.shown: list[ReportPicture] = []

    def __enter__(self) -> PredictionWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._predictions.close()

    def write(self, image: FinishedImage) -> None:
        """All of one image. Raises DiskFull."""
        path, index, objects = self._pictures[image.index].path, image.index, image.objects
        if objects is None:
            self.tally.skipped.append((path, image.why))
            return
        self.tally.add(objects)
        self.tally.nameless += image.nameless
        self._predictions.add(index + 1, path, image.size, image.entries)
        self._files.labels.add(self._files.label_names[index], image.label)
        self._files.drawn.add(self._files.drawn_names[index], image.drawn)
        if image.small:
            classes = frozenset(self.tally.names[label] for label in objects.labels.tolist())
            self.shown.append(ReportPicture(path, image.small, len(objects), classes))

    def finish(self, info: dict[str, object]) -> list[Artifact]:
        """Makes everything safe. info: what predictions.json says about itself."""
        self._predictions.write(info, self.tally.names)
        predictions = self._output.publish(PREDICTIONS_FILE).artifact(PREDICTIONS_FILE)
        return [predictions, *self._files.labels.close(), *self._files.drawn.close()]
