"""The DINO detector.

Shapes: b batch, s tokens of all levels, d hidden size, q matching queries, r denoising queries,
k decoder layers, c classes.

Zhang et al. 2022, DINO: DETR with Improved DeNoising Anchor Boxes. The numbers are those of the
published code; where this one computes in another way, a comment says why the result is equal.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from dino_trainer.model.attention import DeformableAttention
from dino_trainer.model.backbone import Backbone, build_backbone
from dino_trainer.model.config import LEVEL_OF_C5, DetectorConfig
from dino_trainer.model.decoder import Decoder
from dino_trainer.model.denoising import Denoising, allow_attention, make_denoising
from dino_trainer.model.encoder import Encoder, Tokens, locate_tokens, propose_boxes
from dino_trainer.model.layers import Conv2d, GroupNorm, LayerNorm, Mlp, full_precision
from dino_trainer.targets import PaddedTargets, Targets
from dino_trainer.token_count import too_few

if TYPE_CHECKING:
    from dino_api.experiment.model import ModelConfig as ModelSection

# Every class starts at a probability of 0.01, so that the first losses are not all background.
PRIOR_PROBABILITY = 0.01
# Class logits of all tokens that are held at once, to choose queries by: 128 MB. Of COCO's classes
# those of a batch of 16 images of 800 x 1333.
LOGITS_AT_ONCE = 2**25


@dataclass(frozen=True)
class Predictions:
    """Class logits float[..., c] and boxes float[..., 4] (cxcywh, 0..1) of the same queries."""

    logits: Tensor
    boxes: Tensor


@dataclass(frozen=True)
class DenoisingOutputs:
    """Predictions [k, b, r, …] of the denoising queries and the boxes they should restore."""

    layers: Predictions
    targets: PaddedTargets
    groups: int


@dataclass(frozen=True)
class Outputs:
    """What a forward pass returns. ``logits`` and ``boxes`` are the last layer's."""

    layers: Predictions  # [k, b, q, …], matching queries after every decoder layer
    proposals: Predictions | None  # [b, q, …], the encoder's boxes behind the queries
    denoising: DenoisingOutputs | None  # in training, if the batch has a box

    @property
    def logits(self) -> Tensor:
        """Logits, float[b, q, c]."""
        return self.layers.logits[-1]

    @property
    def boxes(self) -> Tensor:
        """Boxes, float[b, q, 4], cxcywh relative to the unpadded image."""
        return self.layers.boxes[-1]


class ProposalHead(nn.Module):
    """Chooses the queries' first boxes among the encoder's tokens (``two_stage_type`` standard).

    ``class_head`` and ``box_head`` are None where the decoder's heads are shared.
    """

    def __init__(self, cfg: DetectorConfig, num_classes: int) -> None:
        super().__init__()
        d = cfg.hidden_dim
        self.queries, self.classes = cfg.num_queries, num_classes
        self.project = nn.Linear(d, d)
        self.norm = LayerNorm(d)
        self.class_head = None if cfg.two_stage_class_embed_share else nn.Linear(d, num_classes)
        self.box_head = None if cfg.two_stage_bbox_embed_share else Mlp(d, d, 4, 3)

    def forward(self, memory: Tensor, tokens: Tokens, decoder: Decoder) -> tuple[Tensor, ...]:
        """Return content float[b, q, d], box logits float[b, q, 4] and class logits [b, q, c].

        All tokens are scored without gradient; the chosen ones are then computed again with it.
        That gives the gradient of the whole, since the others get none.
        """
        class_head = self.class_head or decoder.class_head[0]
        box_head = self.box_head or decoder.box_head[0]
        boxes, usable = propose_boxes(tokens)
        with torch.no_grad():
            chosen = self._chosen(class_head, self._embed(memory, usable))[..., None]  # [b, q, 1]
        b, _, d = memory.shape
        memory = memory.gather(1, chosen.expand(-1, -1, d))
        content = self._embed(memory, usable.expand(b, -1, -1).gather(1, chosen))
        boxes = boxes.expand(b, -1, -1).gather(1, chosen.expand(-1, -1, 4))
        return content, box_head(content) + boxes, class_head(content)

    def choose(self, logits: Tensor) -> Tensor:
        """Return int64[b, q], the tokens whose best class logit of [b, s, c] is highest."""
        return logits.amax(-1).topk(self.queries, dim=1).indices

    def _chosen(self, head: nn.Module, embedded: Tensor) -> Tensor:
        """Return int64[b, q], the tokens of float[b, s, d] that ``head`` says most of.

        Of thousands of classes not all logits are held at once: of 10,000 those of two large images
        would take two gigabytes.
        """
        if torch.compiler.is_exporting():  # what is computed with the batch would bound the graph's
            return self.choose(head(embedded))
        tokens = max(1, LOGITS_AT_ONCE // (self.classes * embedded.shape[0]))
        if tokens >= embedded.shape[1]:
            return self.choose(head(embedded))
        best = [head(part).amax(-1) for part in embedded.split(tokens, dim=1)]
        return self.choose(torch.cat(best, dim=1)[..., None])

    def _embed(self, memory: Tensor, usable: Tensor) -> Tensor:
        return self.norm(self.project(memory.masked_fill(~usable, 0.0)))


class UnfitImages(ValueError):
    """Images of a size that this configuration cannot work with."""


class Dino(nn.Module):
    """DINO: backbone, deformable encoder, query selection, decoder, contrastive denoising.

    ``activation_checkpoint``, False at first: True keeps only the inputs of the layers of encoder
    and decoder for the backward pass and computes the rest again. Same gradients, less memory, more
    time.

    Half precision: run the forward pass under ``torch.autocast``; predictions come in float32.
    """

    def __init__(self, cfg: DetectorConfig, num_classes: int, backbone: Backbone) -> None:
        super().__init__()
        d = cfg.hidden_dim
        self.cfg, self.num_classes = cfg, num_classes
        self.backbone = backbone
        self.input_proj = _build_projections(cfg, backbone.channels)
        self.level_embed = (
            nn.Parameter(torch.empty(cfg.num_feature_levels, d))
            if cfg.num_feature_levels > 1
            else None
        )
        self.encoder = Encoder(cfg)
        two_stage = cfg.two_stage_type == "standard"
        self.proposals = ProposalHead(cfg, num_classes) if two_stage else None
        self.query_embed = (
            nn.Embedding(cfg.num_queries, d) if cfg.embed_init_tgt or not two_stage else None
        )
        self.query_boxes = None if two_stage else nn.Embedding(cfg.num_queries, 4)
        self.decoder = Decoder(cfg, num_classes)
        self.label_embed = nn.Embedding((cfg.dn_labelbook_size or num_classes) + 1, d)
        self._initialise()

    @property
    def activation_checkpoint(self) -> bool:
        """Whether the layers of encoder and decoder are computed twice."""
        return self.encoder.recompute

    @activation_checkpoint.setter
    def activation_checkpoint(self, on: bool) -> None:
        self.encoder.recompute = self.decoder.recompute = on

    def forward(
        self,
        images: Tensor,
        mask: Tensor | None = None,
        targets: Targets | None = None,
        generator: torch.Generator | None = None,
        tokens: Tokens | None = None,
    ) -> Outputs:
        """Detect.

        Args:
            images: float32[b, 3, height, width], normalised, padded at the right and bottom.
            mask: bool[b, height, width], True on padding; None if no image is padded.
            targets: true boxes, for denoising; used in training mode only.
            generator: source of the denoising noise, on the images' device.
            tokens: what ``locate`` returned for images of this size, none of them padded; computed
                here if None.

        Raises:
            ValueError: if the images have fewer tokens than the model has queries.
        """
        features = self._project(images, mask)
        tokens = tokens or self._locate(features, mask)
        memory = self._encode(features, tokens)
        noised = self._denoise(targets, generator)
        return self._decode(memory, tokens, noised)

    @torch.no_grad()
    def locate(self, height: int, width: int) -> Tokens:
        """Compute the geometry of images of one size without padding, for ``forward``.

        Raises:
            ValueError: if the images have fewer tokens than the model has queries.
        """
        images = self.label_embed.weight.new_zeros(1, 3, height, width)
        return self._locate(self._project(images, None), None)

    def _project(self, images: Tensor, mask: Tensor | None) -> list[Tensor]:
        """Return one feature map float[b, d, h, w] per level."""
        stages = self.backbone(images, mask)
        maps = [project(x) for project, x in zip(self.input_proj, stages, strict=False)]
        source = stages[-1]
        for project in self.input_proj[len(stages) :]:
            source = project(source)
            maps.append(source)
        return maps

    def _locate(self, maps: list[Tensor], mask: Tensor | None) -> Tokens:
        shapes = tuple((x.shape[2], x.shape[3]) for x in maps)
        wrong = self.proposals and too_few(shapes, self.cfg.num_queries)
        if wrong:
            raise UnfitImages(f"These images {wrong}.")
        return locate_tokens(shapes, mask, self.cfg, maps[0].device)

    def _encode(self, maps: list[Tensor], tokens: Tokens) -> Tensor:
        """Return the memory float[b, s, d]."""
        x = torch.cat([level.flatten(2) for level in maps], dim=2).transpose(1, 2)
        positions = tokens.positions
        if self.level_embed is not None:
            sizes = [h * w for h, w in tokens.shapes]
            levels = [row.expand(n, -1) for row, n in zip(self.level_embed, sizes, strict=True)]
            positions = positions + torch.cat(levels)
        return self.encoder(x, positions, tokens)

    def _denoise(
        self, targets: Targets | None, generator: torch.Generator | None
    ) -> Denoising | None:
        if not (self.training and self.cfg.use_dn) or targets is None:
            return None
        return make_denoising(targets, self.label_embed, self.num_classes, self.cfg, generator)

    def _decode(self, memory: Tensor, tokens: Tokens, noised: Denoising | None) -> Outputs:
        x, boxes, proposals = self._first_queries(memory, tokens)
        sight = None
        if noised is not None:
            sight = allow_attention(noised.groups, noised.queries, x.shape[1], x.device)
            x = torch.cat((noised.content, x), dim=1)
            boxes = torch.cat((noised.boxes, boxes), dim=1)
        logits, boxes = self.decoder(x, boxes.sigmoid(), memory, tokens, sight)
        if noised is None:
            # Keeps the unused parameter in the graph: distributed training waits for it.
            logits = logits + self.label_embed.weight[0, 0] * 0.0
            return Outputs(Predictions(logits, boxes), proposals, None)
        sizes = [noised.queries, self.cfg.num_queries]
        (noised_logits, logits), (noised_boxes, boxes) = (
            t.split(sizes, dim=2) for t in (logits, boxes)
        )
        denoising = DenoisingOutputs(
            Predictions(noised_logits, noised_boxes), noised.targets, noised.groups
        )
        return Outputs(Predictions(logits, boxes), proposals, denoising)

    def _first_queries(
        self, memory: Tensor, tokens: Tokens
    ) -> tuple[Tensor, Tensor, Predictions | None]:
        """Return content float[b, q, d], box logits float[b, q, 4] and the proposals."""
        b = memory.shape[0]
        learned = None if self.query_embed is None else self.query_embed.weight.expand(b, -1, -1)
        if self.proposals is None:
            assert learned is not None
            assert self.query_boxes is not None
            return learned, self.query_boxes.weight.expand(b, -1, -1), None
        with full_precision(memory.device):  # ranks of close scores decide
            content, boxes, logits = self.proposals(memory, tokens, self.decoder)
        x = content.detach() if learned is None else learned
        return x, boxes.detach(), Predictions(logits, boxes.sigmoid())

    @torch.no_grad()
    def _initialise(self) -> None:
        """Start as the published model does. The backbone keeps what it was built with."""
        transformer = [self.encoder, self.proposals, self.query_embed, self.query_boxes]
        for module in (*transformer, self.decoder.layers, self.decoder.ref_point_head):
            for parameter in [] if module is None else module.parameters():
                if parameter.dim() > 1:
                    nn.init.xavier_uniform_(parameter)
        for part in self.modules():
            if isinstance(part, DeformableAttention):
                part.reset_parameters()
        if self.level_embed is not None:
            nn.init.normal_(self.level_embed)
        for project in self.input_proj:
            convolution = next(project.children())
            assert isinstance(convolution, Conv2d)
            assert convolution.bias is not None
            nn.init.xavier_uniform_(convolution.weight)
            nn.init.zeros_(convolution.bias)
        self._initialise_heads()

    def _initialise_heads(self) -> None:
        own = self.proposals
        for head in (*self.decoder.class_head, None if own is None else own.class_head):
            if head is not None:
                assert isinstance(head, nn.Linear)
                head.reset_parameters()
                nn.init.constant_(head.bias, -math.log(1 / PRIOR_PROBABILITY - 1))
        for head in (*self.decoder.box_head, None if own is None else own.box_head):
            if head is not None:
                assert isinstance(head, Mlp)
                head.start_at_zero()


def _build_projections(cfg: DetectorConfig, channels: tuple[int, ...]) -> nn.ModuleList:
    """One projection to d channels per level; levels beyond C5 halve the one before."""
    d = cfg.hidden_dim
    layers = [Conv2d(c, d, kernel_size=1) for c in channels]
    inputs = channels[-1]
    for index in cfg.return_interm_indices:
        if index > LEVEL_OF_C5:
            layers.append(Conv2d(inputs, d, kernel_size=3, stride=2, padding=1))
            inputs = d
    return nn.ModuleList(nn.Sequential(layer, GroupNorm(32, d)) for layer in layers)


def build_dino(model: ModelSection | DetectorConfig, num_classes: int) -> Dino:
    """Build the detector that an experiment's ``model`` section (or a DetectorConfig) describes.

    ``num_classes`` is the highest class id plus one. Weights are random; see weights.py.

    Raises:
        ValueError: for a backbone that does not exist or a combination that cannot be built.
    """
    cfg = DetectorConfig.from_spec(model)
    if num_classes < 1:
        raise ValueError(f"num_classes is {num_classes}. It is the highest class id plus one.")
    return Dino(cfg, num_classes, build_backbone(cfg))
