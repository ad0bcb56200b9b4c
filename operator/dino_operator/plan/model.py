"""The words in which a plan is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from dino_api.names import AUTOML_KIND, DEFAULT_REGION, KIND, ConditionType
from dino_api.resources.dinoautoml import SmokeProfile

Plural = Literal["jobs", "dinojobs", "dinoautomls", "experiments"]
"""The kinds that plans patch and delete, as they stand in URLs."""
FINAL = (ConditionType.COMPLETE, ConditionType.FAILED)
"""Conditions that end a Job, a DinoJob or a DinoAutoML: neither is taken back. The Job controller
says one only after the pods ended; we run nothing again after it."""
GPU_KINDS = frozenset({"Job", KIND, AUTOML_KIND, "Experiment"})
"""The kinds that cost GPU time."""


Object = dict[str, Any]
"""A Kubernetes object, or a part of one, as the API server sends it."""


@dataclass(frozen=True)
class Condition:
    """One condition of a status: whether it is True, why, and a sentence.

    since: its lastTransitionTime, of one that was read.
    """

    is_true: bool
    reason: str = ""
    message: str = ""
    since: str = field(default="", compare=False)

    @classmethod
    def of(cls, thing: Object, kind: str) -> Condition | None:
        """The condition of that type in the status of an object, or None."""
        row = _row(thing, kind)
        if row is None:
            return None
        reason, message = str(row.get("reason", "")), str(row.get("message", ""))
        since = str(row.get("lastTransitionTime") or "")
        return cls(row.get("status") == "True", reason, message, since)


def _row(thing: Object, kind: str) -> Object | None:
    status = thing.get("status")
    rows = status.get("conditions") if isinstance(status, dict) else None
    for each in rows if isinstance(rows, list | tuple) else ():
        # A kind without a schema, such as those of Katib, has whatever a client wrote.
        if isinstance(each, dict) and each.get("type") == kind:
            return each
    return None


def is_true(thing: Object, kind: str) -> bool:
    """Whether the condition of that type is True."""
    row = _row(thing, kind)
    return row is not None and row.get("status") == "True"


@dataclass(frozen=True)
class Settings:
    """What the installation decides for every job. Durations are in seconds."""

    trainer_image: str
    tensorrt_image: str = ""
    """Of pods that build or run a TensorRT engine; empty: the trainer's."""
    image_pull_policy: str = "IfNotPresent"
    cpu_per_process: str = ""
    """CPUs requested where spec.resources.cpu is absent; empty: by the workers of each process."""
    s3_endpoint: str = ""
    s3_region: str = DEFAULT_REGION
    s3_path_style: bool = False
    s3_secret: str = ""
    cache_claim: str = ""
    pull_secrets: tuple[str, ...] = ()
    """Secrets, in each job's namespace, that the trainer's image is pulled with."""
    trainer_env: tuple[tuple[str, str], ...] = ()
    """Variables of every training pod, such as a proxy; podTemplate.env goes before them."""
    ca_config_map: str = ""
    """ConfigMap, in each job's namespace, whose ca.crt the object store is trusted by."""
    retry_backoff: float = 10
    retry_backoff_max: float = 300
    image_pull_timeout: float = 600
    recheck: float = 30
    """How often a job that waits for something outside its own children is looked at again."""
    unschedulable_after: float = 10
    events_after: float = 5
    """Of a Job that has lacked a pod for this long, and of a pod that was placed and has not
    started for twice as long, the events are read."""
    sidecar_after: float = 30
    """A pod lives on for this long after its trainer before it is said what keeps it."""
    pod_missing_after: float = 60
    """A Job without a pod for this long gets its service account and ConfigMap made again."""
    progress_old_after: float = 300
    """A running pod that wrote no progress for this long gets its account and right made again."""
    automl: bool = True
    """Whether DinoJobs with automlPolicy Auto are searched for."""
    routed_trials: int = 20
    """maxTrials of the search for a DinoJob that does not say it."""
    routed_parallel: int = 2
    profile: SmokeProfile = field(default_factory=SmokeProfile)
    """The smoke profile."""
    katib_poll: float = 15
    """How often a running Experiment is looked at."""


@dataclass(frozen=True)
class Patch:
    """A JSON merge patch of one object. Refused by the API server if the uid has changed."""

    name: str
    uid: str
    body: Mapping[str, Any]
    kind: Plural = "jobs"


@dataclass(frozen=True)
class Delete:
    """A background delete of one object with its uid as precondition."""

    name: str
    uid: str
    kind: Plural = "jobs"


@dataclass(frozen=True)
class Event:
    """A Kubernetes event. `key` makes its name: posting it twice leaves one event."""

    reason: str
    message: str
    key: str
    warning: bool = False


@dataclass(frozen=True)
class Plan:
    """What to do now, in this order: creates, patches, deletes, events, status.

    creates: whole objects to POST; one that exists already is left as it is.
    status: everything the operator owns in the status; None leaves it alone.
    requeue_after: seconds until time alone may change the plan; None for never.
    asks: uids of the Job or pod whose events would tell more; then the plan is made again.
    """

    creates: tuple[Object, ...] = ()
    patches: tuple[Patch, ...] = ()
    deletes: tuple[Delete, ...] = ()
    status: Object | None = None
    events: tuple[Event, ...] = ()
    requeue_after: float | None = field(default=None)
    asks: tuple[str, ...] = field(default=(), compare=False)

    @property
    def irrevocable(self) -> bool:
        """Whether it must be decided on objects read from the API server, not from a cache.

        A second GPU Job or trial, a deleted or resumed Job, a false end or a false event cannot be
        taken back, nor what a job or a search begins with.
        """
        work = any(each["kind"] in GPU_KINDS for each in self.creates)
        end = self.is_last_word or self.ends_trials
        changes = bool(self.patches or self.deletes or self.events)
        return work or end or changes or self.takes_over

    @property
    def is_last_word(self) -> bool:
        """Whether the status says Complete or Failed."""
        return any(is_true({"status": self.status}, each) for each in FINAL)

    @property
    def ends_trials(self) -> bool:
        """Whether the status says that every trial of a search has ended; then none is followed."""
        return "completionTime" in (self.status or {})

    @property
    def takes_over(self) -> bool:
        """Whether the status may say for the first time what others left: the model of a parent,
        or the results of other searches. They are not asked again."""
        status = (self.status or {}).keys()
        model = "inherited" in status and not {"specDigest", "automl"} & status
        return model or ("known" in status and "history" not in status)

    @property
    def is_empty(self) -> bool:
        """Whether it changes nothing. It may still ask to be made again later."""
        return not (self.creates or self.patches or self.deletes or self.status or self.events)
