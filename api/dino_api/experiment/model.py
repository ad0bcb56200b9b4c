"""`model.*`: the DINO detector. Keys and defaults are TAO's.

`rules/experiment/model.py` says what must agree.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from dino_api.base import SHORT, URI, Bool, Float, Int, IsWhole, Section, key
from dino_api.names import Action

LevelIndex = Annotated[int, Field(ge=0, le=4), IsWhole]
LossName = Literal["labels", "boxes"]
Name = Annotated[str, Field(max_length=SHORT)]

STRUCTURE = (
    "backbone",
    "num_queries",
    "num_feature_levels",
    "return_interm_indices",
    "hidden_dim",
    "nheads",
    "enc_layers",
    "dec_layers",
    "dim_feedforward",
    "enc_n_points",
    "dec_n_points",
    "pe_temperatureH",
    "pe_temperatureW",
    "embed_init_tgt",
)
"""Keys of `model` that decide which weights there are, or what they mean. Others may change."""
DETECTION = (*STRUCTURE, "num_select")
"""Keys of `model` by which a trained one detects; the others are about training it."""
IMAGENET = "imagenet"
"""In place of a path: the weights that are shipped with the trainer."""
SHIPPED_BACKBONE = "timm/tf_efficientnet_lite0"
"""The backbone that they are of."""

_ONLY_DEFORMABLE = "TAO reads it for Deformable DETR only, never for DINO"


class ModelConfig(Section):
    """Architecture, matching and loss of the detector."""

    backbone: str = key(
        "resnet_50",
        "The image encoder: resnet_18, _34, _50, _101, _152; TAO's swin_*, gc_vit_*, "
        "efficientvit_*, vit_large_*; or timm/<name>. docs/backbones.md lists them. Smaller is "
        "faster; larger finds more.",
        size=128,
    )
    pretrained_backbone_path: str = key(
        "",
        "Weights of the backbone alone: a path, an s3:// URI, or the word imagenet for those "
        "shipped with the trainer (timm/tf_efficientnet_lite0 only). Empty starts from random "
        "numbers, which needs many times the data and the epochs.",
        size=URI,
    )
    train_backbone: Bool = key(
        True,
        "False freezes the backbone: faster, less memory, less accurate on images unlike those "
        "of its pretraining.",
    )
    num_queries: Int = key(
        300,
        "Object candidates per image. Should be well above the most objects of one image (900 "
        "for COCO in the published model); time and memory of the decoder grow with it.",
        ge=1,
        le=10000,
    )
    num_select: Int = key(
        300,
        "Detections kept per image, best scores first. Must be less than num_queries x number of "
        "classes. Fewer than 100 lowers the measured mAP.",
        ge=1,
        le=1000,
    )
    num_feature_levels: Int = key(
        4,
        "Feature maps that the encoder reads: the length of return_interm_indices. 5 finds small "
        "objects better, in about three times the memory of 4.",
        ge=1,
        le=5,
    )
    return_interm_indices: list[LevelIndex] = key(
        lambda: [1, 2, 3, 4],
        "Which feature maps, rising: 0 to 3 are the backbone's strides 4, 8, 16 and 32; 4 is one "
        "more of stride 64. [0, 1, 2, 3, 4] is the published 5-scale model, [2, 3, 4] a fast one.",
        min_length=1,
        size=5,
    )
    hidden_dim: Int = key(
        256,
        "Width of the transformer: a multiple of 32 and of nheads. Time and memory grow with it.",
        ge=32,
        le=2048,
    )
    nheads: Int = key(8, "Attention heads; divides hidden_dim.", ge=1, le=64)
    enc_layers: Int = key(6, "Encoder layers. 2 or 3 train much faster on small data.", ge=1, le=24)
    dec_layers: Int = key(
        6, "Decoder layers, each refining the boxes of the one before.", ge=1, le=24
    )
    dim_feedforward: Int = key(
        2048, "Width of the feed-forward part of each transformer layer.", ge=1, le=16384
    )
    enc_n_points: Int = key(
        4, "Places that each encoder head looks at per feature level.", ge=1, le=64
    )
    dec_n_points: Int = key(
        4, "Places that each decoder head looks at per feature level.", ge=1, le=64
    )
    dropout_ratio: Float = key(
        0.0, "Share of activations dropped in the transformer while training.", ge=0, lt=1
    )
    pe_temperatureH: Int = key(
        20, "Temperature of the sine position encoding, vertical.", ge=1, le=1000000
    )
    pe_temperatureW: Int = key(
        20, "Temperature of the sine position encoding, horizontal.", ge=1, le=1000000
    )
    embed_init_tgt: Bool = key(
        True,
        "True learns the content of the queries; False takes the encoder's chosen features.",
    )
    use_dn: Bool = key(
        True,
        "Contrastive denoising: noised true boxes as extra queries while training, which then "
        "needs fewer epochs.",
    )
    dn_number: Int = key(
        100,
        "Denoising pairs shared among the boxes of an image. More costs training time and memory.",
        ge=1,
        le=10000,
    )
    dn_label_noise_ratio: Float = key(
        0.5,
        "Half of this share of the denoising labels is replaced by a random class.",
        ge=0,
        le=2,
    )
    dn_box_noise_scale: Float = key(
        1.0,
        "How far denoising boxes are moved, as a share of half their size. Published: 0.4.",
        ge=0,
        le=10,
    )
    aux_loss: Bool = key(True, "True trains every decoder layer, False only the last.")
    cls_loss_coef: Float = key(
        2.0,
        "Weight of the classification loss and, as in TAO, its cost in matching. Published: loss "
        "1.0, cost 2.0.",
        ge=0,
        le=1000,
    )
    bbox_loss_coef: Float = key(
        5.0, "Weight of the L1 box loss, and its cost in matching.", ge=0, le=1000
    )
    giou_loss_coef: Float = key(
        2.0, "Weight of the GIoU box loss, and its cost in matching.", ge=0, le=1000
    )
    interm_loss_coef: Float = key(
        1.0, "Weight of the losses on the encoder's own proposals.", ge=0, le=1000
    )
    no_interm_box_loss: Bool = key(
        False, "True trains only the labels, not the boxes, of the encoder's proposals."
    )
    focal_alpha: Float = key(
        0.25, "Weight of positives in the focal loss, 0 to 1; negatives weigh 1 - it.", gt=0, lt=1
    )
    loss_types: list[LossName] = key(
        lambda: ["labels", "boxes"],
        "Losses that are computed: labels (classification), boxes (L1 and GIoU).",
        min_length=1,
        size=2,
    )
    decoder_sa_type: Literal["sa", "ca_label", "ca_content"] = key(
        "sa", "Self-attention of the decoder. Only sa is built."
    )
    two_stage_type: Literal["standard", "no"] = key(
        "standard", "Where queries come from. Only standard (the encoder's proposals) is built."
    )
    pre_norm: Bool = key(False, "Layer norm before attention. Only False is built.")
    backbone_names: list[Name] = key(
        lambda: ["backbone.0"], "TAO's parameter names.", dead=_ONLY_DEFORMABLE, size=64
    )
    linear_proj_names: list[Name] = key(
        lambda: ["reference_points", "sampling_offsets"],
        "TAO's parameter names.",
        dead=_ONLY_DEFORMABLE,
        size=64,
    )
    clip_max_norm: Float = key(
        0.1,
        "TAO's other gradient clip.",
        dead="clipping is set by train.clip_grad_norm",
        ge=0,
        le=1000000,
    )
    dilation: Bool = key(
        False, "Dilated last stage.", dead="TAO hands it to the backbone, which ignores it"
    )
    distillation_loss_coef: Float = key(
        1.0,
        "Weight of all that is distilled, beside the losses on the annotations.",
        only=(Action.DISTILL,),
        ge=0,
        le=1000,
    )
    fix_refpoints_hw: Int = key(
        -1,
        "Fixed size of reference boxes.",
        dead="TAO reads it only without two-stage queries, which is not built",
        ge=-2,
        le=1000000,
    )
