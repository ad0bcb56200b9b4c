"""`dataset.*`: where the images are, how they are batched and augmented."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from dino_api.actions import DatasetSplit, reading
from dino_api.base import REPORTED_URI, Bool, Float, Int, IsNumber, IsWhole, Section, key
from dino_api.result import MOST_CLASSES

Side = Annotated[int, Field(ge=32, le=8192), IsWhole]
Mean = Annotated[float, Field(ge=0, le=1), IsNumber]
Deviation = Annotated[float, Field(gt=0, le=10), IsNumber]
Fraction = Annotated[float, Field(gt=0, le=1), IsNumber]
Classes = Annotated[int, Field(ge=1, le=MOST_CLASSES), IsWhole]
Crop = Annotated[int, Field(ge=1, le=8192), IsWhole]
ClassId = Annotated[int, Field(ge=0, le=MOST_CLASSES - 1), IsWhole]
Path = Annotated[str, Field(max_length=REPORTED_URI)]

PIXELS = ("input_mean", "input_std")
"""Keys of `dataset.augmentation` that normalise an image, for training and detecting alike."""
GEOMETRY = ("fixed_size", "test_random_resize", "random_resize_max_size", "fixed_padding")
"""Those that give an image its size where a trained model detects."""

_DATASETS = "spec.datasets"
# Whoever reads images with annotations.
_ANNOTATED = tuple(
    dict.fromkeys(
        action
        for part in (
            DatasetSplit.TRAIN,
            DatasetSplit.VALIDATION,
            DatasetSplit.TEST,
            DatasetSplit.CALIBRATION,
        )
        for action in reading(part)
    )
)


class DataSource(Section):
    """One folder or archive of images with its COCO annotation file."""

    image_dir: str = key(
        "", "Folder or archive (.tar.gz, .tgz, .tar) of images; local or s3://.", size=REPORTED_URI
    )
    json_file: str = key("", "COCO annotation file; local or s3://.", size=REPORTED_URI)


def _as_list(value: Any) -> Any:
    """TAO's specs give these as one source, without a list around it."""
    return value if value is None or isinstance(value, list) else [value]


Sources = Annotated[list[DataSource], BeforeValidator(_as_list)]
Folders = Annotated[list[Path], BeforeValidator(_as_list)]


class InferDataSource(Section):
    """Images without annotations, read by `dino inference`."""

    image_dir: Folders = key(
        list, "Folders or archives (.tar.gz, .tgz, .tar) of images; local or s3://.", size=100
    )
    classmap: str = key(
        "",
        "Text file with one class name a line, in the order of the category ids; local or s3://.",
        size=REPORTED_URI,
    )


class AugmentationConfig(Section):
    """Geometry and normalisation of the images. Sizes are in pixels of the resized image."""

    scales: list[Side] = key(
        lambda: [480, 512, 544, 576, 608, 640, 672, 704, 736, 768, 800],
        "Training: the shorter side is resized to one of these at random.",
        min_length=1,
        size=64,
    )
    input_mean: list[Mean] = key(
        lambda: [0.485, 0.456, 0.406],
        "Subtracted from the RGB values (0 to 1); ImageNet's by default. "
        "timm/tf_efficientnet_lite0 was trained with [0.498, 0.498, 0.498].",
        min_length=3,
        size=3,
    )
    input_std: list[Deviation] = key(
        lambda: [0.229, 0.224, 0.225],
        "Divides the RGB values after the mean was subtracted; ImageNet's by default. "
        "timm/tf_efficientnet_lite0 was trained with [0.502, 0.502, 0.502].",
        min_length=3,
        size=3,
    )
    train_random_resize: list[Side] = key(
        lambda: [400, 500, 600],
        "Training, every second image on average: shorter side before the random crop.",
        min_length=1,
        size=64,
    )
    horizontal_flip_prob: Float = key(
        0.5,
        "Probability that a training image is mirrored left to right. 0 where sides have a "
        "meaning, such as digits or text.",
        ge=0,
        le=1,
    )
    train_random_crop_min: Int = key(
        384,
        "Smallest side of the random crop. At most the smallest of train_random_resize.",
        ge=32,
        le=1024,
    )
    train_random_crop_max: Int = key(
        600, "Largest side of the random crop; at least train_random_crop_min.", ge=32, le=1333
    )
    random_resize_max_size: Int = key(
        1333, "The longer side never exceeds this, in training and validation.", ge=32, le=8192
    )
    test_random_resize: Int = key(
        800, "Validation: the shorter side is resized to this.", ge=32, le=8192
    )
    fixed_padding: Bool = key(
        True,
        "True pads every batch to the largest possible size (equal shapes, more work); False "
        "only to the largest image of the batch.",
    )
    planned_sizes: Bool = key(
        False,
        "Training: batches are made of images that come out of resizing and cropping alike, and "
        "are padded to multiples of 32: half the pixels or fewer. fixed_padding then counts in "
        "validation only.",
    )
    fixed_random_crop: Crop | None = key(
        None,
        "TAO's large-scale jitter instead of scales, train_random_resize and their crops: the "
        "image is resized to 0.1 to 2 times this square, cut to it at random, padded to it.",
    )
    fixed_size: list[Side] | None = key(
        None,
        "[height, width] that every image is resized to exactly, in training and validation, "
        "without keeping the aspect ratio. Replaces scales, train_random_resize, random crops and "
        "padding. Absent by default. Multiples of 32 waste nothing.",
        min_length=2,
        size=2,
    )
    zoom_crop: list[Fraction] | None = key(
        None,
        "[low, high] share of each side that a random training crop keeps before it is resized, "
        "such as [0.7, 1.0]. Needs fixed_size. Absent by default: no such crop.",
        min_length=2,
        size=2,
    )


class DatasetConfig(Section):
    """Data sources, batching and augmentation."""

    train_data_sources: list[DataSource] | None = key(
        None,
        "Training data.",
        resource=f"{_DATASETS}.train",
        only=reading(DatasetSplit.TRAIN),
        size=100,
    )
    val_data_sources: list[DataSource] | None = key(
        None,
        "Validation data. Absent: the training data is used, which flatters the result.",
        resource=f"{_DATASETS}.validation",
        only=reading(DatasetSplit.VALIDATION),
        size=100,
    )
    test_data_sources: Sources | None = key(
        None,
        "Data that `dino evaluate` scores. export, gen_trt_engine and quantize compare the model "
        "that they made with the one that they were given on it. One source, or a list.",
        resource=f"{_DATASETS}.test",
        only=reading(DatasetSplit.TEST),
        size=100,
    )
    infer_data_sources: InferDataSource | None = key(
        None,
        "Images and class names of `dino inference`.",
        resource=f"{_DATASETS}.inference",
        only=reading(DatasetSplit.INFERENCE),
    )
    quant_calibration_data_sources: Sources | None = key(
        None,
        "Images that `dino quantize` and INT8 engines take value ranges from. One source, or a "
        "list.",
        resource=f"{_DATASETS}.calibration",
        only=reading(DatasetSplit.CALIBRATION),
        size=100,
    )
    num_classes: Classes | None = key(
        None,
        "Number of classes: the largest category id plus one. Absent: derived from the training "
        "annotations (TAO assumes 91).",
        resource="spec.numClasses",
    )
    batch_size: Int = key(
        4,
        "Images per optimiser step on one GPU; of other actions, at once. More is steadier and "
        "takes more memory; scale train.optim.lr with it.",
        ge=1,
        le=4096,
    )
    workers: Int = key(
        8,
        "Processes that load and augment images; 0: the training process. No effect on the "
        "result. At most the pod's CPUs is sensible.",
        decides=False,
        ge=0,
        le=256,
    )
    pin_memory: Bool = key(
        True, "Page-locked memory for faster copies to a GPU; no effect on CPU.", decides=False
    )
    skip_unreadable: Float = key(
        0.0,
        "The share of the images of each source that may be damaged: 0.01 leaves out up to one in "
        "a hundred, each named in skipped_*.json and in the report. More end the action, as one "
        "does by default. It decodes all images before it begins.",
        only=_ANNOTATED,
        ge=0,
        le=0.5,
    )
    eval_class_ids: list[ClassId] | None = key(
        None,
        "Category ids that are scored, by validation and after. Absent: all. TAO's template says "
        "[1], which scores one class only.",
        only=(*reading(DatasetSplit.VALIDATION), *reading(DatasetSplit.TEST)),
        min_length=1,
        size=1000,
    )
    augmentation: AugmentationConfig = Field(
        default_factory=AugmentationConfig,
        description="Resizing, cropping, flipping and normalisation of images.",
    )
    dataset_type: Literal["serialized", "default"] = key(
        "serialized",
        "How TAO keeps annotations in memory.",
        dead="annotations are always held once, in flat arrays",
    )
    train_sampler: Literal["default_sampler", "non_uniform_sampler", "uniform_sampler"] = key(
        "default_sampler",
        "How TAO shares images among GPUs.",
        dead="every image is seen once an epoch",
    )
