"""Images per forward pass of an attempt, where memory did not suffice for the whole batch."""

from __future__ import annotations

from dataclasses import dataclass

from dino_operator.plan.annotations import Annotation
from dino_operator.plan.model import Object
from dino_operator.plan.observed.job import Job
from dino_operator.plan.observed.status import JobStatus


@dataclass(frozen=True)
class MicroBatch:
    """Images per forward pass of an attempt, and forward passes per optimiser step.

    passes: None of actions that do not train. last_chance: the attempt before, of a training, ran
    out of memory with one image at a time.
    """

    images: int
    passes: int | None
    last_chance: bool = False

    def notes(self) -> dict[str, str]:
        """Annotations of the attempt's Job."""
        notes = {Annotation.MICRO_BATCH.value: str(self.images)}
        if self.passes is not None:
            notes[Annotation.ACCUMULATION.value] = str(self.passes)
        return {**notes, Annotation.OUT_OF_MEMORY.value: "true"} if self.last_chance else notes

    def to_status(self) -> Object:
        """Facts of the status."""
        facts = {"microBatch": self.images}
        return facts if self.passes is None else {**facts, "accumulation": self.passes}

    def __str__(self) -> str:
        images = "1 image" if self.images == 1 else f"{self.images} images"
        if self.passes is None:
            return f"{images} at a time"
        return f"{images} per forward pass, {self.passes} passes per step"


def of_job(job: Job | None) -> MicroBatch | None:
    """The micro-batch of the attempt; None where it has the whole batch."""
    images = job.number(Annotation.MICRO_BATCH) if job else 0
    if job is None or not images:
        return None
    last = bool(job.note(Annotation.OUT_OF_MEMORY))
    return MicroBatch(images, job.number(Annotation.ACCUMULATION) or None, last)


def of_status(status: JobStatus) -> MicroBatch | None:
    """The micro-batch of the newest attempt, where its Job is gone."""
    images = status.micro_batch
    return None if images is None else MicroBatch(images, status.accumulation)
