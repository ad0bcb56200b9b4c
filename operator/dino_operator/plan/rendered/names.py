"""Names, labels and annotations of the children: functions of the resource and the attempt."""

from __future__ import annotations

import hashlib

from dino_api.names import API_VERSION, LONGEST_SEARCH_NAME, MANAGED_BY, MANAGED_BY_LABEL, Label
from dino_operator.plan.model import Object
from dino_operator.plan.observed.resource import DinoJob

LONGEST = 63
LONGEST_JOB = 60
"""A Job's name and the index of a pod, such as -63, make a host name."""
HASH = 8


def short_hash(*parts: str) -> str:
    """Eight hex digits that differ when any part does."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:HASH]


def fit(name: str, longest: int = LONGEST) -> str:
    """The name itself, or its beginning and a hash of it, in at most so many characters."""
    if len(name) <= longest:
        return name
    return f"{name[: longest - HASH - 1].rstrip('-.')}-{short_hash(name)}"


def search_name(name: str) -> str:
    """The DinoAutoML of a DinoJob."""
    return fit(name, LONGEST_SEARCH_NAME)


def job_label(name: str) -> str:
    """The value of the job label for a DinoJob's name; label values end at 63 characters."""
    return fit(name)


def job_name(name: str, stage: str, attempt: int) -> str:
    """The child Job of one attempt, fit for host names. A long name is cut before the attempt."""
    tail = f"-{_dashed(stage)}-{attempt}"
    plain = name if "." not in name else f"{name.replace('.', '-')}-{short_hash(name)}"
    if len(plain + tail) <= LONGEST_JOB:
        return plain + tail
    keep = LONGEST_JOB - len(tail) - HASH - 1
    return f"{plain[:keep].rstrip('-')}-{short_hash(name)}{tail}"


def _dashed(word: str) -> str:
    """An action in a name of Kubernetes: gen-trt-engine."""
    return word.replace("_", "-")


def service_name(name: str, uid: str) -> str:
    """The headless Service in which the pods of one DinoJob find each other: a host name, too."""
    plain = f"dino-{name.replace('.', '-')}"
    return f"{plain[: LONGEST - HASH - 1].rstrip('-')}-{short_hash(name, uid)}"


def config_name(name: str, action: str, uid: str, content: str) -> str:
    """The ConfigMap of a resolved spec. Uid and content are in the name: it never has to change,
    and the one of a deleted resource of the same name is never taken for it."""
    return fit(f"{name}-{_dashed(action)}-{short_hash(uid, content)}")


def experiment_name(uid: str) -> str:
    """Katib's Experiment of a DinoAutoML. It is of the uid: Katib tells searches of one name in
    two namespaces apart by nothing else, and takes names of 40 characters at most."""
    return f"dino-{uid.replace('-', '')[:32]}"


def event_name(name: str, uid: str, reason: str, key: str) -> str:
    """One name for one fact, so that telling it twice leaves one event."""
    return f"{fit(name)}.{short_hash(uid, reason, key)}"


def owned_by(kind: str, name: str, uid: str) -> Object:
    """The controller reference by which a child is ours, and goes when its owner goes."""
    return {
        "apiVersion": API_VERSION,
        "kind": kind,
        "name": name,
        "uid": uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


def labels(resource: DinoJob, stage: str, attempt: int) -> dict[str, str]:
    """The labels by which a child is found again."""
    return {
        MANAGED_BY_LABEL: MANAGED_BY,
        Label.JOB.value: job_label(resource.name),
        Label.JOB_UID.value: resource.uid,
        Label.ACTION.value: stage,
        Label.ATTEMPT.value: str(attempt),
    }
