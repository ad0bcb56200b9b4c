"""One breaking and one holding experiment per rule, for the loader and for the API server alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dino_api.actions import ACTIONS
from dino_api.names import Action

Experiment = dict[str, Any]


@dataclass(frozen=True)
class RuleCase:
    """An experiment that breaks the rule and its nearest neighbour that does not."""

    broken: Experiment
    fine: Experiment
    classes: int | None = None
    action: Action = Action.TRAIN

    def loaded(self, experiment: Experiment) -> Experiment:
        """As `load` takes it: the number of classes stands in the dataset."""
        if self.classes is None:
            return experiment
        dataset = experiment.get("dataset", {}) | {"num_classes": self.classes}
        return experiment | {"dataset": dataset}


def model(**keys: Any) -> Experiment:
    return {"model": keys}


def augment(**keys: Any) -> Experiment:
    return {"dataset": {"augmentation": keys}}


def train(**keys: Any) -> Experiment:
    return {"train": keys}


def optim(**keys: Any) -> Experiment:
    return {"train": {"optim": keys}}


def source(uri: str) -> list[Experiment]:
    return [{"image_dir": uri, "json_file": "ann.json"}]


def of(action: Action, broken: Experiment, fine: Experiment) -> RuleCase:
    """Keys of the action's own section."""
    return RuleCase({action.value: broken}, {action.value: fine}, action=action)


def engine(**keys: Any) -> Experiment:
    return {"tensorrt": keys}


EVALUATE, INFERENCE, EXPORT = Action.EVALUATE, Action.INFERENCE, Action.EXPORT
ENGINE, QUANTIZE, DISTILL = Action.GEN_TRT_ENGINE, Action.QUANTIZE, Action.DISTILL
S3, AWS = "s3://bucket/x", "aws://bucket/x"

OWN_INPUT = tuple(each.action for each in ACTIONS.values() if each.own_input)
PLACES: dict[Action, tuple[str, ...]] = {
    EVALUATE: ("checkpoint", "onnx_file", "trt_engine", "results_dir"),
    INFERENCE: ("checkpoint", "onnx_file", "trt_engine", "results_dir"),
    EXPORT: ("checkpoint", "onnx_file", "results_dir"),
    ENGINE: ("onnx_file", "trt_engine", "timing_cache", "results_dir"),
    QUANTIZE: ("model_path", "results_dir"),
    DISTILL: ("pretrained_teacher_model_path", "results_dir"),
}
CASES: dict[str, RuleCase] = {
    "backbone-known": RuleCase(
        model(backbone="swin_tiny"), model(backbone="timm/convnext_tiny.fb_in1k")
    ),
    "backbone-built": RuleCase(model(backbone="fan_tiny"), model(backbone="gc_vit_base")),
    "denoising-groups": RuleCase(model(dn_number=49), model(dn_number=50)),
    "backbone-imagenet": RuleCase(
        model(pretrained_backbone_path="imagenet"),
        model(pretrained_backbone_path="imagenet", backbone="timm/tf_efficientnet_lite0"),
    ),
    "backbone-random": RuleCase(
        model(backbone="resnet_18"),
        model(backbone="resnet_18", pretrained_backbone_path="s3://weights/resnet18.pth"),
    ),
    "backbone-uri": RuleCase(
        model(pretrained_backbone_path=AWS), model(pretrained_backbone_path="/weights/r50.pth")
    ),
    "levels-agree": RuleCase(
        model(num_feature_levels=5),
        model(num_feature_levels=5, return_interm_indices=[0, 1, 2, 3, 4]),
    ),
    "levels-rising": RuleCase(
        model(return_interm_indices=[1, 3, 3, 4]), model(return_interm_indices=[0, 1, 2, 3])
    ),
    "heads-divide": RuleCase(model(nheads=7), model(nheads=16)),
    "groups-divide": RuleCase(model(hidden_dim=200), model(hidden_dim=192)),
    "select-below-candidates": RuleCase(
        model(num_queries=10, num_select=40), model(num_queries=10, num_select=39), classes=4
    ),
    "losses-once": RuleCase(model(loss_types=["boxes", "boxes"]), model(loss_types=["labels"])),
    "decoder-attention": RuleCase(model(decoder_sa_type="ca_label"), model(decoder_sa_type="sa")),
    "two-stage": RuleCase(model(two_stage_type="no"), model(two_stage_type="standard")),
    "pre-norm": RuleCase(model(pre_norm=True), model(pre_norm=False)),
    "train-uri": RuleCase(
        {"dataset": {"train_data_sources": source(AWS)}},
        {"dataset": {"train_data_sources": source(S3)}},
    ),
    "val-uri": RuleCase(
        {"dataset": {"val_data_sources": source(AWS)}},
        {"dataset": {"val_data_sources": source("local/images")}},
    ),
    "crop-order": RuleCase(
        augment(train_random_crop_min=400, train_random_crop_max=399),
        augment(train_random_crop_min=400, train_random_crop_max=400),
    ),
    "crop-fits": RuleCase(
        augment(train_random_crop_min=401),
        augment(train_random_crop_min=401, fixed_size=[64, 64]),
    ),
    "jitter-or-size": RuleCase(
        augment(fixed_random_crop=1024, fixed_size=[64, 64]), augment(fixed_random_crop=1024)
    ),
    "jitter-replaces": RuleCase(
        augment(fixed_random_crop=1024, scales=[480]), augment(fixed_random_crop=1024)
    ),
    "planned-sizes-alike": RuleCase(
        augment(planned_sizes=True, fixed_size=[64, 64]), augment(planned_sizes=True)
    ),
    "zoom-order": RuleCase(
        augment(fixed_size=[64, 64], zoom_crop=[1.0, 0.7]),
        augment(fixed_size=[64, 64], zoom_crop=[0.7, 0.7]),
    ),
    "zoom-needs-size": RuleCase(
        augment(zoom_crop=[0.7, 1.0]), augment(fixed_size=[64, 96], zoom_crop=[0.7, 1.0])
    ),
    "eval-ids-known": RuleCase(
        {"dataset": {"eval_class_ids": [1, 4]}},
        {"dataset": {"eval_class_ids": [1, 3]}},
        classes=4,
    ),
    "validation-in-time": RuleCase(train(validation_interval=11), train(validation_interval=10)),
    "checkpoint-in-time": RuleCase(
        train(num_epochs=4, checkpoint_interval=5),
        train(num_epochs=4, checkpoint_interval=5, checkpoint_interval_unit="step"),
    ),
    "rate-drops": RuleCase(optim(lr_steps=[10]), optim(lr_steps=[9, 11])),
    "steps-rise": RuleCase(optim(lr_steps=[8, 8]), optim(lr_steps=[7, 8])),
    "momentum-unread": RuleCase(optim(momentum=0.8), optim(momentum=0.8, optimizer="SGD")),
    "lr-steps-unread": RuleCase(optim(lr_steps=[5], lr_scheduler="Linear"), optim(lr_steps=[5])),
    "lr-step-size-unread": RuleCase(
        optim(lr_step_size=5), optim(lr_step_size=5, lr_scheduler="StepLR")
    ),
    "lr-decay-start-unread": RuleCase(
        optim(lr_decay_start=0.5), optim(lr_decay_start=0.5, lr_scheduler="Linear")
    ),
    "layer-decay-rate-unread": RuleCase(
        optim(layer_decay_rate=0.8),
        {**optim(layer_decay_rate=0.8), "model": {"backbone": "vit_large_dinov2"}},
    ),
    "early-stopping-in-time": RuleCase(
        train(early_stopping={"enabled": True, "patience": 9}),
        train(early_stopping={"enabled": True, "patience": 8}),
    ),
    "early-stopping-off": RuleCase(
        train(early_stopping={"patience": 3}),
        train(early_stopping={"patience": 3, "enabled": True}),
    ),
    "half-on-cpu": RuleCase(
        train(precision="fp16", num_gpus=0), train(precision="bf16", num_gpus=0)
    ),
    "strategy": RuleCase(train(distributed_strategy="fsdp"), train(distributed_strategy="ddp")),
    "dry-run": RuleCase(train(is_dry_run=True), train(is_dry_run=False)),
    "processes-on-cpu": RuleCase(train(num_processes=2), train(num_processes=1)),
    "pretrained-model-path-uri": RuleCase(
        train(pretrained_model_path="http://x/y.pth"), train(pretrained_model_path=S3)
    ),
    "resume-training-checkpoint-path-uri": RuleCase(
        train(resume_training_checkpoint_path=AWS),
        train(resume_training_checkpoint_path="runs/dino_model_latest.pth"),
    ),
    "results-dir-uri": RuleCase(train(results_dir=AWS), train(results_dir="/results")),
    "root-results-dir-uri": RuleCase({"results_dir": AWS}, {"results_dir": S3}),
    "test-uri": RuleCase(
        {"dataset": {"test_data_sources": source(AWS)}},
        {"dataset": {"test_data_sources": source(S3)}},
    ),
    "calibration-uri": RuleCase(
        {"dataset": {"quant_calibration_data_sources": source(AWS)}},
        {"dataset": {"quant_calibration_data_sources": source(S3)}},
    ),
    "inference-uri": RuleCase(
        {"dataset": {"infer_data_sources": {"image_dir": ["a"], "classmap": AWS}}},
        {"dataset": {"infer_data_sources": {"image_dir": [S3], "classmap": "names.txt"}}},
    ),
    **{
        f"{action}-{leaf}-uri".replace("_", "-"): of(action, {leaf: AWS}, {leaf: S3})
        for action, leaves in PLACES.items()
        for leaf in leaves
    },
    **{
        f"{action}-one-model": of(
            action, {"checkpoint": S3, "onnx_file": S3}, {"trt_engine": "dino_model.engine"}
        )
        for action in (EVALUATE, INFERENCE)
    },
    **{
        f"{action}-size": of(
            action, {"input_height": 640}, {"input_width": 960, "input_height": 544}
        )
        for action in OWN_INPUT
    },
    **{f"{action}-batch": of(action, {"batch_size": 0}, {"batch_size": 1}) for action in OWN_INPUT},
    **{
        f"{action}-processes": of(
            action, {"num_processes": 2}, {"num_processes": 2, "num_gpus": 0, "num_nodes": 2}
        )
        for action in (EVALUATE, INFERENCE)
    },
    "export-format": of(EXPORT, {"format": "xdl"}, {"format": "onnx"}),
    "export-channels": of(EXPORT, {"input_channel": 1}, {"input_channel": 3}),
    "export-nvdsinfer": of(EXPORT, {"serialize_nvdsinfer": True}, {"serialize_nvdsinfer": False}),
    "export-opset": of(EXPORT, {"opset_version": 16}, {"opset_version": 18}),
    "engine-batches": of(
        ENGINE, engine(opt_batch_size=4), engine(opt_batch_size=4, max_batch_size=4)
    ),
    "layers-precision": of(
        ENGINE, engine(layers_precision=["/model/Conv:fp16"]), engine(layers_precision=[])
    ),
    "quantize-backend": of(QUANTIZE, {"backend": "modelopt.onnx"}, {"backend": "onnxruntime"}),
    "quantize-mode": of(QUANTIZE, {"mode": "weight_only_ptq"}, {"mode": "static_ptq"}),
    "quantize-algorithm": of(QUANTIZE, {"algorithm": "awq_lite"}, {"algorithm": "entropy"}),
    "quantize-layers": of(QUANTIZE, {"layers": [{"module_name": "*"}]}, {"skip_names": ["*head*"]}),
    "bindings-named": of(
        DISTILL,
        {"bindings": [{"student_module_name": "pred_logits"}]},
        {"bindings": [{"student_module_name": "a.b", "teacher_module_name": "a.c"}]},
    ),
}
