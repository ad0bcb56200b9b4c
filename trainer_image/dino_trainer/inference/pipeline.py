"""Every image through the detector, and what was found in it to the writer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dino_api.experiment import DatasetConfig
from dino_trainer.data.decode import READ_FORMATS
from dino_trainer.data.loader import cut
from dino_trainer.data.pictures import Picture
from dino_trainer.distributed.world import World
from dino_trainer.errors import TrainerError, invalid_dataset
from dino_trainer.inference.collecting import Collector
from dino_trainer.inference.objects import Objects
from dino_trainer.inference.rendering import FinishedImage, ImageFiles, Renderer, Style
from dino_trainer.inference.stream import Turn, stream
from dino_trainer.inference.tally import Tally
from dino_trainer.inference.writer import PredictionWriter
from dino_trainer.model import Detections
from dino_trainer.model_files.info import Detector
from dino_trainer.report.pace import Watch

_NAMED = 20


@dataclass(frozen=True)
class InferenceTask:
    """What is looked for in what. config: how images are prepared, and the size of batches.

    threshold: detections below it are left out.
    """

    detector: Detector
    config: DatasetConfig
    threshold: float
    pictures: Sequence[Picture]
    style: Style


def run_through(
    task: InferenceTask, files: ImageFiles, writer: PredictionWriter, world: World, watch: Watch
) -> None:
    """Looks at all images, each process of `world` at some of the batches, and gives what they find
    to the writer of the first one. Holds a few batches at a time, however many there are.

    Detections of classes without a name are left out, too, and counted.

    Raises:
        TrainerError: Preempted, on all processes, where `watch.stop` is set on one of them;
            InvalidDataset, on the first, where not one image can be read; those of
            `PredictionWriter.write`.
    """
    total, size, detector = len(task.pictures), task.config.batch_size, task.detector
    batches = cut(total, size)
    own = batches[world.rank :: world.size]

    def write(image: FinishedImage) -> None:
        writer.write(image)
        if image.objects is None:
            _tell_skipped(writer.tally, watch)

    collector = Collector(world, total, size, watch, write)
    turns = iter(stream(task.pictures, task.config, own, detector.device.type == "cuda"))
    seen = 0
    with Renderer(task.pictures, task.style, files) as renderer:
        for number in range(1, -(-len(batches) // world.size) + 1):
            turn = next(turns, None)  # in the last turn some processes have none
            if turn is not None:
                _look(task, turn, renderer)
                seen += len(turn.sizes) + len(turn.unreadable)
            collector.after(number, renderer, seen)
        renderer.finish()
        collector.meet(renderer, seen)
    if world.is_main and not writer.tally.read:
        raise _none_readable(writer.tally)


def _look(task: InferenceTask, turn: Turn, renderer: Renderer) -> None:
    """Finds what is in the images of one turn, and has it rendered, in their order."""
    unreadable = list(turn.unreadable)
    if turn.batch is not None:
        detections = task.detector(turn.batch.to(task.detector.device), turn.sizes)
        rows = zip(turn.batch.indices, turn.sizes.tolist(), detections, strict=True)
        for index, (height, width), one in rows:
            while unreadable and unreadable[0].index < index:
                renderer.skip(unreadable.pop(0))
            objects = _kept(one, task.threshold)
            named = objects.at(task.style.named[objects.labels])
            renderer.add(index, (height, width), named, len(objects) - len(named))
    for left in unreadable:
        renderer.skip(left)


def _kept(one: Detections, threshold: float) -> Objects:
    labels, scores, boxes = (part.cpu().numpy() for part in (one.labels, one.scores, one.boxes))
    return Objects(labels, scores, boxes).at(scores >= threshold)


def _tell_skipped(tally: Tally, watch: Watch) -> None:
    """Says which image was skipped last; after the first ones no more."""
    name, why = tally.skipped[-1]
    if len(tally.skipped) <= _NAMED:
        watch.say(f"Warning: {name} is skipped, since it cannot be read: {why}.")
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
