"""The DinoJob of the demo: `examples/digits-train.yaml`, as it is or turned to a user's data."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import yaml

MANIFEST = Path(__file__).parents[1] / "examples" / "digits-train.yaml"
DATA_PREFIX = "digits"
STEPS = 900
"""About four minutes on two cores; enough for a first detector from the ImageNet backbone."""
SIZE = [240, 320]
"""Height and width of a user's images as the detector sees them."""
BATCH = 2
RATES = {"lr": 0.0003, "lr_backbone": 0.0001, "warmup_steps": 20}
AVERAGE = 0.98
"""Of the weights, of about 50 steps. The digits' own settings are for fewer steps than STEPS."""
Manifest = dict[str, Any]


def example() -> Manifest:
    """The manifest of the digits."""
    document: Manifest = yaml.safe_load(MANIFEST.read_text())
    return document


def for_bucket(manifest: Manifest, bucket: str) -> Manifest:
    """The same manifest with its s3:// addresses in another bucket."""
    ours = "s3://dino/"
    text = yaml.safe_dump(manifest, sort_keys=False).replace(ours, f"s3://{bucket}/")
    document: Manifest = yaml.safe_load(text)
    return document


def for_data(images: int) -> Manifest:
    """The digits' recipe for a user's images: its own name and places, epochs for about STEPS
    steps, flips allowed, and sizes at which smaller things than digits are found.
    """
    manifest = copy.deepcopy(example())
    manifest["metadata"]["name"] = "my-data"
    spec = manifest["spec"]
    spec["datasets"] = {
        "train": [{"uri": "s3://dino/my-data/train"}],
        "validation": [{"uri": "s3://dino/my-data/val"}],
    }
    spec["output"] = {"uri": "s3://dino/results/my-data"}
    experiment = spec["experiment"]
    experiment["dataset"]["augmentation"].update(fixed_size=SIZE, horizontal_flip_prob=0.5)
    experiment["dataset"]["batch_size"] = BATCH
    experiment["train"]["optim"].update(RATES)
    experiment["train"]["ema"]["decay"] = AVERAGE
    epochs = max(1, math.ceil(STEPS / math.ceil(images / BATCH)))
    experiment["train"].update(num_epochs=epochs, validation_interval=max(1, epochs // 2))
    return manifest


def name(manifest: Manifest) -> str:
    return str(manifest["metadata"]["name"])


def key_of(uri: str) -> str:
    """s3://bucket/some/key -> some/key."""
    return uri.split("/", 3)[3]
