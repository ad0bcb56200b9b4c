"""What a model starts from, and which parts of it stay as they are."""

import difflib
import hashlib
from pathlib import Path

from torch import nn

from dino_api.experiment import ExperimentSpec
from dino_api.names import FailureReason
from dino_trainer.errors import TrainerError, invalid_spec
from dino_trainer.model import load_backbone_weights, load_checkpoint_weights, read_state
from dino_trainer.model.pretrained import IMAGENET
from dino_trainer.model.weights import our_name
from dino_trainer.storage.store import is_remote, local_path, open_store, split


def fetch(uri: str, into: Path) -> Path:
    """A local path for `uri`: itself if it is local, else a copy below `into`.

    Raises:
        TrainerError: InputNotFound, AccessDenied or StorageUnavailable.
    """
    if not is_remote(uri):
        path = local_path(uri)
        if path.is_dir():
            raise TrainerError(
                FailureReason.INPUT_NOT_FOUND,
                f"{path} is a folder, not a file of weights.",
                "Name the file within it; weights in several parts must be joined into one first.",
            )
        if not path.is_file():
            raise TrainerError(FailureReason.INPUT_NOT_FOUND, f"There is no file {path}.")
        return path
    path = place_of(uri, into)
    folder, name = split(uri)
    open_store(folder).download(name, path)
    return path


def place_of(uri: str, into: Path) -> Path:
    """Where `fetch` puts, or finds, a file: no other URI has the same place."""
    if not is_remote(uri):
        return local_path(uri)
    own = hashlib.sha256(uri.encode()).hexdigest()[:16]
    return into / "weights" / own / split(uri)[1]


def load_initial(model: nn.Module, spec: ExperimentSpec, work_dir: Path) -> list[str]:
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
