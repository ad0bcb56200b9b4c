"""What can be wrong, or odd, with the data itself: the rules of `dino preflight`.

One flat list. The code that looks for each is in the trainer; `title` follows the form "Images that
…" so that a count and examples can come after it. To add a rule: add one entry here, and the line
that finds it to the trainer's preflight, and a row to the table of its test.
"""

from __future__ import annotations

from dataclasses import dataclass

from dino_api.problem import Severity


@dataclass(frozen=True)
class DataRule:
    """One kind of finding. error: training is not begun. warning: it is, and the status says so.

    title: what is found, as the start of a sentence. remedy: what to do about it, in sentences.
    """

    id: str
    severity: Severity
    title: str
    remedy: str


def _error(id: str, title: str, remedy: str) -> DataRule:
    return DataRule(id, "error", title, remedy)


def _warning(id: str, title: str, remedy: str) -> DataRule:
    return DataRule(id, "warning", title, remedy)


_FORM = (
    'COCO is {"images": [{"id", "file_name", "width", "height"}], '
    '"annotations": [{"image_id", "category_id", "bbox"}], "categories": [{"id", "name"}]}.'
)
_REPACK = "Pack it again (tar -czf images.tar.gz images/), test it (tar -tzf) and upload it again."

SOURCE_RULES = (
    _error(
        "source-missing",
        "Data sources that do not exist",
        "Check the URI for a typing error, or upload what is missing.",
    ),
    _error("source-unusable", "Image folders or archives that cannot be used", _REPACK),
    _error("annotations-unreadable", "Annotation files that are not COCO", _FORM),
)

IMAGE_ENTRY_RULES = (
    _error("image-entry", "Entries of images without an integer id or a file name", _FORM),
    _error(
        "image-size-absent",
        "Entries of images without width and height in pixels",
        "Write the size of the image file into the annotations.",
    ),
    _error(
        "image-name-unsafe",
        "File names that leave the image folder",
        "Write file names relative to the image folder.",
    ),
    _error(
        "image-id-repeats",
        "Image ids that stand twice in one file",
        "Give every image of a file an id of its own.",
    ),
    _warning(
        "image-id-shared",
        "Image ids that several sources use",
        "Nothing: images are numbered anew. If the sources overlap, remove one copy.",
    ),
    _warning(
        "file-name-repeats",
        "File names that several entries of one file share",
        "Merge the entries: the boxes of one are background in the other.",
    ),
)

CATEGORY_RULES = (
    _error("category-entry", "Entries of categories without an id of 0 or more, or a name", _FORM),
    _error(
        "category-id-repeats",
        "Category ids that stand twice in one file",
        "Give every category of a file an id of its own.",
    ),
    _warning(
        "category-name-repeats",
        "Category names that stand for several ids",
        "Merge the categories if they mean the same: they are trained as different classes.",
    ),
    _error(
        "category-conflict",
        "Category ids with different names in two files",
        "Give all sources of training and validation one common list of categories.",
    ),
    _warning(
        "category-lists-differ",
        "Categories that not every annotation file lists",
        "Give all sources of training and validation one common list of categories.",
    ),
    _warning(
        "category-zero",
        "Category id 0 in use",
        "Nothing for this trainer, where it is a class as any other. Tools that keep 0 for the "
        "background need ids from 1.",
    ),
    _warning(
        "category-gaps",
        "Category ids from 1 to the largest that are not in use",
        "Number the categories without gaps, or live with outputs that are never trained. A list "
        "of class names must have a line for each of them.",
    ),
    _error(
        "class-count",
        "A number of classes that is too small for the category ids",
        "Set numClasses (dataset.num_classes) to the largest category id plus one, or leave it "
        "out.",
    ),
    _error(
        "eval-class-unknown",
        "Ids in dataset.eval_class_ids that are not categories",
        "Take them out, or leave eval_class_ids out to score all classes.",
    ),
)

BOX_RULES = (
    _error("box-entry", "Annotations without a bbox of four numbers [x, y, width, height]", _FORM),
    _error(
        "box-image-unknown",
        "Annotations of images that the file does not list",
        "Correct their image_id, or remove them.",
    ),
    _error(
        "box-category-unknown",
        "Annotations of categories that the file does not list",
        "Correct their category_id, or add the category.",
    ),
    _error(
        "no-boxes",
        "Splits without one usable box",
        "Annotate the images, or name another annotation file.",
    ),
    _warning(
        "box-flat",
        "Boxes without width or height",
        "Remove them or correct them; they are dropped.",
    ),
    _warning(
        "box-outside",
        "Boxes outside their image",
        "Remove them or correct them; they are dropped. Many of them: the image was resized or "
        "rotated after it was annotated.",
    ),
    _warning(
        "box-over-edge",
        "Boxes that reach over the edge of their image",
        "Nothing: training clips them. Many of them: the image was resized after it was annotated.",
    ),
    _warning(
        "box-repeats",
        "Boxes that stand twice on an image with the same category",
        "Remove one of each pair: the second is never found and lowers the score.",
    ),
    _warning(
        "box-crowd",
        "Crowd annotations (iscrowd 1)",
        "Nothing: training leaves them out, and scoring ignores what is found in them.",
    ),
    _warning(
        "box-ignored",
        "Annotations marked with ignore",
        "Set iscrowd 1, or remove them: as in COCO's own scoring, ignore has no effect and they "
        "count as ordinary boxes.",
    ),
    _warning(
        "box-area-absent",
        "Annotations without area",
        "Nothing: width x height of the box is taken, which sorts it as small, medium or large.",
    ),
    _warning(
        "boxes-over-queries",
        "Images with more boxes than model.num_queries",
        "Raise model.num_queries: the boxes beyond it can never be found.",
    ),
)

IMAGE_RULES = (
    _error(
        "image-missing",
        "Images that the annotations list and that are not there",
        "Put the files there under the names in the annotations' file_name, or take them out of "
        "the annotations.",
    ),
    _error(
        "image-unreadable",
        "Images that are damaged, end early or are no images",
        "Replace the files, or remove them and their entries in the annotations.",
    ),
    _error(
        "image-size-differs",
        "Images of another size than their annotations say",
        "Correct width and height in the annotations, or put the original images back.",
    ),
    _warning(
        "image-mislabelled",
        "Images whose content is of another format than their file name says",
        "Nothing: they are read by their content. Rename them for other tools.",
    ),
    _warning(
        "image-cmyk",
        "CMYK images",
        "Convert them to sRGB with their colour profile: training converts them without it, and "
        "the colours shift.",
    ),
    _warning(
        "image-deep",
        "Images with more than 8 bits a channel",
        "Scale them to 8 bits as you want them seen: training keeps the upper 8 bits, which are "
        "nearly black where only the lower ones are in use.",
    ),
    _warning(
        "exif-turned",
        "Images that their EXIF orientation turns, to the size that their annotations say",
        "Nothing: training turns them as viewers do, and the sizes agree.",
    ),
    _warning(
        "exif-unturned",
        "Images with an EXIF orientation that are used as stored, since only so their size is "
        "that of the annotations",
        "Nothing if boxes were drawn on the stored pixels; best remove the tag (exiftran, "
        "mogrify -strip).",
    ),
    _warning(
        "exif-unclear",
        "Images that their EXIF orientation turns or mirrors without changing their size",
        "Look at some of them in the report: training turns them as viewers do. If boxes were "
        "drawn on the stored pixels, remove the tag.",
    ),
    _warning(
        "image-empty",
        "Images without a box",
        "Nothing if they show no object. If they were not annotated, take them out.",
    ),
    _warning(
        "image-repeats",
        "Images with the same content as another one of their split",
        "Keep one of each: repeats weigh double, and their boxes may contradict each other.",
    ),
)

SPLIT_RULES = (
    _warning(
        "validation-omitted",
        "No validation data is given, so that the training data is scored",
        "Give validation data: a score on images that were trained on says nothing about new ones.",
    ),
    _warning(
        "leakage",
        "Images that are in training and validation alike",
        "Take them out of one of the two: the score on them flatters.",
    ),
    _error(
        "too-few-images",
        "Fewer training images than one optimiser step takes",
        "Lower dataset.batch_size, train.accumulate_grad_batches or the number of GPUs, or add "
        "images.",
    ),
    _warning(
        "class-untrained",
        "Categories without a box in training",
        "Add examples of them, or take them out of the categories: they are never learned.",
    ),
    _warning(
        "class-unvalidated",
        "Categories without a box in validation",
        "Add examples of them to the validation data: their AP is -1 and left out of the mean.",
    ),
    _warning(
        "class-imbalance",
        "Categories with less than a hundredth of the boxes of the most frequent one",
        "Add examples of them, or expect a low AP for them.",
    ),
)

MODEL_RULES = (
    _error(
        "class-unknown",
        "Categories with ids that the model does not have",
        "Give this data the categories that the model was trained on, with the same ids.",
    ),
    _warning(
        "calibration-few",
        "Calibration with hardly any images",
        "Give some hundred images: with few, the ranges of rare values are missed, and accuracy is "
        "lost.",
    ),
    _error(
        "pictures-absent",
        "Folders or archives without an image that can be listed",
        "Name a folder or an archive (.tar.gz, .tgz, .tar) with .jpg, .png, .bmp or .webp files.",
    ),
    _error(
        "classmap-unusable",
        "Class maps that do not fit",
        "Write the name of one class in each line, in the order of the category ids.",
    ),
)

DATA_RULES: tuple[DataRule, ...] = (
    *SOURCE_RULES,
    *IMAGE_ENTRY_RULES,
    *CATEGORY_RULES,
    *BOX_RULES,
    *IMAGE_RULES,
    *SPLIT_RULES,
    *MODEL_RULES,
)

_BY_ID = {rule.id: rule for rule in DATA_RULES}


def data_rule(id: str) -> DataRule:
    """The rule of this id. Raises KeyError for any other."""
    return _BY_ID[id]
