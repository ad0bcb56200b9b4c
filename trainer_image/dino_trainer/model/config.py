"""What decides the shape and the losses of a DINO model.

The keys and their defaults belong to the experiment spec (``dino_api``); this module only reads
them. Keys that the published code has beyond the spec stand last, with the published defaults.
"""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dino_api.experiment.model import ModelConfig as ModelSection

LEVEL_OF_C5 = 3
LOSS_TYPES = frozenset({"labels", "boxes"})


@dataclass(frozen=True, kw_only=True)
class DetectorConfig:
    """The ``model`` section of an experiment, as plain values.

    ``return_interm_indices``: 0..3 stand for the backbone's C2..C5 (strides 4..32); 4 and above
    for extra levels, each halving the one before it, the first one made from C5 itself.
    """

    backbone: str
    return_interm_indices: tuple[int, ...]
    num_feature_levels: int
    train_backbone: bool
    hidden_dim: int
    nheads: int
    enc_layers: int
    dec_layers: int
    dim_feedforward: int
    dropout_ratio: float
    enc_n_points: int
    dec_n_points: int
    num_queries: int
    num_select: int
    pe_temperatureH: float
    pe_temperatureW: float
    pre_norm: bool
    two_stage_type: str
    embed_init_tgt: bool
    decoder_sa_type: str
    use_dn: bool
    dn_number: int
    dn_box_noise_scale: float
    dn_label_noise_ratio: float
    aux_loss: bool
    focal_alpha: float
    cls_loss_coef: float
    bbox_loss_coef: float
    giou_loss_coef: float
    interm_loss_coef: float
    no_interm_box_loss: bool
    loss_types: tuple[str, ...]

    # None: the matcher weighs a term as the loss does, as TAO's single key says.
    set_cost_class: float | None = None
    set_cost_bbox: float | None = None
    set_cost_giou: float | None = None
    # None: as many rows as classes (one more row is always there, as published).
    dn_labelbook_size: int | None = None
    # Denoising queries per image at most; None: no limit, as published. See denoising.py.
    dn_query_limit: int | None = 1000
    dilation: bool = False
    transformer_activation: str = "relu"
    dec_pred_class_embed_share: bool = True
    dec_pred_bbox_embed_share: bool = True
    two_stage_class_embed_share: bool = False
    two_stage_bbox_embed_share: bool = False

    @classmethod
    def from_spec(cls, section: ModelSection | DetectorConfig) -> DetectorConfig:
        """Read the keys of an experiment's ``model`` section; return a DetectorConfig unchanged."""
        if isinstance(section, cls):
            return section
        needed = [field.name for field in fields(cls) if field.default is MISSING]
        values: dict[str, Any] = {name: getattr(section, name) for name in needed}
        for name in ("return_interm_indices", "loss_types"):
            values[name] = tuple(values[name])
        return cls(**values)

    def __post_init__(self) -> None:
        for problem in self._problems():
            raise ValueError(problem)

    @property
    def stages(self) -> tuple[int, ...]:
        """Backbone stages in use: a part of 0, 1, 2, 3 for C2..C5."""
        return tuple(i for i in self.return_interm_indices if i <= LEVEL_OF_C5)

    @property
    def costs(self) -> tuple[float, float, float]:
        """Matching costs of class, box distance and generalised IoU."""
        own = (self.set_cost_class, self.set_cost_bbox, self.set_cost_giou)
        losses = (self.cls_loss_coef, self.bbox_loss_coef, self.giou_loss_coef)
        return tuple(b if a is None else a for a, b in zip(own, losses, strict=True))  # type: ignore[return-value]

    def _problems(self) -> list[str]:
        return [
            *self._level_problems(),
            *self._size_problems(),
            *self._choice_problems(),
            *self._sharing_problems(),
        ]

    def _level_problems(self) -> list[str]:
        indices, levels = self.return_interm_indices, self.num_feature_levels
        if len(indices) != levels:
            return [
                f"model.return_interm_indices has {len(indices)} entries {list(indices)}, but "
                f"model.num_feature_levels is {levels}. Make the two agree."
            ]
        extra = tuple(range(LEVEL_OF_C5 + 1, LEVEL_OF_C5 + 1 + levels - len(self.stages)))
        rising = all(a < b for a, b in pairwise(indices))
        if (
            not self.stages
            or min(indices) < 0
            or not rising
            or indices[len(self.stages) :] != extra
        ):
            return [
                f"model.return_interm_indices is {list(indices)}. Name backbone stages 0..3 in "
                "rising order, then 4, 5, … for extra levels, for example [1, 2, 3, 4]."
            ]
        return []

    def _size_problems(self) -> list[str]:
        problems = []
        if self.hidden_dim % 32:
            problems.append(
                f"model.hidden_dim is {self.hidden_dim}. Make it a multiple of 32 "
                "(the normalisation of the feature levels has 32 groups)."
            )
        if self.hidden_dim % self.nheads:
            problems.append(
                f"model.hidden_dim is {self.hidden_dim} and model.nheads is {self.nheads}. "
                "Make hidden_dim a multiple of nheads."
            )
        if self.dec_layers < 1:
            problems.append(f"model.dec_layers is {self.dec_layers}. Use 1 or more.")
        if self.use_dn and self.dn_number < 1:
            problems.append(
                f"model.dn_number is {self.dn_number}. Use 1 or more, or model.use_dn false."
            )
        return problems

    def _choice_problems(self) -> list[str]:
        choices: dict[str, tuple[str, ...]] = {
            "two_stage_type": ("standard", "no"),
            "decoder_sa_type": ("sa", "ca_content"),
            "transformer_activation": ("relu", "gelu"),
        }
        problems = [
            f"model.{key} is {getattr(self, key)!r}. Supported: {', '.join(allowed)}."
            for key, allowed in choices.items()
            if getattr(self, key) not in allowed
        ]
        unknown = sorted(set(self.loss_types) - LOSS_TYPES)
        if unknown:
            problems.append(f"model.loss_types has {unknown}. Supported: labels, boxes.")
        return problems

    def _sharing_problems(self) -> list[str]:
        two_stage = self.two_stage_class_embed_share or self.two_stage_bbox_embed_share
        decoder = self.dec_pred_class_embed_share and self.dec_pred_bbox_embed_share
        if two_stage and not decoder:
            return [
                "two_stage_class_embed_share and two_stage_bbox_embed_share need "
                "dec_pred_class_embed_share and dec_pred_bbox_embed_share."
            ]
        return []
