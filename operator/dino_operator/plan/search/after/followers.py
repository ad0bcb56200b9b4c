"""The jobs on the winner of a search (spec.then): what each goes on from, and how far it is."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dino_api import names as api
from dino_api.actions import ACTIONS, DatasetSplit
from dino_api.experiment.paths import value_at
from dino_api.names import TRAINS, Action, Phase
from dino_api.resources.dinoautoml import Follower, ThenStatus
from dino_api.resources.dinojob import Resources
from dino_operator.plan.annotations import Annotation
from dino_operator.plan.model import Object
from dino_operator.plan.observed import objects
from dino_operator.plan.observed.children import Children
from dino_operator.plan.observed.resource import DinoAutoML, DinoJob
from dino_operator.plan.reported import refusals
from dino_operator.plan.search.search_view import SearchView
from dino_operator.plan.search.trials import dinojobs

DATA_TYPE = "gen_trt_engine.tensorrt.data_type"


def name_of(view: SearchView, index: int) -> str:
    """The name of the so manyth follower; the first is 1."""
    return f"{view.name}-then-{index}"


def made(search: DinoAutoML, children: Children) -> list[DinoJob]:
    """The jobs on the winner that exist."""
    mine = children.dinojobs_of(search.uid)
    return [each for each in mine if each.name.startswith(f"{search.name}-then-")]


def parent_of(view: SearchView, index: int) -> Object:
    """What it goes on from: the winner, or the latest follower before it that left an ONNX file."""
    then = view.spec.then
    if "checkpoint" not in ACTIONS[Action(then[index - 1].action)].takes:
        for before in range(index - 1, 0, -1):
            if ACTIONS[Action(then[before - 1].action)].leaves == "onnx":
                return {"kind": api.KIND, "name": name_of(view, before)}
    return {"kind": api.AUTOML_KIND, "name": view.name}


def render(view: SearchView, index: int) -> Object:
    """The DinoJob. A training goes on with the winner's parameters, and its data was checked."""
    entry = view.spec.then[index - 1]
    action = Action(entry.action)
    job = dinojobs.dinojob(view, name_of(view, index), f"{view.output}/then-{index}")
    spec = job["spec"]
    spec |= {"action": action.value, "parent": parent_of(view, index)}
    spec["experiment"] = _experiment(view, entry, action)
    if action in TRAINS:
        note = {Annotation.DATA_CHECKED_BY.value: view.trial_name(0)}
        job["metadata"].setdefault("annotations", {}).update(note)
        return job
    job["spec"] = {key: each for key, each in spec.items() if key not in ("datasets", "numClasses")}
    data = _data(view, spec["experiment"], action)
    if data:
        job["spec"]["datasets"] = data
    job["spec"]["resources"] = _resources(view.search.template.resources, action)
    return job


def _data(view: SearchView, experiment: Object, action: Action) -> Object:
    """What the action reads of the template's. An engine takes value ranges for INT8 only."""
    given = view.search.template.to_dict().get("datasets", {})
    if action is Action.GEN_TRT_ENGINE and value_at(experiment, DATA_TYPE) != "INT8":
        given.pop(DatasetSplit.CALIBRATION, None)
    return {key.value: given[key] for key in ACTIONS[action].reads if given.get(key)}


def _experiment(view: SearchView, follower: Follower, action: Action) -> dict[str, Any]:
    """The winner's, and the template's for the action itself."""
    template = dinojobs.read_by(action, view.search.template.experiment)
    won = dinojobs.read_by(Action.TRAIN, view.status.best.specification if view.status.best else {})
    made = {**template, **copy.deepcopy(won)}
    if action not in TRAINS:
        return dinojobs.read_by(action, made)
    train = dict(made.get("train") or {})
    train.pop("pretrained_model_path", None)  # the parent decides it
    made["train"] = train | ({"num_epochs": follower.epochs} if follower.epochs else {})
    return made


def _resources(trained: Resources, action: Action) -> Object:
    """One pod, with several GPUs only where the action can use them; an engine takes one."""
    several = ACTIONS[action].several
    gpus = trained.gpus if several else min(1, trained.gpus)
    if action is Action.GEN_TRT_ENGINE:
        gpus = 1
    changes = {"nodes": 1, "gpus": gpus, "processes": trained.processes if several else 1}
    return trained.model_copy(update=changes).to_dict()


ENDED = (Phase.COMPLETE.value, Phase.FAILED.value)


@dataclass(frozen=True)
class FollowerProgress:
    """The jobs on the winner. creates: the next one. then: status.then. failed: names."""

    creates: tuple[Object, ...]
    then: list[ThenStatus]
    failed: tuple[str, ...]

    @property
    def rows(self) -> list[Object]:
        """status.then as it is written."""
        return [each.to_dict() for each in self.then]

    @property
    def ended(self) -> bool:
        """Whether there is nothing left to do."""
        return all(each.phase in ENDED for each in self.then)


def progress(view: SearchView) -> FollowerProgress:
    """What to do about spec.then: one job after the other, each on the winner.

    One that failed holds up none of the others, and the search is complete all the same: its winner
    stands. Deleted before its end, a job is made again.
    """
    jobs = {each.name: each for each in view.own_dinojobs}
    before = {each.name: each.phase for each in view.status.followers}
    wanted = _parents(view, before)
    then: list[ThenStatus] = []
    creates: list[Object] = []
    for index, entry in enumerate(view.spec.then, start=1):
        name = name_of(view, index)
        phase = before.get(name, "")
        if phase not in ENDED or (name in wanted and name not in jobs):
            free = all(each.phase in ENDED for each in then)
            if name not in jobs and free and not view.wants_suspend:
                creates.append(render(view, index))
            job = jobs.get(name)
            phase = (job.status.phase if job else "") or Phase.PENDING.value
        then.append(ThenStatus(action=entry.action, name=name, phase=phase))
    if creates and _is_refused(view, creates[0]):
        invalid = objects.name_of(creates.pop())
        then = [each.model_copy(update={"phase": _phase(each, invalid)}) for each in then]
    failed = (each.name for each in then if each.phase == Phase.FAILED.value)
    return FollowerProgress(tuple(creates), then, tuple(failed))


def _is_refused(view: SearchView, job: Object) -> bool:
    """Whether the API server will never take it; it may have refused the report."""
    refused = view.children.refusal
    mine = refused is not None and refused.name == objects.name_of(job)
    return mine and refusals.end(refused) is not None


def _phase(follower: ThenStatus, invalid: str) -> str:
    """One that the API server does not take has failed before it began."""
    return Phase.FAILED.value if follower.name == invalid else follower.phase


def _parents(view: SearchView, before: Mapping[str, str]) -> set[str]:
    """Followers that others go on from which have not ended: deleted, they are made again, and find
    their results."""
    waiting = [
        index
        for index in range(1, len(view.spec.then) + 1)
        if before.get(name_of(view, index)) not in ENDED
    ]
    return {parent_of(view, index)["name"] for index in waiting}
