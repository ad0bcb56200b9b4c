"""Names, labels and annotations of the children: functions of the resource and the attempt."""

from __future__ import annotations

import hashlib
from enum import StrEnum

from dino_api.names import GROUP, MANAGED_BY, MANAGED_BY_LABEL, Label
from dino_operator.plan.model import Object

LONGEST = 63
HASH = 8


class Annotation(StrEnum):
    """Annotations of a child Job: what the operator must remember of an attempt."""

    RETRIES = f"{GROUP}/retries"
    """Counted failures before this attempt."""
    SPENT = f"{GROUP}/spent-seconds"
    """Seconds of runPolicy.activeDeadlineSeconds that earlier attempts used."""
    DIGEST = f"{GROUP}/spec-digest"
    IMAGE = f"{GROUP}/image"
    WARNINGS = f"{GROUP}/warnings"
    """What is odd about the spec and was no error."""
    STOPPED_FOR = f"{GROUP}/stopped-for"
    """The failure reason for which the operator stopped the attempt, and what it saw."""
    STOPPED_MESSAGE = f"{GROUP}/stopped-message"


def short_hash(*parts: str) -> str:
    """Eight hex digits that differ when any part does."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:HASH]


def fit(name: str) -> str:
    """The name itself, or its beginning and a hash of it, in at most 63 characters."""
    if len(name) <= LONGEST:
        return name
    return f"{name[: LONGEST - HASH - 1].rstrip('-.')}-{short_hash(name)}"


def job_label(name: str) -> str:
    """The value of the job label for a DinoJob's name; label values end at 63 characters."""
    return fit(name)


def job_name(name: str, action: str, attempt: int) -> str:
    """The child Job of one attempt. A long name is cut before the attempt, never in it."""
    tail = f"-{action}-{attempt}"
    whole = f"{name}{tail}"
    if len(whole) <= LONGEST:
        return whole
    keep = LONGEST - len(tail) - HASH - 1
    return f"{name[:keep].rstrip('-.')}-{short_hash(name)}{tail}"


def config_name(name: str, action: str, uid: str, content: str) -> str:
    """The ConfigMap of a resolved spec. Uid and content are in the name: it never has to change,
    and the one of a deleted resource of the same name is never taken for it."""
    return fit(f"{name}-{action}-{short_hash(uid, content)}")


def event_name(name: str, uid: str, reason: str, key: str) -> str:
    """One name for one fact, so that telling it twice leaves one event."""
    return f"{fit(name)}.{short_hash(uid, reason, key)}"


def labels(resource: Object, attempt: int) -> dict[str, str]:
    """The labels by which a child is found again."""
    meta = resource["metadata"]
    return {
        MANAGED_BY_LABEL: MANAGED_BY,
        Label.JOB.value: job_label(meta["name"]),
        Label.JOB_UID.value: meta["uid"],
        Label.ACTION.value: resource["spec"]["action"],
        Label.ATTEMPT.value: str(attempt),
    }
