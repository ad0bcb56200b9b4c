"""What a training that goes on from a checkpoint may change, and what it may not.

The new spec's hyper-parameters count; weights, the optimiser's state and the position are the
checkpoint's. What would not fit them, or would make another training of them, is refused by name.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError
from torch import Tensor

from dino_api.actions import ACTIONS
from dino_api.experiment import ExperimentSpec, OptimConfig
from dino_api.experiment.digest import Difference, differences, in_words, value_in_words
from dino_api.experiment.model import STRUCTURE
from dino_api.experiment.paths import EPOCHS, WEIGHTS
from dino_api.names import Action
from dino_trainer.errors import TrainerError, invalid_spec
from dino_trainer.train.checkpoint_content import Resumable

THEIRS = "the checkpoint's"
FIXED = (
    *(f"model.{name}" for name in STRUCTURE),
    "model.train_backbone",
    "train.freeze",
    "train.optim.optimizer",
    "distill.bindings",
)
"""Keys that decide which tensors are trained, and what the optimiser remembers of each."""
APART = ("train.seed", EPOCHS, "dataset.num_classes")
_WAY_ON = (
    "Give these keys the checkpoint's values; or name the checkpoint as "
    "train.pretrained_model_path in place of train.resume_training_checkpoint_path, to begin anew "
    "from the weights that fit."
)
_WEIGHTS = (
    "Resume with the spec that the checkpoint was trained with, or name it as "
    "train.pretrained_model_path to take over only the weights that fit."
)
_NAMED = 3


def spec_of(saved: Mapping[str, object]) -> ExperimentSpec | None:
    """The spec that a checkpoint was trained with; None where this release cannot read it."""
    theirs = saved.get("spec") or {}
    if not isinstance(theirs, Mapping):
        return None
    names = {name for each in ACTIONS.values() for name in each.sections}
    try:
        known = {name: part for name, part in theirs.items() if name in names}
        return ExperimentSpec.model_validate(known)
    except ValidationError:
        return None


def changes_in_words(
    spec: ExperimentSpec,
    saved: Resumable,
    before: ExperimentSpec | None,
    num_classes: int,
    action: Action,
) -> list[str]:
    """What the new spec changes, in sentences. before: the checkpoint's, as `spec_of` has it.

    Raises TrainerError: InvalidSpec where it changes what cannot be resumed, with every such key,
    both of its values, and the way on.
    """
    changes = [] if before is None else differences(before, spec, action)
    wrong = [one.in_words(THEIRS) for one in changes if _is_fixed(one)]
    wrong += _counted(spec, saved, num_classes)
    if wrong:
        raise invalid_spec(
            f"The checkpoint to resume from cannot go on with this spec: {'; '.join(wrong)}.",
            _WAY_ON,
        )
    return list(_sentences(spec, saved, changes))


def _is_fixed(one: Difference) -> bool:
    if one.path == "train.freeze":
        return set(one.before or ()) != set(one.now or ())
    if one.path == "distill.bindings":
        return _bound(one.before) != _bound(one.now)
    return one.path in FIXED


def _bound(bindings: list[dict[str, Any]] | None) -> set[tuple[str, str]]:
    """Between which modules; weights and criteria may change."""
    names = ("student_module_name", "teacher_module_name")
    return {(each.get(names[0], ""), each.get(names[1], "")) for each in bindings or ()}


def _counted(spec: ExperimentSpec, saved: Resumable, num_classes: int) -> Iterator[str]:
    """What is compared with the checkpoint itself, not with its spec."""
    had = len(saved.get("class_names") or ())
    if had and had != num_classes:
        yield f"dataset.num_classes is {num_classes}, {THEIRS} {had}"
    done, seen = saved["position"]["epoch"], saved["position"]["seen"]
    if spec.train.num_epochs < done + bool(seen):
        yield f"train.num_epochs is {spec.train.num_epochs}, and {_epochs(done, seen)}"
    if seen and spec.train.seed not in (-1, saved["seed"]):
        yield (
            f"train.seed is {spec.train.seed}, {THEIRS} {saved['seed']}, which decides what is "
            "left of the epoch that it lies in"
        )


def _epochs(done: int, seen: int) -> str:
    return (
        f"the checkpoint is in epoch {done + 1}" if seen else f"{THEIRS} training has done {done}"
    )


def _sentences(spec: ExperimentSpec, saved: Resumable, changes: list[Difference]) -> Iterator[str]:
    counts = [one for one in changes if one.path not in (*FIXED, *WEIGHTS, *APART)]
    if spec.train.seed not in (-1, saved["seed"]):
        counts.append(Difference("train.seed", saved["seed"], spec.train.seed))
    counts += [one for one in changes if one.path == EPOCHS]
    if counts:
        yield f"From here on other values count: {in_words(counts, THEIRS)}."
    for one in changes:
        if one.path in WEIGHTS and one.now:
            yield f"{one.path} ({value_in_words(one.now)}) is not read: the weights are {THEIRS}."


def seed_for(spec: ExperimentSpec, saved: Resumable) -> int:
    """The seed of what is left of a training: the spec's, unless it asks for any."""
    return saved["seed"] if spec.train.seed < 0 else spec.train.seed


def optim_of(before: ExperimentSpec | None, spec: ExperimentSpec) -> OptimConfig:
    """How the checkpoint's optimiser was set up: its rates decide the order of its state."""
    return spec.train.optim if before is None else before.train.optim


def refuse_other_action(saved: Mapping[str, object], own: Mapping[str, object]) -> None:
    """A distillation has a teacher and projections beside the model, a training has neither."""
    if bool(saved) == bool(own):
        return
    theirs, ours = _made_by(saved), _made_by(own)
    raise invalid_spec(
        f"The checkpoint to resume from is of `dino {theirs}`, and this is `dino {ours}`.", _WEIGHTS
    )


def _made_by(distilled: Mapping[str, object]) -> Action:
    return Action.DISTILL if distilled else Action.TRAIN


def misfits(state: Mapping[str, Any], own: Mapping[str, Any]) -> list[str]:
    """Which tensors of a checkpoint are not those of the model, in words."""
    odd = [
        f"{name} is {list(own[name].shape)}, {THEIRS} {list(value.shape)}"
        for name, value in state.items()
        if name in own and isinstance(value, Tensor) and value.shape != own[name].shape
    ]
    odd += [f"{name} is not in the checkpoint" for name in own if name not in state]
    return odd + [f"{name} is in the checkpoint alone" for name in state if name not in own]


def other_model(odd: list[str]) -> TrainerError:
    """The error that the checkpoint is of another model, in what `misfits` found."""
    more = f"; and {len(odd) - _NAMED} more" if len(odd) > _NAMED else ""
    return invalid_spec(
        f"The checkpoint to resume from is of another model: {'; '.join(odd[:_NAMED])}{more}.",
        _WEIGHTS,
    )
