"""What is around a resource, as it was read or watched."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from dino_operator.plan.model import Object
from dino_operator.plan.observed import katib, objects
from dino_operator.plan.observed.api_object import ApiObject
from dino_operator.plan.observed.event import SeenEvent
from dino_operator.plan.observed.job import Job
from dino_operator.plan.observed.limit_range import LimitRange
from dino_operator.plan.observed.pod import Pod
from dino_operator.plan.observed.resource import DinoAutoML, DinoJob
from dino_operator.plan.observed.workload import Workload

KueueAccess = Literal["unasked", "missing", "forbidden", "read"]
"""missing: it is not installed. forbidden: the operator may not read Workloads."""
Verb = Literal["create", "patch", "delete", "read"]
"""What was asked of the API server."""


@dataclass(frozen=True)
class StatusCause:
    """One of the causes of an answer, as the API server's `details.causes` has it."""

    reason: str = ""
    field: str = ""
    message: str = ""


@dataclass(frozen=True)
class Refusal:
    """An answer of the API server by which something was not done a moment ago.

    kind, name: of the object. status: the HTTP status; 0 where no answer came. heard: how often
    this very answer came before, since the last plan that could be carried out.
    """

    verb: Verb
    kind: str
    name: str
    status: int
    reason: str = ""
    message: str = ""
    causes: tuple[StatusCause, ...] = ()
    heard: int = 0


@dataclass(frozen=True)
class Children:
    """What exists around a resource.

    jobs, pods: those with its job label in its namespace, whoever owns them.
    strangers: objects that hold the name of a child and are not labelled as ours.
    known: (kind, name) of shared objects that are known to exist in the namespace.
    dinojobs, automls: those with its label: the trials and followers of a search; the search of a
    DinoJob.
    others: DinoJobs and DinoAutoMLs that its spec names (parent, warmStartFrom), by (kind, name);
    one that does not exist is missing.
    automl_served, katib_served: whether the API server knows DinoAutoMLs, and Experiments.
    experiment, suggestion, katib_trials: Katib's objects of this search, where there are any.
    refusal: what the API server refused a moment ago; `reported/refusals.py` judges it.
    events: of Jobs and pods, by their uid, those that a plan asked for.
    limit_ranges: the namespace's LimitRanges; read where a Job is about to be made.
    kueue, workload: what was found on Kueue, and its Workload of the unfinished Job, where that was
    suspended by someone else than the operator.
    """

    jobs: tuple[Job, ...] = ()
    pods: tuple[Pod, ...] = ()
    strangers: tuple[ApiObject, ...] = ()
    known: frozenset[tuple[str, str]] = frozenset()
    dinojobs: tuple[DinoJob, ...] = ()
    automls: tuple[DinoAutoML, ...] = ()
    others: Mapping[tuple[str, str], DinoJob | DinoAutoML] = field(default_factory=dict)
    automl_served: bool = True
    katib_served: bool = False
    experiment: katib.Experiment | None = None
    suggestion: katib.Suggestion | None = None
    katib_trials: tuple[katib.ExperimentTrial, ...] = ()
    refusal: Refusal | None = None
    events: Mapping[str, tuple[SeenEvent, ...]] = field(default_factory=dict)
    limit_ranges: tuple[LimitRange, ...] = ()
    kueue: KueueAccess = "unasked"
    workload: Workload | None = None

    def dinojobs_of(self, uid: str) -> list[DinoJob]:
        """Those that the search of that uid made: a namesake of before may have left others."""
        return [each for each in self.dinojobs if each.controller_uid == uid]

    def lacking(self, needed: Iterable[Object]) -> tuple[Object, ...]:
        """What of this is not known to exist in the namespace."""
        made = ((each["kind"], objects.name_of(each), each) for each in needed)
        return tuple(each for kind, name, each in made if (kind, name) not in self.known)
