"""From a run to a checkpoint and back.

Everything that decides the rest of a training is here: weights, their average, optimiser, gradient
scaler, position, validations. Random numbers are not: every draw is a function of (seed, step).
"""

import platform
from collections.abc import Mapping
from typing import Any, TypeGuard

import timm
import torch
import torchvision

from dino_api.experiment import ExperimentSpec
from dino_api.experiment.digest import differences, in_words
from dino_api.result import Metrics
from dino_trainer.data.splits import TrainingData
from dino_trainer.errors import invalid_spec
from dino_trainer.model_files import checkpoint
from dino_trainer.model_files.checkpoint import Content
from dino_trainer.model_files.fetching import fetch
from dino_trainer.run import RunContext
from dino_trainer.train import resuming, same_data
from dino_trainer.train.best import BestValidation, Standing
from dino_trainer.train.checkpoint_content import (
    NEEDED,
    About,
    ReadData,
    Resumable,
    ValidatedWeights,
)
from dino_trainer.train.optim import take_over
from dino_trainer.train.run import Run

_NAMED = 3


def about_run(spec: ExperimentSpec, digest: str, class_names: list[str]) -> About:
    """What every checkpoint says about itself."""
    return {
        "spec": spec.model_dump(mode="json"),
        "spec_digest": digest,
        "class_names": class_names,
        "versions": {
            "python": platform.python_version(),
            "torch": str(torch.__version__),
            "torchvision": str(torchvision.__version__),
            "timm": str(timm.__version__),
        },
    }


def resumable_content(run: Run, about: About, read: ReadData) -> Resumable:
    """All that exact resume needs."""
    return {
        **about,
        **run.standing.plain(),
        **read,
        "seed": run.plan.seed,
        "step": run.step,
        "epoch": run.epoch,
        "position": run.plan.position(run.step).plain(),
        "validated": run.validated,
        "model": run.model.state_dict(),
        "extra": run.loss.extra.state_dict(),
        "ema": run.ema.model.state_dict() if run.ema else None,
        "optimizer": run.optimizer.state_dict(),
        "scaler": run.scaler.state_dict(),
        "skipped": run.skipped,
        "loggers": dict(run.loggers),
    }


def weights_only(run: Run, about: About) -> ValidatedWeights:
    """The weights that were validated, and how they did."""
    return {
        **about,
        "step": run.step,
        "epoch": run.epoch,
        "metrics": run.standing.plain()["last"],
        "model": run.scored.state_dict(),
    }


def best_here(context: RunContext) -> BestValidation | None:
    """The validation whose weights the output has as the best; None where none can be trusted.

    A process that is gone may have published newer ones than its last checkpoint knows of.
    """
    path = context.output.fetch(checkpoint.BEST)
    if path is None:
        return None
    try:
        content = checkpoint.read(path)
    except ValueError as error:
        context.reporter.event(str(error))
        context.output.reject(checkpoint.BEST)
        return None
    epoch, metrics = content.get("epoch"), content.get("metrics")
    ours = content.get("spec_digest") == context.digest
    if ours and isinstance(epoch, int) and isinstance(metrics, dict):
        return BestValidation(epoch, Metrics(**metrics))
    return None


def restore(
    run: Run, saved: Resumable, best: BestValidation | None, before: torch.optim.Optimizer
) -> None:
    """Put `run` where it was when `saved` was made.

    best: whose weights lie in the output; these count, whatever `saved` calls the best. before: an
    optimiser over the same parameters, set up as the one that was saved. Its state is taken over
    parameter by parameter: rates and decays are the new spec's, and other rates may put the
    parameters into other groups.

    Without the best checkpoint (the run goes on in another output) its metrics are worth nothing:
    the next validation, or a second one of the same weights, finds the best anew.

    Raises:
        TrainerError: InvalidSpec if the checkpoint is of another model.
    """
    _load(run.model, saved["model"])
    resuming.refuse_other_action(saved.get("extra", {}), run.loss.extra.state_dict())
    _load(run.loss.extra, saved.get("extra", {}))
    if run.ema:
        _load(run.ema.model, saved["ema"] or saved["model"])
    try:
        take_over(run.optimizer, before, saved["optimizer"])
    except (KeyError, RuntimeError, ValueError) as error:
        raise invalid_spec(
            "The checkpoint to resume from has the optimizer's state of other parameters.",
            "Resume with the spec that the checkpoint was trained with, or name it as "
            "train.pretrained_model_path to begin anew from its weights.",
        ) from error
    if saved["scaler"]:
        run.scaler.load_state_dict(saved["scaler"])
    run.skipped = saved["skipped"]
    run.loggers.update(saved["loggers"])
    run.standing.read(saved)
    if best and run.standing.best and run.standing.score(best.metrics) >= 0:
        run.standing.best = best
        run.validated = saved["validated"]
    else:
        run.standing = Standing(run.spec.train, last=run.standing.last)


def _load(module: torch.nn.Module, state: Mapping[str, Any]) -> None:
    """`load_state_dict`, whose own message is cut after its first line."""
    if odd := resuming.misfits(state, module.state_dict()):
        raise resuming.other_model(odd)
    module.load_state_dict(state)


def find_resumable(
    spec: ExperimentSpec, context: RunContext, data: TrainingData
) -> Resumable | None:
    """The checkpoint to go on from: the one the spec names, or the newest whole one of the output
    where that is farther, or none is named.

    Raises:
        TrainerError: InvalidSpec if the checkpoint in the output is of another experiment, or the
            named one is not a training checkpoint; InvalidDataset if the data is not the same.
    """
    named = spec.train.resume_training_checkpoint_path
    saved, here = _farther(named, context) if named else (_newest_of_this(spec, context), True)
    if saved is None:
        return None
    # In another output the best weights are found anew, on whatever data.
    same_data.refuse_other(saved, data, same_spec=here and saved["spec_digest"] == context.digest)
    context.reporter.event(f"Resuming after step {saved['step']}.")
    return saved


def _farther(named: str, context: RunContext) -> tuple[Resumable, bool]:
    """The named checkpoint, or what an attempt before this one has made of it since.

    Also says whether it lies in the output. Raises what `_read_named` does.
    """
    saved = _read_named(named, context)
    here = named.startswith(context.output.uri("").rstrip("/") + "/")
    own = _newest(context, "training goes on from the named one")
    if own is None or own.get("spec_digest") != context.digest or not _is_resumable(own):
        return saved, here
    if _place(own) <= _place(saved):
        return saved, here
    context.reporter.event(
        f"{named} (train.resume_training_checkpoint_path) is not read: "
        f"{context.output.uri(checkpoint.LATEST)} goes on from it, and is farther."
    )
    return own, True


def _place(saved: Resumable) -> tuple[int, int]:
    """How far a training was: whole epochs, and images of the next one."""
    return saved["position"]["epoch"], saved["position"]["seen"]


def _read_named(uri: str, context: RunContext) -> Resumable:
    try:
        saved = checkpoint.read(fetch(uri, context.work_dir))
    except ValueError as error:
        raise invalid_spec(f"train.resume_training_checkpoint_path: {error}") from error
    if not _is_resumable(saved):
        raise invalid_spec(
            f"train.resume_training_checkpoint_path: {uri} lacks {_missing(saved)}.",
            f"Name a {checkpoint.LATEST}, or use train.pretrained_model_path for weights alone.",
        )
    return saved


def _is_resumable(content: Content) -> TypeGuard[Resumable]:
    return content.keys() >= NEEDED


def _missing(content: Content) -> str:
    """What cannot be resumed without."""
    missing = sorted(NEEDED - content.keys())
    more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
    return ", ".join(missing[:_NAMED]) + more


def _newest(context: RunContext, otherwise: str) -> Content | None:
    """The latest checkpoint of the output, or the one before where that is damaged.

    otherwise: what is done where none is left, as a clause.
    """
    output, event = context.output, context.reporter.event
    lost = False
    for name in (checkpoint.LATEST, checkpoint.PREVIOUS):
        promised = name in output.published()
        if path := output.fetch(name):
            try:
                return checkpoint.read(path)
            except ValueError as error:
                event(str(error))
                output.reject(name)
        if (promised or path) and name == checkpoint.LATEST:
            event(f"{output.uri(name)} cannot be used. Looking for the one before it.")
        lost = lost or promised or path is not None
    if lost:
        event(f"No whole checkpoint is left: {otherwise}.")
    return None


def _newest_of_this(spec: ExperimentSpec, context: RunContext) -> Resumable | None:
    """`_newest`. Raises InvalidSpec where it is of another experiment."""
    saved = _newest(context, "training starts again from its first step")
    if saved is None:
        return None
    if saved.get("spec_digest") == context.digest:
        if _is_resumable(saved):
            return saved
        raise invalid_spec(
            f"{context.output.uri(checkpoint.LATEST)} is of another release: it lacks "
            f"{_missing(saved)}.",
            "Choose another output (results_dir), or delete that checkpoint.",
        )
    before = resuming.spec_of(saved)
    by = before and in_words(differences(before, spec, context.action), resuming.THEIRS)
    raise invalid_spec(
        f"{context.output.uri(checkpoint.LATEST)} is of another experiment"
        f"{f': {by}' if by else ''}.",
        "Choose another output (results_dir), or delete that checkpoint.",
    )
