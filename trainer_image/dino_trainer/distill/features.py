"""Outputs of modules inside the two models: taken, made comparable, compared.

Shapes: b batch, c channels, n places of a feature map or a sequence.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dino_trainer.distill.bindings import OF_FEATURES, FeatureBinding
from dino_trainer.errors import invalid_spec

ModuleOutputs = Mapping[str, list[Any]]


@contextmanager
def captured(model: nn.Module, names: Sequence[str]) -> Iterator[ModuleOutputs]:
    """What the modules `names` return within the block, by name, once for each time they run.

    The hooks are gone after the block: they neither add up over steps nor reach copies of the
    model, such as its average.
    """
    seen: dict[str, list[Any]] = {name: [] for name in names}
    hooks = [
        model.get_submodule(name).register_forward_hook(partial(_keep, seen[name]))
        for name in names
    ]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def _keep(into: list[Any], module: nn.Module, inputs: Any, output: Any) -> None:
    into.append(output)


class FeatureLoss(nn.Module):
    """One binding of modules. Trains a linear projection of each pair that differs in shape."""

    def __init__(self, inner: FeatureBinding, mine: ModuleOutputs, theirs: ModuleOutputs) -> None:
        """`mine` and `theirs`: what the modules returned for the same image, once.

        Raises:
            TrainerError: InvalidSpec for outputs that cannot be compared.
        """
        super().__init__()
        self.inner = inner
        self.criterion = OF_FEATURES[inner.criterion]
        where = f"distill.bindings[{inner.place}]"
        self.project = nn.ModuleList()
        for student, teacher in inner.pairs:
            one = _maps(mine[student], f"{where}: the student's {student}")
            other = _maps(theirs[teacher], f"{where}: the teacher's {teacher}")
            if len(one) != len(other):
                raise invalid_spec(
                    f"{where}: the student's {student} gives {len(one)} feature maps, the "
                    f"teacher's {teacher} {len(other)}.",
                    "Bind modules that give one each, such as input_proj.0.",
                )
            if not all(x.requires_grad for x in one):
                raise invalid_spec(
                    f"{where}: the student's {student} is frozen, so it cannot learn from the "
                    "teacher.",
                    "Bind a module that trains; or see train.freeze and model.train_backbone.",
                )
            self.project.extend(
                _projection(x, y, f"{where} ({student}, {teacher})")
                for x, y in zip(one, other, strict=True)
            )

    def forward(self, mine: ModuleOutputs, theirs: ModuleOutputs, padding: PaddingMask) -> Tensor:
        """Return float32[b], the difference of each image: mean over its places, and over pairs."""
        pairs = [
            pair
            for student, teacher in self.inner.pairs
            for pair in zip(_listed(mine[student][0]), _listed(theirs[teacher][0]), strict=True)
        ]
        each = [
            self._of_pair(project, *pair, padding)
            for project, pair in zip(self.project, pairs, strict=True)
        ]
        return torch.stack(each).mean(0)

    def _of_pair(
        self, project: nn.Module, mine: Tensor, theirs: Tensor, padding: PaddingMask
    ) -> Tensor:
        if mine.dim() == 4 and mine.shape[2:] != theirs.shape[2:]:
            theirs = F.interpolate(theirs.float(), mine.shape[2:], mode="bilinear", antialias=True)
        valid = padding.valid(mine)
        difference = self.criterion(project(_places(mine)), _places(theirs))  # [b, n]
        if valid is None:
            return difference.mean(1)
        return (difference * valid).sum(1) / valid.sum(1).clamp(min=1)


class PaddingMask:
    """Which places of feature maps, and of the encoder's tokens, lie in the image.

    Args:
        mask: bool[b, height, width], True on padded pixels; None if there are none.
        levels: (height, width) of the student's feature levels, finest first.
    """

    def __init__(self, mask: Tensor | None, levels: Sequence[tuple[int, int]]) -> None:
        self.mask, self.levels = mask, levels

    def valid(self, features: Tensor) -> Tensor | None:
        """Return bool[b, n] for [b, c, h, w] or [b, n, c]; None where all are, or none is known."""
        if self.mask is None:
            return None
        if features.dim() == 4:
            return self._of_map((features.shape[2], features.shape[3]))
        if features.shape[1] != sum(h * w for h, w in self.levels):
            return None
        return torch.cat([self._of_map(level) for level in self.levels], dim=1)

    def _of_map(self, size: tuple[int, int]) -> Tensor:
        assert self.mask is not None
        padded = F.interpolate(self.mask[None].float(), size=size)[0]  # nearest, as the model does
        return (padded == 0).flatten(1)


def _listed(output: Any) -> list[Tensor]:
    return list(output) if isinstance(output, list | tuple) else [output]


def _places(features: Tensor) -> Tensor:
    """Return float32[b, n, c] of a map [b, c, h, w] or a sequence [b, n, c]."""
    features = features.float()
    return features.flatten(2).mT if features.dim() == 4 else features


def _maps(outputs: list[Any], what: str) -> list[Tensor]:
    """The outputs of a module that ran once. Raises InvalidSpec for what cannot be compared."""
    remedy = "Bind a module that makes feature maps, such as input_proj.0, or the encoder."
    if len(outputs) != 1:
        raise invalid_spec(f"{what} runs {len(outputs)} times for an image, not once.", remedy)
    maps = _listed(outputs[0])
    if not maps or not all(isinstance(x, Tensor) and x.dim() in (3, 4) for x in maps):
        raise invalid_spec(f"{what} gives no feature map.", remedy)
    return maps


def _projection(mine: Tensor, theirs: Tensor, what: str) -> nn.Module:
    """From the student's channels to the teacher's; nothing where the shapes are the same."""
    if mine.dim() != theirs.dim() or (mine.dim() == 3 and mine.shape[1] != theirs.shape[1]):
        raise invalid_spec(
            f"{what}: outputs of the shapes {list(mine.shape)} and {list(theirs.shape)} have no "
            "common places.",
            "Bind two feature maps, whose sizes may differ, or two encoders of the same levels.",
        )
    if mine.shape == theirs.shape:
        return nn.Identity()
    one, other = (_places(x).shape[-1] for x in (mine, theirs))
    return nn.Linear(one, other)
