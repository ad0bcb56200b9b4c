"""A valid manifest and the ways to spoil it, each with the field and the words of the refusal."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from kubernetes.client import ApiException

from dino_api.base import either
from dino_api.formats import ENDINGS
from dino_api.names import LONGEST_SEARCHED_OUTPUT, Action

GONE = object()

VALID: dict[str, Any] = {
    "apiVersion": "dino-operator.io/v1alpha1",
    "kind": "DinoJob",
    "metadata": {"name": "cells"},
    "spec": {
        "action": "train",
        "automlPolicy": "Disabled",
        "datasets": {
            "train": [{"uri": "s3://bucket/train"}],
            "validation": [{"uri": "s3://bucket/val"}],
        },
        "output": {"uri": "s3://bucket/results"},
    },
}
SOURCE = [{"uri": "s3://bucket/data"}]
DATA: dict[Action, Any] = {
    Action.TRAIN: VALID["spec"]["datasets"],
    Action.DISTILL: VALID["spec"]["datasets"],
    Action.EVALUATE: {"test": SOURCE},
    Action.INFERENCE: {"inference": {"uri": "s3://bucket/new", "classmap": "classmap.txt"}},
    Action.EXPORT: GONE,
    Action.GEN_TRT_ENGINE: GONE,
    Action.QUANTIZE: {"calibration": SOURCE},
}
PARENT = ("spec.parent", {"name": "base"})


def of(action: Action, *changes: tuple[str, Any]) -> dict[str, Any]:
    """The smallest valid manifest of an action, with changes."""
    own = [("spec.action", action.value), ("spec.datasets", DATA[action])]
    return changed(*own, *([] if action == Action.TRAIN else [PARENT]), *changes)


def merge(path: str, value: Any) -> dict[str, Any]:
    """A merge patch that sets one dotted path."""
    for name in reversed(path.split(".")):
        value = {name: value}
    return value


def changed(*changes: tuple[str, Any], start: dict[str, Any] = VALID) -> dict[str, Any]:
    """The valid manifest with values set at dotted paths, or removed where they are GONE."""
    manifest = copy.deepcopy(start)
    for path, value in changes:
        *parents, leaf = path.split(".")
        node: Any = manifest
        for name in parents:
            node = node[int(name)] if isinstance(node, list) else node.setdefault(name, {})
        if value is GONE:
            del node[leaf]
        else:
            node[leaf] = copy.deepcopy(value)
    return manifest


MODEL, TRAIN = "spec.experiment.model", "spec.experiment.train"
DATASET = "spec.experiment.dataset"
AUGMENT = f"{DATASET}.augmentation"
POD = "spec.podTemplate"

# sentence: (path, value, field named by the refusal, part of its message)
BAD: dict[str, tuple[str, Any, str, str]] = {
    "a misspelt key": (f"{MODEL}.num_querys", 9, f"{MODEL}.num_querys", "unknown field"),
    "a key at another level": (f"{DATASET}.num_queries", 9, f"{DATASET}.num_queries", "unknown"),
    "a misspelt field of the resource": ("spec.dataset", {}, "spec.dataset", "unknown field"),
    "an action that does not exist": ("spec.action", "tune", "spec.action", "Unsupported value"),
    "automlPolicy: off, which YAML reads as false": (
        "spec.automlPolicy",
        False,
        "spec.automlPolicy",
        "must be of type string",
    ),
    "no action": ("spec.action", GONE, "spec.action", "Required value"),
    "a policy that does not exist": (
        "spec.automlPolicy",
        "On",
        "spec.automlPolicy",
        '"Auto", "Disabled"',
    ),
    "no datasets and no search": (
        "spec.datasets",
        GONE,
        "spec.datasets",
        "must be given where automlPolicy is Disabled",
    ),
    "itself as parent": ("spec.parent", {"name": "cells"}, "spec.parent.name", "job itself"),
    "a parent of another kind": (
        "spec.parent",
        {"kind": "Job", "name": "x"},
        "spec.parent.kind",
        '"DinoJob", "DinoAutoML"',
    ),
    "a parent without a name": (
        "spec.parent",
        {"kind": "DinoJob"},
        "spec.parent",
        "must have a name or a uri",
    ),
    "a parent by name and by file": (
        "spec.parent",
        {"name": "base", "uri": "s3://bucket/best.pth"},
        "spec.parent",
        "must have a name or a uri",
    ),
    "an output that leaves no room for trials": (
        "spec",
        {
            **{key: VALID["spec"][key] for key in ("action", "datasets")},
            "output": {"uri": f"s3://bucket/{'x' * (LONGEST_SEARCHED_OUTPUT - 11)}"},
        },
        "spec.output.uri",
        "must have at most 960 characters where a search may run for the job (automlPolicy is not",
    ),
    "a parent whose name is empty": (
        "spec.parent",
        {"name": ""},
        "spec.parent.name",
        "at least 1 chars long",
    ),
    "a cache whose claim is empty": (
        "spec.cache",
        {"claimName": ""},
        "spec.cache.claimName",
        "at least 1 chars long",
    ),
    "annotations of no name": (
        "spec.datasets.train.0.annotations",
        "",
        "spec.datasets.train[0].annotations",
        "at least 1 chars long",
    ),
    "a kind of file": (
        "spec.parent",
        {"kind": "DinoJob", "uri": "s3://bucket/best.pth"},
        "spec.parent.kind",
        "does not go with uri",
    ),
    "a parent that is no model file": (
        "spec.parent",
        {"uri": "s3://bucket/model.zip"},
        "spec.parent.uri",
        f"ends in {either(ENDINGS)}",
    ),
    "a parent on this machine": (
        "spec.parent",
        {"uri": "/models/best.pth"},
        "spec.parent.uri",
        "must be an s3:// URI",
    ),
    "a training from an ONNX file": (
        "spec.parent",
        {"uri": "s3://bucket/model.onnx"},
        "spec.parent.uri",
        "must be a checkpoint",
    ),
    "no training data": (
        "spec.datasets.train",
        GONE,
        "spec.datasets.train",
        "must be given for train and distill",
    ),
    "no validation data": (
        "spec.datasets.validation",
        GONE,
        "spec.datasets.validation",
        "the training data itself may be named, which flatters the result",
    ),
    "an empty list of validation data": (
        "spec.datasets.validation",
        [],
        "spec.datasets.validation",
        "at least 1 items",
    ),
    "an empty list of training data": (
        "spec.datasets.train",
        [],
        "spec.datasets.train",
        "at least 1 items",
    ),
    "no output": ("spec.output", GONE, "spec.output", "Required value"),
    "aws:// training data": (
        "spec.datasets.train.0.uri",
        "aws://bucket/train",
        "spec.datasets.train[0].uri",
        "write s3://bucket/path",
    ),
    "aws:// validation data": (
        "spec.datasets.validation",
        [{"uri": "aws://bucket/val"}],
        "spec.datasets.validation[0].uri",
        "write s3://bucket/path",
    ),
    "a local path as output": (
        "spec.output.uri",
        "/results",
        "spec.output.uri",
        "write s3://bucket/path",
    ),
    "an s3 URI without bucket": ("spec.output.uri", "s3://", "spec.output.uri", "with a bucket"),
    "annotations outside of the dataset": (
        "spec.datasets.train.0.annotations",
        "../other.json",
        "spec.datasets.train[0].annotations",
        "without ..",
    ),
    "a dataset format that does not exist": (
        "spec.datasets.train.0.format",
        "voc",
        "spec.datasets.train[0].format",
        '"coco", "coco_raw"',
    ),
    "no class": ("spec.numClasses", 0, "spec.numClasses", "greater than or equal to 1"),
    "fewer than no GPUs": ("spec.resources.gpus", -1, "spec.resources.gpus", "equal to 0"),
    "more GPUs than a machine has": (
        "spec.resources.gpus",
        17,
        "spec.resources.gpus",
        "equal to 16",
    ),
    "no node": ("spec.resources.nodes", 0, "spec.resources.nodes", "equal to 1"),
    "processes beside GPUs": (
        "spec.resources.processes",
        2,
        "spec.resources.processes",
        "must be 1 where the job has GPUs",
    ),
    "a cache without a claim": ("spec.cache", {}, "spec.cache.claimName", "Required"),
    "a queue that is no name": ("spec.queueName", "My Queue", "spec.queueName", "should match"),
    "memory that is not a quantity": (
        "spec.resources.memory",
        "16 GB",
        "spec.resources.memory",
        "should match",
    ),
    "fewer than no CPUs": ("spec.resources.cpu", -2, "spec.resources.cpu", "greater than 0"),
    "a negative quantity": ("spec.resources.cpu", "-2", "spec.resources.cpu", "should match"),
    "fewer than no retries": (
        "spec.runPolicy.maxRetries",
        -1,
        "spec.runPolicy.maxRetries",
        "equal to 0",
    ),
    "a deadline of zero": (
        "spec.runPolicy.activeDeadlineSeconds",
        0,
        "spec.runPolicy.activeDeadlineSeconds",
        "equal to 1",
    ),
    "an endpoint without http": (
        "spec.storage",
        {"endpoint": "minio:9000"},
        "spec.storage.endpoint",
        "http:// or https://",
    ),
    "an environment variable of the operator": (
        f"{POD}.env",
        [{"name": "DINO_ATTEMPT", "value": "7"}],
        f"{POD}.env[0].name",
        "the operator sets",
    ),
    "credentials in the open": (
        f"{POD}.env",
        [{"name": "AWS_SECRET_ACCESS_KEY", "value": "x"}],
        f"{POD}.env[0].name",
        "use spec.storage",
    ),
    "a label of the operator": (
        f"{POD}.labels",
        {"dino-operator.io/job": "other"},
        f"{POD}.labels",
        "the operator sets",
    ),
    "a service account, which progress needs": (
        f"{POD}.serviceAccountName",
        "mine",
        f"{POD}.serviceAccountName",
        "unknown field",
    ),
    "a name that leaves no room for its Jobs": (
        "metadata.name",
        "x" * 51,
        "metadata.name",
        "at most 50",
    ),
    "a rate of zero": (f"{TRAIN}.optim.lr", 0, f"{TRAIN}.optim.lr", "greater than 0"),
    "a rate above one": (f"{TRAIN}.optim.lr", 1.5, f"{TRAIN}.optim.lr", "less than or equal to 1"),
    "a scheduler that does not exist": (
        f"{TRAIN}.optim.lr_scheduler",
        "cosine",
        f"{TRAIN}.optim.lr_scheduler",
        '"MultiStep", "StepLR", "Linear"',
    ),
    "half an epoch": (f"{TRAIN}.num_epochs", 1.5, f"{TRAIN}.num_epochs", "of type integer"),
    "text for a number": (f"{TRAIN}.num_epochs", "10", f"{TRAIN}.num_epochs", "of type integer"),
    "no epoch": (f"{TRAIN}.num_epochs", 0, f"{TRAIN}.num_epochs", "equal to 1"),
    "a level beyond the last": (
        f"{MODEL}.return_interm_indices",
        [1, 2, 3, 5],
        f"{MODEL}.return_interm_indices[3]",
        "less than or equal to 4",
    ),
    "six levels": (f"{MODEL}.num_feature_levels", 6, f"{MODEL}.num_feature_levels", "equal to 5"),
    "a probability above one": (
        f"{AUGMENT}.horizontal_flip_prob",
        2,
        f"{AUGMENT}.horizontal_flip_prob",
        "equal to 1",
    ),
    "a mean of two channels": (
        f"{AUGMENT}.input_mean",
        [0.5, 0.5],
        f"{AUGMENT}.input_mean",
        "at least 3 items",
    ),
    "an empty batch": (f"{DATASET}.batch_size", 0, f"{DATASET}.batch_size", "equal to 1"),
    "results inside the experiment": (
        "spec.experiment.results_dir",
        "/results",
        "spec.experiment.results_dir",
        "use spec.output.uri",
    ),
    "data inside the experiment": (
        f"{DATASET}.train_data_sources",
        [{"image_dir": "a", "json_file": "b"}],
        f"{DATASET}.train_data_sources",
        "use spec.datasets.train",
    ),
    "classes inside the experiment": (
        f"{DATASET}.num_classes",
        4,
        f"{DATASET}.num_classes",
        "use spec.numClasses",
    ),
    "GPUs inside the experiment": (
        f"{TRAIN}.num_gpus",
        1,
        f"{TRAIN}.num_gpus",
        "use spec.resources.gpus",
    ),
    "device numbers inside the experiment": (
        f"{TRAIN}.gpu_ids",
        [0],
        f"{TRAIN}.gpu_ids",
        "use spec.resources.gpus",
    ),
    "a checkpoint to resume inside the experiment": (
        f"{TRAIN}.resume_training_checkpoint_path",
        "x.pth",
        f"{TRAIN}.resume_training_checkpoint_path",
        "use spec.output.uri",
    ),
    "an encryption key": (
        "spec.experiment.encryption_key",
        "secret",
        "spec.experiment.encryption_key",
        "decided by the resource",
    ),
    "a section that nothing reads": (
        "spec.experiment.wandb",
        {},
        "spec.experiment.wandb",
        "unknown field",
    ),
}

NULLS = (
    f"{TRAIN}.num_epochs",
    f"{TRAIN}.optim.lr",
    f"{TRAIN}.ema.enabled",
    f"{TRAIN}.num_gpus",
    f"{TRAIN}.resume_training_checkpoint_path",
    f"{MODEL}.pretrained_backbone_path",
    f"{MODEL}.num_feature_levels",
    f"{DATASET}.train_data_sources",
    f"{DATASET}.num_classes",
    f"{DATASET}.eval_class_ids",
    f"{AUGMENT}.fixed_random_crop",
    f"{AUGMENT}",
    f"{TRAIN}.optim",
    MODEL,
    "spec.experiment.quantize.layers",
    "spec.experiment.encryption_key",
    "spec.experiment",
)
"""Keys of every type and sections: with a default, without one, read by rules, decided by the
resource."""
CHOICE = f"{TRAIN}.precision"

Changes = tuple[tuple[str, Any], ...]
E, ENGINE = "spec.experiment", Action.GEN_TRT_ENGINE
INT8 = (f"{E}.gen_trt_engine.tensorrt.data_type", "INT8")
WEIGHTS = (f"{E}.quantize", {"backend": "torchao", "mode": "weight_only_ptq"})

# sentence: (action, changes, field named by the refusal, part of its message)
BAD_OF: dict[str, tuple[Action, Changes, str, str]] = {
    **{
        f"{action} without {part}": (
            action,
            (("spec.datasets", GONE),),
            f"spec.datasets.{part}",
            "must be given for",
        )
        for action, part in (
            (Action.DISTILL, "train"),
            (Action.DISTILL, "validation"),
            (Action.EVALUATE, "test"),
            (Action.INFERENCE, "inference"),
            (Action.QUANTIZE, "calibration"),
        )
    },
    "an INT8 engine without calibration": (
        ENGINE,
        (INT8, ("spec.parent", GONE)),
        "spec.datasets.calibration",
        "gen_trt_engine with data_type INT8",
    ),
    **{
        f"{action} with {part}": (
            action,
            ((f"spec.datasets.{part}", SOURCE),),
            f"spec.datasets.{part}",
            "only: leave it out",
        )
        for action, part in (
            (Action.TRAIN, "test"),
            (Action.TRAIN, "calibration"),
            (Action.EVALUATE, "train"),
            (Action.EVALUATE, "validation"),
            (Action.QUANTIZE, "train"),
            (Action.INFERENCE, "test"),
            (Action.EXPORT, "calibration"),
            (ENGINE, "calibration"),
        )
    },
    "a training with images without annotations": (
        Action.TRAIN,
        (("spec.datasets.inference", DATA[Action.INFERENCE]["inference"]),),
        "spec.datasets.inference",
        "is read by inference only",
    ),
    "no class map": (
        Action.INFERENCE,
        (("spec.datasets.inference", {"uri": "s3://bucket/new"}),),
        "spec.datasets.inference.classmap",
        "Required value",
    ),
    "a class map elsewhere": (
        Action.INFERENCE,
        (("spec.datasets.inference.classmap", "s3://bucket/map.txt"),),
        "spec.datasets.inference.classmap",
        "must be a name below uri",
    ),
    "aws:// images": (
        Action.INFERENCE,
        (("spec.datasets.inference.uri", "aws://bucket/new"),),
        "spec.datasets.inference.uri",
        "write s3://bucket/path",
    ),
    "aws:// test data": (
        Action.EVALUATE,
        (("spec.datasets.test.0.uri", "aws://bucket/test"),),
        "spec.datasets.test[0].uri",
        "write s3://bucket/path",
    ),
    "a distillation without a teacher": (
        Action.DISTILL,
        (("spec.parent", GONE),),
        "spec.parent",
        "checkpoint of the teacher",
    ),
    "an export of an ONNX file": (
        Action.EXPORT,
        (("spec.parent", {"uri": "s3://bucket/model.onnx"}),),
        "spec.parent.uri",
        "must be a checkpoint",
    ),
    "an engine of a checkpoint": (
        ENGINE,
        (("spec.parent", {"uri": "s3://bucket/best.pth"}),),
        "spec.parent.uri",
        "export the checkpoint first",
    ),
    "INT8 weights of an ONNX file": (
        Action.QUANTIZE,
        (WEIGHTS, ("spec.datasets", GONE), ("spec.parent", {"uri": "s3://bucket/model.onnx"})),
        "spec.parent.uri",
        "must be a checkpoint",
    ),
    "INT8 weights with calibration": (
        Action.QUANTIZE,
        (WEIGHTS, ("spec.parent", {"uri": "s3://bucket/best.pth"})),
        "spec.datasets.calibration",
        "quantize without mode weight_only_ptq",
    ),
    "INT8 weights by ranges": (
        Action.QUANTIZE,
        (
            ("spec.experiment.quantize", {**WEIGHTS[1], "algorithm": "entropy"}),
            ("spec.datasets", GONE),
            ("spec.parent", {"uri": "s3://bucket/best.pth"}),
        ),
        f"{E}.quantize.algorithm",
        "must be minmax, or entropy with onnxruntime",
    ),
    "a quantization of an engine": (
        Action.QUANTIZE,
        (("spec.parent", {"uri": "s3://bucket/model.engine"}),),
        "spec.parent.uri",
        "must be an ONNX file",
    ),
    "an export on two nodes": (
        Action.EXPORT,
        (("spec.resources.nodes", 2),),
        "spec.resources.nodes",
        "for train, evaluate, inference and distill only",
    ),
    "an export on two GPUs": (
        Action.EXPORT,
        (("spec.resources.gpus", 2),),
        "spec.resources.gpus",
        "for train, evaluate, inference and distill only",
    ),
    "an export in two processes": (
        Action.EXPORT,
        (("spec.resources", {"gpus": 0, "processes": 2}),),
        "spec.resources.processes",
        "for train, evaluate, inference and distill only",
    ),
    "an engine without a GPU": (
        ENGINE,
        (("spec.resources.gpus", 0),),
        "spec.resources.gpus",
        "must be 1 for gen_trt_engine",
    ),
    **{
        f"{'.'.join(path)}, which the resource decides": (
            action,
            ((f"{E}.{'.'.join(path)}", value),),
            f"{E}.{'.'.join(path)}",
            f"use {by}",
        )
        for action, path, value, by in (
            (Action.EVALUATE, ("evaluate", "checkpoint"), "x.pth", "spec.parent"),
            (Action.EVALUATE, ("evaluate", "onnx_file"), "x.onnx", "spec.parent"),
            (Action.INFERENCE, ("inference", "trt_engine"), "x.engine", "spec.parent"),
            (Action.EXPORT, ("export", "checkpoint"), "x.pth", "spec.parent"),
            (Action.EXPORT, ("export", "onnx_file"), "x.onnx", "spec.output.uri"),
            (Action.QUANTIZE, ("quantize", "model_path"), "x.onnx", "spec.parent"),
            (ENGINE, ("gen_trt_engine", "onnx_file"), "x.onnx", "spec.parent"),
            (ENGINE, ("gen_trt_engine", "timing_cache"), "x", "spec.output.uri"),
            (ENGINE, ("gen_trt_engine", "gpu_id"), 0, "spec.resources.gpus"),
            (Action.EVALUATE, ("evaluate", "num_gpus"), 1, "spec.resources.gpus"),
            (Action.EVALUATE, ("evaluate", "results_dir"), "x", "spec.output.uri"),
            (
                Action.DISTILL,
                ("distill", "pretrained_teacher_model_path"),
                "x.pth",
                "spec.parent",
            ),
            (Action.DISTILL, ("distill", "teacher"), {"hidden_dim": 64}, "spec.parent"),
            (
                Action.EVALUATE,
                ("dataset", "test_data_sources"),
                [{"image_dir": "a", "json_file": "b"}],
                "spec.datasets.test",
            ),
            (
                Action.QUANTIZE,
                ("dataset", "quant_calibration_data_sources"),
                [{"image_dir": "a", "json_file": "b"}],
                "spec.datasets.calibration",
            ),
            (
                Action.INFERENCE,
                ("dataset", "infer_data_sources"),
                {"image_dir": ["a"], "classmap": "b"},
                "spec.datasets.inference",
            ),
        )
    },
    "a misspelt key of a section": (
        Action.EVALUATE,
        ((f"{E}.evaluate.conf_treshold", 0.5),),
        f"{E}.evaluate.conf_treshold",
        "unknown field",
    ),
    "a gate above one": (
        Action.QUANTIZE,
        ((f"{E}.quantize.gate.max_loss", 5),),
        f"{E}.quantize.gate.max_loss",
        "equal to 1",
    ),
}


def causes(error: ApiException) -> list[tuple[str, str]]:
    """Field and message of each cause; a strict decoding error has its message alone."""
    body = json.loads(error.body)
    listed = (body.get("details") or {}).get("causes") or [{"field": "", "message": ""}]
    return [(one.get("field", ""), one["message"] + body["message"]) for one in listed]


def is_refused(dinojobs: Any, manifest: dict[str, Any], field: str, part: str) -> None:
    with pytest.raises(ApiException) as caught:
        dinojobs.create(manifest)
    assert caught.value.status in (400, 422)
    found = causes(caught.value)
    named = [message for where, message in found if where == field or f'"{field}"' in message]
    # A rule at the root has no field of its own to name.
    named = named or [message for _, message in found if field.rpartition(".")[2] in message]
    assert any(part in message for message in named), found
