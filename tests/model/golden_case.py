"""One golden folder: its configuration, its inputs, and what our model computes for them."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dino_trainer.model import (
    Criterion,
    Detections,
    DetectorConfig,
    Dino,
    Losses,
    Outputs,
    Targets,
    build_dino,
    load_checkpoint_weights,
    postprocess,
)
from tests.model import golden_inputs

# Keys of the published configuration that we name otherwise.
RENAMED = {"dropout": "dropout_ratio"}
# Keys whose meaning is fixed in our model: any other value is refused.
FIXED: dict[str, Any] = {
    "batch_norm_type": "FrozenBatchNorm2d",
    "position_embedding": "sine",
    "matcher_type": "HungarianMatcher",
    "decoder_module_seq": ["sa", "ca", "ffn"],
    "query_dim": 4,
    "num_patterns": 0,
    "two_stage_pat_embed": 0,
    "two_stage_add_query_num": 0,
    "two_stage_learn_wh": False,
    "two_stage_keep_all_tokens": False,
    "use_detached_boxes_dec_out": False,
    "add_channel_attention": False,
    "decoder_layer_noise": False,
    "use_deformable_box_attn": False,
    "dec_layer_number": None,
    "nms_iou_threshold": -1,
    "masks": False,
}
# Keys that the published code does not read with two_stage_type "standard" or "no".
UNREAD = {"fix_refpoints_hw", "random_refpoints_xy", "match_unstable_error"}
# What a folder may leave out: the published defaults.
PUBLISHED: dict[str, Any] = {
    "train_backbone": True,
    "aux_loss": True,
    "no_interm_box_loss": False,
    "loss_types": ("labels", "boxes"),
    "interm_loss_coef": 1.0,
    "dn_query_limit": None,
}


@dataclass(frozen=True)
class Result:
    """What our model gives for a folder."""

    memory: Tensor  # float[b, s, d]
    features: list[Tensor]  # backbone maps
    evaluated: Outputs
    detections: list[Detections]
    trained: Outputs
    losses: Losses  # with the folder's configuration
    all_losses: Losses  # with auxiliary losses, which the published code always computes
    gradients: dict[str, Tensor | None]


class GoldenFolder:
    """A folder with expected.json, state_shapes.json and tensors.npz."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            self.expected = json.loads((folder / "expected.json").read_text())
            self.shapes = json.loads((folder / "state_shapes.json").read_text())
            self.tensors = dict(np.load(folder / "tensors.npz"))
        except FileNotFoundError as error:
            raise ValueError(
                f"{folder} is no golden folder: it has no {Path(error.filename).name}. "
                "Give a folder with expected.json, state_shapes.json and tensors.npz."
            ) from None

    @cached_property
    def config(self) -> DetectorConfig:
        """The published configuration in our words. ValueError names what we do not have."""
        return to_config(self.expected["config"])

    @cached_property
    def num_classes(self) -> int:
        return int(self.expected["config"]["num_classes"])

    @cached_property
    def inputs(self) -> ModuleType:
        """The module that makes weights and inputs: the folder's own, or ours."""
        for place in (self.folder, self.folder.resolve().parent):
            path = place / "golden_weights.py"
            if path.exists():
                return _import(path)
        return golden_inputs

    def state(self) -> dict[str, Tensor]:
        """The weights in the published layout, shared ones tied."""
        made = self.inputs.make_state(self.shapes)
        state = {name: torch.from_numpy(value) for name, value in made.items()}
        for alias, source in self.expected["tied_parameters"].items():
            state[alias] = state[source]
        return state

    def model(self) -> Dino:
        """Our model with the folder's weights; every tensor has to fit."""
        model = build_dino(self.config, self.num_classes)
        load_checkpoint_weights(model, self.state(), strict=True)
        return model

    @cached_property
    def sizes(self) -> list[tuple[int, int]]:
        """(height, width) of each image."""
        return [(h, w) for h, w in self.expected["image_sizes"]]

    @cached_property
    def batch(self) -> tuple[Tensor, Tensor]:
        """Images float32[b, 3, h, w], padded at the right and bottom, and their mask."""
        images = self.inputs.make_images(self.expected["case"], self.sizes)
        height, width = (max(side) for side in zip(*self.sizes, strict=True))
        batch = torch.zeros(len(images), 3, height, width)
        mask = torch.ones(len(images), height, width, dtype=torch.bool)
        for index, (image, (h, w)) in enumerate(zip(images, self.sizes, strict=True)):
            batch[index, :, :h, :w] = torch.from_numpy(image)
            mask[index, :h, :w] = False
        return batch, mask

    @cached_property
    def targets(self) -> Targets:
        """True boxes of the batch."""
        counts = self.expected["target_counts"]
        made = self.inputs.make_targets(self.expected["case"], counts, self.num_classes)
        return Targets.collate(
            [(torch.from_numpy(t["labels"]), torch.from_numpy(t["boxes"])) for t in made]
        )

    def run(self, model: Dino) -> Result:
        """Evaluate, then compute one training step's losses and gradients."""
        images, mask = self.batch
        seen: dict[str, Any] = {}
        hooks = [
            model.encoder.register_forward_hook(lambda *call: seen.update(memory=call[-1])),
            model.backbone.register_forward_hook(lambda *call: seen.update(features=call[-1])),
        ]
        with torch.no_grad():
            evaluated = model.eval()(images, mask)
        for hook in hooks:
            hook.remove()
        model.zero_grad(set_to_none=True)
        trained = model.train()(images, mask, self.targets)
        losses = Criterion(self.config)(trained, self.targets)
        losses.total.backward()
        with torch.no_grad():
            all_losses = Criterion(to_config({**self.expected["config"], "aux_loss": True}))(
                trained, self.targets
            )
        return Result(
            memory=seen["memory"],
            features=seen["features"],
            evaluated=evaluated,
            detections=postprocess(evaluated, torch.tensor(self.sizes), self.config.num_select),
            trained=trained,
            losses=losses,
            all_losses=all_losses,
            gradients={name: p.grad for name, p in model.named_parameters()},
        )


def to_config(published: dict[str, Any]) -> DetectorConfig:
    """Translate a published configuration; ValueError names the keys that we do not have."""
    known = set(DetectorConfig.__dataclass_fields__)
    values = dict(PUBLISHED)
    refused = []
    for key, value in published.items():
        name = RENAMED.get(key, key)
        if name in known:
            values[name] = tuple(value) if isinstance(value, list) else value
        elif key in FIXED and value != FIXED[key]:
            refused.append(f"{key} = {value!r} (only {FIXED[key]!r})")
        elif key not in FIXED and key not in UNREAD and key != "num_classes":
            refused.append(f"{key} = {value!r}")
    if refused:
        raise ValueError(f"Our model has no {', '.join(refused)}.")
    backbone = str(values["backbone"])
    values["backbone"] = backbone.replace("resnet", "resnet_").replace("__", "_")
    extra = values["num_feature_levels"] - len(values["return_interm_indices"])
    values["return_interm_indices"] += tuple(range(4, 4 + extra))
    return DetectorConfig(**values)


def _import(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("golden_weights", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
