"""The decoder: boxes refined layer by layer, predictions that look forward twice.

Shapes: b batch, n queries (denoising first, then matching), s tokens, d hidden size,
k decoder layers, c classes, v levels.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from dino_trainer.model.attention import (
    DeformableAttention,
    Memory,
    References,
    SelfAttention,
    Sight,
)
from dino_trainer.model.boxes import inverse_sigmoid
from dino_trainer.model.config import DetectorConfig
from dino_trainer.model.encoder import Tokens
from dino_trainer.model.layers import (
    FeedForward,
    LayerNorm,
    Mlp,
    make_dropout,
    run_layer,
)
from dino_trainer.model.position import query_positions
from dino_trainer.model.products import full, lowered_type


class Queries(NamedTuple):
    """The queries as a layer takes them.

    content, positions: float[b, n, d].
    boxes: float[b, n, v, 4], cxcywh on each level's padded area.
    """

    content: Tensor
    positions: Tensor
    boxes: Tensor


class DecoderLayer(nn.Module):
    """Self-attention (norm2), attention to the image (norm1), feed-forward (norm3)."""

    def __init__(self, cfg: DetectorConfig) -> None:
        super().__init__()
        d, dropout = cfg.hidden_dim, cfg.dropout_ratio
        points = (d, cfg.num_feature_levels, cfg.nheads, cfg.dec_n_points)
        self.looks_at_image = cfg.decoder_sa_type == "ca_content"
        self.self_attention = (
            DeformableAttention(*points)
            if self.looks_at_image
            else SelfAttention(d, cfg.nheads, dropout)
        )
        self.cross_attention = DeformableAttention(*points)
        self.feed_forward = FeedForward(d, cfg.dim_feedforward, dropout, cfg.transformer_activation)
        self.norm1, self.norm2, self.norm3 = (LayerNorm(d) for _ in range(3))
        self.dropout = make_dropout(dropout)

    def forward(
        self,
        queries: Queries,
        memory: Tensor,
        tokens: Tokens,
        sight: Sight | None,
        keep: bool = False,
    ) -> Tensor:
        """Return the queries' next content, float[b, n, d].

        Args:
            queries: as the layer before left them.
            memory: float[b, s, d].
            tokens: where the memory's tokens lie.
            sight: which query may look at which.
            keep: see ``layers.run_layer``.
        """
        x, positions, boxes = queries
        references = References.around_boxes(boxes, self.cross_attention.points)
        image = Memory(memory, tokens.shapes, tokens.padding)
        if self.looks_at_image:
            attended = self.self_attention(x, positions, references, image)
        else:
            attended = self.self_attention(x, positions, sight)
        x = self.norm2(x + self.dropout(attended))
        attended = self.cross_attention(x, positions, references, image)
        return self.norm3(self.feed_forward.add_to(self.norm1, x + self.dropout(attended), keep))


class Decoder(nn.Module):
    """All decoder layers with the heads that read them.

    ``class_head`` and ``box_head`` hold one module if all layers share it, else one per layer.
    """

    def __init__(self, cfg: DetectorConfig, num_classes: int) -> None:
        super().__init__()
        d, k = cfg.hidden_dim, cfg.dec_layers
        self.layers = nn.ModuleList(DecoderLayer(cfg) for _ in range(k))
        self.norm = LayerNorm(d)
        self.ref_point_head = Mlp(2 * d, d, d, 2)
        classes, boxes = (
            1 if shared else k
            for shared in (cfg.dec_pred_class_embed_share, cfg.dec_pred_bbox_embed_share)
        )
        self.class_head = nn.ModuleList(nn.Linear(d, num_classes) for _ in range(classes))
        self.box_head = nn.ModuleList(Mlp(d, d, 4, 3) for _ in range(boxes))
        self.recompute = False  # see ``layers.run_layer``

    def forward(
        self, x: Tensor, boxes: Tensor, memory: Tensor, tokens: Tokens, sight: Sight | None
    ) -> tuple[Tensor, Tensor]:
        """Return logits float[k, b, n, c] and boxes float[k, b, n, 4] (cxcywh, 0..1).

        Of an exported model the last layer's only, as k = 1.

        Args:
            x: float[b, n, d], content of the queries.
            boxes: float[b, n, 4], their first boxes, cxcywh in 0..1.
            memory: float[b, s, d].
            tokens: where the memory's tokens lie.
            sight: which query may look at which; None: all at all.

        A layer starts from detached boxes, while its prediction adds to the same boxes with
        their gradient: each box head is thus trained by two layers ("look forward twice").
        Boxes for the next layer come from the layer's output as it is, predictions from its
        normalised output.
        """
        sight = None if sight is None else sight.for_scores(lowered_type(x))
        states, references = [], []
        stored = current = boxes
        ratios = torch.cat((tokens.valid_ratios, tokens.valid_ratios), -1)[:, None]  # [b, 1, v, 4]
        for index, layer in enumerate(self.layers):
            scaled = current[:, :, None] * ratios  # [b, n, v, 4]
            positions = self.ref_point_head(query_positions(scaled[:, :, 0], x.shape[-1]))
            queries = Queries(x, positions, scaled)
            x = run_layer(layer, self.recompute, queries, memory, tokens, sight)
            states.append(self.norm(x))
            references.append(stored)
            if index + 1 < len(self.layers):
                moved = full(self._head(self.box_head, index)(x))
                stored = (moved + inverse_sigmoid(current)).sigmoid()
                current = stored.detach()
        if torch.compiler.is_exporting():  # nobody asks what the layers before thought
            states, references = states[-1:], references[-1:]
        return self._predict(torch.stack(states), torch.stack(references))

    def _predict(self, states: Tensor, references: Tensor) -> tuple[Tensor, Tensor]:
        """Read normalised states float[k, b, n, d], adding boxes to references [k, b, n, 4]."""
        logits = full(self._read(self.class_head, states))
        moved = full(self._read(self.box_head, states))
        return logits, (moved + inverse_sigmoid(references)).sigmoid()

    @staticmethod
    def _head(heads: nn.ModuleList, index: int) -> nn.Module:
        return heads[index if len(heads) > 1 else 0]

    @staticmethod
    def _read(heads: nn.ModuleList, states: Tensor) -> Tensor:
        if len(heads) == 1:
            return heads[0](states)
        last = list(heads)[-len(states) :]
        return torch.stack([head(state) for head, state in zip(last, states, strict=True)])
