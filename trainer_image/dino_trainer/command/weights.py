"""`dino weights`: weights of backbones, from where they are published to where jobs read them."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from dino_api.experiment.model import IMAGENET, SHIPPED_BACKBONE, ModelConfig
from dino_trainer.errors import invalid_spec
from dino_trainer.model import build_dino, load_backbone_weights
from dino_trainer.model_files.fetching import fetch
from dino_trainer.model_files.published_weights import fetch_published, published
from dino_trainer.storage.opening import open_store
from dino_trainer.storage.uris import is_remote, local_path


def run(arguments: argparse.Namespace) -> int:
    """Does what the command line says; returns the exit code. Raises TrainerError."""
    if arguments.way == "fetch":
        return fetch_weights(arguments.backbone, arguments.output)
    return put_weights(arguments.file, arguments.output, arguments.backbone)


def fetch_weights(backbone: str, output: str) -> int:
    """Fetches the published weights of a backbone into `output`, a folder or an s3:// URI.

    Raises:
        TrainerError: InvalidSpec, StorageUnavailable; those of the store.
    """
    if backbone == SHIPPED_BACKBONE:
        print(f"The weights of {backbone} are shipped with the trainer: nothing is fetched.")
        return _tell(backbone, IMAGENET)
    weights = published(backbone)
    with tempfile.TemporaryDirectory() as aside:
        folder = Path(aside) if is_remote(output) else local_path(output)
        print(f"from {weights.urls[0]}{f' ({weights.licence})' if weights.licence else ''}")
        path = fetch_published(weights, folder)
        return _tell(backbone, _kept(backbone, path, output))


def put_weights(file: str, output: str, backbone: str) -> int:
    """Checks that a file has the weights of a backbone, and copies it to `output`.

    Raises:
        TrainerError: InvalidSpec where it does not fit, InputNotFound; those of the store.
    """
    with tempfile.TemporaryDirectory() as aside:
        return _tell(backbone, _kept(backbone, fetch(file, Path(aside)), output))


def _kept(backbone: str, path: Path, output: str) -> str:
    """Where jobs find the file, once it was found to fit."""
    _check(backbone, path)
    store = open_store(output)
    if not is_remote(output) and path.parent.resolve() == local_path(output).resolve():
        return str(path)
    return store.upload(path, path.name).uri


def _check(backbone: str, path: Path) -> None:
    """Raises InvalidSpec for a file that a training would refuse."""
    try:
        # The detector around it does not matter: the smallest that there is.
        small = ModelConfig(backbone=backbone, enc_layers=1, dec_layers=1, num_queries=10)
        load_backbone_weights(build_dino(small, num_classes=1), path)
    except ValueError as error:
        raise invalid_spec(str(error)) from error


def _tell(backbone: str, where: str) -> int:
    print("spec.experiment:")
    print("  model:")
    print(f"    backbone: {backbone}")
    print(f"    pretrained_backbone_path: {where}")
    return 0
