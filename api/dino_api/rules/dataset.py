"""Rules about `dataset.*`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dino_api.rules.model import bad_scheme
from dino_api.rules.rule import HOLDS, Rule, breaks

if TYPE_CHECKING:
    from dino_api.experiment.spec import ExperimentSpec

_AUGMENT = "dataset.augmentation"


def _crop(spec: ExperimentSpec) -> Any:
    augment = spec.dataset.augmentation
    wrong = augment.train_random_crop_min > augment.train_random_crop_max
    return breaks(wrong, augment.train_random_crop_min)


def _crop_fits(spec: ExperimentSpec) -> Any:
    augment = spec.dataset.augmentation
    wrong = augment.train_random_crop_min > min(augment.train_random_resize)
    return breaks(wrong and augment.fixed_size is None, augment.train_random_crop_min)


def _jitter(spec: ExperimentSpec) -> Any:
    crop = spec.dataset.augmentation.fixed_random_crop
    return breaks(crop is not None, crop)


def _zoom_order(spec: ExperimentSpec) -> Any:
    zoom = spec.dataset.augmentation.zoom_crop
    return breaks(zoom is not None and zoom[0] > zoom[1], zoom)


def _zoom_needs_size(spec: ExperimentSpec) -> Any:
    augment = spec.dataset.augmentation
    return breaks(augment.zoom_crop is not None and augment.fixed_size is None, augment.zoom_crop)


def _eval_ids(spec: ExperimentSpec) -> Any:
    ids, classes = spec.dataset.eval_class_ids, spec.dataset.num_classes
    wrong = ids is not None and classes is not None and any(one >= classes for one in ids)
    return breaks(wrong, ids)


def _sources(name: str) -> Any:
    def check(spec: ExperimentSpec) -> Any:
        for source in getattr(spec.dataset, name) or []:
            for uri in (source.image_dir, source.json_file):
                if bad_scheme(uri):
                    return uri
        return HOLDS

    return check


_URI = "must hold local paths or s3:// URIs"
_S3 = "Write s3://bucket/path; the endpoint is configured apart."

DATASET_RULES = (
    Rule("train-uri", "dataset.train_data_sources", _URI, _S3, _sources("train_data_sources")),
    Rule("val-uri", "dataset.val_data_sources", _URI, _S3, _sources("val_data_sources")),
    Rule(
        "crop-order",
        f"{_AUGMENT}.train_random_crop_min",
        "must not exceed train_random_crop_max",
        "The defaults are 384 and 600.",
        _crop,
        cel="{train_random_crop_min} <= {train_random_crop_max}",
    ),
    Rule(
        "crop-fits",
        f"{_AUGMENT}.train_random_crop_min",
        "exceeds the smallest of train_random_resize, so such crops keep the whole shorter side",
        "Lower it, or raise train_random_resize.",
        _crop_fits,
        severity="warning",
    ),
    Rule(
        "jitter-not-built",
        f"{_AUGMENT}.fixed_random_crop",
        "is not built in this release (it would replace all other training augmentation)",
        "Leave it out; fixed_size with zoom_crop is the nearest.",
        _jitter,
        cel="!has(self.fixed_random_crop)",
    ),
    Rule(
        "zoom-order",
        f"{_AUGMENT}.zoom_crop",
        "must be [low, high] with low <= high",
        "Write it like [0.7, 1.0].",
        _zoom_order,
        cel="!has(self.zoom_crop) || self.zoom_crop[0] <= self.zoom_crop[1]",
    ),
    Rule(
        "zoom-needs-size",
        f"{_AUGMENT}.zoom_crop",
        "needs fixed_size, because a crop of a share is resized to one size",
        "Add fixed_size: [height, width], or leave zoom_crop out.",
        _zoom_needs_size,
        cel="!has(self.zoom_crop) || has(self.fixed_size)",
    ),
    Rule(
        "eval-ids-known",
        "dataset.eval_class_ids",
        "must be category ids below the number of classes",
        "Leave it out to score all classes.",
        _eval_ids,
        cel="!has(self.numClasses) || !has(self.experiment) || !has(self.experiment.dataset) || "
        "!has(self.experiment.dataset.eval_class_ids) || "
        "self.experiment.dataset.eval_class_ids.all(one, one < self.numClasses)",
        scope="spec",
    ),
)
