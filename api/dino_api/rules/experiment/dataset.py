"""Rules about `dataset.*`."""

from __future__ import annotations

from dino_api.experiment.spec import ExperimentSpec
from dino_api.rules.experiment.rule import HOLDS, NAME_S3, Check, Rule, bad_scheme, breaks

_AUGMENT = "dataset.augmentation"
# Keys that are not read in training with fixed_random_crop.
_REPLACED = (
    "scales",
    "train_random_resize",
    "train_random_crop_min",
    "train_random_crop_max",
)


def _crop(spec: ExperimentSpec) -> object:
    augment = spec.dataset.augmentation
    wrong = augment.train_random_crop_min > augment.train_random_crop_max
    return breaks(wrong, augment.train_random_crop_min)


def _crop_fits(spec: ExperimentSpec) -> object:
    augment = spec.dataset.augmentation
    wrong = augment.train_random_crop_min > min(augment.train_random_resize)
    read = augment.fixed_size is None and augment.fixed_random_crop is None
    return breaks(wrong and read, augment.train_random_crop_min)


def _jitter(spec: ExperimentSpec) -> object:
    augment = spec.dataset.augmentation
    crop = augment.fixed_random_crop
    return breaks(crop is not None and augment.fixed_size is not None, crop)


def _jitter_replaces(spec: ExperimentSpec) -> object:
    augment, default = spec.dataset.augmentation, type(spec.dataset.augmentation)()
    replaced = [name for name in _REPLACED if getattr(augment, name) != getattr(default, name)]
    wrong = augment.fixed_random_crop is not None and bool(replaced)
    return breaks(wrong, augment.fixed_random_crop)


def _planned(spec: ExperimentSpec) -> object:
    augment = spec.dataset.augmentation
    alike = augment.fixed_size is not None or augment.fixed_random_crop is not None
    return breaks(augment.planned_sizes and alike, True)


def _zoom_order(spec: ExperimentSpec) -> object:
    zoom = spec.dataset.augmentation.zoom_crop
    return breaks(zoom is not None and zoom[0] > zoom[1], zoom)


def _zoom_needs_size(spec: ExperimentSpec) -> object:
    augment = spec.dataset.augmentation
    return breaks(augment.zoom_crop is not None and augment.fixed_size is None, augment.zoom_crop)


def _eval_ids(spec: ExperimentSpec) -> object:
    ids, classes = spec.dataset.eval_class_ids, spec.dataset.num_classes
    wrong = ids is not None and classes is not None and any(one >= classes for one in ids)
    return breaks(wrong, ids)


def _sources(name: str) -> Check:
    def check(spec: ExperimentSpec) -> object:
        for source in getattr(spec.dataset, name) or []:
            for uri in (source.image_dir, source.json_file):
                if bad_scheme(uri):
                    return uri
        return HOLDS

    return check


def _infer_sources(spec: ExperimentSpec) -> object:
    source = spec.dataset.infer_data_sources
    uris = [*source.image_dir, source.classmap] if source else []
    return next((uri for uri in uris if bad_scheme(uri)), HOLDS)


_SOURCES = {
    "train": "train_data_sources",
    "val": "val_data_sources",
    "test": "test_data_sources",
    "calibration": "quant_calibration_data_sources",
}
_URI = "must hold local paths or s3:// URIs"

DATASET_RULES = (
    *(
        Rule(f"{part}-uri", f"dataset.{name}", _URI, NAME_S3, _sources(name))
        for part, name in _SOURCES.items()
    ),
    Rule(
        "inference-uri",
        "dataset.infer_data_sources",
        _URI,
        NAME_S3,
        _infer_sources,
    ),
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
        "jitter-or-size",
        f"{_AUGMENT}.fixed_random_crop",
        "contradicts fixed_size: each of them decides the size of every image",
        "Leave one of them out.",
        _jitter,
        cel="!has(self.fixed_random_crop) || !has(self.fixed_size)",
    ),
    Rule(
        "jitter-replaces",
        f"{_AUGMENT}.fixed_random_crop",
        "replaces scales and train_random_*, which are set and not read in training",
        "Leave those keys out, or this one.",
        _jitter_replaces,
        severity="warning",
    ),
    Rule(
        "planned-sizes-alike",
        f"{_AUGMENT}.planned_sizes",
        "changes nothing where all images have one size (fixed_size, fixed_random_crop)",
        "Leave it out.",
        _planned,
        severity="warning",
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
