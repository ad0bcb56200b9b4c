"""`train.*`: epochs, optimiser, checkpoints."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from dino_api.base import REPORTED_URI, SHORT, URI, Bool, Float, Int, IsWhole, Section, key

VISIBLE_DEVICES = "CUDA_VISIBLE_DEVICES chooses the device"
Device = Annotated[int, Field(ge=0, le=1024), IsWhole]
Epoch = Annotated[int, Field(ge=1, le=100000), IsWhole]
ModuleName = Annotated[str, Field(max_length=SHORT)]


class OptimConfig(Section):
    """Optimiser and learning rate schedule."""

    optimizer: Literal["AdamW", "SGD"] = key(
        "AdamW", "AdamW, which transformers need, or SGD with momentum."
    )
    lr: Float = key(
        0.0002,
        "Learning rate of everything but the backbone: the step size of the optimiser. Useful "
        "values are 1e-5 to 1e-3; the default 2e-4 suits a batch of 4 per GPU. Scale it with the "
        "batch; too high ends in NaN (reason Diverged).",
        gt=0,
        le=1,
    )
    lr_backbone: Float = key(
        0.00002,
        "Learning rate of the backbone; the default is a tenth of lr's, which keeps pretrained "
        "features.",
        gt=0,
        le=1,
    )
    weight_decay: Float = key(
        0.0001, "Pull of the weights towards zero; 1e-6 to 1e-2 is usual.", ge=0, le=1
    )
    momentum: Float = key(0.9, "Momentum of SGD; AdamW does not read it.", gt=0, lt=1)
    lr_scheduler: Literal["MultiStep", "StepLR", "Linear", "Cosine"] = key(
        "MultiStep",
        "MultiStep multiplies the rate by lr_decay at each epoch of lr_steps; StepLR every "
        "lr_step_size epochs; Linear keeps it flat until lr_decay_start, then falls to 0 at the "
        "end, the best choice for short trainings; Cosine falls to 0 along half a cosine.",
    )
    lr_steps: list[Epoch] = key(
        lambda: [11],
        "MultiStep: epochs after which the rate drops. Epochs beyond train.num_epochs never come, "
        "so with the defaults (11, and 10 epochs) it never drops.",
        size=100,
    )
    lr_step_size: Int = key(11, "StepLR: epochs between two drops.", ge=1, le=10000)
    lr_decay: Float = key(0.1, "Factor of each drop (MultiStep, StepLR).", gt=0, le=1)
    lr_decay_start: Float = key(
        0.6, "Linear: the share of training, 0 to 1, after which the rate falls.", ge=0, lt=1
    )
    warmup_steps: Int = key(
        0,
        "Optimiser steps during which the rate rises linearly from 0. 20 to 1000 steadies the "
        "start; 0 is TAO's behaviour.",
        ge=0,
        le=1000000,
    )
    layer_decay_rate: Float = key(
        0.65,
        "ViT backbones only: each layer trains at lr times this to the power of its distance "
        "from the output; lr_backbone is not read.",
        gt=0,
        le=1,
    )
    lr_linear_proj_mult: Float = key(
        0.1, "Rate of projections.", dead="TAO never reads it for DINO", gt=0, le=1
    )
    monitor_name: Literal["val_loss", "train_loss"] = key(
        "val_loss", "What a plateau scheduler watches.", dead="there is no such scheduler"
    )


class CudnnConfig(Section):
    """How cuDNN chooses its algorithms; read on a GPU only."""

    benchmark: Bool = key(
        False,
        "True lets cuDNN time its algorithms: faster with fixed image sizes, slower with changing "
        "ones. No effect on CPU.",
    )
    deterministic: Bool = key(
        True,
        "True asks for deterministic GPU algorithms where they exist, which is slower. No effect "
        "on CPU.",
    )


class EmaConfig(Section):
    """Exponential moving average of the weights."""

    enabled: Bool = key(
        False,
        "True validates and publishes averaged weights: steadier, usually better; takes the "
        "memory of a second copy.",
    )
    decay: Float = key(
        0.9997,
        "Share of the average kept each step. 0.9997 averages over thousands of steps; trainings "
        "of some hundred need about 0.98.",
        ge=0,
        lt=1,
    )


class CheckpointerConfig(Section):
    """Which weights are kept."""

    monitor: Literal["val_mAP", "val_mAP50"] = key(
        "val_mAP", "What the best checkpoint, and early stopping, go by."
    )
    save_top_k: Int = key(
        1,
        "1 keeps the best weights; more keeps those of the k best validations, too, as "
        "model_epoch_NNN.pth.",
        decides=False,
        ge=1,
        le=100,
    )


class EarlyStoppingConfig(Section):
    """Ends a training that no longer gets better."""

    enabled: Bool = key(False, "Ends training after patience validations without a better result.")
    patience: Int = key(5, "Validations without a better result.", ge=1, le=100000)
    min_delta: Float = key(
        0.0, "A result is better if it is higher than the best by more than this.", ge=0, le=1
    )


class TrainConfig(Section):
    """Length of training, optimiser, checkpoints."""

    num_epochs: Int = key(10, "Passes over the training data.", ge=1, le=100000)
    seed: Int = key(
        1234,
        "Seed of initial weights, order and augmentation; -1 draws a new one each time.",
        ge=-1,
        le=2147483647,
    )
    validation_interval: Int = key(
        1, "Epochs between validations; at most num_epochs.", ge=1, le=100000
    )
    max_detections: Int = key(100, "As evaluate's, of validation.", ge=100, le=10000)
    checkpoint_interval: Int = key(
        1,
        "Epochs or steps (checkpoint_interval_unit) between checkpoints: what a killed job loses, "
        "with what was still being uploaded. In epochs, at most num_epochs.",
        decides=False,
        ge=1,
        le=10000000,
    )
    checkpoint_interval_unit: Literal["epoch", "step"] = key(
        "epoch", "What checkpoint_interval counts.", decides=False
    )
    clip_grad_norm: Float = key(
        0.1, "The norm of all gradients together is cut to this.", gt=0, le=1000000
    )
    accumulate_grad_batches: Int = key(
        1,
        "Batches per optimiser step: the effect of a batch k times as large, in the memory of one.",
        ge=1,
        le=10000,
    )
    freeze: list[ModuleName] = key(
        list,
        "Parts whose weights stay as they are, by dotted module name: backbone, "
        "transformer.encoder. Empty trains everything.",
        size=64,
    )
    pretrained_model_path: str = key(
        "",
        "A whole detector to start from: a path or an s3:// URI of a checkpoint of this trainer, "
        "of TAO or of the published code. Layers of another shape are skipped with a warning.",
        size=REPORTED_URI,
    )
    resume_training_checkpoint_path: str = key(
        "",
        "A checkpoint of this training to continue from. Empty: the latest in results_dir.",
        resource="spec.output.uri (a job resumes from its own output)",
        decides=False,
        size=URI,
    )
    results_dir: str = key(
        "",
        "Where results go. Empty: <results_dir>/train.",
        resource="spec.output.uri",
        decides=False,
        size=URI,
    )
    optim: OptimConfig = Field(
        default_factory=OptimConfig, description="Optimiser and learning rate schedule."
    )
    ema: EmaConfig = Field(
        default_factory=EmaConfig, description="Exponential moving average of the weights."
    )
    checkpointer: CheckpointerConfig = Field(
        default_factory=CheckpointerConfig, description="Which weights are kept."
    )
    early_stopping: EarlyStoppingConfig = Field(
        default_factory=EarlyStoppingConfig,
        description="Ends a training that no longer gets better.",
    )
    tensorboard: Bool = key(
        True,
        "Event files for TensorBoard under tensorboard/, published at each validation. MLflow is "
        "told too where the environment names MLFLOW_TRACKING_URI.",
        decides=False,
    )
    cudnn: CudnnConfig = Field(
        default_factory=CudnnConfig, description="How cuDNN chooses its algorithms (GPU only)."
    )
    activation_checkpoint: Bool = key(
        False,
        "Recomputes the activations of encoder and decoder in the backward pass: equal results, "
        "about a sixth more computation, half of the memory.",
        decides=False,
    )
    precision: Literal["fp32", "fp16", "bf16"] = key(
        "fp32",
        "Number format of matrix products and convolutions; weights and losses stay fp32. bf16 "
        "is about twice as fast on GPUs since Ampere and on recent CPUs; fp16 is for older GPUs.",
    )
    distributed_strategy: Literal["ddp", "fsdp"] = key(
        "ddp", "How several GPUs share the work. Only ddp is accepted.", decides=False
    )
    num_gpus: Int = key(
        1,
        "GPUs on each node, a process each; 0 trains on the CPU.",
        resource="spec.resources.gpus",
        decides=False,
        ge=0,
        le=64,
    )
    num_nodes: Int = key(
        1,
        "Machines that train together.",
        resource="spec.resources.nodes",
        decides=False,
        ge=1,
        le=1024,
    )
    num_processes: Int = key(
        1, "Processes on each node where num_gpus is 0.", decides=False, ge=1, le=64
    )
    gpu_ids: list[Device] = key(
        lambda: [0],
        "Device numbers.",
        dead=VISIBLE_DEVICES,
        resource="spec.resources.gpus",
        size=64,
    )
    conf_threshold: Float = key(
        0.0, "Score threshold.", dead="TAO never reads it while training", ge=0, le=1
    )
    is_dry_run: Bool = key(False, "TAO's one-batch trial run. Only False is built.", decides=False)
