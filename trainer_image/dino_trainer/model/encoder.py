"""The deformable encoder and the geometry of its tokens.

Shapes: b batch, v levels, s tokens of alv levels, d hidden size.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dino_trainer.model.attention import DeformableAttention, Memory, References
from dino_trainer.model.config import DetectorConfig
from dino_trainer.model.layers import FeedForward, LayerNorm, make_dropout, run_layer
from dino_trainer.model.position import image_positions
from dino_trainer.model.sampling_grid import LevelShapes

# Width and height of a proposal on the finest level, relative to the image; doubles per level.
PROPOSAL_SIZE = 0.05


@dataclass(frozen=True)
class Tokens:
    """The places of a batch's tokens. Depends on sizes and padding alone, not on weights.

    b is 1 where no image is padded: they are all alike.
    """

    shapes: LevelShapes
    sizes: Tensor  # float32[v, 2], (width, height) of each level
    padding: Tensor | None  # bool[b, s, 1], True on padding
    valid_ratios: Tensor  # float32[b, v, 2], unpadded part of width and height
    positions: Tensor  # float32[b, s, d], sine encoding
    centres: Tensor  # float32[b, s, 2], x and y relative to the unpadded image


def locate_tokens(
    shapes: LevelShapes, mask: Tensor | None, cfg: DetectorConfig, device: torch.device
) -> Tokens:
    """Compute the geometry of alv levels.

    ``mask`` bool[b, height, width] is True on padded pixels; None says that there are none.
    """
    masks = [_level_mask(mask, shape, device) for shape in shapes]
    positions = [
        image_positions(m, cfg.hidden_dim, cfg.pe_temperatureH, cfg.pe_temperatureW) for m in masks
    ]
    cells = torch.stack([_valid_cells(m) for m in masks], dim=1)  # [b, v, 2]
    sizes = torch.stack([_size(shape, device) for shape in shapes])
    centres = [
        _cell_centres(shape, device) / cells[:, None, level] for level, shape in enumerate(shapes)
    ]
    padding = None if mask is None else torch.cat([m.flatten(1) for m in masks], dim=1)[..., None]
    return Tokens(
        shapes=shapes,
        sizes=sizes,
        padding=padding,
        valid_ratios=cells / sizes,
        positions=torch.cat(positions, dim=1),
        centres=torch.cat(centres, dim=1),
    )


def _level_mask(mask: Tensor | None, shape: tuple[int, int], device: torch.device) -> Tensor:
    """Return bool[b, h, w]: the mask at this level, nearest neighbour as published."""
    if mask is None:
        return torch.zeros((1, *shape), dtype=torch.bool, device=device)
    return F.interpolate(mask[None].float(), size=shape)[0].bool()


def _valid_cells(mask: Tensor) -> Tensor:
    """Return float32[b, 2]: unpadded columns and rows of a level's mask bool[b, h, w]."""
    return torch.stack(((~mask[:, 0, :]).sum(1), (~mask[:, :, 0]).sum(1)), dim=-1).float()


def _size(shape: tuple[int, int], device: torch.device) -> Tensor:
    """Return float32[2], (width, height), filled on the device: no copy from the host."""
    return torch.stack([torch.full((), float(n), device=device) for n in (shape[1], shape[0])])


def _cell_centres(shape: tuple[int, int], device: torch.device) -> Tensor:
    """Return float32[h * w, 2]: x and y of the cells' centres, counted in cells."""
    y, x = (torch.arange(n, dtype=torch.float32, device=device) + 0.5 for n in shape)
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).flatten(0, 1)


def propose_boxes(tokens: Tokens) -> tuple[Tensor, Tensor]:
    """Return one box per token and which tokens may become a query.

    Boxes are float32[b, s, 4] logits of cxcywh, +inf where not usable; usable is bool[b, s, 1]:
    not padding, and centre and size inside (0.01, 0.99).
    """
    sizes = [
        torch.full((h * w,), PROPOSAL_SIZE * 2.0**level, device=tokens.centres.device)
        for level, (h, w) in enumerate(tokens.shapes)
    ]
    wh = torch.cat(sizes)[None, :, None].expand(tokens.centres.shape)
    boxes = torch.cat((tokens.centres, wh), dim=-1)
    usable = ((boxes > 0.01) & (boxes < 0.99)).all(-1, keepdim=True)
    if tokens.padding is not None:
        usable = usable & ~tokens.padding
    logits = torch.log(boxes / (1 - boxes))
    return logits.masked_fill(~usable, float("inf")), usable


class EncoderLayer(nn.Module):
    """Deformable self-attention of all tokens, then a feed-forward block; both post-norm."""

    def __init__(self, cfg: DetectorConfig) -> None:
        super().__init__()
        d = cfg.hidden_dim
        self.attention = DeformableAttention(
            d, cfg.num_feature_levels, cfg.nheads, cfg.enc_n_points
        )
        self.norm1 = LayerNorm(d)
        self.feed_forward = FeedForward(
            d, cfg.dim_feedforward, cfg.dropout_ratio, cfg.transformer_activation
        )
        self.norm2 = LayerNorm(d)
        self.dropout = make_dropout(cfg.dropout_ratio)

    def forward(
        self,
        x: Tensor,
        positions: Tensor,
        references: References,
        tokens: Tokens,
        keep: bool = False,
    ) -> Tensor:
        """Return float[b, s, d] from ``x`` and ``positions`` float[b, s, d].

        ``keep``: see ``layers.run_layer``.
        """
        memory = Memory(x, tokens.shapes, tokens.padding)
        attended = self.attention(x, positions, references, memory)
        return self.norm2(self.feed_forward.add_to(self.norm1, x + self.dropout(attended), keep))


class Encoder(nn.Module):
    """All encoder layers. With ``pre_norm`` one more norm at the end, as published."""

    def __init__(self, cfg: DetectorConfig) -> None:
        super().__init__()
        self.points = cfg.enc_n_points
        self.layers = nn.ModuleList(EncoderLayer(cfg) for _ in range(cfg.enc_layers))
        self.norm = LayerNorm(cfg.hidden_dim) if cfg.pre_norm else nn.Identity()
        self.recompute = False  # see ``layers.run_layer``

    def forward(self, x: Tensor, positions: Tensor, tokens: Tokens) -> Tensor:
        """Return the memory float[b, s, d].

        Args:
            x: float[b, s, d], projected features of alv levels.
            positions: float[b, s, d], sine encoding plus the level's embedding.
            tokens: where the tokens lie.
        """
        # A point relative to the unpadded image, on each level's padded area: [b, s, v, 2]
        points = tokens.centres[:, :, None] * tokens.valid_ratios[:, None]
        references = References.around_points(points, tokens.sizes, self.points)
        for layer in self.layers:
            x = run_layer(layer, self.recompute, x, positions, references, tokens)
        return self.norm(x)
