"""What can be wrong, or odd, with sources, images, splits, and data for a model."""

from __future__ import annotations

from dino_api.rules.data.rule import FORM, error, warning

_REPACK = (
    "Pack it again (tar -czf images.tar.gz images/), test it (tar -tzf images.tar.gz) and upload "
    "it again."
)

SOURCE_RULES = (
    error(
        "source-missing",
        "Data sources that do not exist",
        "Check the URI for a typing error, or upload what is missing.",
    ),
    error("source-unusable", "Image folders or archives that cannot be used", _REPACK),
    error("annotations-unreadable", "Annotation files that are not COCO", FORM),
)

IMAGE_RULES = (
    error(
        "image-missing",
        "Images that the annotations list and that are not there",
        "Put the files there under the names in the annotations' file_name, or take them out of "
        "the annotations.",
    ),
    error(
        "skip-exceeded",
        "More damaged images than dataset.skip_unreadable allows to leave out",
        "Replace the files, or raise dataset.skip_unreadable, at most to 0.5.",
    ),
    error(
        "image-unreadable",
        "Images that are damaged, end early or are no images",
        "Replace the files, or remove them and their entries in the annotations. To go on without "
        "a few of them: dataset.skip_unreadable, the share that may be left out.",
    ),
    warning(
        "image-skipped",
        "Images that are damaged and left out, as dataset.skip_unreadable allows",
        "Replace the files: their boxes are not learned, and not scored. Do it before a training "
        "begins, not between its attempts. The report names each of them.",
    ),
    error(
        "image-size-differs",
        "Images of another size than their annotations say",
        "Correct width and height in the annotations, or put the original images back.",
    ),
    warning(
        "image-mislabelled",
        "Images whose content is of another format than their file name says",
        "Nothing: they are read by their content. Rename them for other tools.",
    ),
    warning(
        "image-cmyk",
        "CMYK images",
        "Convert them to sRGB with their colour profile: training converts them without it, and "
        "the colours shift.",
    ),
    warning(
        "image-deep",
        "Images with more than 8 bits a channel",
        "Scale them to 8 bits as you want them seen: training keeps the upper 8 bits, which are "
        "nearly black where only the lower ones are in use.",
    ),
    warning(
        "exif-turned",
        "Images that their EXIF orientation turns, to the size that their annotations say",
        "Nothing: training turns them as viewers do, and the sizes agree.",
    ),
    warning(
        "exif-unturned",
        "Images with an EXIF orientation that are used as stored, since only so their size is "
        "that of the annotations",
        "Nothing if boxes were drawn on the stored pixels; best remove the tag (exiftran, "
        "mogrify -strip).",
    ),
    warning(
        "exif-unclear",
        "Images that their EXIF orientation turns or mirrors, and whose annotations have no size "
        "that shows whether boxes are turned, too",
        "Look at some of them in the report: training turns them as viewers do. If boxes were "
        "drawn on the stored pixels, remove the tag.",
    ),
    warning(
        "image-empty",
        "Images without a box",
        "Nothing if they show no object. If they were not annotated, take them out.",
    ),
    warning(
        "image-repeats",
        "Images with the same content as another one of their split",
        "Keep one of each: repeats weigh double, and their boxes may contradict each other.",
    ),
)

SPLIT_RULES = (
    warning(
        "validation-omitted",
        "No other data than that of the training is given for validation",
        "Give validation data: a score on images that were trained on says nothing about new ones.",
    ),
    warning(
        "leakage",
        "Images that are in training and validation alike",
        "Take them out of one of the two: the score on them flatters.",
    ),
    error(
        "too-few-images",
        "Fewer training images than one optimiser step takes",
        "Lower dataset.batch_size, train.accumulate_grad_batches or the number of GPUs, or add "
        "images.",
    ),
    error(
        "queries-over-tokens",
        "Images that are too small for so many queries: each one is chosen among the tokens, the "
        "positions of all feature maps",
        "Lower model.num_queries (and model.num_select) to that number, or enlarge the images: "
        "scales, test_random_resize, fixed_size of dataset.augmentation, or fixed_padding True. "
        "Finer maps have more: model.return_interm_indices [0, 1, 2, 3, 4] with num_feature_levels "
        "5.",
    ),
    warning(
        "class-untrained",
        "Categories without a box in training",
        "Add examples of them, or take them out of the categories: they are never learned.",
    ),
    warning(
        "class-unvalidated",
        "Categories without a box in validation",
        "Add examples of them to the validation data: their AP is -1 and left out of the mean.",
    ),
    warning(
        "class-imbalance",
        "Categories with less than a hundredth of the boxes of the most frequent one",
        "Add examples of them, or expect a low AP for them.",
    ),
)

MODEL_RULES = (
    error(
        "class-unknown",
        "Categories with ids that the model does not have",
        "Give this data the categories that the model was trained on, with the same ids.",
    ),
    error(
        "class-names-differ",
        "Scored data that has other names for the model's classes",
        "Give this data the categories that the model was trained on, with the same ids and names, "
        "or name the model that fits.",
    ),
    warning(
        "calibration-few",
        "Calibration with hardly any images",
        "Give some hundred images: with few, the ranges of rare values are missed, and accuracy is "
        "lost.",
    ),
    error(
        "images-absent",
        "Folders or archives without an image that can be listed",
        "Name a folder or an archive (.tar.gz, .tgz, .tar) with .jpg, .png, .bmp, .tif or .webp "
        "files.",
    ),
    warning(
        "images-left-out",
        "Files that inference leaves out, since they do not end as images do",
        "Nothing if they are no images. Convert others to JPEG or PNG, or give them the ending of "
        "their format.",
    ),
    warning(
        "images-lost",
        "Files that inference leaves out, since they are no files, or links that lead nowhere",
        "Put the files themselves there: cp -RL follows links where they lead somewhere.",
    ),
    error(
        "classmap-unusable",
        "Class maps that do not fit",
        "Write the name of one class in each line, in the order of the category ids.",
    ),
)
