"""The resolved spec: checked, and written as the YAML file that the trainer reads."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from dino_api.actions import ActionFacts
from dino_api.experiment import ExperimentSpec, Problem, SpecErrors, digest, load, render
from dino_api.formats import INT8
from dino_api.names import Action
from dino_api.resources import DinoJob, resolve
from dino_operator.plan import handover, parent, queue_labels
from dino_operator.plan.model import Object

INDENT = "  "
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
NO_GPU = (
    "spec.resources.gpus: 0 is given, and a TensorRT engine is built and run on a GPU. Set it to 1."
)


class InvalidSpec(ValueError):
    """The spec cannot be run; `problems` has a sentence for each reason."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True)
class Resolved:
    """A spec that can be run.

    batch: images of one process for one forward pass; 0 where fewer would be other work.
    per_step: for one optimiser step of a training.
    engine: whether TensorRT is needed, to build an engine or to run one.
    workers: processes that read images, of each process that works; none where it looks at a few
    at most, to compare.
    """

    job: DinoJob
    content: str
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

    @property
    def reads_data(self) -> bool:
        """Whether there is data to check."""
        return self.job.spec.datasets is not None


def read_spec(resource: Object) -> Resolved:
    """The resource's spec, checked and resolved. Raises InvalidSpec with all problems."""
    try:
        job = DinoJob.model_validate({"metadata": resource["metadata"], "spec": resource["spec"]})
    except ValidationError as error:
        problems = [f"{_path(each['loc'])}: {each['msg']}." for each in error.errors()]
        raise InvalidSpec(problems) from error
    if two := queue_labels.conflict(resource):
        raise InvalidSpec([two])
    action, inherited = job.spec.action, parent.inherited_by(resource)
    weights, facts = handover.of_weights(resource), handover.facts(resource)
    _demand_data(job, facts)
    mapping = _inherit(resolve(job), inherited, action, weights)
    try:
        spec, warnings = load(mapping, action=action)
    except SpecErrors as error:
        raise InvalidSpec(_sentences(error.problems)) from error
    _demand_ranges(spec, inherited, action)
    batch = _batch(spec, facts)
    return Resolved(
        job=job,
        content=to_yaml(mapping),
        digest=digest(spec, action),
        warnings=tuple(_sentences(warnings)),
        batch=batch,
        per_step=batch * spec.train.accumulate_grad_batches,
        engine=_needs_engine(job, inherited),
        workers=spec.dataset.workers if facts.needs else 0,
    )


def _batch(spec: ExperimentSpec, facts: ActionFacts) -> int:
    """Images at once. A batch that becomes part of an ONNX file or an engine is no matter of
    memory; where the file leaves it open, as many are compared at once as of other actions."""
    own = getattr(spec, facts.action).batch_size if facts.own_input else 0
    if facts.fixed_batch and own >= 0:
        return 0
    return own if own > 0 else spec.dataset.batch_size


def _demand_data(job: DinoJob, facts: ActionFacts) -> None:
    """Raises InvalidSpec where the job lacks what its action cannot do without."""
    needed = facts.needs
    if needed is None or (job.spec.datasets and getattr(job.spec.datasets, needed)):
        return
    if job.spec.action is Action.TRAIN:
        raise InvalidSpec([NO_DATA])
    said = f"spec.datasets.{needed}: is missing, and {job.spec.action} reads it. Add its URI."
    raise InvalidSpec([said])


def _inherit(
    mapping: dict[str, Any], inherited: Object | None, action: Action, weights: bool
) -> dict[str, Any]:
    """With the model of the parent. Raises InvalidSpec where it does not fit."""
    if inherited is None:
        return mapping
    model, who = inherited["model"], "spec.parent.uri is"
    misfit = handover.misfit(action, handover.kind_of(model), who, weights)
    if misfit is not None:
        raise InvalidSpec([f"{misfit}."])
    refuse(parent.conflicts(mapping, inherited, action))
    made = parent.merged(mapping, inherited, action)
    classes = inherited.get("numClasses")
    if classes is None:
        return made
    given = made.setdefault("dataset", {}).setdefault("num_classes", classes)
    if given != classes and action is not Action.TRAIN:
        raise InvalidSpec([OTHER_CLASSES.format(given, classes)])
    return made


def _demand_ranges(spec: ExperimentSpec, inherited: Object | None, action: Action) -> None:
    """Raises InvalidSpec for an INT8 engine of a file that is known to have no value ranges.

    Of a file that nobody has looked at, the pod says so.
    """
    model = (inherited or {}).get("model", {})
    wanted = action is Action.GEN_TRT_ENGINE and spec.gen_trt_engine.tensorrt.data_type == "INT8"
    given = spec.dataset.quant_calibration_data_sources
    if wanted and not given and model.get("precision", INT8) != INT8:
        raise InvalidSpec([NO_RANGES.format(**model)])


def _needs_engine(job: DinoJob, inherited: Object | None) -> bool:
    """Whether TensorRT is needed. Raises InvalidSpec where there is no GPU for it."""
    given = inherited is not None and inherited["model"]["format"] == "engine"
    if not given and job.spec.action is not Action.GEN_TRT_ENGINE:
        return False
    if job.spec.resources.gpus == 0:
        raise InvalidSpec([NO_GPU])
    return True


def refuse(problems: list[Problem]) -> None:
    """Raises InvalidSpec where there are any."""
    if problems:
        raise InvalidSpec(_sentences(problems))


def _sentences(problems: list[Problem]) -> list[str]:
    """With the paths of the resource."""
    return [render(replace(each, path=f"spec.experiment.{each.path}")) for each in problems]


def _path(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location)


def to_yaml(value: Mapping[str, Any]) -> str:
    """Block YAML of JSON types. Raises TypeError for anything else.

    JSON itself would nearly do, but YAML 1.1 reads 1e-05 as text; 1.0e-05 is a number.
    """
    return "".join(f"{line}\n" for line in _mapping(value, "")) or "{}\n"


def _mapping(value: Mapping[str, Any], pad: str) -> Iterator[str]:
    for key, item in value.items():
        yield from _entry(f"{pad}{_scalar(str(key))}:", item, pad)


def _sequence(value: Sequence[Any], pad: str) -> Iterator[str]:
    for item in value:
        yield from _entry(f"{pad}-", item, pad)


def _entry(head: str, item: Any, pad: str) -> Iterator[str]:
    if isinstance(item, Mapping) and item:
        yield head
        yield from _mapping(item, pad + INDENT)
    elif isinstance(item, (list, tuple)) and item:
        yield head
        yield from _sequence(item, pad + INDENT)
    else:
        yield f"{head} {_scalar(item)}"


def _scalar(item: Any) -> str:
    if isinstance(item, (Mapping, list, tuple)):
        return "{}" if isinstance(item, Mapping) else "[]"
    if isinstance(item, float) and not isinstance(item, bool):
        return _number(item)
    if item is None or isinstance(item, (bool, int)):
        return json.dumps(item)
    if isinstance(item, str):
        return item if _is_plain(item) else _quoted(item)
    raise TypeError(f"a spec holds JSON types only, not {type(item).__name__}")


def _number(item: float) -> str:
    text = repr(item)
    mantissa, mark, exponent = text.partition("e")
    return f"{mantissa}.0e{exponent}" if mark and "." not in mantissa else text


def _quoted(text: str) -> str:
    """In double quotes, all but printable ASCII escaped: no reader disputes the rest."""
    plain = (each if " " <= each <= "~" and each not in '"\\' else _escape(each) for each in text)
    return f'"{"".join(plain)}"'


def _escape(character: str) -> str:
    return f"\\U{ord(character):08x}"


def _is_plain(text: str) -> bool:
    """Whether YAML reads the bare word as this text: identifiers that are not keywords."""
    keywords = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"}
    return text.isascii() and text.isidentifier() and text.lower() not in keywords
