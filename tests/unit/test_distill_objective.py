"""What a distillation minimises: who gets gradients, how often a weight counts, who is paired."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from scipy.optimize import linear_sum_assignment

from dino_api.loading import load
from dino_trainer.data.loader import Batch
from dino_trainer.distill.assignment import LEAST_SCORE, TeacherDetections, assign, sure_detections
from dino_trainer.distill.bindings import read_bindings
from dino_trainer.distill.features import captured
from dino_trainer.distill.objective import Distillation
from dino_trainer.distill.teacher import Teacher
from dino_trainer.errors import TrainerError
from dino_trainer.model import Targets
from dino_trainer.train.step import StepLosses
from tests.bench.train_step_counts import WAITS, Count, copies_to_host
from tests.unit.distill_builders import PREDICTIONS, TINY, a_batch, a_model, bindings

WIDER: dict[str, Any] = {"hidden_dim": 64, "num_queries": 14}
FEATURES = [("input_proj", "L2", 1.0), ("encoder", "L2", 1.0)]


def an_info(model: dict[str, Any]) -> Any:
    """What a checkpoint says that nobody needs to read."""
    spec = load({"model": TINY | model})[0]
    return SimpleNamespace(spec=spec, file=SimpleNamespace(sha256="digest", uri="teacher.pth"))


def a_distillation(
    *rows: Any, coef: float = 1.0, frozen: Sequence[str] = (), **teacher: Any
) -> Distillation:
    spec, _ = load({"model": TINY | {"distillation_loss_coef": coef, "use_dn": False}})
    student, other = a_model(0, use_dn=False), a_model(1, **teacher)
    for name in frozen:
        student.get_submodule(name).requires_grad_(False)
    read = read_bindings(bindings(*rows), student, other)
    torch.manual_seed(2)
    return Distillation(student, Teacher(other, an_info(teacher)), read, spec, images=2.0)


def loss(distillation: Distillation, num_boxes: float = 2.0) -> torch.Tensor:
    distillation.train()
    return distillation(a_batch(), torch.Generator().manual_seed(0), num_boxes)


def added(*rows: Any, coef: float = 1.0, **teacher: Any) -> float:
    """What the teacher adds to the loss."""
    distillation = a_distillation(*rows, coef=coef, **teacher)
    whole = loss(distillation)
    distillation.weight = 0.0
    return (whole - loss(distillation)).item()


def test_gradients_reach_the_student_and_the_projections_alone() -> None:
    distillation = a_distillation(*PREDICTIONS, *FEATURES, **WIDER)
    loss(distillation).backward()
    assert all(p.grad is None for p in distillation.teacher.parameters())
    assert not distillation.teacher.model.training
    projections = list(distillation.extra.parameters())
    assert len(projections) == 6  # weight and bias: two levels and the encoder, 32 to 64 channels
    for parameter in projections:
        assert parameter.grad is not None
        assert parameter.grad.abs().sum() > 0
    trained = [p for p in distillation.model.parameters() if p.requires_grad]
    assert all(p.grad is not None for p in trained)


def test_features_of_the_same_shape_need_no_projection() -> None:
    distillation = a_distillation(*FEATURES)
    assert list(distillation.extra.parameters()) == []
    same = a_distillation(*FEATURES)
    same.teacher.model.load_state_dict(same.model.state_dict())
    plain = Distillation.__mro__[1].forward(
        same.train(), a_batch(), torch.Generator().manual_seed(0), 2.0
    )
    torch.testing.assert_close(loss(same), plain)


@pytest.mark.parametrize(
    "row",
    [
        ("pred_logits", "KL"),
        ("pred_logits", "L1"),
        ("pred_logits", "L2"),
        ("pred_boxes", "L1"),
        ("pred_boxes", "L2"),
        ("encoder", "KL"),
        ("encoder", "L1"),
        ("input_proj", "L2"),
        ("model.backbone.0.body", "L2"),  # TAO's name of the same
    ],
)
def test_each_weight_counts_once(row: tuple[str, str]) -> None:
    """TAO multiplies by it twice: of weight 3 it makes 9."""
    once = added((*row, 1.0))
    assert once > 1e-4
    assert added((*row, 3.0)) == pytest.approx(3 * once, rel=1e-3)


def test_what_a_loss_is_made_of_adds_up_and_costs_no_wait() -> None:
    """Each binding by itself, and the numbers of two micro-batches in one copy to the host."""
    twice = ("encoder", "L1", 3.0)
    distillation = a_distillation(*PREDICTIONS, *FEATURES, twice, coef=0.5)
    names = ["pred_logits", "pred_boxes", "input_proj", "encoder", "encoder_2"]
    assert distillation.shares == ("detection", *names)
    step = StepLosses()
    with copies_to_host() as copies, Count() as count:
        for _ in range(2):
            step.totals.append(loss(distillation).detach())
            step.parts.append(distillation.parts)
        before = len(copies)
        losses, sums, norm = step.fetch(torch.tensor(7.0))
    assert before == 2 * 3  # two matchers, and how many detections there are
    assert copies[before:] == ["tolist"]
    assert not set(count.seen) & WAITS
    assert norm == 7.0
    assert sum(losses) == pytest.approx(sum(sums[name] for name in distillation.shares))
    for name, row in zip(names, [*PREDICTIONS, *FEATURES, twice], strict=True):
        assert sums[name] == pytest.approx(2 * added(row, coef=0.5), rel=1e-3)
    assert sums["loss_giou"] > 0


def test_the_coefficient_weighs_all_of_it() -> None:
    rows = [*PREDICTIONS, *FEATURES]
    assert added(*rows, coef=0.5) == pytest.approx(0.5 * added(*rows), rel=1e-3)


def test_the_sum_of_bindings_whatever_their_order() -> None:
    """TAO indexes the captured features by the place among all bindings."""
    rows = [("encoder", "L2", 2.0), *PREDICTIONS, ("input_proj.0", "input_proj.1", "L1", 3.0)]
    parts = [added(row, **WIDER) for row in rows[:3]]
    assert added(*rows[:3], **WIDER) == pytest.approx(sum(parts), rel=1e-3)
    torch.testing.assert_close(
        loss(a_distillation(*rows[:3])), loss(a_distillation(*reversed(rows[:3])))
    )
    assert added(*rows) > 0  # two levels of different sizes


class Shuffled(Teacher):
    """The same teacher with its queries in another order."""

    def __init__(self, teacher: Teacher) -> None:
        super().__init__(teacher.model, teacher.info)
        self.model.register_forward_hook(self._shuffle)

    @staticmethod
    def _shuffle(module: Any, inputs: Any, outputs: Any) -> Any:
        order = torch.randperm(outputs.logits.shape[1], generator=torch.Generator().manual_seed(9))
        layers = outputs.layers
        return replace(
            outputs,
            layers=replace(
                layers, logits=layers.logits[:, :, order], boxes=layers.boxes[:, :, order]
            ),
        )


def test_the_order_of_the_teachers_queries_does_not_matter() -> None:
    straight = a_distillation(*PREDICTIONS)
    shuffled = a_distillation(*PREDICTIONS)
    shuffled.teacher = Shuffled(shuffled.teacher)
    one, other = loss(straight), loss(shuffled)
    torch.testing.assert_close(one, other)
    one.backward()
    other.backward()
    for mine, same in zip(straight.model.parameters(), shuffled.model.parameters(), strict=True):
        if mine.grad is not None:
            torch.testing.assert_close(mine.grad, same.grad)


def found(count: int, weights: list[float]) -> TeacherDetections:
    generator = torch.Generator().manual_seed(count)
    boxes = 0.2 + 0.5 * torch.rand(1, count, 4, generator=generator)
    return TeacherDetections(
        torch.randn(1, count, 3, generator=generator), boxes, torch.tensor([weights])
    )


def test_pairs_are_those_of_lowest_cost() -> None:
    """A student that says in another order what the teacher says is paired one to one."""
    theirs = found(4, [0.9, 0.8, 0.7, 0.6])
    order = torch.tensor([2, 0, 3, 1])
    rows = assign(
        theirs.logits[None][:, :, order], theirs.boxes[None][:, :, order], theirs, (2, 5, 2), 0.25
    )
    assert rows[0, 0].tolist() == order.argsort().tolist()


def test_a_doubtful_detection_takes_no_query_from_a_sure_one() -> None:
    """Without weights the cheaper sum would give the good query to the doubtful detection."""
    boxes = torch.tensor([[[0.3, 0.3, 0.1, 0.1], [0.34, 0.3, 0.1, 0.1]]])
    theirs = TeacherDetections(torch.zeros(1, 2, 2), boxes, torch.tensor([[0.9, 0.1]]))
    mine = torch.tensor([[[[0.3, 0.3, 0.1, 0.1], [0.1, 0.3, 0.1, 0.1]]]])
    plain = (mine[0, 0][:, None] - boxes[0][None]).abs().sum(-1)
    costs = (0.0, 1.0, 0.0)
    assert assign(torch.zeros(1, 1, 2, 2), mine, theirs, costs, 0.25)[0, 0].tolist() == [0, 1]
    unsure = replace(theirs, weights=torch.tensor([[0.1, 0.9]]))
    assert assign(torch.zeros(1, 1, 2, 2), mine, unsure, costs, 0.25)[0, 0].tolist() == [1, 0]
    assert sorted(linear_sum_assignment(plain.numpy())[0]) == [0, 1]


def test_only_what_the_teacher_has_found_counts() -> None:
    scores = torch.tensor([0.95, 0.05, LEAST_SCORE * 1.01, 0.5])
    logits = torch.logit(scores)[None, :, None]
    kept = sure_detections(logits, torch.rand(1, 4, 4), most=3)
    assert kept.weights[0].tolist() == pytest.approx([0.95, 0.5, LEAST_SCORE * 1.01])
    fewer = sure_detections(logits, torch.rand(1, 4, 4), most=10)
    assert (fewer.weights[0] > 0).tolist() == [True, True, True, False]


def test_hooks_are_gone_after_each_step() -> None:
    distillation = a_distillation(*PREDICTIONS, *FEATURES, **WIDER)
    first = loss(distillation).item()
    for _ in range(3):
        assert loss(distillation).item() == first
    models = (distillation.model, distillation.teacher.model)
    assert not any(module._forward_hooks for model in models for module in model.modules())


def test_hooks_are_gone_after_an_error() -> None:
    model = a_model()
    with pytest.raises(ZeroDivisionError), captured(model, ["encoder"]):
        raise ZeroDivisionError
    assert not model.encoder._forward_hooks


def test_padding_does_not_count() -> None:
    """A batch weighs each image by its own places: alone or padded beside a larger one."""
    both, rows = a_batch(2), [("input_proj", "L2", 1.0), ("encoder", "L1", 1.0)]
    alone = a_distillation(*rows, coef=1.0)
    seen = alone.teacher(both, alone.bindings.teacher_names, 10, "fp32")
    with captured(alone.model, alone.names) as mine:
        alone.predict(both, torch.Generator())
    before = sum(alone.of_features(mine, seen.features, both.mask))
    for name in ("input_proj.0", "input_proj.1"):
        level = mine[name][0]
        h = level.shape[2]
        level.data[1, :, h - h // 4 :] += 100.0  # rows 48 to 64 of the second picture are padding
    torch.testing.assert_close(sum(alone.of_features(mine, seen.features, both.mask)), before)
    assert sum(alone.of_features(mine, seen.features, None)) > before + 1


def image_of(batch: Batch, at: int) -> Batch:
    """One picture of a batch, padded as it is there."""
    one, targets = slice(at, at + 1), batch.targets
    assert batch.sizes is not None
    alone = Targets(targets.labels[one], targets.boxes[one], (1,))
    return Batch((at,), batch.images[one], batch.sizes[one], alone)


def test_parts_of_a_step_add_up() -> None:
    """In micro-batches, or in processes: each divides by what the whole step has."""
    distillation = a_distillation(*PREDICTIONS, *FEATURES, **WIDER).train()
    parts = [
        distillation(image_of(a_batch(), at), torch.Generator().manual_seed(0), 2.0)
        for at in range(2)
    ]
    torch.testing.assert_close(sum(parts), loss(distillation))


REFUSED = [
    (("encodr", "L2", 1.0), "names encodr, which is no module", "encoder"),
    (("", "L2", 1.0), "student_module_name is empty", "Bind"),
    (
        ("encoder", "input_prj.0", "L2", 1.0),
        "teacher_module_name names input_prj",
        "input_proj.0",
    ),
    (("pred_logits", "pred_boxes", "L1", 1.0), "pred_logits to pred_boxes", "pred_logits to"),
    (("pred_logits", "encoder", "L1", 1.0), "pred_logits to encoder", "pred_logits to"),
    (("pred_boxes", "KL", 1.0), "pred_boxes are none", "L1 or L2"),
    (("decoder.layers.1", "L2", 1.0), "query by query", "pred_logits"),
    (("input_proj", "encoder", "L2", 1.0), "list of feature levels", "input_proj.0"),
    (("encoder", "input_proj.0", "L2", 1.0), "no common places", "Bind two"),
    (("level_embed_x", "L2", 1.0), "names level_embed_x", "Bind|Did"),
    (("encoder.layers", "L2", 1.0), "runs 0 times", "input_proj.0"),
    (("backbone", "input_proj.0", "L2", 1.0), "gives 2 feature maps", "one each"),
]


@pytest.mark.parametrize(("row", "message", "remedy"), REFUSED)
def test_bindings_that_cannot_be_are_refused(row: Any, message: str, remedy: str) -> None:
    with pytest.raises(TrainerError, match=message) as refused:
        a_distillation(row)
    assert refused.value.reason == "InvalidSpec"
    assert "distill.bindings[0]" in refused.value.message
    assert remedy.split("|")[0] in refused.value.remedy or "Did" in refused.value.remedy


def test_a_frozen_module_is_refused() -> None:
    """It would add a constant to the loss. After a module that trains it passes gradients on."""
    row = ("input_proj", "L2", 1.0)
    with pytest.raises(TrainerError, match=r"student's input_proj.0 is frozen") as refused:
        a_distillation(row, frozen=["backbone", "input_proj"])
    assert refused.value.reason == "InvalidSpec"
    loss(a_distillation(row, frozen=["input_proj"]))


def test_bindings_of_models_without_a_common_level_are_refused() -> None:
    levels = {"return_interm_indices": [1], "num_feature_levels": 1}
    with pytest.raises(TrainerError, match="no feature level of the same stride"):
        a_distillation(("input_proj", "L2", 1.0), **levels)
    defaults = a_distillation(**levels)
    assert [one.name for one in defaults.bindings.predicted] == ["pred_logits", "pred_boxes"]
    assert defaults.bindings.inner == ()
    assert a_distillation().bindings.inner[0].pairs[0] == ("input_proj.0", "input_proj.0")
