"""What a distillation minimises: the detector's loss, and the distance to the teacher.

Shapes: g sets of predictions, b batch, q queries, k detections of the teacher, c classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dino_api.experiment import ExperimentSpec
from dino_trainer.data.loader import Batch
from dino_trainer.distill.assignment import TeacherDetections, assign
from dino_trainer.distill.bindings import CRITERIA, LEVELS, Bindings
from dino_trainer.distill.features import FeatureLoss, ModuleOutputs, PaddingMask, captured
from dino_trainer.distill.teacher import Teacher
from dino_trainer.errors import invalid_spec
from dino_trainer.model import Criterion, Dino, Predictions
from dino_trainer.model import Outputs as ModelOutputs
from dino_trainer.model.layers import full_precision
from dino_trainer.train.loss import LossOf, Parts

# Side of the square that shows the shapes of features, where training has no fixed size.
SHAPE_SIDE = 640


class Distillation(LossOf):
    """The loss of a student with a teacher.

    The detector's own loss + `model.distillation_loss_coef` x the sum over all bindings of weight x
    difference. Predictions are compared in every set that the annotations supervise, too: all
    decoder layers and the proposals. Their differences are summed over the teacher's detections,
    weighted by its scores, and divided by the true boxes of the step as the detector's loss is.
    Differences of features are means over each image, and over the images of the step. So the parts
    of a step, in micro-batches and processes, add up to the step.

    extra: the projections of features.

    Args:
        student: the model that trains, on its device.
        teacher: on the same device.
        bindings: what should agree.
        images: of a step, divided by the number of processes.
    """

    model: Dino

    def __init__(
        self,
        student: Dino,
        teacher: Teacher,
        bindings: Bindings,
        spec: ExperimentSpec,
        images: float,
    ) -> None:
        super().__init__(student, Criterion(spec.model), spec)
        self.teacher, self.bindings, self.images = teacher, bindings, images
        self.weight = spec.model.distillation_loss_coef
        levels = [f"{LEVELS}.{at}" for at in range(len(student.input_proj))]
        self.names = sorted({*bindings.student_names, *levels})
        for number, comparison in enumerate(self._comparisons(spec)):
            self.extra[str(number)] = comparison
        self.extra["teacher"] = SameTeacher(teacher.info.file.sha256 or "")
        self.shares = ("detection", *bindings.names)

    def forward(self, batch: Batch, noise: torch.Generator, num_boxes: float) -> Tensor:
        """The loss float32[] of one micro-batch; see `LossOf`."""
        most = self.model.cfg.num_queries
        seen = self.teacher(batch, self.bindings.teacher_names, most, self.precision)
        with captured(self.model, self.names) as features:
            outputs = self.predict(batch, noise)
        own = self.criterion(outputs, batch.targets, num_boxes)
        with full_precision(own.total.device):
            predicted = self.of_predictions(outputs, seen.detections)
            inner = self.of_features(features, seen.features, batch.mask)
            each = [one * (self.weight / max(num_boxes, 1.0)) for one in predicted]
            each += [one * (self.weight / self.images) for one in inner]
            shares = torch.stack((own.total, *each))
        self.parts = Parts((*own.names, *self.shares), torch.cat((own.values, shares.detach())))
        return shares.sum()

    def of_predictions(self, outputs: ModelOutputs, detections: TeacherDetections) -> list[Tensor]:
        """Return float32[] of each bound prediction: weight x difference, summed."""
        if not self.bindings.predicted:
            return []
        sets = supervised(outputs, self.model.cfg.aux_loss)
        cfg = self.model.cfg
        rows = assign(sets.logits, sets.boxes, detections, cfg.costs, cfg.focal_alpha)[..., None]
        mine = {"pred_logits": sets.logits, "pred_boxes": sets.boxes}
        theirs = {"pred_logits": detections.logits, "pred_boxes": detections.boxes}
        differences = []
        for binding in self.bindings.predicted:
            values = mine[binding.name].float()
            chosen = values.gather(2, rows.expand(-1, -1, -1, values.shape[-1]))
            each = CRITERIA[binding.name][binding.criterion](chosen, theirs[binding.name])
            differences.append(binding.weight * (each * detections.weights).sum())
        return differences

    def of_features(
        self, mine: ModuleOutputs, theirs: ModuleOutputs, mask: Tensor | None
    ) -> list[Tensor]:
        """Return float32[] of each binding of modules: weight x difference, summed over images."""
        padding = PaddingMask(mask, [_size(mine[f"{LEVELS}.{at}"]) for at in range(self._levels)])
        return [
            comparison.inner.weight * comparison(mine, theirs, padding).sum()
            for comparison in self.extra.values()
            if isinstance(comparison, FeatureLoss)
        ]

    @property
    def _levels(self) -> int:
        return len(self.model.input_proj)

    def _comparisons(self, spec: ExperimentSpec) -> Sequence[nn.Module]:
        """Shows both models one grey image to learn the shapes of what they return.

        With gradients, as in training: what has none is frozen and cannot be drawn anywhere.
        """
        if not self.bindings.inner:
            return []
        height, width = spec.dataset.augmentation.fixed_size or (SHAPE_SIDE, SHAPE_SIDE)
        device = next(self.model.parameters()).device
        picture = torch.zeros(1, 3, height, width, device=device)
        was_training = self.model.training
        with (
            captured(self.model, self.names) as mine,
            captured(self.teacher.model, self.bindings.teacher_names) as theirs,
        ):
            self.model.eval()(picture)
            self.teacher.model(picture)
        self.model.train(was_training)
        return [FeatureLoss(inner, mine, theirs).to(device) for inner in self.bindings.inner]


class SameTeacher(nn.Module):
    """Remembers in the checkpoint whose student it is: another teacher would not resume exactly."""

    def __init__(self, sha256: str) -> None:
        super().__init__()
        self.sha256 = sha256

    def get_extra_state(self) -> dict[str, str]:
        """The state that goes into the checkpoint."""
        return {"sha256": self.sha256}

    def set_extra_state(self, state: dict[str, str]) -> None:
        """Compares with the checkpoint. Raises InvalidSpec for another teacher."""
        if state["sha256"] != self.sha256:
            raise invalid_spec(
                "The teacher is not the one that this distillation began with: its file has "
                "changed.",
                "Put the file back; or choose another output and name the checkpoint as "
                "train.pretrained_model_path.",
            )


def supervised(outputs: ModelOutputs, aux: bool) -> Predictions:
    """The sets [g, b, q, ...] that learn: decoder layers (without `aux` the last) and proposals."""
    first = 0 if aux else -1
    logits, boxes = outputs.layers.logits[first:], outputs.layers.boxes[first:]
    if outputs.proposals is None:
        return Predictions(logits, boxes)
    return Predictions(
        torch.cat((logits, outputs.proposals.logits[None])),
        torch.cat((boxes, outputs.proposals.boxes[None])),
    )


def _size(outputs: list[Tensor]) -> tuple[int, int]:
    return outputs[0].shape[2], outputs[0].shape[3]
