"""The resolved spec: checked, and written as the YAML file that the trainer reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from dino_api.actions import ActionFacts
from dino_api.base import note_of
from dino_api.experiment import ExperimentSpec, digest
from dino_api.experiment.paths import dotted, field_at, is_set, without_nulls
from dino_api.formats import INT8, endings, format_of
from dino_api.kubectl_yaml.writer import Dumper
from dino_api.loading import left_out, load
from dino_api.names import Action
from dino_api.problem import Problem, SpecErrors, render, show
from dino_api.resources import dinojob
from dino_api.rules.experiment.model import RANDOM_START
from dino_operator.plan.model import Object
from dino_operator.plan.observed import queue_labels
from dino_operator.plan.observed.resource import DinoJob
from dino_operator.plan.observed.status import StoredInheritance
from dino_operator.plan.rendered import inheritance, model_files

EXPERIMENT = "spec.experiment"
ONE_LINE = 1_000_000
"""Columns: a text of one line is not folded."""
AT_HAND = 64
"""Resolved specs that are kept: a few more than plans are carried out at the same time."""
NO_DATA = (
    "spec.datasets: is missing, and no search runs for the job. Add spec.datasets.train with the "
    "URI of the data, or see the condition AutoMLRouted for why there is no search."
)

OTHER_CLASSES = (
    "spec.numClasses: {} is given, and the parent's model has {}. Leave it out: only a training "
    "changes the classes of a model."
)
NO_RANGES = (
    "spec.datasets.calibration: is missing: spec.experiment.gen_trt_engine.tensorrt.data_type is "
    "INT8, and the parent's model {uri} is in {precision}. Add images to take value ranges from, "
    "or name a quantize job in spec.parent."
)
UNKNOWN_FILE = (
    "spec.parent.uri: must end in {}, by which the kind of model is known (given {}). Give the "
    "model its ending, or name the job that left it in spec.parent.name."
)
REFERENCE = (
    "{}: has a reference, ${{…}}, which is followed in spec.experiment alone (given {}). Write out "
    "what it stands for."
)
NO_GPU = (
    "spec.resources.gpus: 0 is given, and a TensorRT engine is built and run on a GPU. Set it to 1."
)

_OF_OURS = "Value error, "
"""What pydantic puts before our own sentences."""
_MISSING = "must be given; `kubectl explain` shows what it can hold."
_CORRECT = "Correct or remove it; `kubectl explain` shows what it can hold."


class InvalidSpec(ValueError):
    """The spec cannot be run; `problems` has a sentence for each reason."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True)
class ResolvedSpec:
    """A spec that can be run.

    mapping: what was given, with what is resolved; checked.
    batch: images of one process for one forward pass; 0 where fewer would be other work.
    per_step: for one optimiser step of a training.
    engine: whether TensorRT is needed, to build an engine or to run one.
    workers: processes that read images, of each process that works; none where it looks at a few
    at most, to compare.
    """

    job: dinojob.DinoJob
    mapping: Mapping[str, Any]
    digest: str
    warnings: tuple[str, ...]
    batch: int
    per_step: int
    engine: bool = False
    workers: int = 0

    @property
    def action(self) -> Action:
        """What the job does."""
        return self.job.spec.action

    @cached_property
    def content(self) -> str:
        """The file of the spec. It is written where a child is made, not with every look."""
        return to_yaml(self.mapping)

    @property
    def reads_data(self) -> bool:
        """Whether there is data to check."""
        return self.job.spec.datasets is not None


@dataclass(frozen=True)
class _SpecText:
    """A resource by all that it says."""

    text: str
    resource: DinoJob = field(compare=False)


def read_spec(resource: DinoJob) -> ResolvedSpec:
    """The resource's spec, checked and resolved. Raises InvalidSpec with all problems.

    A plan that makes a Job is made three times, and others follow it: what was resolved last is at
    hand, whatever else has become of the resource since.
    """
    decisive = _decisive(resource)
    return _read(_SpecText(repr(decisive), DinoJob(decisive)))


def _decisive(resource: DinoJob) -> Object:
    """The parts of a resource that its resolved spec is made from, and no others."""
    meta, inherited = resource.raw["metadata"], resource.status.raw.get("inherited")
    named = {key: meta[key] for key in ("name", "namespace", "labels") if key in meta}
    return {"metadata": named, "spec": resource.spec, "status": {"inherited": inherited}}


@lru_cache(maxsize=AT_HAND)
def _read(whole: _SpecText) -> ResolvedSpec:
    resource = whole.resource
    try:
        content = {"metadata": resource.raw["metadata"], "spec": resource.spec}
        job = dinojob.DinoJob.model_validate(content)
    except ValidationError as error:
        raise InvalidSpec(problems_of(error)) from error
    if two := queue_labels.conflict(resource):
        raise InvalidSpec([two])
    action, inherited = job.spec.action, inheritance.inherited_by(resource)
    _demand_format(resource)
    weights, facts = resource.quantizes_weights, resource.facts
    _demand_data(job, facts)
    given = dinojob.resolve(job)
    _demand_plain(given, job.spec.experiment)
    mapping = _inherit(without_nulls(given), inherited, action, weights)
    try:
        spec, warnings = load(mapping, action=action)
    except SpecErrors as error:
        raise InvalidSpec(_sentences(error.problems, job.spec.experiment)) from error
    _demand_ranges(spec, inherited, action)
    batch = _batch(spec, facts)
    return ResolvedSpec(
        job=job,
        mapping=mapping,
        digest=digest(spec, action),
        warnings=tuple(
            _sentences([*left_out(given), *_heeded(warnings, job)], job.spec.experiment)
        ),
        batch=batch,
        per_step=batch * spec.train.accumulate_grad_batches,
        engine=_needs_engine(job, inherited),
        workers=spec.dataset.workers if facts.needs else 0,
    )


def _heeded(warnings: list[Problem], job: dinojob.DinoJob) -> list[Problem]:
    """The warnings, without that of a random start where a parent brings the weights."""
    heir = job.spec.parent is not None and job.spec.action is Action.TRAIN
    return [each for each in warnings if not (heir and each.id == RANDOM_START)]


def _batch(spec: ExperimentSpec, facts: ActionFacts) -> int:
    """Images at once. A batch that becomes part of an ONNX file or an engine is no matter of
    memory; where the file leaves it open, as many are compared at once as of other actions."""
    own = getattr(spec, facts.action).batch_size if facts.own_input else 0
    if facts.fixed_batch and own >= 0:
        return 0
    return own if own > 0 else spec.dataset.batch_size


def _demand_data(job: dinojob.DinoJob, facts: ActionFacts) -> None:
    """Raises InvalidSpec where the job lacks what its action cannot do without."""
    needed = facts.needs
    if needed is None or (job.spec.datasets and job.spec.datasets.of(needed)):
        return
    if job.spec.action is Action.TRAIN:
        raise InvalidSpec([NO_DATA])
    message = f"spec.datasets.{needed}: is missing, and {job.spec.action} reads it. Add its URI."
    raise InvalidSpec([message])


def _inherit(
    mapping: dict[str, Any], inherited: StoredInheritance | None, action: Action, weights: bool
) -> dict[str, Any]:
    """The experiment with the parent's model. Raises InvalidSpec where it does not fit."""
    if inherited is None:
        return mapping
    model, who = inherited.model, "spec.parent.uri is"
    misfit = model_files.misfit(action, model.kind, who, weights)
    if misfit is not None:
        raise InvalidSpec([f"{misfit}."])
    refuse(inheritance.conflicts(mapping, inherited, action))
    made = inheritance.merged(mapping, inherited, action)
    classes = inherited.num_classes
    if classes is None:
        return made
    given = made.setdefault("dataset", {}).setdefault("num_classes", classes)
    if given != classes and action is not Action.TRAIN:
        raise InvalidSpec([OTHER_CLASSES.format(given, classes)])
    return made


def _demand_ranges(
    spec: ExperimentSpec, inherited: StoredInheritance | None, action: Action
) -> None:
    """Raises InvalidSpec for an INT8 engine of a file that is known to have no value ranges.

    Of a file that nobody has looked at, the pod says so.
    """
    model = inherited.model if inherited else None
    wanted = action is Action.GEN_TRT_ENGINE and spec.gen_trt_engine.tensorrt.data_type == "INT8"
    given = spec.dataset.quant_calibration_data_sources
    if wanted and not given and model and model.precision not in ("", INT8):
        raise InvalidSpec([NO_RANGES.format(uri=model.uri, precision=model.precision)])


def _needs_engine(job: dinojob.DinoJob, inherited: StoredInheritance | None) -> bool:
    """Whether TensorRT is needed. Raises InvalidSpec where there is no GPU for it."""
    given = inherited is not None and inherited.model.format == "engine"
    if not given and job.spec.action is not Action.GEN_TRT_ENGINE:
        return False
    if job.spec.resources.gpus == 0:
        raise InvalidSpec([NO_GPU])
    return True


def _demand_format(resource: DinoJob) -> None:
    """Raises InvalidSpec for a model file of which nobody knows what it is. Admission refuses it;
    an older CRD may not."""
    uri = resource.parent.uri
    if uri and format_of(uri) is None and not resource.status.inherited:
        raise InvalidSpec([UNKNOWN_FILE.format(", ".join(endings()), show(uri))])


def _demand_plain(mapping: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    """Raises InvalidSpec where what the resource decides has a reference in it: the trainer would
    follow it, and the operator would look for results elsewhere. own: the user's experiment."""
    problems = [
        REFERENCE.format(place, show(text))
        for path, text in _texts(mapping, "")
        if "${" in text and not (place := _place(path, own)).startswith("spec.experiment.")
    ]
    if problems:
        raise InvalidSpec(list(dict.fromkeys(problems)))


def _texts(node: Any, path: str) -> Iterator[tuple[str, str]]:
    """Every text below, and its dotted path."""
    if isinstance(node, Mapping):
        for name, value in node.items():
            yield from _texts(value, f"{path}.{name}".lstrip("."))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _texts(value, f"{path}[{index}]")
    elif isinstance(node, str):
        yield path, node


def _placed(problem: Problem, own: Mapping[str, Any] | None) -> Problem:
    below = problem.below(EXPERIMENT)
    if own is None or below.path == EXPERIMENT:
        return below
    return replace(problem, path=_place(problem.path, own))


def _place(path: str, own: Mapping[str, Any]) -> str:
    """Where users write what stands at a path of the resolved spec: what the resource decides has
    a field of its own. own: their experiment, in which it may stand, too."""
    at = ""
    for part in path.split("."):
        name, bracket, index = part.partition("[")
        at = f"{at}.{name}".lstrip(".")
        by = _decided_by(at)
        if by and not is_set(own, at):
            return f"{by}{bracket}{index}"
    return f"{EXPERIMENT}.{path}"


def _decided_by(path: str) -> str:
    """The field of the resource that decides a key; empty where none does."""
    try:
        note = note_of(field_at(path)).resource
    except KeyError:
        return ""
    return note.partition(" ")[0] if note.startswith("spec.") else ""


def refuse(problems: list[Problem]) -> None:
    """Raises InvalidSpec where there are any."""
    if problems:
        raise InvalidSpec(_sentences(problems))


def _sentences(problems: list[Problem], own: Mapping[str, Any] | None = None) -> list[str]:
    """Sentences with the paths of the resource. own: the user's experiment; None: it is all."""
    return [render(_placed(each, own)) for each in problems]


def problems_of(error: ValidationError, below: str = "") -> list[str]:
    """A sentence for each field that the model does not take. below: the path of the whole."""
    return [f"{below}{dotted(one['loc'])}: {_complaint(one)}" for one in error.errors()]


def _complaint(one: ErrorDetails) -> str:
    if one["type"] == "missing":
        return _MISSING
    return f"{one['msg'].removeprefix(_OF_OURS)}. {_CORRECT}"


def to_yaml(value: Mapping[str, Any]) -> str:
    """Block YAML, which every reader reads alike. Raises YAMLError for what is no JSON type."""
    return str(yaml.dump(value, Dumper=Dumper, sort_keys=False, width=ONE_LINE))
