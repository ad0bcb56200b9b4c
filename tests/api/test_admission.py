"""What a real API server refuses, and what it says: by `kubectl apply` and by the Python client."""

from __future__ import annotations

from typing import Any

import pytest

from dino_api.formats import ENDINGS
from dino_api.names import Action
from dino_api.rules.experiment import RULES
from dino_api.rules.experiment.rule import Rule
from tests.api.admission_cases import (
    BAD,
    BAD_OF,
    GONE,
    INT8,
    MODEL,
    SOURCE,
    TRAIN,
    WEIGHTS,
    Changes,
    changed,
    is_refused,
    of,
)
from tests.unit.api_rule_cases import CASES
from tests.unit.plan_actions import FILES, TAKES


@pytest.mark.parametrize(("path", "value", "field", "part"), BAD.values(), ids=BAD.keys())
def test_a_bad_manifest_is_refused_by_a_message_that_names_the_field(
    kubectl: Any, dinojobs: Any, path: str, value: Any, field: str, part: str
) -> None:
    manifest = changed((path, value))
    applied = kubectl.apply(manifest)
    assert applied.returncode != 0
    assert field.removeprefix("metadata.") in applied.stderr
    assert part in applied.stderr
    is_refused(dinojobs, manifest, field, part)


@pytest.mark.parametrize(("action", "changes", "field", "part"), BAD_OF.values(), ids=BAD_OF.keys())
def test_a_manifest_that_is_bad_for_its_action_is_refused(
    dinojobs: Any, action: Action, changes: Changes, field: str, part: str
) -> None:
    is_refused(dinojobs, of(action, *changes), field, part)


@pytest.mark.parametrize("action", Action)
def test_the_smallest_job_of_each_action_is_accepted_and_kept_as_written(
    dinojobs: Any, action: Action
) -> None:
    manifest = of(action)
    assert dinojobs.create(manifest)["spec"] == manifest["spec"]


GOOD: dict[str, tuple[Action, Changes]] = {
    "an INT8 engine with its data": (
        Action.GEN_TRT_ENGINE,
        (INT8, ("spec.datasets", {"calibration": SOURCE, "test": SOURCE})),
    ),
    "an INT8 engine of a parent whose file may be quantized": (Action.GEN_TRT_ENGINE, (INT8,)),
    "an export that is compared on test data": (
        Action.EXPORT,
        (("spec.datasets", {"test": SOURCE}), ("spec.resources.gpus", 0)),
    ),
    "a quantization with a gate": (
        Action.QUANTIZE,
        (("spec.experiment.quantize", {"gate": {"max_loss": 0.01}, "skip_names": ["*class*"]}),),
    ),
    "INT8 weights of a checkpoint, without calibration": (
        Action.QUANTIZE,
        (WEIGHTS, ("spec.datasets", GONE), ("spec.parent", {"uri": "s3://bucket/best.pth"})),
    ),
    "an evaluation of an engine file": (
        Action.EVALUATE,
        (("spec.parent", {"uri": "s3://bucket/a/dino_model.engine"}),),
    ),
    "an evaluation of a checkpoint of another library": (
        Action.EVALUATE,
        (("spec.parent", {"uri": "s3://bucket/a/model.safetensors"}),),
    ),
    "an export of a checkpoint of Lightning": (
        Action.EXPORT,
        (("spec.parent", {"uri": "s3://bucket/a/last.ckpt"}),),
    ),
    "an evaluation of a TAO checkpoint on two GPUs": (
        Action.EVALUATE,
        (("spec.parent", {"uri": "s3://bucket/tao.tlt"}), ("spec.resources.gpus", 2)),
    ),
    "an evaluation of what the output already holds": (Action.EVALUATE, (("spec.parent", None),)),
    "an inference with colours": (
        Action.INFERENCE,
        (("spec.experiment.inference", {"color_map": {"RBC": "red", "a class": "#00ff00"}}),),
    ),
    "an inference on four nodes without GPUs": (
        Action.INFERENCE,
        (("spec.resources", {"gpus": 0, "nodes": 4, "processes": 2}),),
    ),
    "an evaluation on two nodes of two GPUs": (
        Action.EVALUATE,
        (("spec.resources", {"gpus": 2, "nodes": 2}),),
    ),
    "a distillation on two nodes, from weights of its own": (
        Action.DISTILL,
        (
            ("spec.resources.nodes", 2),
            ("spec.experiment.train.pretrained_model_path", "s3://bucket/student.pth"),
        ),
    ),
    "a training with validation on its own data": (
        Action.TRAIN,
        (("spec.datasets.validation", [{"uri": "s3://bucket/train"}]),),
    ),
    "sections of other actions": (
        Action.TRAIN,
        (("spec.experiment.export", {"opset_version": 18}),),
    ),
}


@pytest.mark.parametrize(("action", "changes"), GOOD.values(), ids=GOOD.keys())
def test_a_manifest_that_suits_its_action_is_accepted(
    dinojobs: Any, action: Action, changes: Changes
) -> None:
    dinojobs.create(of(action, *changes))


TAKE = {model: {each for each in Action if model in TAKES[each]} for model in FILES}


@pytest.mark.parametrize("end", [*ENDINGS, ".SafeTensors", ".ONNX"])
def test_a_parents_file_is_taken_by_the_actions_that_read_it(dinojobs: Any, end: str) -> None:
    """As the trainer has it: the ending, in any case of letters, and then the content."""
    takes = TAKE[ENDINGS[end.lower()]]
    for action in Action:
        manifest = of(action, ("spec.parent", {"uri": f"s3://bucket/a model/of.mine{end}"}))
        manifest["metadata"]["name"] = action.value.replace("_", "-")
        if action in takes:
            dinojobs.create(manifest)
            continue
        ends = "(.onnx)" if action in TAKE["onnx"] else "(.pth, .tlt, .ckpt, .pt, .bin, .pkl or "
        is_refused(dinojobs, manifest, "spec.parent.uri", ends)


def test_there_are_enough_kinds_of_bad_manifest() -> None:
    assert len(BAD) + len(BAD_OF) + sum(bool(rule.cel) for rule in RULES) >= 60


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule.cel], ids=lambda rule: rule.id)
def test_the_api_server_and_the_loader_judge_alike(dinojobs: Any, rule: Rule) -> None:
    case = CASES[rule.id]
    classes = [("spec.numClasses", case.classes)] if case.classes else []
    broken = of(case.action, ("spec.experiment", case.broken), *classes)
    is_refused(dinojobs, broken, f"spec.experiment.{rule.path}", rule.message)
    dinojobs.create(of(case.action, ("spec.experiment", case.fine), *classes))


def test_every_problem_of_a_manifest_is_listed_at_once(kubectl: Any) -> None:
    applied = kubectl.apply(
        changed(
            (f"{MODEL}.hidden_dim", 200),
            (f"{TRAIN}.validation_interval", 20),
            (f"{TRAIN}.distributed_strategy", "fsdp"),
            ("spec.output.uri", "aws://bucket/x"),
        )
    )
    for field in ("hidden_dim", "validation_interval", "distributed_strategy", "spec.output.uri"):
        assert field in applied.stderr
