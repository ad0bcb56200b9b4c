"""Loading weights of whole detectors: the published layout, TAO's, and our own.

TAO's names are the published ones behind ``model.model.``. Both list shared heads several times;
we keep each tensor once.
"""

from __future__ import annotations

import argparse
import pickle
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

# Published name -> ours, by the first pattern that fits. Names that fit none are ours already.
RENAMES = [
    (re.compile(pattern), ours)
    for pattern, ours in [
        (r"^backbone\.0\.body\.model\.", "backbone.body.net."),
        (r"^backbone\.0\.", "backbone."),
        (r"^transformer\.level_embed$", "level_embed"),
        (r"^transformer\.tgt_embed\.", "query_embed."),
        (r"^transformer\.refpoint_embed\.", "query_boxes."),
        (r"^label_enc\.", "label_embed."),
        (r"^transformer\.enc_output\.", "proposals.project."),
        (r"^transformer\.enc_output_norm\.", "proposals.norm."),
        (r"^transformer\.enc_out_class_embed\.", "proposals.class_head."),
        (r"^transformer\.enc_out_bbox_embed\.", "proposals.box_head."),
        (r"^(?:transformer\.decoder\.)?class_embed\.", "decoder.class_head."),
        (r"^(?:transformer\.decoder\.)?bbox_embed\.", "decoder.box_head."),
        (r"^transformer\.(encoder\.layers\.\d+)\.self_attn\.", r"\1.attention."),
        (r"^transformer\.(decoder\.layers\.\d+)\.self_attn\.", r"\1.self_attention."),
        (r"^transformer\.(decoder\.layers\.\d+)\.cross_attn\.", r"\1.cross_attention."),
        (r"^transformer\.((?:en|de)coder\.layers\.\d+)\.linear", r"\1.feed_forward.linear"),
        (r"^transformer\.", ""),
    ]
]
WRAPPERS = re.compile(r"^(?:model\.|module\.)+")
UNREADABLE = (
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    SafetensorError,
    RuntimeError,
    EOFError,
    OSError,
)
# Counters of BatchNorm layers; frozen ones have none.
IGNORED = "num_batches_tracked"
CONTAINERS = ("model", "state_dict")
# Where `dino quantize` puts weights in INT8: they serve to find objects, not to train from.
PACKED = "int8_weights"
# Where a head that is stored on its own lives if the model shares it.
SHARED_HEAD = re.compile(r"^(?:decoder\.(class|box)_head\.\d+|proposals\.(class|box)_head)\.")


@dataclass(frozen=True)
class LoadReport:
    """What a checkpoint gave. Names are ours."""

    loaded: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...]  # (name in the checkpoint, why)
    missing: tuple[str, ...]  # tensors of the model that keep what they had


def read_state(path: str | Path) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint file: .safetensors, or anything ``torch.save`` wrote.

    Nothing in the file is executed; of Python's types only the published code's
    ``argparse.Namespace`` is let in.

    Raises:
        ValueError: if the file is no checkpoint, holds no tensors, or holds weights in INT8.
    """
    path = Path(path)
    remedy = "Give a .pth, .ckpt or .safetensors file of weights."
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ValueError(f"There is no file {path}. {remedy}") from None
    except UNREADABLE as error:
        first_line = str(error).split("\n", 1)[0]
        raise ValueError(f"{path} is not a readable checkpoint ({first_line}). {remedy}") from error
    if isinstance(content, Mapping) and PACKED in content:
        raise ValueError(
            f"{path} holds weights in INT8, which only evaluations and inference take. Name the "
            "checkpoint that it was made from."
        )
    state = find_tensors(content)
    if not state:
        raise ValueError(f"{path} holds no tensors. {remedy}")
    return state


def find_tensors(content: Any) -> dict[str, Tensor]:
    """Return the named tensors of a loaded checkpoint, looking into ``model``/``state_dict``."""
    if not isinstance(content, Mapping):
        return {}
    for key in CONTAINERS:
        if isinstance(content.get(key), Mapping):
            return find_tensors(content[key])
    return {name: value for name, value in content.items() if isinstance(value, Tensor)}


def our_name(name: str) -> str:
    """Return our name of a tensor of any of the three layouts."""
    name = WRAPPERS.sub("", name)
    for pattern, ours in RENAMES:
        if pattern.search(name):
            name = pattern.sub(ours, name, count=1)
            break
    # torch's own attention stores its packed projection as in_proj_weight, in_proj_bias.
    return name.replace(".in_proj_", ".in_proj.")


def load_checkpoint_weights(
    model: nn.Module, state: Mapping[str, Any], *, strict: bool
) -> LoadReport:
    """Copy a checkpoint's tensors into ``model``.

    Tensors of other shapes are skipped with a reason: heads of another number of classes keep
    their random start and are trained anew.

    Args:
        model: a Dino.
        state: tensors of any of the three layouts, or a loaded checkpoint that contains them.
        strict: whether everything must fit.

    Raises:
        ValueError: if nothing fits; or, with ``strict``, if anything is skipped or missing.
    """
    own = model.state_dict()
    fitting: dict[str, Tensor] = {}
    skipped = []
    for name, value in find_tensors(state).items():
        if name.endswith(IGNORED):
            continue
        target = our_name(name)
        why = _obstacle(target, value, own, fitting)
        if why is None:
            fitting[target] = value
        elif why:
            skipped.append((name, why))
    missing = tuple(name for name in own if name not in fitting)
    report = LoadReport(tuple(fitting), tuple(skipped), missing)
    _check(report, strict)
    model.load_state_dict(fitting, strict=False)
    return report


def _obstacle(
    name: str, value: Tensor, own: Mapping[str, Tensor], taken: Mapping[str, Tensor]
) -> str | None:
    """Return why a tensor cannot be used: None if it can, "" if it is a copy of a used one."""
    home = _home(name, own)
    if home is None:
        return "the model has no such tensor"
    if value.shape != own[home].shape:
        return f"its shape is {list(value.shape)}, the model's {list(own[home].shape)}"
    if home in taken:
        same = torch.equal(taken[home], value)
        return "" if same else f"it differs from another tensor for {home}, which the model shares"
    return None if home == name else "the model shares this head, the checkpoint does not"


def _home(name: str, own: Mapping[str, Tensor]) -> str | None:
    """Return the model's tensor that ``name`` stands for, following shared heads."""
    if name in own:
        return name
    if not SHARED_HEAD.match(name):
        return None
    shared = SHARED_HEAD.sub(lambda m: f"decoder.{m[1] or m[2]}_head.0.", name)
    return shared if shared in own else None


def _check(report: LoadReport, strict: bool) -> None:
    if not report.loaded:
        examples = ", ".join(f"{name} ({why})" for name, why in report.skipped[:3])
        raise ValueError(
            f"The checkpoint has nothing that fits this model: {examples or 'it has no tensors'}. "
            "Check model.backbone and the file."
        )
    if strict and (report.skipped or report.missing):
        parts = [f"{name}: {why}" for name, why in report.skipped[:3]]
        parts += [f"{name}: missing" for name in report.missing[:3]]
        raise ValueError(
            f"The checkpoint does not fit this model: {len(report.skipped)} tensors cannot be "
            f"used and {len(report.missing)} are missing ({'; '.join(parts)}). "
            "Use the model settings it was trained with."
        )
