"""Loading weights of whole detectors: the published layout, TAO's, and our own.

TAO's names are the published ones behind ``model.model.``. Both list shared heads several times;
we keep each tensor once.
"""

from __future__ import annotations

import argparse
import lzma
import pickle
import re
import struct
import warnings
import zipfile
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from dino_api.formats import PACKED
from dino_trainer.model import file_kind, inert
from dino_trainer.model.file_kind import ENCRYPTED, kind_of_file

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
WRAPPERS = re.compile(
    r"^(?:(?:model|module|net|network|detector|ema|ema_model|model_ema|averaged?_model|student)\.)+"
)
# Put around a module anywhere in a model, by torch.compile, FSDP, activation checkpointing, Fabric.
INNER_WRAPPERS = re.compile(
    r"(?:^|(?<=\.))(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module|_forward_module)\."
)
AVERAGED = re.compile(
    r"^(?:(?:model|module|net|_orig_mod)\.)*(?:ema|ema_model|model_ema|averaged?_model)\."
)
UNREADABLE = (
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    SafetensorError,
    RuntimeError,
    struct.error,
    EOFError,
    OSError,
    # What pickles are made of is anything at all: a damaged one fails in as many ways.
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
)
# Counters of BatchNorm layers; frozen ones have none.
IGNORED = "num_batches_tracked"
# Beside the model, in Lightning's state of all: what serves to train alone.
TRAINING_ALONE = re.compile(r"^(?:criterion|matcher|loss|metrics?)\.|(?:^|\.)n_averaged$")
CONTAINERS = (
    "model",
    "state_dict",
    "model_state_dict",
    "model_state",
    "weights",
    "module",
    "net",
    "params",
    "ema",
    "ema_model",
    "model_ema",
    "ema_state_dict",
    "state_dict_ema",
)
NOT_WEIGHTS = re.compile(r"optim|sched|scaler|loss|metric|hyper_parameters|args|config|callbacks")
REMEDY = "Give a file of weights, as torch.save or safetensors write it."
# No file of weights comes near: its mappings would refer to one another.
DEEPEST, MOST_TENSORS = 50, 100_000
# Where a head that is stored on its own lives if the model shares it.
SHARED_HEAD = re.compile(r"^(?:decoder\.(class|box)_head\.\d+|proposals\.(class|box)_head)\.")


@dataclass(frozen=True)
class LoadReport:
    """What a checkpoint gave. Names are ours."""

    loaded: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...]  # (name in the checkpoint, why)
    missing: tuple[str, ...]  # tensors of the model that keep what they had


def read_state(path: str | Path) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint file, whatever its name ends in: safetensors, anything
    ``torch.save`` wrote, or a pickled dictionary of tensors or arrays.

    Nothing in the file is executed. Types that torch does not let in are read as inert stand-ins.

    Raises:
        ValueError: if the file is no checkpoint, and then what it is; if it holds no tensors, or
            weights in INT8.
    """
    path = Path(path)
    content = read_content(path)
    if isinstance(content, Mapping) and PACKED in content:
        raise ValueError(
            f"{path} holds weights in INT8, which only evaluations and inference take. Name the "
            "checkpoint that it was made from."
        )
    if isinstance(content, Mapping) and content.get("state_dict_encrypted") is True:
        raise ValueError(f"{path} is {ENCRYPTED[0]}. {ENCRYPTED[1]}")
    state = _tensors_in(path, content)
    if not state:
        raise ValueError(f"{path} holds no tensors. {REMEDY}")
    return state


def _tensors_in(path: Path, content: Any) -> dict[str, Tensor]:
    """Return the tensors, of no more numbers than a file of that size may hold.

    A tensor may say the few numbers that it has very many times over.
    """
    try:
        state = find_tensors(content)
    except (ValueError, RecursionError) as error:
        why = "It is nested too deeply." if isinstance(error, RecursionError) else error
        raise ValueError(f"{path} is not a readable checkpoint. {why} {REMEDY}") from error
    size = sum(value.numel() * value.element_size() for value in state.values())
    if size > file_kind.most_within(path):
        raise ValueError(
            f"{path} is not a readable checkpoint: its tensors are of {size:,} bytes, and the file "
            f"of {path.stat().st_size:,}. {REMEDY}"
        )
    return state


def read_content(path: Path) -> Any:
    """Return all that a file of weights holds, its tensors on the CPU. Raises ValueError."""
    try:
        kind = kind_of_file(path)
    except FileNotFoundError:
        raise ValueError(f"There is no file {path}. {REMEDY}") from None
    except OSError as error:
        raise ValueError(
            f"{path} cannot be read: {error.strerror or 'no reason given'}."
        ) from error
    if not kind.reader:
        raise ValueError(f"{path} is not a readable checkpoint: it is {kind.what}. {kind.remedy}")
    try:
        if kind.reader == "safetensors":
            return load_file(path)
        return _unpickled(path, archive=kind.reader == "torch")
    except inert.Dangerous as error:
        raise ValueError(
            f"{path} is not a readable checkpoint: it names {error}, which runs programs and which "
            "no checkpoint needs. Nothing of it was run. Do not use the file."
        ) from error
    except MemoryError as error:
        raise ValueError(
            f"{path} is not a readable checkpoint: it asks for more memory than there is. Either "
            "it is damaged, or the process needs more (spec.resources.memory)."
        ) from error
    except UNREADABLE as error:
        raise ValueError(
            f"{path} is not a readable checkpoint: its content is damaged or cut off. "
            "Copy or download it again, and compare its size with the original's."
        ) from error


def _unpickled(path: Path, *, archive: bool) -> Any:
    """By torch where it lets in all types, else without them."""
    with (
        path.open("rb") as file,  # of a path torch would believe what its name ends in
        torch.serialization.safe_globals([argparse.Namespace]),
        warnings.catch_warnings(action="ignore"),
        suppress(*UNREADABLE, MemoryError),
    ):
        return torch.load(file, map_location="cpu", weights_only=True)
    return inert.read(path, archive)


def find_tensors(content: Any) -> dict[str, Tensor]:
    """Return the named tensors of a loaded checkpoint, looking into ``model``, ``state_dict`` and
    the like; sections of tensors become parts of their names.

    Raises:
        ValueError: if there is no end of them, as in a file that refers to itself.
    """
    return _Search().of(content, 0)


class _Search:
    """Looks into each mapping once, from however many places a file refers to it."""

    def __init__(self) -> None:
        self._known: dict[int, dict[str, Tensor]] = {}

    def of(self, content: Any, depth: int) -> dict[str, Tensor]:
        """The tensors in ``content``, which lies so deep. Raises ValueError."""
        if depth > DEEPEST:
            raise ValueError("It is nested too deeply.")
        place = id(content)  # of what the caller's content holds on to
        if isinstance(content, inert.Inert):
            content = content.mapping()
        if not isinstance(content, Mapping):
            return {}
        if place not in self._known:
            self._known[place] = {}  # of one that holds itself
            self._known[place] = self._within(content, depth + 1)
        return self._known[place]

    def _within(self, content: Mapping[Any, Any], depth: int) -> dict[str, Tensor]:
        for key in CONTAINERS:
            if tensors := self.of(content.get(key), depth):
                return tensors
        own = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
        for name, value in content.items():
            if isinstance(value, Mapping) and not NOT_WEIGHTS.search(str(name)):
                inner = self.of(value, depth)
                own |= {f"{name}.{each}": tensor for each, tensor in inner.items()}
            if len(own) > MOST_TENSORS:
                raise ValueError(f"It has more than {MOST_TENSORS:,} tensors.")
        return own


def our_name(name: str) -> str:
    """Return our name of a tensor of any of the three layouts."""
    name = WRAPPERS.sub("", INNER_WRAPPERS.sub("", name))
    for pattern, ours in RENAMES:
        if pattern.search(name):
            name = pattern.sub(ours, name, count=1)
            break
    # torch's own attention stores its packed projection as in_proj_weight, in_proj_bias.
    return name.replace(".in_proj_", ".in_proj.")


def is_averaged(name: str) -> bool:
    """Whether a tensor belongs to an average of the weights that is kept beside them."""
    return AVERAGED.match(name) is not None


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
    # An average beside the weights has the same names: the weights come first.
    for name, value in sorted(find_tensors(state).items(), key=lambda one: is_averaged(one[0])):
        target = our_name(name)
        if name.endswith(IGNORED) or TRAINING_ALONE.search(target):
            continue
        if is_averaged(name) and target in fitting:
            continue
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
    if value.layout != torch.strided or value.is_quantized or value.is_complex() or value.is_meta:
        return "it is no plain tensor"
    home = _home(name, own)
    if home is None:
        return "the model has no such tensor"
    if value.shape != own[home].shape:
        return f"its shape is {list(value.shape)}, the model's {list(own[home].shape)}"
    if home in taken:
        same = value.dtype == taken[home].dtype and torch.equal(taken[home], value)
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
