"""Which outputs of student and teacher should agree, checked against the two models."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from dino_api.experiment.actions import DistillBinding
from dino_trainer.distill.criteria import OF_BOXES, OF_FEATURES, OF_LOGITS
from dino_trainer.errors import invalid_spec
from dino_trainer.model import Dino
from dino_trainer.model.weights import our_name

CRITERIA = {"pred_logits": OF_LOGITS, "pred_boxes": OF_BOXES}
# TAO calls the projected feature maps so, whose levels are our modules input_proj.0, .1, ...
LEVELS, TAO_LEVELS = "input_proj", "model.backbone.0.body"
# What they compute belongs to queries, which have no common order in two models.
QUERY_MODULES = ("decoder", "proposals", "query_embed", "query_boxes", "label_embed")
OF_QUERIES = "Bind pred_logits and pred_boxes, whose queries are matched; or modules before them."


@dataclass(frozen=True)
class PredictionBinding:
    """Predictions of matched queries that should agree. name: pred_logits or pred_boxes."""

    name: str
    criterion: str
    weight: float


@dataclass(frozen=True)
class FeatureBinding:
    """Outputs of modules that should agree: (student's name, teacher's name) of each pair."""

    place: int  # in distill.bindings
    pairs: tuple[tuple[str, str], ...]
    criterion: str
    weight: float

    @property
    def name(self) -> str:
        """The name in reports: the student's module, or all levels."""
        return self.pairs[0][0] if len(self.pairs) == 1 else LEVELS


@dataclass(frozen=True)
class Bindings:
    """All that should agree. Each loss is multiplied by its weight once."""

    predicted: tuple[PredictionBinding, ...]
    inner: tuple[FeatureBinding, ...]

    @property
    def names(self) -> list[str]:
        """The names in reports: predictions, then modules, as the losses of a step are added."""
        seen: Counter[str] = Counter()
        names = []
        for name in (*(one.name for one in self.predicted), *(one.name for one in self.inner)):
            seen[name] += 1
            names.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
        return names

    @property
    def student_names(self) -> list[str]:
        """Modules of the student that are bound."""
        return sorted({student for inner in self.inner for student, _ in inner.pairs})

    @property
    def teacher_names(self) -> list[str]:
        """Modules of the teacher that are bound."""
        return sorted({teacher for inner in self.inner for _, teacher in inner.pairs})


def read_bindings(given: Sequence[DistillBinding], student: Dino, teacher: Dino) -> Bindings:
    """What `distill.bindings` says; where it is empty, what is sensible for any two detectors.

    Raises:
        TrainerError: InvalidSpec for a name that the model does not have, with the nearest ones;
            for a criterion that does not fit; for modules that cannot be compared.
    """
    predicted: list[PredictionBinding] = []
    inner: list[FeatureBinding] = []
    for place, binding in enumerate(given or default_bindings(student, teacher)):
        if any(name in CRITERIA for name in _names(binding)):
            predicted.append(_predicted(place, binding))
        else:
            pairs = _pairs(place, binding, student, teacher)
            inner.append(FeatureBinding(place, pairs, binding.criterion, binding.weight))
    return Bindings(tuple(predicted), tuple(inner))


def default_bindings(student: Dino, teacher: Dino) -> list[DistillBinding]:
    """What is sensible for any two detectors.

    Predictions weigh less than the annotations, which are right where the teacher may not be. Most
    comes from features: of the levels of the same stride, and of the encoder where all are.
    """
    chosen = [_binding("pred_logits", "KL", 0.3), _binding("pred_boxes", "L1", 1.5)]
    if _common_levels(student, teacher):
        chosen.append(_binding(LEVELS, "L2", 20.0))
    if student.cfg.return_interm_indices == teacher.cfg.return_interm_indices:
        chosen.append(_binding("encoder", "L2", 20.0))
    return chosen


def _binding(name: str, criterion: str, weight: float) -> DistillBinding:
    return DistillBinding.model_validate(
        {
            "student_module_name": name,
            "teacher_module_name": name,
            "criterion": criterion,
            "weight": weight,
        }
    )


def _names(binding: DistillBinding) -> tuple[str, str]:
    return binding.student_module_name, binding.teacher_module_name


def _predicted(place: int, binding: DistillBinding) -> PredictionBinding:
    student, teacher = _names(binding)
    if student != teacher:
        raise invalid_spec(
            f"distill.bindings[{place}] binds {student} to {teacher}, which is something else.",
            "Bind pred_logits to pred_logits and pred_boxes to pred_boxes.",
        )
    if binding.criterion not in CRITERIA[student]:
        raise invalid_spec(
            f"distill.bindings[{place}].criterion is {binding.criterion}, which compares "
            f"distributions, and {student} are none.",
            f"Choose {' or '.join(CRITERIA[student])}.",
        )
    return PredictionBinding(student, binding.criterion, binding.weight)


def _pairs(
    place: int, binding: DistillBinding, student: Dino, teacher: Dino
) -> tuple[tuple[str, str], ...]:
    where = f"distill.bindings[{place}]"
    mine = _module(student, binding.student_module_name, f"{where}.student_module_name")
    theirs = _module(teacher, binding.teacher_module_name, f"{where}.teacher_module_name")
    if LEVELS not in (mine, theirs):
        return ((mine, theirs),)
    if mine != theirs:
        raise invalid_spec(
            f"{where} binds {mine} to {theirs}. {LEVELS} is a list of feature levels.",
            f"Bind {LEVELS} to {LEVELS}, or one level of it, such as {LEVELS}.0, to a module.",
        )
    common = _common_levels(student, teacher)
    if not common:
        raise invalid_spec(
            f"{where}: student and teacher have no feature level of the same stride "
            f"(model.return_interm_indices {list(student.cfg.return_interm_indices)} and "
            f"{list(teacher.cfg.return_interm_indices)}).",
            f"Bind single levels, such as {LEVELS}.0; their sizes may differ.",
        )
    return common


def _common_levels(student: Dino, teacher: Dino) -> tuple[tuple[str, str], ...]:
    """The levels that both have, as pairs of modules."""
    theirs = list(teacher.cfg.return_interm_indices)
    return tuple(
        (f"{LEVELS}.{at}", f"{LEVELS}.{theirs.index(level)}")
        for at, level in enumerate(student.cfg.return_interm_indices)
        if level in theirs
    )


def _module(model: nn.Module, given: str, where: str) -> str:
    """Our name of a module that the model has, and that can be compared."""
    known = {name: module for name, module in model.named_modules() if name}
    name = LEVELS if given == TAO_LEVELS else given
    name = name if name in known else our_name(f"{name}.").removesuffix(".")
    if name not in known:
        near = difflib.get_close_matches(name, [*CRITERIA, *known], n=3, cutoff=0.4)
        hint = f"Did you mean {' or '.join(near)}?" if near else f"Bind {LEVELS} or encoder."
        what = f"names {given}, which is no module of the model" if given else "is empty"
        raise invalid_spec(f"{where} {what}.", hint)
    if name.split(".")[0] in QUERY_MODULES:
        raise invalid_spec(
            f"{where} names {given}, which works query by query, and the queries of two models "
            "are in no common order.",
            OF_QUERIES,
        )
    return name


__all__ = [
    "OF_FEATURES",
    "Bindings",
    "FeatureBinding",
    "PredictionBinding",
    "default_bindings",
    "read_bindings",
]
