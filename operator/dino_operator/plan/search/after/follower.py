"""The DinoJob of one entry of spec.then: what it reads, what it goes on from, what its pods get."""

from __future__ import annotations

import copy
from typing import Any

from dino_api import names as api
from dino_api.actions import ACTIONS, Data
from dino_api.experiment.paths import value_at
from dino_api.names import TRAINS, Action
from dino_api.resources.dinoautoml import Follower
from dino_api.resources.dinojob import Resources
from dino_operator.plan.model import Object
from dino_operator.plan.rendered.names import Annotation
from dino_operator.plan.search.search_view import SearchView
from dino_operator.plan.search.trials import dinojobs

DATA_TYPE = "gen_trt_engine.tensorrt.data_type"


def name_of(view: SearchView, index: int) -> str:
    """Of the so manyth follower; the first is 1."""
    return f"{view.name}-then-{index}"


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
        given.pop(Data.CALIBRATION, None)
    return {key.value: given[key] for key in ACTIONS[action].reads if given.get(key)}


def _experiment(view: SearchView, follower: Follower, action: Action) -> dict[str, Any]:
    """The winner's, and the template's for the action itself."""
    template = dinojobs.read_by(action, view.search.template.experiment)
    won = dinojobs.read_by(Action.TRAIN, view.status["best"].get("specification") or {})
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
