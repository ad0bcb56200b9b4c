"""Searches that can be run, and every way to spoil one with the rule that says so."""

from __future__ import annotations

import copy
from typing import Any

from dino_api.resources.dinoautoml import DinoAutoMLSpec, SmokeProfile

DATA = {"train": [{"uri": "s3://b/train"}], "validation": [{"uri": "s3://b/val"}]}
PROFILE = SmokeProfile(train_uri="s3://smoke/train", validation_uri="s3://smoke/val")
LR = {"path": "train.optim.lr", "min": 1e-5, "max": 1e-3, "scale": "log"}
DROPOUT = {"path": "model.dropout_ratio", "min": 0, "max": 0.3}
OPTIMIZER = {"path": "train.optim.optimizer", "choices": ["AdamW", "SGD"]}
SGD = {"path": "train.optim.optimizer", "values": ["SGD"]}
MOMENTUM = {"path": "train.optim.momentum", "min": 0.5, "max": 0.95}
STEPPED = DROPOUT | {"step": 0.1}


def spec(search: list[Any] | None = None, **changes: Any) -> DinoAutoMLSpec:
    """A spec with data, in wire form: the template's fields are given as `template={...}`."""
    body = copy.deepcopy(changes)
    template = {"datasets": DATA, "output": {"uri": "s3://b/out"}} | body.pop("template", {})
    template = {name: value for name, value in template.items() if value is not None}
    model = template.setdefault("experiment", {}).setdefault("model", {})
    model.setdefault("pretrained_backbone_path", "s3://weights/r50.pth")
    searched = {} if search is None else {"search": search}
    return DinoAutoMLSpec.model_validate(body | searched | {"template": template})


def experiment(**sections: Any) -> dict[str, Any]:
    return {"template": {"experiment": sections}}


def over(path: str, low: float, high: float, **more: Any) -> dict[str, Any]:
    return {"path": path, "min": low, "max": high} | more


def among(path: str, *choices: Any, **more: Any) -> dict[str, Any]:
    return {"path": path, "choices": list(choices)} | more


# 8 x 12 + 4 x 6 + 2 x 3 + 1 x 2 tokens.
SMALL_IMAGES = experiment(dataset={"augmentation": {"fixed_size": [64, 96]}})
ROUNDED = ("resnet_50", "timm/convnext_tiny")

EMPTY = {
    "train": {"optim": {"lr": 1e-4, "lr_backbone": 1e-5, "weight_decay": 1e-4}},
    "model": {"backbone": "resnet_50", "num_queries": 300, "dropout_ratio": 0.0},
}

# what: (rule, text that the sentence holds, the spec)
BAD: dict[str, tuple[str, str, DinoAutoMLSpec]] = {
    "a reversed range": ("range-order", "train.optim.lr", spec([LR | {"min": 0.1, "max": 0.01}])),
    "a range of one value": ("range-order", "Set it in", spec([over("train.seed", 3, 3)])),
    "the logarithm of zero": ("log-above-zero", "greater than 0", spec([LR | {"min": 0}])),
    "an unknown path": (
        "path-unknown",
        "Did you mean train.optim.lr?",
        spec([LR | {"path": "train.optim.learning_rate"}]),
    ),
    "a key at another level": (
        "path-unknown",
        "model.num_queries",
        spec([over("num_queries", 1, 9)]),
    ),
    "a dead key": (
        "path-held",
        "TAO never reads it",
        spec([over("train.optim.lr_linear_proj_mult", 0.1, 1)]),
    ),
    "a key of no effect on the result": (
        "path-held",
        "does not change the result",
        spec([over("dataset.workers", 1, 8)]),
    ),
    "a list": ("path-held", "single value", spec([among("train.optim.lr_steps", "11")])),
    "a section": ("path-held", "single value", spec([among("train.optim", "x")])),
    "another action": (
        "path-held",
        "only `dino export` reads it",
        spec([over("export.opset_version", 1, 17)]),
    ),
    "what the resource decides": (
        "path-held",
        "spec.numClasses",
        spec([over("dataset.num_classes", 1, 9)]),
    ),
    "the monitor": (
        "path-held",
        "objective",
        spec([among("train.checkpointer.monitor", "val_mAP")]),
    ),
    "more parallel than max": (
        "parallel-in-max",
        "maxTrials, 3",
        spec(maxTrials=3, parallelTrials=4),
    ),
    "a grid larger than max": (
        "grid-size",
        "12 combinations",
        spec(
            [over("train.optim.lr", 1e-4, 4e-4, step=1e-4), among("model.enc_layers", 2, 3, 4)],
            algorithm={"name": "grid"},
            maxTrials=12,
        ),
    ),
    "a grid of an endless range": (
        "grid-steps",
        "train.optim.lr, model.dropout_ratio",
        spec([LR, DROPOUT], algorithm={"name": "grid"}),
    ),
    "searched and set": (
        "searched-and-set",
        "train.optim.lr is searched and set",
        spec([LR], **experiment(train={"optim": {"lr": 1e-4}})),
    ),
    "momentum with AdamW": ("dead-knob", "optimizer is SGD", spec([MOMENTUM])),
    "momentum where AdamW is drawn": (
        "dead-knob",
        "optimizer is SGD",
        spec([OPTIMIZER, MOMENTUM | {"when": SGD | {"values": ["AdamW"]}}]),
    ),
    "a decay of a rate that never drops": (
        "dead-knob",
        "before train.num_epochs",
        spec([over("train.optim.lr_decay", 0.1, 0.5)]),
    ),
    "a rate of a frozen backbone": (
        "dead-knob",
        "the backbone trains",
        spec(
            [over("train.optim.lr_backbone", 1e-6, 1e-5)],
            **experiment(model={"train_backbone": False}),
        ),
    ),
    "a rate that a ViT does not read": (
        "dead-knob",
        "layer_decay_rate",
        spec(
            [over("train.optim.lr_backbone", 1e-6, 1e-5)],
            **experiment(model={"backbone": "vit_large_dinov2"}),
        ),
    ),
    "a range beyond the key's limits": ("range-limits", "at most 1", spec([LR | {"max": 10}])),
    "a range from an open limit": (
        "range-limits",
        "greater than 0",
        spec([over("train.optim.lr", 0, 0.1)]),
    ),
    "half a layer": ("range-whole", "whole number", spec([over("model.enc_layers", 1.5, 6)])),
    "half a step": ("range-whole", "step", spec([over("model.enc_layers", 2, 6, step=0.5)])),
    "a step with log": ("step-linear", "scale log", spec([LR | {"step": 1e-4}])),
    "a step wider than the range": ("step-fits", "0.3", spec([DROPOUT | {"step": 0.5}])),
    "a step beyond all counting": (
        "step-fits",
        "a millionth of max - min",
        spec([DROPOUT | {"step": 5e-324}]),
    ),
    "a step of more values than anybody tells apart": (
        "step-fits",
        "a millionth of max - min",
        spec([DROPOUT | {"step": 1e-8}]),
    ),
    "a grid of steps beyond all counting": (
        "step-fits",
        "Leave it out",
        spec([DROPOUT | {"step": 5e-324}], algorithm={"name": "grid"}),
    ),
    "neither range nor choices": (
        "range-or-choices",
        "min and max",
        spec([{"path": "train.optim.lr"}]),
    ),
    "range and choices": (
        "range-or-choices",
        "choices and a range",
        spec([DROPOUT | {"choices": [0.1]}]),
    ),
    "a range of names": ("range-of-number", "model.backbone", spec([over("model.backbone", 0, 1)])),
    "a choice of a wrong type": ("choice-value", "number", spec([among("train.optim.lr", "fast")])),
    "a choice that is not in the enum": (
        "choice-value",
        "fp32, fp16, bf16",
        spec([among("train.precision", "fp64")]),
    ),
    "a choice beyond the limits": (
        "choice-value",
        "must be 1 to 24",
        spec([among("model.enc_layers", 2, 60)]),
    ),
    "a flag in a number's place": (
        "choice-value",
        "number",
        spec([among("model.enc_layers", True)]),
    ),
    "a choice twice": ("choice-once", "twice", spec([among("model.enc_layers", 2, 3, "2")])),
    "a backbone that is not built": (
        "value-refused",
        "gc_vit_xxtiny for fan_tiny",
        spec([among("model.backbone", "resnet_50", "fan_tiny")]),
    ),
    "an unknown backbone": ("value-refused", "TAO", spec([among("model.backbone", "resnet_5000")])),
    "widths that heads do not divide": (
        "value-refused",
        "multiple of",
        spec([over("model.hidden_dim", 128, 512)]),
    ),
    "fewer candidates than are kept": (
        "value-refused",
        "num_queries",
        spec(
            [over("model.num_queries", 10, 900)],
            template={"numClasses": 4, "experiment": {"model": {"num_select": 300}}},
        ),
    ),
    "more queries than images of one size have tokens": (
        "value-refused",
        "num_queries 180 is more than the 128 tokens that images have by dataset",
        spec([over("model.num_queries", 50, 200, step=65)], **SMALL_IMAGES),
    ),
    "a choice of more than one backbone has tokens for": (
        "value-refused",
        "num_queries 128 is more than the 113 tokens",
        spec(
            [among("model.num_queries", 100, 128), among("model.backbone", *ROUNDED)],
            **experiment(dataset={"augmentation": {"fixed_size": [65, 95]}}),
        ),
    ),
    "more queries than jittered images have tokens": (
        "value-refused",
        "85 tokens that images have by dataset.augmentation.fixed_random_crop",
        spec(
            [over("model.num_queries", 50, 100)],
            **experiment(dataset={"augmentation": {"fixed_random_crop": 64}}),
        ),
    ),
    "validations after the end": (
        "value-refused",
        "must not exceed num_epochs",
        spec([over("train.validation_interval", 1, 20)]),
    ),
    "a when on a path that is not searched": (
        "when-searched",
        "not searched",
        spec([MOMENTUM | {"when": SGD}]),
    ),
    "a when on itself": (
        "when-other",
        "depends on itself",
        spec([OPTIMIZER | {"when": SGD}]),
    ),
    "whens in a circle": (
        "when-cycle",
        "in turn",
        spec(
            [
                OPTIMIZER | {"when": {"path": "train.optim.momentum", "values": [0.6]}},
                MOMENTUM | {"when": SGD},
            ]
        ),
    ),
    "a when for a value that never comes": (
        "when-value",
        "never Adam",
        spec([OPTIMIZER, MOMENTUM | {"when": SGD | {"values": ["Adam"]}}]),
    ),
    "a path twice": ("search-once", "2 times", spec([LR, LR | {"max": 1e-4}])),
    "cmaes with choices": (
        "cmaes-ranges",
        "optimizer has choices",
        spec([LR, DROPOUT, OPTIMIZER], algorithm={"name": "cmaes"}),
    ),
    "cmaes with one range": ("cmaes-two", "needs two", spec([LR], algorithm={"name": "cmaes"})),
    "nothing left to search": (
        "search-empty",
        "default space",
        spec(template={"experiment": EMPTY}),
    ),
    "an experiment that cannot be run": (
        "heads-divide",
        "spec.template.experiment.model.hidden_dim",
        spec([LR], **experiment(model={"nheads": 7})),
    ),
    "INT8 weights of the winner's ONNX file": (
        "then-weights",
        "spec.template.experiment.quantize.mode",
        spec(
            [LR],
            **experiment(quantize={"backend": "torchao", "mode": "weight_only_ptq"}),
            then=[{"action": "export"}, {"action": "quantize"}],
        ),
    ),
    "classes without data": (
        "datasets-missing",
        "spec.template.numClasses is given",
        spec(template={"datasets": None, "numClasses": 4}),
    ),
    "epochs without data": (
        "datasets-missing",
        "train.num_epochs is given",
        spec(template={"datasets": None, "experiment": {"train": {"num_epochs": 3}}}),
    ),
    "trials without data": (
        "datasets-missing",
        "spec.maxTrials is given",
        spec(template={"datasets": None}, maxTrials=3),
    ),
    "the profile beside data": ("profile-whole", "template.datasets", spec(profile="smoke")),
    "GPUs beside the profile": (
        "trials-of-profile",
        "resources.gpus",
        spec(template={"datasets": None, "resources": {"gpus": 4}}, profile="smoke"),
    ),
}

# Warnings: they do not stop a search.
DOUBTFUL: dict[str, tuple[str, DinoAutoMLSpec]] = {
    "momentum that is drawn for AdamW too": ("knob-sometimes-dead", spec([OPTIMIZER, MOMENTUM])),
    "another monitor": (
        "monitor-other",
        spec(**experiment(train={"checkpointer": {"monitor": "val_mAP"}})),
    ),
    "no validation data": (
        "validates-on-training-data",
        spec(template={"datasets": {"train": [{"uri": "s3://b/train"}]}}),
    ),
    "tpe that never learns": ("never-learns", spec(maxTrials=6)),
    "pruning after the end": ("never-prunes", spec(pruning={"name": "median", "startEpoch": 10})),
}

FINE: dict[str, DinoAutoMLSpec] = {
    "the defaults": spec(),
    "a conditional": spec([OPTIMIZER, MOMENTUM | {"when": SGD}]),
    "momentum with SGD set": spec([MOMENTUM], **experiment(train={"optim": {"optimizer": "SGD"}})),
    "as many queries as tokens": spec([over("model.num_queries", 50, 128)], **SMALL_IMAGES),
    "steps that end below the tokens": spec(
        [over("model.num_queries", 50, 179, step=65)], **SMALL_IMAGES
    ),
    "widths in steps": spec([over("model.hidden_dim", 128, 512, step=32)]),
    "epochs and what must fit in them": spec(
        [over("train.num_epochs", 5, 20), over("train.validation_interval", 1, 20)]
    ),
    "a grid that fits": spec([STEPPED], algorithm={"name": "grid"}, maxTrials=4),
    "cmaes by default": spec(algorithm={"name": "cmaes"}),
    "one trial, at most": spec(maxTrials=1),
    "numbers as texts, as Katib has them": spec([among("model.enc_layers", "2", "3")]),
}
