"""Out of memory: the next attempt takes fewer images at a time.

A training has as many in each step, and what other actions find does not depend on it.
"""

from __future__ import annotations

from dataclasses import replace
from math import ceil

from dino_api.actions import ACTIONS
from dino_api.memory import IMAGES, MORE, REASONS
from dino_api.memory import remedy as advice
from dino_api.names import FailureReason
from dino_operator.plan.observed.failure import Cause
from dino_operator.plan.observed.job import Job
from dino_operator.plan.observed.resource import DinoJob
from dino_operator.plan.rendered import spec_file
from dino_operator.plan.rendered.micro_batch import MicroBatch, of_job, of_status

_NEW = "and create a new job"
_FEWER = "takes half as many images at a time, with the same result"


def after(job: Job, reason: FailureReason, resource: DinoJob) -> MicroBatch | None:
    """The micro-batch of the attempt after one that failed for this reason. It never rises.

    Raises InvalidSpec.
    """
    before = of_job(job)
    micro_batch = of_status(resource.status)
    if reason not in REASONS:
        known = [replace(each, last_chance=False) for each in (before, micro_batch) if each]
        return min(known, key=_size, default=None)
    resolved, images = spec_file.read_spec(resource), _images(job, resource)
    half = max(1, images // 2)
    wanted = MicroBatch(half, None)
    if resource.trains:
        wanted = MicroBatch(half, ceil(resolved.per_step / half), last_chance=images == 1)
    return min(wanted, micro_batch or wanted, key=_size)


def _size(micro_batch: MicroBatch) -> int:
    return micro_batch.images


def is_halved(micro_batch: MicroBatch | None, reason: FailureReason) -> bool:
    """Whether the next attempt answers the lack of memory. It happens a few times at most, and so
    costs none of the retries that are meant for accidents."""
    return reason in REASONS and micro_batch is not None and not micro_batch.last_chance


def is_used_up(job: Job, reason: FailureReason, resource: DinoJob) -> bool:
    """Whether fewer images at a time are of no use. Raises InvalidSpec.

    A training that was too much with one image gets another try, others do not: they would do the
    same again from the start.
    """
    if reason not in REASONS:
        return False
    if resource.trains:
        micro_batch = of_job(job)
        return micro_batch is not None and micro_batch.last_chance
    return _images(job, resource) <= 1


def last_word(job: Job, cause: Cause, resource: DinoJob) -> Cause:
    """The cause of the end of a job for which memory does not suffice. Raises InvalidSpec."""
    if resource.trains:
        message = "twice in a row with one image per forward pass"
    else:
        message = (
            "with one image at a time" if _images(job, resource) else "it has no batch to halve"
        )
    return replace(cause, message=f"{cause.message}; {message}")


def at_the_end(job: Job, cause: Cause, resource: DinoJob, retries: int) -> Cause:
    """The same with what to do where no attempt follows. Raises InvalidSpec.

    retries: the most that the job may have; without one even a halving is not tried.
    """
    if cause.rule.reason not in REASONS:
        return cause
    remedy = advice(_more(cause), _less(job, resource), _NEW)
    if not retries and not job.is_preflight and _images(job, resource) > 1:
        remedy += f" With spec.runPolicy.maxRetries above 0 another attempt {_FEWER}."
    return replace(cause, remedy=remedy)


def while_retried(
    job: Job, cause: Cause, resource: DinoJob, micro_batch: MicroBatch | None
) -> Cause:
    """The same with what to do where an attempt follows. Raises InvalidSpec.

    micro_batch: that of the next attempt.
    Nothing, where it takes fewer images; else it does the same once more.
    """
    reason = cause.rule.reason
    if reason not in REASONS:
        return cause
    advised = advice(_more(cause), _less(job, resource))
    if is_halved(micro_batch, reason):
        begins = f"Nothing to do: the next attempt has {micro_batch}, with the same result."
    else:
        begins = "The next attempt is made as this one was; should it fail, too, create a new job."
    return replace(cause, remedy=f"{begins} {advised}")


def _more(cause: Cause) -> str:
    return cause.more or MORE[cause.rule.reason]


def _less(job: Job, resource: DinoJob) -> str:
    """Keys of the experiment; a check of the data reads none that would help."""
    if job.is_preflight:
        return ""
    lower = ACTIONS[resource.action].less_memory
    return f"{IMAGES}, {lower}" if _images(job, resource) > 1 else lower


def _images(job: Job, resource: DinoJob) -> int:
    micro_batch = of_job(job)
    return micro_batch.images if micro_batch else spec_file.read_spec(resource).batch
