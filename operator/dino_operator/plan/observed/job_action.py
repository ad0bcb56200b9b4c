"""What a job does: its action, and the record of facts about it."""

from __future__ import annotations

from dino_api import names
from dino_api.actions import ACTIONS, ActionFacts, facts_of
from dino_api.names import Action
from dino_operator.plan.model import Object

NOT_SEARCHED = "Disabled"
"""The automlPolicy of jobs that only train."""


def action_of(resource: Object) -> Action:
    """What the job does; a search trains."""
    return Action(resource["spec"].get("action", Action.TRAIN))


def asks_for_search(spec: Object) -> bool:
    """Whether good hyperparameters are to be found before: of trainings, unless they say no.

    spec: of a DinoJob. An automlPolicy that is absent is Auto.
    """
    return spec.get("action") == Action.TRAIN and spec.get("automlPolicy") != NOT_SEARCHED


def trains(resource: Object) -> bool:
    """Whether the work is saved now and then, and goes on from there."""
    return ACTIONS[action_of(resource)].trains


def of_weights(resource: Object) -> bool:
    """Whether a job stores the weights of a checkpoint as INT8; else it quantizes ONNX files."""
    section = (resource["spec"].get("experiment") or {}).get("quantize") or {}
    quantizes = action_of(resource) is Action.QUANTIZE
    return quantizes and section.get("mode") == names.WEIGHTS_ALONE


def facts(resource: Object) -> ActionFacts:
    """The record of what a job does."""
    return facts_of(action_of(resource), of_weights(resource))
