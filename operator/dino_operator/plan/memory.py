"""Out of memory: the next attempt trains on fewer images at a time, as many in each step."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from dino_api.names import FailureReason
from dino_operator.plan import observe, specfile
from dino_operator.plan.model import Object
from dino_operator.plan.names import Annotation

REASONS = (FailureReason.OUT_OF_MEMORY, FailureReason.DEVICE_OUT_OF_MEMORY)
REMEDY = (
    "Memory does not suffice for one image at a time: raise spec.resources.memory, or for "
    "DeviceOutOfMemory take GPUs with more; or lower the image size, model.num_queries or "
    "model.num_feature_levels, or set train.activation_checkpoint: true, and create a new job."
)


@dataclass(frozen=True)
class MicroBatch:
    """Images per forward pass of an attempt, and forward passes per optimiser step.

    last_chance: the attempt before ran out of memory with one image at a time.
    """

    images: int
    passes: int
    last_chance: bool = False

    def notes(self) -> dict[str, str]:
        """As annotations of the attempt's Job."""
        told = {
            Annotation.MICRO_BATCH.value: str(self.images),
            Annotation.ACCUMULATION.value: str(self.passes),
        }
        return {**told, Annotation.OUT_OF_MEMORY.value: "true"} if self.last_chance else told

    def to_status(self) -> Object:
        """As facts of the status."""
        return {"microBatch": self.images, "accumulation": self.passes}

    def __str__(self) -> str:
        images = "1 image" if self.images == 1 else f"{self.images} images"
        return f"{images} per forward pass, {self.passes} passes per step"


def of_job(job: Object | None) -> MicroBatch | None:
    """That of the attempt; None where it has the whole batch."""
    images = observe.annotation(job, Annotation.MICRO_BATCH) if job else ""
    if job is None or not images:
        return None
    last = bool(observe.annotation(job, Annotation.OUT_OF_MEMORY))
    return MicroBatch(int(images), int(observe.annotation(job, Annotation.ACCUMULATION)), last)


def of_status(resource: Object) -> MicroBatch | None:
    """That of the newest attempt, where its Job is gone."""
    told = resource.get("status", {})
    if "microBatch" not in told:
        return None
    return MicroBatch(int(told["microBatch"]), int(told.get("accumulation", 1)))


def after(job: Object, reason: FailureReason, resource: Object) -> MicroBatch | None:
    """That of the attempt after one that failed for this reason. It never rises again.

    Raises InvalidSpec.
    """
    before = of_job(job)
    told = of_status(resource)
    if reason not in REASONS:
        known = [MicroBatch(each.images, each.passes) for each in (before, told) if each]
        return min(known, key=_size, default=None)
    resolved = specfile.read_spec(resource)
    images = before.images if before else resolved.batch
    half = max(1, images // 2)
    wanted = MicroBatch(half, ceil(resolved.per_step / half), last_chance=images == 1)
    return min(wanted, told or wanted, key=_size)


def _size(tried: MicroBatch) -> int:
    return tried.images


def is_halved(tried: MicroBatch | None, reason: FailureReason) -> bool:
    """Whether the next attempt answers the lack of memory. It happens a few times at most, and so
    costs none of the retries that are meant for accidents."""
    return reason in REASONS and tried is not None and not tried.last_chance


def is_used_up(job: Object, reason: FailureReason) -> bool:
    """Whether this is the second time in a row that one image at a time was too much."""
    tried = of_job(job)
    return reason in REASONS and tried is not None and tried.last_chance
