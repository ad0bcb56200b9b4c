"""The sections of a spec by action."""

from __future__ import annotations

from typing import Any

from dino_api.actions import ACTIONS
from dino_api.experiment import ExperimentSpec
from dino_api.names import Action


def section_of(spec: ExperimentSpec, action: Action) -> Any:
    """The action's own section."""
    return getattr(spec, action.value)


def shape_section(spec: ExperimentSpec, action: Action) -> Any:
    """The section that says in how many processes an action runs; None where it is always one."""
    facts = ACTIONS[action]
    return getattr(spec, facts.section) if facts.several else None


def key_path(action: Action, key: str) -> str:
    """`evaluate.checkpoint`: a key of an action's section as people write it."""
    return f"{action.value}.{key}"
