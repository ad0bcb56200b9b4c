"""One training step of the published code, on a CPU, in a process of its own.

The code itself (IDEA-Research/DINO) is not part of this project: the environment variable
DINO_PUBLISHED_CODE names a checkout. Five of its habits are replaced from outside to run it
without a GPU; none of them changes what it computes or in how many operations:

* its compiled sampling operator is stubbed, its own torch version of it is called instead;
* ``.cuda()`` and ``.to("cuda")``, written into its layers, stay on the CPU;
* no ImageNet weights are downloaded;
* its configuration files are run as Python, without the loader that needs old packages;
* the COCO evaluation it imports beside training is stubbed.
"""

from __future__ import annotations

import contextlib
import io
import os
import runpy
import sys
import types
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from tests.bench.train_step_batch import CLASSES, Size, make_batch

VARIABLE = "DINO_PUBLISHED_CODE"
# What its command line adds to its configuration file.
ARGUMENTS = {
    "device": "cpu",
    "dataset_file": "coco",
    "amp": False,
    "debug": False,
    "use_ema": False,
    "onecyclelr": False,
    "frozen_weights": None,
    "distributed": False,
    "backbone_freeze_keywords": None,
}

STUBBED = {
    "MultiScaleDeformableAttention": (),
    "util.slconfig": ("SLConfig", "DictAction"),
    "datasets": (),
    "datasets.coco_eval": ("CocoEvaluator",),
    "datasets.panoptic_eval": ("PanopticEvaluator",),
}


def published_code() -> Path | None:
    """The checkout that DINO_PUBLISHED_CODE names, or None if there is none."""
    folder = os.environ.get(VARIABLE)
    return Path(folder) if folder and (Path(folder) / "engine.py").exists() else None


class PublishedStep:
    """The published model, loss, optimiser and training loop over one batch."""

    def __init__(self, queries: int = 900) -> None:
        folder = published_code()
        if folder is None:
            raise ValueError(f"{VARIABLE} names no checkout of the published DINO code.")
        _stand_in(folder)
        self.args = _arguments(folder, queries)
        from engine import train_one_epoch  # type: ignore[import-not-found]
        from models.dino.dino import build_dino  # type: ignore[import-not-found]
        from util.get_param_dicts import get_param_dict  # type: ignore[import-not-found]
        from util.misc import nested_tensor_from_tensor_list  # type: ignore[import-not-found]

        torch.manual_seed(0)
        self.model, self.criterion, _ = build_dino(self.args)
        self.optimizer = torch.optim.AdamW(
            get_param_dict(self.args, self.model),
            lr=self.args.lr,
            weight_decay=self.args.weight_decay,
        )
        _print_nothing()
        self._epoch, self._collate = train_one_epoch, nested_tensor_from_tensor_list
        self._ready: tuple[Any, Any] | None = None

    def regions(self) -> list[tuple[Any, tuple[Any, ...]]]:
        """All of the model, as one part."""
        return [(self.model.train(), self._ready)]

    @property
    def modules(self) -> nn.Module:
        """What holds the parameters."""
        return self.model

    def prepare(self, size: Size) -> None:
        """Make the batch that the following steps train on."""
        images, targets = make_batch(size)
        self._ready = (
            self._collate(list(images)),
            [{"labels": labels, "boxes": boxes} for labels, boxes in targets],
        )

    def forward(self, bf16: bool = False) -> Tensor:
        """Return the loss of the prepared batch."""
        samples, targets = self._ready
        self.model.train()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            losses = self.criterion(self.model(samples, targets), targets)
        weights = self.criterion.weight_dict
        return sum(losses[name] * weights[name] for name in losses if name in weights)

    def run(self, bf16: bool = False) -> None:
        """One step of its own training loop, the logging that it does for every step included."""
        silent = contextlib.redirect_stdout(io.StringIO())
        cast = torch.autocast("cpu", torch.bfloat16, enabled=bf16)
        with silent, cast if bf16 else contextlib.nullcontext():
            self._epoch(
                self.model,
                self.criterion,
                [self._ready],
                self.optimizer,
                torch.device("cpu"),
                0,
                self.args.clip_max_norm,
                wo_class_error=False,
                args=self.args,
            )


def _arguments(folder: Path, queries: int) -> SimpleNamespace:
    """Its 4-scale configuration with the noise of its published scripts."""
    values: dict[str, Any] = {}
    for name in ("coco_transformer.py", "DINO_4scale.py"):
        found = runpy.run_path(str(folder / "config" / "DINO" / name))
        values |= {key: value for key, value in found.items() if not key.startswith("_")}
    values |= ARGUMENTS | {
        "dn_box_noise_scale": 1.0,
        "num_queries": queries,
        "num_classes": CLASSES,
    }
    return SimpleNamespace(**values)


def _stand_in(folder: Path) -> None:
    """Make its modules importable here, and replace what needs a GPU or the network."""
    warnings.filterwarnings("ignore")
    sys.path.insert(0, str(folder))
    for name, attributes in STUBBED.items():
        sys.modules[name] = types.ModuleType(name)
        vars(sys.modules[name]).update(dict.fromkeys(attributes))
    _stay_on_the_cpu()
    import models.dino.backbone as backbone  # type: ignore[import-not-found]
    import models.dino.ops.modules.ms_deform_attn as attention  # type: ignore[import-not-found]
    from models.dino.ops.functions.ms_deform_attn_func import (  # type: ignore[import-not-found]
        ms_deform_attn_core_pytorch,
    )

    def apply(value: Tensor, shapes: Tensor, _: Any, where: Tensor, much: Tensor, __: int) -> Any:
        # Not .tolist(): its compiled operator would not wait here, and waits are counted.
        return ms_deform_attn_core_pytorch(value, shapes.numpy(), where, much)

    attention.MSDeformAttnFunction = SimpleNamespace(apply=apply)
    backbone.is_main_process = lambda: False


def _print_nothing() -> None:
    """Leave out what its loop prints in every tenth step and at an epoch's end."""
    from util.misc import MetricLogger  # type: ignore[import-not-found]

    MetricLogger.log_every = lambda self, batches, *_, **__: iter(batches)
    MetricLogger.__str__ = lambda self: ""


def _stay_on_the_cpu() -> None:
    plain = torch.Tensor.to

    def to(tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        args = tuple("cpu" if value == "cuda" else value for value in args)
        return plain(tensor, *args, **kwargs)

    torch.Tensor.cuda = lambda tensor, *_, **__: tensor  # type: ignore[method-assign]
    torch.Tensor.to = to  # type: ignore[method-assign]
