"""Every image through the detector, and what was found in it to the writer."""

from __future__ import annotations

from collections.abc import Sequence

from dino_api.experiment import DatasetConfig
from dino_api.names import FailureReason
from dino_trainer.data.decode import READ_FORMATS
from dino_trainer.data.pictures import Picture
from dino_trainer.errors import TrainerError, invalid_dataset
from dino_trainer.inference.objects import Objects
from dino_trainer.inference.stream import Turn, Unreadable, stream
from dino_trainer.inference.tally import Tally
from dino_trainer.inference.writer import PredictionWriter
from dino_trainer.model import Detections
from dino_trainer.model_files.info import Detector
from dino_trainer.report.pace import Watch

_NAMED = 20


def run_through(
    detector: Detector,
    config: DatasetConfig,
    threshold: float,
    writer: PredictionWriter,
    watch: Watch,
) -> Tally:
    """Looks at all images of the writer. Holds a few batches at a time, however many there are.

    Detections below `threshold` are left out, and those of classes without a name, counted.

    Raises:
        TrainerError: Preempted where `watch.stop` is set; InvalidDataset where not one image can be
            read; those of `PredictionWriter.add`.
    """
    pictures, tally, done = writer.pictures, Tally(writer.names), 0
    turns = stream(pictures, config, config.batch_size, detector.device.type == "cuda")
    for turn in turns:
        if watch.stop.is_set():
            raise TrainerError(
                FailureReason.PREEMPTED,
                f"Stopped on request after {done} of {len(pictures)} images.",
            )
        for unreadable in turn.unreadable:
            _skip(unreadable, pictures, tally, watch)
        for index, size, objects in _objects_in(detector, turn, threshold, tally):
            writer.add(index, size, objects)
        done += len(turn.sizes) + len(turn.unreadable)
        watch.progress(done, len(pictures))
    if not tally.read:
        raise _none_readable(tally)
    return tally


def _objects_in(
    detector: Detector, turn: Turn, threshold: float, tally: Tally
) -> list[tuple[int, tuple[int, int], Objects]]:
    """Place, size and objects of each image of a turn."""
    if turn.batch is None:
        return []
    detections = detector(turn.batch.to(detector.device), turn.sizes)
    rows = []
    for index, size, one in zip(turn.batch.indices, turn.sizes.tolist(), detections, strict=True):
        objects = tally.named(_kept(one, threshold))
        tally.add(objects)
        rows.append((index, (size[0], size[1]), objects))
    return rows


def _kept(one: Detections, threshold: float) -> Objects:
    labels, scores, boxes = (part.cpu().numpy() for part in (one.labels, one.scores, one.boxes))
    return Objects(labels, scores, boxes).at(scores >= threshold)


def _skip(one: Unreadable, pictures: Sequence[Picture], tally: Tally, watch: Watch) -> None:
    name = pictures[one.index].path
    tally.skipped.append((name, one.why))
    if len(tally.skipped) <= _NAMED:
        watch.say(f"Warning: {name} is skipped, since it cannot be read: {one.why}.")
    if len(tally.skipped) == _NAMED:
        watch.say("Warning: further images that cannot be read are named at the end only.")


def _none_readable(tally: Tally) -> TrainerError:
    name, why = tally.skipped[0]
    count = len(tally.skipped)
    which = "The only image" if count == 1 else f"None of the {count} images"
    return invalid_dataset(
        f"{which} can be read; {name}: {why}.",
        f"Name folders or archives of whole files of one of {', '.join(READ_FORMATS[:-1])}.",
    )
