"""How far the student is from the teacher: KL, L1 and L2 for each kind of output.

Shapes: the last dimension is that of classes, coordinates or channels; the others broadcast.
"""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

Distance = Callable[[Tensor, Tensor], Tensor]


def l1(student: Tensor, teacher: Tensor) -> Tensor:
    """Absolute differences [...]: summed over the last dimension."""
    return (student - teacher).abs().sum(-1)


def l2(student: Tensor, teacher: Tensor) -> Tensor:
    """Squared differences [...]: summed over the last dimension."""
    return (student - teacher).square().sum(-1)


def kl_of_classes(student: Tensor, teacher: Tensor) -> Tensor:
    """Kullback-Leibler divergences [...] of the student's logits from the teacher's.

    Each class is a yes or no of its own, as the detector's sigmoid says, and the divergences of
    all classes add up. A softmax over classes, as TAO takes, would hide how sure the teacher is
    that there is an object at all.
    """
    yes = teacher.sigmoid()
    agreed = F.logsigmoid(teacher) - F.logsigmoid(student)
    denied = F.logsigmoid(-teacher) - F.logsigmoid(-student)
    return (yes * agreed + (1 - yes) * denied).sum(-1)


def kl_of_channels(student: Tensor, teacher: Tensor) -> Tensor:
    """Kullback-Leibler divergences [...] of the distributions over the last dimension."""
    wanted = F.log_softmax(teacher, -1)
    return (wanted.exp() * (wanted - F.log_softmax(student, -1))).sum(-1)


def mean_of_channels(criterion: Distance) -> Distance:
    """The same per channel: features of any width then weigh the same."""

    def mean(student: Tensor, teacher: Tensor) -> Tensor:
        return criterion(student, teacher) / student.shape[-1]

    return mean


OF_LOGITS: dict[str, Distance] = {"KL": kl_of_classes, "L1": l1, "L2": l2}
OF_BOXES: dict[str, Distance] = {"L1": l1, "L2": l2}
OF_FEATURES: dict[str, Distance] = {
    "KL": kl_of_channels,
    "L1": mean_of_channels(l1),
    "L2": mean_of_channels(l2),
}
