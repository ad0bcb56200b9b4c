"""The teacher: a trained detector that stays as it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from dino_api.experiment import ExperimentSpec
from dino_api.names import Action
from dino_trainer.data.loader import Batch, normalise
from dino_trainer.detectors.opening import open_model
from dino_trainer.detectors.torch_detector import TorchDetector
from dino_trainer.distill.assignment import TeacherDetections, sure_detections
from dino_trainer.distill.features import ModuleOutputs, captured
from dino_trainer.errors import invalid_spec
from dino_trainer.model import Dino
from dino_trainer.model.precision import autocast
from dino_trainer.model_files.info import ModelInfo, as_teacher
from dino_trainer.model_files.naming import model_uri
from dino_trainer.run import RunContext


@dataclass(frozen=True)
class TeacherOutputs:
    """What the teacher makes of a batch. features: outputs of its bound modules, by name."""

    detections: TeacherDetections
    features: ModuleOutputs


class Teacher(nn.Module):
    """Looks at the student's images: the same pixels, normalised as it was trained itself.

    It is always in evaluation mode, gets no gradient, and is in no checkpoint.
    """

    def __init__(self, model: Dino, info: ModelInfo) -> None:
        super().__init__()
        self.model, self.info = model.eval().requires_grad_(False), info

    def train(self, mode: bool = True) -> Teacher:
        """Stays in evaluation mode, whatever is asked."""
        return super().train(False)

    @torch.no_grad()
    def forward(
        self, batch: Batch, names: Sequence[str], most: int, precision: str
    ) -> TeacherOutputs:
        """Detect.

        Args:
            batch: on the teacher's device.
            names: modules whose outputs are wanted.
            most: detections of an image at most.
            precision: number format, `train.precision`.
        """
        config = self.info.spec.dataset.augmentation
        pixels = normalise(batch.images, batch.mask, config.input_mean, config.input_std)
        with captured(self.model, names) as features, autocast(precision, pixels.device):
            outputs = self.model(pixels, batch.mask)
        return TeacherOutputs(sure_detections(outputs.logits, outputs.boxes, most), features)


def open_teacher(spec: ExperimentSpec, context: RunContext, class_names: Sequence[str]) -> Teacher:
    """The detector at `distill.pretrained_teacher_model_path`.

    Its structure and its normalisation are what the checkpoint says; `distill.teacher` is read for
    checkpoints that say nothing, and must not contradict those that do.

    class_names: of the training data, by label.

    Raises:
        TrainerError: InvalidSpec if it is no checkpoint or knows other classes than the data.
    """
    uri = model_uri(spec, Action.DISTILL)
    detector = open_model(uri, as_teacher(spec), context)
    if not isinstance(detector, TorchDetector) or not isinstance(detector.model, Dino):
        raise invalid_spec(
            f"The teacher {uri} is no checkpoint.",
            "Name the .pth file of a training: what lies inside of other files cannot be compared.",
        )
    check_same_classes(detector.info, class_names)
    return Teacher(detector.model, detector.info)


def check_same_classes(info: ModelInfo, class_names: Sequence[str]) -> None:
    """Refuses a teacher of other classes: its logits would be taken for those of the student's.

    Labels without a name, on either side, are taken to agree.

    Raises:
        TrainerError: InvalidSpec naming the labels.
    """
    if info.num_classes != len(class_names):
        raise invalid_spec(
            f"The teacher {info.file.uri} has {info.num_classes} classes, the training data "
            f"{len(class_names)} (the largest category id plus one, or dataset.num_classes).",
            "Use a teacher that was trained on the same categories, with the same ids.",
        )
    pairs = enumerate(zip(info.class_names, class_names, strict=True))
    odd = [f"{n} ({a} and {b})" for n, (a, b) in pairs if a and b and a != b]
    if odd:
        more = f" and {len(odd) - 5} more" if len(odd) > 5 else ""
        raise invalid_spec(
            f"Category ids mean other things to the teacher {info.file.uri} than in the training "
            f"data: {', '.join(odd[:5])}{more}.",
            "Use a teacher that was trained on the same categories, with the same ids.",
        )
