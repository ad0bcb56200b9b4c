"""What a model starts from, and which parts of it stay as they are."""

import difflib
from pathlib import Path

from torch import nn

from dino_api.experiment import ExperimentSpec
from dino_api.experiment.model import IMAGENET
from dino_trainer.errors import invalid_spec
from dino_trainer.model import Dino, load_backbone_weights, load_checkpoint_weights, read_state
from dino_trainer.model.weights import our_name
from dino_trainer.model_files.fetching import fetch


def load_initial(model: Dino, spec: ExperimentSpec, work_dir: Path) -> list[str]:
    """Load the backbone's weights, then the whole detector's, where the spec names them.

    Returns:
        What was left out, one sentence each.

    Raises:
        TrainerError: InvalidSpec if a file does not fit the model; those of `fetch`.
    """
    backbone, detector = spec.model.pretrained_backbone_path, spec.train.pretrained_model_path
    try:
        if backbone:
            load_backbone_weights(
                model, backbone if backbone == IMAGENET else fetch(backbone, work_dir)
            )
        if not detector:
            return []
        state = read_state(fetch(detector, work_dir))
        report = load_checkpoint_weights(model, state, strict=False)
    except ValueError as error:
        raise invalid_spec(str(error)) from error
    return [f"{detector}: {name} is not loaded: {why}." for name, why in report.skipped]


def freeze(model: nn.Module, names: list[str]) -> int:
    """Stop training of every module or parameter in `names`.

    Names are dotted paths into the model; those of TAO and the published code are understood too.

    Returns:
        The number of parameters that stay as they are.

    Raises:
        TrainerError: InvalidSpec for a path that the model does not have, with the nearest ones.
    """
    parameters = dict(model.named_parameters())
    paths = {
        ".".join(name.split(".")[:depth])
        for name in parameters
        for depth in range(1, name.count(".") + 2)
    }
    ours = [name if name in paths else our_name(name) for name in names]
    for name, own in zip(names, ours, strict=True):
        if own not in paths:
            near = difflib.get_close_matches(name, sorted(paths), n=3)
            hint = f"Did you mean {' or '.join(near)}?" if near else "Use the names of the model."
            raise invalid_spec(f"train.freeze names {name}, and the model has no such part.", hint)
    frozen = 0
    for path, parameter in parameters.items():
        if any(path == name or path.startswith(f"{name}.") for name in ours):
            parameter.requires_grad_(False)
            frozen += parameter.numel()
    return frozen
