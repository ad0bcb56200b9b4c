"""Rules about `model.*`."""

from __future__ import annotations

import re
from itertools import pairwise

from dino_api.experiment.model import IMAGENET, SHIPPED_BACKBONE
from dino_api.experiment.spec import ExperimentSpec
from dino_api.rules.experiment.rule import (
    NAME_S3,
    PATH_OR_S3,
    Rule,
    breaks,
    fixed,
    names_store,
    where_set,
)

# docs/backbones.md says what each name is. FAN and the large GC-ViTs are in neither torchvision
# nor timm; they have a rule of their own, which names the nearest network that can be built.
BACKBONE = (
    r"^(resnet_(18|34|50|101|152)|swin_(tiny_224_1k|(base|large)_(224|384)_22k)|"
    r"efficientvit_b[0-3]|gc_vit_(xxtiny|xtiny|tiny|small|base)|vit_large_(nv)?dinov2|"
    r"timm/[A-Za-z0-9_.]+)$"
)
NOT_BUILT = r"^(fan_(tiny|small|base|large)|gc_vit_large(_384)?)$"

RANDOM_START = "backbone-random"
"""The rule's id: a search asks it of its template, and a parent's model answers it."""


def _backbone(spec: ExperimentSpec) -> object:
    name = spec.model.backbone
    return breaks(re.match(f"{BACKBONE}|{NOT_BUILT}", name) is None, name)


def _built(spec: ExperimentSpec) -> object:
    name = spec.model.backbone
    return breaks(re.match(NOT_BUILT, name) is not None, name)


def _imagenet(spec: ExperimentSpec) -> object:
    model = spec.model
    wrong = model.pretrained_backbone_path == IMAGENET and model.backbone != SHIPPED_BACKBONE
    return breaks(wrong, model.backbone)


def random_start(spec: ExperimentSpec) -> bool:
    """Whether a training of it begins with a backbone of random numbers."""
    train = spec.train
    named = spec.model.pretrained_backbone_path or train.pretrained_model_path
    return not (named or train.resume_training_checkpoint_path)


def _random(spec: ExperimentSpec) -> object:
    return breaks(random_start(spec), None)


def _levels(spec: ExperimentSpec) -> object:
    indices = spec.model.return_interm_indices
    return breaks(len(indices) != spec.model.num_feature_levels, indices)


def _rising(spec: ExperimentSpec) -> object:
    indices = spec.model.return_interm_indices
    return breaks(any(a >= b for a, b in pairwise(indices)) or indices[:1] == [4], indices)


def _heads(spec: ExperimentSpec) -> object:
    model = spec.model
    return breaks(model.hidden_dim % model.nheads != 0, model.hidden_dim)


def _groups(spec: ExperimentSpec) -> object:
    return breaks(spec.model.hidden_dim % 32 != 0, spec.model.hidden_dim)


def _select(spec: ExperimentSpec) -> object:
    model, classes = spec.model, spec.dataset.num_classes
    wrong = classes is not None and model.num_select >= model.num_queries * classes
    return breaks(wrong, model.num_select)


def _denoising(spec: ExperimentSpec) -> object:
    model = spec.model
    return breaks(model.use_dn and model.dn_number < 50, model.dn_number)


def _losses(spec: ExperimentSpec) -> object:
    kinds = spec.model.loss_types
    return breaks(len(set(kinds)) != len(kinds), kinds)


MODEL_RULES = (
    Rule(
        "backbone-known",
        "model.backbone",
        "must be a ResNet, Swin, EfficientViT, GC-ViT or ViT-L name of TAO, or timm/<name>",
        "For example resnet_50, swin_tiny_224_1k, vit_large_dinov2; docs/backbones.md has all.",
        _backbone,
        cel=where_set("backbone", f"self.backbone.matches('{BACKBONE}|{NOT_BUILT}')"),
    ),
    Rule(
        "backbone-built",
        "model.backbone",
        "must be a network of torchvision or timm; fan_* and gc_vit_large* are not",
        "Nearest: gc_vit_xxtiny for fan_tiny, swin_tiny_224_1k for fan_small, gc_vit_small for "
        "fan_base, swin_base_224_22k for fan_large, gc_vit_base for gc_vit_large, "
        "swin_large_384_22k for gc_vit_large_384.",
        _built,
        cel=where_set("backbone", f"!self.backbone.matches('{NOT_BUILT}')"),
    ),
    Rule(
        "backbone-imagenet",
        "model.pretrained_backbone_path",
        f"may be {IMAGENET} only for the backbone {SHIPPED_BACKBONE}, whose weights are shipped",
        "Upload the backbone's weights and give their s3:// URI, or leave it out.",
        _imagenet,
        cel=f"{{pretrained_backbone_path}} != '{IMAGENET}' || {{backbone}} == '{SHIPPED_BACKBONE}'",
    ),
    Rule(
        RANDOM_START,
        "model.pretrained_backbone_path",
        "is empty, so the backbone starts from random numbers, which needs many times the data and "
        "the epochs",
        "Name a file of weights: `dino weights fetch` gets one, and docs/backbones.md says how it "
        "comes to S3.",
        _random,
        severity="warning",
    ),
    Rule(
        "backbone-uri",
        "model.pretrained_backbone_path",
        PATH_OR_S3,
        NAME_S3,
        names_store("model.pretrained_backbone_path"),
        cel=where_set(
            "pretrained_backbone_path",
            "!self.pretrained_backbone_path.contains('://') || "
            "self.pretrained_backbone_path.startsWith('s3://')",
        ),
    ),
    Rule(
        "levels-agree",
        "model.return_interm_indices",
        "must have as many entries as num_feature_levels",
        "Change one of the two; the default is [1, 2, 3, 4] with num_feature_levels 4.",
        _levels,
        cel="size({return_interm_indices}) == {num_feature_levels}",
    ),
    Rule(
        "levels-rising",
        "model.return_interm_indices",
        "must rise without repeats and begin with a level of the backbone (0 to 3)",
        "Write them like [1, 2, 3, 4].",
        _rising,
        cel=where_set(
            "return_interm_indices",
            "(self.return_interm_indices[0] < 4 && self.return_interm_indices.all(a, "
            "self.return_interm_indices.exists_one(b, b == a)) && "
            "self.return_interm_indices.isSorted())",
        ),
    ),
    Rule(
        "heads-divide",
        "model.hidden_dim",
        "must be a multiple of nheads",
        "256 with 8 heads is usual.",
        _heads,
        cel="{hidden_dim} % {nheads} == 0",
    ),
    Rule(
        "groups-divide",
        "model.hidden_dim",
        "must be a multiple of 32, the groups that feature levels are normalised in",
        "256 is usual.",
        _groups,
        cel="{hidden_dim} % 32 == 0",
    ),
    Rule(
        "select-below-candidates",
        "model.num_select",
        "must be less than num_queries x number of classes",
        "Lower num_select, or raise num_queries.",
        _select,
        cel="!has(self.numClasses) || "
        "{experiment.model.num_select} < {experiment.model.num_queries} * self.numClasses",
        scope="spec",
    ),
    Rule(
        "losses-once",
        "model.loss_types",
        "must not repeat a name",
        "Write [labels, boxes].",
        _losses,
        cel=where_set(
            "loss_types", "self.loss_types.all(a, self.loss_types.exists_one(b, b == a))"
        ),
    ),
    Rule(
        "denoising-groups",
        "model.dn_number",
        "should be 50 or more: below, as in the published code, it makes 2 x dn_number groups of "
        "all boxes of an image instead of dn_number pairs",
        "Use 50 or more; use_dn False trains without denoising.",
        _denoising,
        severity="warning",
    ),
    fixed("decoder-attention", "model.decoder_sa_type", "sa", "Leave it out."),
    fixed("two-stage", "model.two_stage_type", "standard", "Leave it out."),
    fixed("pre-norm", "model.pre_norm", False, "Leave it out."),
)
