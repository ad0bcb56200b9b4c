"""Annotations that are read: our own, of children and trials, and that of kubectl apply."""

from __future__ import annotations

from enum import StrEnum

from dino_api.names import GROUP

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
"""The annotation in which kubectl apply and Argo CD keep an object as it was written."""


class Annotation(StrEnum):
    """Annotations of children: what the operator must remember of an attempt, or of a trial."""

    RETRIES = f"{GROUP}/retries"
    """Counted failures before this attempt."""
    SPENT = f"{GROUP}/spent-seconds"
    """Seconds of runPolicy.activeDeadlineSeconds that ran before the Job's present start."""
    SPENT_UNTIL = f"{GROUP}/spent-until"
    """The time up to which they were counted, once the Job was suspended."""
    HELD = f"{GROUP}/held"
    """Of a Job: the operator itself suspended it, in the same write, and may resume it."""
    HOLDS = f"{GROUP}/holds"
    """Of a Job: how often the operator suspended it, as someone else resumed it each time."""
    DIGEST = f"{GROUP}/spec-digest"
    IMAGE = f"{GROUP}/image"
    WARNINGS = f"{GROUP}/warnings"
    """What is odd about the spec and was no error."""
    MICRO_BATCH = f"{GROUP}/micro-batch"
    """Images per forward pass, where memory did not suffice for the batch."""
    ACCUMULATION = f"{GROUP}/accumulation"
    """Forward passes per optimiser step at that size."""
    OUT_OF_MEMORY = f"{GROUP}/out-of-memory"
    """The attempt before ran out of memory with one image at a time."""
    STOPPED_FOR = f"{GROUP}/stopped-for"
    """The failure reason for which the operator stopped the attempt, and what it saw."""
    STOPPED_MESSAGE = f"{GROUP}/stopped-message"
    PARAMETERS = f"{GROUP}/parameters"
    """Of a trial's DinoJob: what was drawn, as JSON."""
    KNEW = f"{GROUP}/history"
    """Of a trial's DinoJob: the numbers of the trials whose results its draw knew, with commas."""
    DATA_CHECKED_BY = f"{GROUP}/data-checked-by"
    """Of a DinoJob: the job whose preflight found the same data good."""
