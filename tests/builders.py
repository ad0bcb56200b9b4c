"""Objects as the API server would send them, so that a test shows only its point.

`a_job("x").suspended().obj()` is a DinoJob; `a_child(job).attempt(2).failed()` its second Job;
`a_pod(child).exited(71)` a pod of that. Every builder returns itself; `obj()` gives a copy.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from dino_api import names as api
from dino_api import rfc3339
from dino_operator.plan import annotations
from dino_operator.plan.observed import katib
from dino_operator.plan.observed.api_object import ApiObject
from dino_operator.plan.observed.children import Children
from dino_operator.plan.observed.event import SeenEvent
from dino_operator.plan.observed.job import Job
from dino_operator.plan.observed.limit_range import LimitRange
from dino_operator.plan.observed.objects import CONTAINER, INDEX_LABEL
from dino_operator.plan.observed.pod import Pod
from dino_operator.plan.observed.resource import DinoAutoML, DinoJob
from dino_operator.plan.observed.workload import Workload
from dino_operator.plan.rendered import names

Object = dict[str, Any]

SOUND = {
    "model": {"pretrained_backbone_path": "s3://weights/resnet50.pth"},
    "train": {"optim": {"lr_scheduler": "Cosine"}},
}
"""An experiment that nothing is odd about."""
NOON = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
"""The time of every test; `later(5)` is five seconds after it."""


def later(seconds: float) -> datetime:
    """Seconds after noon."""
    return NOON + timedelta(seconds=seconds)


def at(seconds: float) -> str:
    """The same, as the API server writes it."""
    return rfc3339.text(later(seconds))


def stamp() -> str:
    """Now, as the API server writes it."""
    return rfc3339.text(datetime.now(UTC))


def around(jobs: Iterable[Object] = (), pods: Iterable[Object] = (), **more: Any) -> Children:
    """What is around a resource, each object as the API server sends it."""
    views: dict[str, type[ApiObject]] = {
        "strangers": ApiObject,
        "dinojobs": DinoJob,
        "automls": DinoAutoML,
        "katib_trials": katib.ExperimentTrial,
        "limit_ranges": LimitRange,
    }
    for field in views.keys() & more.keys():
        more[field] = tuple(map(views[field], more[field]))
    single: dict[str, type[ApiObject]] = {
        "experiment": katib.Experiment,
        "suggestion": katib.Suggestion,
        "workload": Workload,
    }
    for field in single.keys() & more.keys():
        more[field] = None if more[field] is None else single[field](more[field])
    more["events"] = {
        uid: tuple(map(SeenEvent, events)) for uid, events in more.get("events", {}).items()
    }
    named = more.get("others") or {}
    more["others"] = {
        key: DinoAutoML(each) if key[0] == api.AUTOML_KIND else DinoJob(each)
        for key, each in named.items()
    }
    return Children(tuple(map(Job, jobs)), tuple(map(Pod, pods)), **more)


class Builder:
    """Holds an object under construction."""

    def __init__(self, thing: Object) -> None:
        self.thing = thing

    def obj(self) -> Object:
        """A copy of what was built."""
        return copy.deepcopy(self.thing)

    @property
    def meta(self) -> Object:
        """metadata."""
        return self.thing["metadata"]

    def uid(self, uid: str) -> Self:
        """Another uid."""
        self.meta["uid"] = uid
        return self

    def deleting(self) -> Self:
        """Asked to go, and still there."""
        self.meta["deletionTimestamp"] = at(0)
        return self

    def note(self, key: annotations.Annotation, value: str) -> Self:
        """One of the operator's annotations."""
        self.meta.setdefault("annotations", {})[key.value] = value
        return self

    def condition(self, kind: str, told: bool = True, **more: str) -> Self:
        """Adds or replaces a condition."""
        conditions = self.thing.setdefault("status", {}).setdefault("conditions", [])
        conditions[:] = [each for each in conditions if each["type"] != kind]
        conditions.append({"type": kind, "status": "True" if told else "False", **more})
        return self


class JobBuilder(Builder):
    """A DinoJob."""

    def suspended(self, on: bool = True) -> Self:
        """spec.runPolicy.suspend."""
        return self.policy(suspend=on)

    def policy(self, **values: Any) -> Self:
        """Fields of spec.runPolicy. Editing them is a new generation."""
        self.thing["spec"]["runPolicy"].update(values)
        return self

    def spec(self, **values: Any) -> Self:
        """Fields of spec."""
        self.thing["spec"].update(values)
        return self

    def searched(self) -> Self:
        """Without automlPolicy: a search is made for it."""
        del self.thing["spec"]["automlPolicy"]
        return self

    def experiment(self, **sections: Any) -> Self:
        """Sections of spec.experiment."""
        return self.spec(experiment=sections)

    def generation(self, number: int) -> Self:
        """metadata.generation."""
        self.meta["generation"] = number
        return self

    def status(self, status: Object | None) -> Self:
        """The status that an earlier plan wrote."""
        if status is not None:
            progress = self.thing.get("status", {}).get("progress")
            self.thing["status"] = copy.deepcopy(status)
            if progress is not None:
                self.thing["status"]["progress"] = progress
        return self


def a_job(name: str = "x") -> JobBuilder:
    """A valid DinoJob, created at noon, that nobody has looked at yet."""
    return JobBuilder(
        {
            "apiVersion": api.API_VERSION,
            "kind": api.KIND,
            "metadata": {
                "name": name,
                "namespace": "team",
                "uid": f"uid-{name}",
                "generation": 1,
                "resourceVersion": "1",
                "creationTimestamp": at(0),
            },
            "spec": {
                "action": "train",
                "automlPolicy": "Disabled",
                "datasets": {
                    "train": [{"uri": "s3://data/train"}],
                    "validation": [{"uri": "s3://data/val"}],
                },
                "output": {"uri": "s3://results/x"},
                "experiment": copy.deepcopy(SOUND),
                "runPolicy": {"maxRetries": 3},
            },
        }
    )


class ChildBuilder(Builder):
    """A child Job."""

    def attempt(self, number: int) -> Self:
        """Of which attempt, under its name and with a uid of its own."""
        owner = self.meta["ownerReferences"][0]["name"]
        stage = self.meta["labels"][api.Label.ACTION.value]
        self.meta["name"] = names.job_name(owner, stage, number)
        self.meta["uid"] += f"-{number}" if number > 1 else ""
        self.meta["labels"][api.Label.ATTEMPT.value] = str(number)
        return self.note(annotations.Annotation.RETRIES, str(number - 1))

    def suspended(self, on: bool = True) -> Self:
        """spec.suspend."""
        self.thing["spec"]["suspend"] = on
        return self

    def going(self, seconds: float) -> Self:
        """Deleted so many seconds after noon, and still there."""
        self.meta["deletionTimestamp"] = at(seconds)
        return self

    def born(self, seconds: float) -> Self:
        """Created so many seconds after noon."""
        self.meta["creationTimestamp"] = at(seconds)
        return self

    def held(self) -> Self:
        """Suspended by the operator, which left its mark."""
        return self.suspended().note(annotations.Annotation.HELD, "true")

    def waiting(self, queue: str = "", since: float = 0) -> Self:
        """Suspended by Kueue, which clears the start, with the queue that it added, if any."""
        self.thing["status"].pop("startTime", None)
        self.condition("Suspended", lastTransitionTime=at(since))
        return self.queued(queue).suspended()

    def queued(self, queue: str) -> Self:
        """In a queue of Kueue's."""
        if queue:
            self.meta["labels"][api.KUEUE_QUEUE_LABEL] = queue
        return self

    def spec(self, **values: Any) -> Self:
        """Fields of spec."""
        self.thing["spec"].update(values)
        return self

    def ran(self, start: float = 0) -> Self:
        """Started so many seconds after noon."""
        self.thing["status"]["startTime"] = at(start)
        return self

    def complete(self, end: float = 60) -> Self:
        """Succeeded."""
        self.thing["status"]["completionTime"] = at(end)
        return self.condition("Complete", lastTransitionTime=at(end))

    def failed(self, reason: str = "PodFailurePolicy", end: float = 60, message: str = "") -> Self:
        """Failed."""
        return self.condition("Failed", reason=reason, message=message, lastTransitionTime=at(end))

    def orphaned(self) -> Self:
        """Without an owner, as `kubectl delete --cascade=orphan` leaves it."""
        del self.meta["ownerReferences"]
        return self


def a_preflight(job: JobBuilder) -> ChildBuilder:
    """The Job that checks the data, active, without a pod so far."""
    made = a_child(job, "preflight")
    made.meta["uid"] = f"preflight-of-{job.meta['uid']}"
    return made


def owned_by(job: JobBuilder) -> Object:
    """The controller reference of a child, written out here and not taken from the plan."""
    owner = job.meta
    return {
        "apiVersion": api.API_VERSION,
        "kind": api.KIND,
        "name": owner["name"],
        "uid": owner["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def a_child(job: JobBuilder, stage: str = "train") -> ChildBuilder:
    """The Job of the first attempt, active, without a pod so far."""
    owner = job.meta
    return ChildBuilder(
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {
                "name": names.job_name(owner["name"], stage, 1),
                "namespace": owner["namespace"],
                "uid": f"job-of-{owner['uid']}",
                "resourceVersion": "2",
                "creationTimestamp": at(0),
                "labels": names.labels(DinoJob(job.thing), stage, 1),
                "annotations": {
                    annotations.Annotation.RETRIES.value: "0",
                    annotations.Annotation.SPENT.value: "0",
                    annotations.Annotation.DIGEST.value: "digest",
                    annotations.Annotation.IMAGE.value: "trainer:1",
                },
                "ownerReferences": [owned_by(job)],
            },
            "spec": {},
            "status": {"startTime": at(0)},
        }
    )


class PodBuilder(Builder):
    """A pod of a child Job."""

    def named(self, name: str, born: float = 0) -> Self:
        """Another name, created so many seconds after noon."""
        self.meta.update(name=name, uid=f"uid-{name}", creationTimestamp=at(born))
        return self

    def deleting(self, by: float = 120) -> Self:
        """Asked to go, and still there; by: when it has to have ended, grace included."""
        self.meta["deletionTimestamp"] = at(by)
        return self

    def index(self, number: int) -> Self:
        """One of several, under a name and uid of its own."""
        self.meta["labels"][INDEX_LABEL] = str(number)
        job = self.meta["name"].removesuffix("-aaaaa")
        return self.named(f"{job}-{number}-aaaaa")

    def running(self, start: float = 5) -> Self:
        """The trainer runs."""
        self.thing["status"]["phase"] = "Running"
        self.condition("PodScheduled", lastTransitionTime=at(0))
        return self._container(running={"startedAt": at(start)})

    def succeeded(self, result: Any = None) -> Self:
        """Exit code 0, with that result as termination message."""
        self.thing["status"]["phase"] = "Succeeded"
        return self._container(terminated=self._ended(0, "Completed", result))

    def exited(self, code: int, reason: str = "Error", message: Any = None) -> Self:
        """Another exit code; the message may be an object or text."""
        self.thing["status"]["phase"] = "Failed"
        return self._container(terminated=self._ended(code, reason, message))

    def evicted(self, message: str) -> Self:
        """Removed by the kubelet."""
        self.thing["status"] = {"phase": "Failed", "reason": "Evicted", "message": message}
        return self

    def unschedulable(self, message: str) -> Self:
        """No node fits."""
        return self.condition("PodScheduled", False, reason="Unschedulable", message=message)

    def scheduled(self, when: float = 0) -> Self:
        """Placed on a node."""
        return self.condition("PodScheduled", lastTransitionTime=at(when))

    def stuck(self, reason: str, message: str = "") -> Self:
        """Its container waits."""
        return self.scheduled()._container(waiting={"reason": reason, "message": message})

    def beside(self, name: str, init: bool = False, last: Any = None, **state: Any) -> Self:
        """Another container of the pod, after what is said of the trainer's."""
        key = "initContainerStatuses" if init else "containerStatuses"
        told = {"name": name, "state": state}
        told |= {"lastState": {"terminated": last}} if last else {}
        self.thing["status"].setdefault(key, []).append(told)
        return self

    def limited(self, memory: str | None, by_range: str = "") -> Self:
        """The trainer's memory limit; by_range: what a LimitRange is said to have set."""
        limits = {"memory": memory} if memory else {}
        container = {"name": CONTAINER, "resources": {"limits": limits}}
        self.thing["spec"] = {"containers": [container]}
        if by_range:
            said = f"LimitRanger plugin set: {by_range}"
            self.meta["annotations"] = {"kubernetes.io/limit-ranger": said}
        return self

    def on(self, node: str) -> Self:
        """Placed on that node."""
        self.thing.setdefault("spec", {})["nodeName"] = node
        return self

    def _container(self, **state: Any) -> Self:
        self.thing["status"]["containerStatuses"] = [{"name": CONTAINER, "state": state}]
        return self

    def _ended(self, code: int, reason: str, message: Any) -> Object:
        text = message if isinstance(message, str) else json.dumps(message)
        ended = {"exitCode": code, "reason": reason, "startedAt": at(5), "finishedAt": at(55)}
        return ended if message is None else {**ended, "message": text}


def a_pod(child: ChildBuilder) -> PodBuilder:
    """A pod of that Job that waits for a node."""
    owner = child.meta
    return PodBuilder(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": f"{owner['name']}-aaaaa",
                "namespace": owner["namespace"],
                "uid": f"pod-of-{owner['uid']}",
                "resourceVersion": "3",
                "creationTimestamp": at(0),
                "labels": dict(owner["labels"]),
                "ownerReferences": [{"kind": "Job", "uid": owner["uid"], "controller": True}],
            },
            "status": {"phase": "Pending"},
        }
    )
