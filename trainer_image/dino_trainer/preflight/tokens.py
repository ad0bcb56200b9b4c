"""Whether images have tokens enough for `model.num_queries`, in the sizes that the spec makes them.

Of scored images the batches are those of the action. Of training images sizes are drawn as training
draws them, and put into batches in an order like training's; its own needs torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dino_api.experiment import AugmentationConfig, ExperimentSpec
from dino_api.names import TRAINS, Action
from dino_api.reported import without_middle
from dino_trainer.data.canvas import Canvas, eval_canvas, train_canvas
from dino_trainer.data.decode import UnreadableImage, open_image
from dino_trainer.data.image_store import ImageFile
from dino_trainer.data.sizes import PlannedSizes, by_size
from dino_trainer.data.transforms import draw_eval
from dino_trainer.model_files.info import ModelInfo
from dino_trainer.preflight.findings import Advice, Findings
from dino_trainer.preflight.given_model import Looker, lookers, looks_at_images
from dino_trainer.preflight.places import NOWHERE, At
from dino_trainer.preflight.sources import PreflightSplit
from dino_trainer.preflight.splits import images_per_step
from dino_trainer.spec.sections import ResizedSection, batch_size_of, section_of
from dino_trainer.token_count import level_shapes, token_counts, too_few

RULE = "queries-over-tokens"
_AUGMENT = "dataset.augmentation"
_EXPORTED = "the export, whose input_height and input_width are left out"
# Sizes that are drawn at most, about 10 µs each.
_DRAWN = 50_000
_LONGEST = 300


class _Batches(NamedTuple):
    """sizes: int[b, 2], height and width of batches. images: the images of each."""

    sizes: NDArray[Any]
    images: Sequence[NDArray[np.int64]]


def check_tokens(
    spec: ExperimentSpec,
    action: Action,
    splits: Sequence[PreflightSplit],
    model: ModelInfo | None,
    findings: Findings,
) -> None:
    """All sizes that an action makes of its images, for each model that sees them.

    model: that the action goes on from, where its file says what it is.
    """
    for place, looker in enumerate(lookers(spec, action, model)):
        seen = looker.spec
        if fixed := _fixed(seen, action):
            _add_fixed(looker, *fixed, findings)
        elif action in TRAINS:
            jitter = seen.dataset.augmentation.fixed_random_crop is not None
            key = f"{_AUGMENT}.{'fixed_random_crop' if jitter else 'scales'}"
            _add_batches(looker, splits[0], _trained(seen, splits[0]), key, findings)
            if place == 0:  # a teacher validates nothing
                _add_scored(looker, splits[-1:], seen.dataset.batch_size, findings)
        elif looks_at_images(seen, action):
            _add_scored(looker, splits[-1:], _batch(seen, action), findings)


def check_tokens_of_pictures(
    spec: ExperimentSpec,
    pictures: Sequence[ImageFile],
    model: ModelInfo | None,
    findings: Findings,
) -> None:
    """The same of an inference. Files are opened only where their sizes matter."""
    for looker in lookers(spec, Action.INFERENCE, model):
        seen = looker.spec
        canvas = eval_canvas(seen.dataset.augmentation)
        if pictures and not _fixed(seen, Action.INFERENCE) and not _is_filled(seen, canvas):
            _add_pictures(looker, canvas, pictures, findings)


def _add_pictures(
    looker: Looker, canvas: Canvas, pictures: Sequence[ImageFile], findings: Findings
) -> None:
    spec = looker.spec
    drawn = _drawn(spec.dataset.augmentation, np.array([_size(picture) for picture in pictures]))
    batches = _cut(canvas, drawn, np.arange(len(pictures)), _batch(spec, Action.INFERENCE))
    if few := _few(looker, batches):
        first, *others = few.images.tolist()
        more = f" and {len(others)} more" if others else ""
        text = f"{pictures[first].name}{more}: {few.size} by {_AUGMENT}.test_random_resize"
        _add(looker, f"{text}, {few.wrong}", len(few.images), NOWHERE, findings)


def _add(looker: Looker, text: str, count: int, at: At, findings: Findings) -> None:
    advice = Advice(looker.remedy)
    findings.add_sentences(RULE, without_middle(text, _LONGEST), count, advice, at)


def _size(picture: ImageFile) -> tuple[int, int]:
    """Height and width; what cannot be read is left out of its batch."""
    try:
        width, height = open_image(picture).upright
    except UnreadableImage:
        return 1, 1
    return height, width


def _batch(spec: ExperimentSpec, action: Action) -> int:
    return batch_size_of(section_of(spec, action)) or spec.dataset.batch_size


def _fixed(spec: ExperimentSpec, action: Action) -> tuple[tuple[int, int], str] | None:
    """The one size of all images, and the key that says it."""
    section, augmentation = section_of(spec, action), spec.dataset.augmentation
    if isinstance(section, ResizedSection):
        height, width = section.input_height, section.input_width
        if height is not None and width is not None:
            return (height, width), f"{action.value}.input_height and input_width"
    if augmentation.fixed_size:
        key = _EXPORTED if action == Action.EXPORT else f"{_AUGMENT}.fixed_size"
        return (augmentation.fixed_size[0], augmentation.fixed_size[1]), key
    return None


def _add_fixed(looker: Looker, size: tuple[int, int], key: str, findings: Findings) -> None:
    if wrong := _wrong(looker, size):
        _add(looker, f"all images, {_in_pixels(size)} by {key}, {wrong}", 1, NOWHERE, findings)


def _add_scored(
    looker: Looker, splits: Sequence[PreflightSplit], batch: int, findings: Findings
) -> None:
    for split in splits:
        config, sizes = looker.spec.dataset.augmentation, _sizes(split)
        if len(sizes):
            drawn = _drawn(config, sizes)
            batches = _cut(eval_canvas(config), drawn, np.arange(len(sizes)), batch)
            _add_batches(looker, split, batches, f"{_AUGMENT}.test_random_resize", findings)


def _drawn(config: AugmentationConfig, sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Each size as validation resizes it; most data has few of them."""
    known, places = np.unique(sizes, axis=0, return_inverse=True)
    made = [draw_eval(config, (height, width)).size for height, width in known.tolist()]
    return np.array(made, np.int64)[places.reshape(-1)]


def _trained(spec: ExperimentSpec, split: PreflightSplit) -> _Batches | None:
    """Batches of the first epochs; None where none can be too small, or there is none."""
    config, sizes = spec.dataset.augmentation, _sizes(split)
    step, batch = images_per_step(spec), spec.dataset.batch_size
    if len(sizes) < step or _is_enough(spec, train_canvas(config), sizes):
        return None
    seed = max(0, spec.train.seed)
    order, chance = PlannedSizes(sizes, config, seed), np.random.default_rng(seed)
    parts = []
    for epoch in range(max(1, min(spec.train.num_epochs, _DRAWN // len(sizes)))):
        drawn = order.of(epoch).astype(np.int64)
        taken = chance.permutation(len(sizes))[: len(sizes) // step * step]
        if config.planned_sizes:
            taken = taken[by_size(drawn[taken], step, batch)]
        parts.append(_cut(train_canvas(config), drawn[taken], taken, batch))
    sizes = np.concatenate([part.sizes for part in parts])
    return _Batches(sizes, [images for part in parts for images in part.images])


def _is_enough(spec: ExperimentSpec, canvas: Canvas, sizes: NDArray[np.int64]) -> bool:
    """Whether no image, in a batch of its own, can have too few tokens, without drawing one."""
    ratio = float((sizes.max(axis=1) / sizes.min(axis=1)).max())
    return _is_filled(spec, canvas, least_side(spec.dataset.augmentation, ratio))


def _is_filled(spec: ExperimentSpec, canvas: Canvas, least: int = 1) -> bool:
    """Whether a batch of one image whose sides are `least` has tokens enough by its padding."""
    smallest = canvas.each(np.array([[least, least]]))
    return bool(_counts(spec, smallest)[0] >= spec.model.num_queries)


def least_side(config: AugmentationConfig, ratio: float) -> int:
    """A side that no training image falls below. ratio: of the sides of the longest image."""
    if config.fixed_random_crop is not None:
        return 1
    cut = config.train_random_crop_max / min(
        config.train_random_crop_min, *config.train_random_resize
    )
    longest = config.random_resize_max_size / max(ratio, cut)
    return max(1, min(min(config.scales), int(longest) - 1))


def _cut(canvas: Canvas, drawn: NDArray[Any], images: NDArray[np.int64], batch: int) -> _Batches:
    cuts = range(batch, len(images), batch)
    return _Batches(canvas.together(drawn, batch), np.split(images, list(cuts)))


def _add_batches(
    looker: Looker, split: PreflightSplit, batches: _Batches | None, key: str, findings: Findings
) -> None:
    """The images of batches that are too small, and the smallest of those."""
    if batches is None:
        return
    few = _few(looker, batches)
    first = 0
    for source in split.sources if few else ():
        assert few is not None
        count = len(source.entries.file_names)
        own = few.images[(few.images >= first) & (few.images < first + count)] - first
        first += count
        if len(own):
            more = f" and {len(own) - 1} more" if len(own) > 1 else ""
            text = f"{source.image(own[0])}{more}: {few.size} by {key}, {few.wrong}"
            _add(looker, text, len(own), source.at_images(own), findings)


class _Few(NamedTuple):
    """Images of batches that are too small; what the smallest batch is, and what is wrong."""

    images: NDArray[np.int64]
    size: str
    wrong: str | None


def _few(looker: Looker, batches: _Batches) -> _Few | None:
    spec = looker.spec
    counts = _counts(spec, batches.sizes)
    few = np.flatnonzero(counts < spec.model.num_queries)
    if not len(few):
        return None
    size = batches.sizes[few[np.argmin(counts[few])]].tolist()
    images = np.unique(np.concatenate([batches.images[place] for place in few.tolist()]))
    return _Few(images, _in_pixels(size), _wrong(looker, size))


def _sizes(split: PreflightSplit) -> NDArray[np.int64]:
    """int[n, 2], height and width of all images, as annotated."""
    parts = [source.entries.sizes[:, ::-1] for source in split.sources]
    return np.concatenate(parts) if parts else np.empty((0, 2), np.int64)


def _counts(spec: ExperimentSpec, sizes: NDArray[Any]) -> NDArray[np.int64]:
    return token_counts(spec.model.backbone, spec.model.return_interm_indices, sizes)


def _wrong(looker: Looker, size: Sequence[int]) -> str | None:
    model = looker.spec.model
    shapes = level_shapes(model.backbone, model.return_interm_indices, (size[0], size[1]))
    return too_few(shapes, model.num_queries, looker.whose)


def _in_pixels(size: Sequence[int]) -> str:
    return f"{size[1]}x{size[0]} pixels"
