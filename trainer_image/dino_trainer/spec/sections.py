"""The sections of a spec by action, and what several of them have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from dino_api.actions import ACTIONS, DatasetSplit
from dino_api.experiment import DatasetConfig, DataSource, ExperimentSpec
from dino_api.experiment.actions import (
    DistillConfig,
    EvaluateConfig,
    ExportConfig,
    GenTrtEngineConfig,
    InferenceConfig,
    QuantizeConfig,
)
from dino_api.experiment.train import TrainConfig
from dino_api.names import Action

ActionSection = (
    TrainConfig
    | DistillConfig
    | EvaluateConfig
    | InferenceConfig
    | ExportConfig
    | QuantizeConfig
    | GenTrtEngineConfig
)


@runtime_checkable
class BatchedSection(Protocol):
    """A section that says how many images go at once; -1 for as many as `dataset` says."""

    batch_size: int


@runtime_checkable
class ResizedSection(Protocol):
    """A section that may say the exact size of the input."""

    input_height: int | None
    input_width: int | None


@runtime_checkable
class GpuSection(Protocol):
    """A section that says on how many GPUs an action runs."""

    num_gpus: int


@runtime_checkable
class SpreadSection(Protocol):
    """A section that says in how many processes, on how many nodes, an action runs."""

    num_gpus: int
    num_nodes: int
    num_processes: int


@runtime_checkable
class ScoringSection(Protocol):
    """A section that says how many detections of a class in an image are scored."""

    max_detections: int


def section_of(spec: ExperimentSpec, action: Action) -> ActionSection:
    """The action's own section."""
    section: ActionSection = getattr(spec, action.value)
    return section


def output_folder(spec: ExperimentSpec, action: Action) -> str:
    """Where an action's files go: a path or URI without a slash at its end, "" where none is set.

    The `results_dir` of the action's section is used as it is; TAO has it, too.
    """
    own = section_of(spec, action).results_dir.rstrip("/")
    return own or subfolder(spec.results_dir, action)


def subfolder(results_dir: str, name: str) -> str:
    """The folder of that name in a results_dir; "" where that is not set."""
    return results_dir and f"{results_dir.rstrip('/')}/{name}"


def shape_section(spec: ExperimentSpec, action: Action) -> SpreadSection | None:
    """The section that says in how many processes an action runs; None where it is always one."""
    facts = ACTIONS[action]
    section = section_of(spec, facts.section)
    return section if facts.several and isinstance(section, SpreadSection) else None


def scoring_section(spec: ExperimentSpec, action: Action) -> tuple[Action, ScoringSection]:
    """The section that says how an action scores, and whose it is: `evaluate` where its own does
    not, since gates score as it does."""
    facts = ACTIONS[action]
    whose = facts.section if facts.scores else Action.EVALUATE
    section = section_of(spec, whose)
    assert isinstance(section, ScoringSection)
    return whose, section


def sources_of(dataset: DatasetConfig, part: DatasetSplit) -> Sequence[DataSource] | None:
    """The sources of one part of the data with annotations; None where none are given."""
    sources: Sequence[DataSource] | None = getattr(dataset, part.key)
    return sources


def batch_size_of(section: object) -> int | None:
    """How many images at once a section asks for; None where it has no such key, or leaves it."""
    return (
        section.batch_size
        if isinstance(section, BatchedSection) and section.batch_size > 0
        else None
    )


def uri_at(section: ActionSection, key: str) -> str:
    """The URI that a section names under one of its action's keys; empty where it names none."""
    return str(getattr(section, key, None) or "")


def key_path(action: Action, key: str) -> str:
    """A path such as `evaluate.checkpoint`: a key of an action's section as people write it."""
    return f"{action.value}.{key}"
