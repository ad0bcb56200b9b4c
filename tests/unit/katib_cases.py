"""A search on Katib as the API server would send it: the DinoAutoML and all that Katib makes."""

from __future__ import annotations

import copy
from datetime import datetime
from functools import cache
from typing import Any

from dino_api.names import METRIC
from dino_api.resources.dinoautoml import DinoAutoMLSpec, SmokeProfile
from dino_api.search import resolve_search
from dino_operator.plan.annotations import Annotation
from dino_operator.plan.model import Settings
from dino_operator.plan.observed.objects import CONTAINER
from dino_operator.plan.observed.resource import DinoAutoML
from dino_operator.plan.rendered import names
from dino_operator.plan.search.engines.contract import Step
from dino_operator.plan.search.engines.katib import engine, experiment
from dino_operator.plan.search.search_view import SearchView
from tests.builders import NOON, Object, around, at, later

UID = "0f3e5a52-7b1d-4c55-9e0a-5a3f2f9f4b11"
NAME = "dino-0f3e5a527b1d4c559e0a5a3f2f9f4b11"
SETTINGS = Settings(trainer_image="trainer:1", s3_endpoint="http://s3", cache_claim="data")
COLLECTOR = "metrics-logger-and-collector"
LR = {"path": "train.optim.lr", "min": 1e-5, "max": 5e-4, "scale": "log"}
QUERIES = {"path": "model.num_queries", "min": 100, "max": 900, "step": 50}
BACKBONE = {"path": "model.backbone", "choices": ["resnet_50", "timm/tf_efficientnet_lite0"]}
MESSAGE = {
    "schema": 1,
    "action": "train",
    "metrics": {"mAP": 0.3, "mAP50": 0.61},
    "checkpoint": {"uri": "s3://results/tune/trials/t/train/dino_model_best.pth", "epoch": 2},
    "curve": [{"epoch": 1, "mAP50": 0.4}, {"epoch": 2, "mAP50": 0.61}],
}


def a_search(**spec: Any) -> Object:
    """A valid DinoAutoML on Katib, created at noon. spec: more fields; template is merged."""
    template = {
        "datasets": {
            "train": [{"uri": "s3://data/train"}],
            "validation": [{"uri": "s3://data/val"}],
        },
        "output": {"uri": "s3://results/tune/"},
        **spec.pop("template", {}),
    }
    told = {"search": [LR, QUERIES, BACKBONE], "maxTrials": 5, "engine": "Katib", **spec}
    return {
        "apiVersion": "dino-operator.io/v1alpha1",
        "kind": "DinoAutoML",
        "metadata": {"name": "tune", "namespace": "team", "uid": UID, "creationTimestamp": at(0)},
        "spec": {"template": template, **told},
    }


def a_view(
    resource: Object | None = None,
    now: datetime = NOON,
    settings: Settings = SETTINGS,
    **children: Any,
) -> SearchView:
    """The view of that search. children: fields of Children."""
    resource = resource or a_search()
    search = resolve_search(DinoAutoMLSpec.model_validate(resource["spec"]), SmokeProfile())
    return SearchView(
        DinoAutoML(resource), around(katib_served=True, **children), now, settings, search
    )


@cache
def _experiment() -> Object:
    made = experiment.to_create(a_view())[-1]
    made["metadata"] |= {"uid": "uid-experiment", "creationTimestamp": at(0)}
    return made


def an_experiment(**status: Any) -> Object:
    """The Experiment of `a_search()`, running. status: more fields of it."""
    conditions = [{"type": "Created", "status": "True"}, {"type": "Running", "status": "True"}]
    return {**copy.deepcopy(_experiment()), "status": {"conditions": conditions, **status}}


def ended(kind: str, message: str = "", found: Object | None = None) -> Object:
    """An Experiment, or another of Katib's objects, with a last condition."""
    found = found or an_experiment()
    found["status"]["conditions"][-1]["status"] = "False"
    found["status"]["conditions"].append({"type": kind, "status": "True", "message": message})
    return found


def a_trial(letter: str, *conditions: str, born: float = 20, **status: Any) -> Object:
    """A Trial of Katib's; conditions: those that are True besides Created."""
    told = [{"type": kind, "status": "True"} for kind in ("Created", *conditions)]
    return {
        "apiVersion": "kubeflow.org/v1beta1",
        "kind": "Trial",
        "metadata": {
            "name": f"{NAME}-{letter}",
            "namespace": "team",
            "uid": f"uid-{letter}",
            "creationTimestamp": at(born),
            "ownerReferences": [
                {"kind": "Experiment", "uid": "uid-experiment", "controller": True}
            ],
        },
        "spec": {
            "parameterAssignments": [
                {"name": "train.optim.lr", "value": "0.0001"},
                {"name": "model.num_queries", "value": "300"},
                {"name": "model.backbone", "value": "resnet_50"},
            ]
        },
        "status": {"conditions": told, "startTime": at(born), **status},
    }


def observed(value: str) -> Object:
    """status.observation with that text as the best metric."""
    metric = {"name": METRIC, "min": "0.1", "max": value, "latest": value}
    return {"metrics": [metric]}


def a_job(trial: Object, *conditions: Object, **spec: Any) -> Object:
    """The Job of a Trial, as Katib makes it of the template."""
    meta = trial["metadata"]
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": meta["name"],
            "namespace": "team",
            "uid": f"job-{meta['uid']}",
            "creationTimestamp": meta["creationTimestamp"],
            "labels": {
                names.MANAGED_BY_LABEL: names.MANAGED_BY,
                "dino-operator.io/automl": "tune",
                "dino-operator.io/automl-uid": UID,
                "dino-operator.io/action": "train",
            },
            "ownerReferences": [{"kind": "Trial", "uid": meta["uid"], "controller": True}],
        },
        "spec": spec,
        "status": {"startTime": meta["creationTimestamp"], "conditions": list(conditions)},
    }


def complete(when: float = 80) -> Object:
    """The condition of a Job that succeeded."""
    return {"type": "Complete", "status": "True", "lastTransitionTime": at(when)}


def failed(reason: str = "PodFailurePolicy", message: str = "", when: float = 80) -> Object:
    """The condition of a Job that failed."""
    told = {"type": "Failed", "status": "True", "lastTransitionTime": at(when)}
    return {**told, "reason": reason, "message": message}


def a_pod(job: Object, phase: str = "Running", collector: bool = True, **state: Any) -> Object:
    """Its pod. state: of the trainer, by kind; the collector runs beside it."""
    meta = job["metadata"]
    states = {CONTAINER: state or {"running": {"startedAt": at(25)}}}
    if collector:
        states[COLLECTOR] = {"running": {"startedAt": at(26)}}
    return {
        "metadata": {
            "name": f"{meta['name']}-aaaaa",
            "uid": f"pod-{meta['uid']}",
            "creationTimestamp": meta["creationTimestamp"],
            "labels": dict(meta["labels"]),
            "ownerReferences": [{"kind": "Job", "uid": meta["uid"], "controller": True}],
        },
        "status": {
            "phase": phase,
            "conditions": [
                {"type": "PodScheduled", "status": "True", "lastTransitionTime": at(20)}
            ],
            "containerStatuses": [{"name": name, "state": told} for name, told in states.items()],
        },
    }


def unplaced(pod: Object) -> Object:
    """The pod, of which the scheduler says that no node takes it."""
    placed = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
    words = "0/1 nodes are available: 1 Insufficient cpu."
    told = {**placed, "message": words, "lastTransitionTime": at(20)}
    return {**pod, "status": {**pod["status"], "conditions": [told]}}


def waits(reason: str, message: str = "") -> Object:
    """The state of a container that cannot start."""
    return {"waiting": {"reason": reason, "message": message}}


def exited(code: int, reason: str = "Error", message: str = "") -> Object:
    """The state of a container that ended."""
    told = {"exitCode": code, "reason": reason, "startedAt": at(25), "finishedAt": at(75)}
    return {**told, "message": message}


def running(letter: str, **spec: Any) -> tuple[Object, Object, Object]:
    """A Trial, its Job and its pod."""
    trial = a_trial(letter, "Running")
    job = a_job(trial, **spec)
    return trial, job, a_pod(job)


def held(letter: str) -> tuple[Object, Object, Object]:
    """One whose Job the operator suspended."""
    trio = running(letter, suspend=True)
    trio[1]["metadata"]["annotations"] = {Annotation.HELD.value: "true"}
    return trio


def step(*trios: tuple[Object, ...], resource: Object | None = None, **more: Any) -> Step:
    """The step of a search with these Trials, Jobs and pods."""
    found = {"experiment": an_experiment(), **more}
    now = found.pop("now", later(60))
    view = a_view(
        resource or written(),
        now=now,
        katib_trials=tuple(trio[0] for trio in trios),
        jobs=tuple(trio[1] for trio in trios if len(trio) > 1),
        pods=tuple(trio[2] for trio in trios if len(trio) > 2),
        **found,
    )
    return engine.step(view)


def written(*rows: tuple[str, str], **spec: Any) -> Object:
    """The search with a status that knows its Experiment, and trials by letter and state."""
    resource = a_search(**spec)
    history = [
        {"number": number, "name": f"{NAME}-{letter}", "state": state}
        for number, (letter, state) in enumerate(rows, 1)
    ]
    resource["status"] = {"engine": "Katib", "experiment": NAME, "history": history}
    return resource
