"""What can be wrong, or odd, with COCO annotations: entries of images, categories, boxes."""

from __future__ import annotations

from dino_api.rules.data.rule import FORM, error, warning

IMAGE_ENTRY_RULES = (
    error("image-entry", "Entries of images without an integer id or a file name", FORM),
    error(
        "image-size-absent",
        "Entries of images without width and height in pixels",
        "Write the size of the image file into the annotations.",
    ),
    error(
        "image-name-unsafe",
        "File names that leave the image folder",
        "Write file names relative to the image folder.",
    ),
    error(
        "image-id-repeats",
        "Image ids that stand twice in one file",
        "Give every image of a file an id of its own.",
    ),
    warning(
        "image-size-read",
        "Entries of images with neither width nor height",
        "Nothing here: the size of the file is taken. Other tools need it in the annotations.",
    ),
    warning(
        "image-id-shared",
        "Image ids that several sources use",
        "Nothing: images are numbered anew. If the sources overlap, remove one copy.",
    ),
    warning(
        "file-name-repeats",
        "File names that several entries of one file share",
        "Merge the entries: the boxes of one are background in the other.",
    ),
)

CATEGORY_RULES = (
    error("category-entry", "Entries of categories without an id of 0 or more, or a name", FORM),
    error(
        "category-id-repeats",
        "Category ids that stand twice in one file",
        "Give every category of a file an id of its own.",
    ),
    warning(
        "category-name-repeats",
        "Category names that stand for several ids",
        "Merge the categories if they mean the same: they are trained as different classes.",
    ),
    error(
        "category-ids-shifted",
        "Files whose list counts categories from 0 and whose boxes from 1, or the other way round",
        "Number both alike: add 1 to each id of the side that begins at 0. If all that is wrong is "
        "one category that the list lacks, add it.",
    ),
    error(
        "category-id-large",
        "Category ids that are too large for classes: a model has an output for each id up to the "
        "largest",
        "Number them anew, in all files of training, validation and test at once: `dino renumber "
        "train.json val.json` writes train.renumbered.json and so on beside them.",
    ),
    error(
        "category-conflict",
        "Category ids with different names in two files",
        "Give all sources of training and validation one common list of categories.",
    ),
    warning(
        "category-lists-differ",
        "Categories that not every annotation file lists",
        "Give all sources of training and validation one common list of categories.",
    ),
    warning(
        "category-zero",
        "Category id 0 in use",
        "Nothing for this trainer, where it is a class as any other. Tools that keep 0 for the "
        "background need ids from 1.",
    ),
    warning(
        "category-gaps",
        "Category ids from 1 to the largest that are not in use",
        "Number the categories without gaps, or live with outputs that are never trained. A list "
        "of class names must have a line for each of them.",
    ),
    error(
        "class-count",
        "A number of classes that is too small for the category ids",
        "Set numClasses (dataset.num_classes) to the largest category id plus one, or leave it "
        "out.",
    ),
    error(
        "eval-class-unknown",
        "Ids in dataset.eval_class_ids that are not categories",
        "Take them out, or leave eval_class_ids out to score all classes.",
    ),
    error(
        "eval-class-boxless",
        "Scored data without one box of the classes in dataset.eval_class_ids",
        "Name classes that have boxes there, or leave eval_class_ids out to score all classes.",
    ),
)

BOX_RULES = (
    error("box-entry", "Annotations with a field that is missing or of a wrong kind", FORM),
    error(
        "box-image-unknown",
        "Annotations of images that the file does not list",
        "Correct their image_id, or remove them.",
    ),
    error(
        "box-category-unknown",
        "Annotations of categories that the file does not list",
        "Correct their category_id, or add the category.",
    ),
    error(
        "no-boxes",
        "Splits without one usable box",
        "Annotate the images, or name another annotation file. Where all boxes are crowds, set "
        "iscrowd 0 on those that stand for one object: some tools set 1 with every mask.",
    ),
    error(
        "boxes-normalised",
        "Files whose boxes are normalised: their numbers are shares of the image, 0..1",
        "Multiply x and width by the image's width, y and height by its height.",
    ),
    error(
        "boxes-percents",
        "Files whose boxes are in percents: their numbers are hundredths of the image, 0..100",
        "Multiply x and width by the image's width / 100, y and height by its height / 100.",
    ),
    warning(
        "boxes-thousandths",
        "Files whose boxes look like thousandths of the image, 0..1000: they end there, and many "
        "lie beyond their image",
        "If a vision-language model wrote them, multiply x and width by the image's width / 1000, "
        "y and height by its height / 1000. Otherwise the boxes are those of other "
        "images, or of the same before they were changed: put those back.",
    ),
    error(
        "boxes-corners",
        "Files whose boxes are corners [x1, y1, x2, y2], not [x, y, width, height]",
        "Write [x1, y1, x2 - x1, y2 - y1].",
    ),
    error(
        "crowd-unreadable",
        "Annotations whose iscrowd is neither a number nor one in a text",
        "Write 0 for one object and 1 for a crowd.",
    ),
    warning(
        "box-flat",
        "Boxes without width or height",
        "Remove them or correct them; they are dropped.",
    ),
    warning(
        "box-outside",
        "Boxes outside their image",
        "Remove them or correct them; they are dropped. Many of them: the image was resized or "
        "rotated after it was annotated.",
    ),
    warning(
        "box-over-edge",
        "Boxes that reach over the edge of their image",
        "Nothing: training clips them. Many of them: the image was resized after it was annotated.",
    ),
    warning(
        "box-repeats",
        "Boxes that stand twice on an image with the same category",
        "Remove one of each pair: the second is never found and lowers the score.",
    ),
    warning(
        "box-crowd",
        "Crowd annotations (iscrowd 1)",
        "Nothing: training leaves them out, and scoring ignores what is found in them.",
    ),
    warning(
        "box-ignored",
        "Annotations marked with ignore",
        "Set iscrowd 1, or remove them: as in COCO's own scoring, ignore has no effect and they "
        "count as ordinary boxes.",
    ),
    warning(
        "box-rotated",
        "Boxes that are rotated (rotation, or attributes.rotation, is not 0)",
        "Draw them upright, or take the box around the turned one: the angle is not read, and bbox "
        "is the box before it was turned in what CVAT writes.",
    ),
    warning(
        "box-area-absent",
        "Annotations without area (absent or null)",
        "Nothing: width x height of the box is taken, which sorts it as small, medium or large.",
    ),
    warning(
        "box-area-odd",
        "Annotations whose area is negative or not finite",
        "Correct or remove the areas: width x height of the box is taken. pycocotools would leave "
        "boxes of negative areas out.",
    ),
    warning(
        "box-area-large",
        "Annotations whose area is above 10^10 square pixels",
        "Correct or remove the areas: COCO's scoring counts no larger box.",
    ),
    warning(
        "boxes-over-detections",
        "Images with more boxes of a class than detections are scored",
        "To count them, raise evaluate.max_detections (of validation: train.max_detections) and "
        "model.num_select; COCO's own numbers have 100.",
    ),
    warning(
        "boxes-over-select",
        "Images with more boxes than the model gives detections",
        "Raise model.num_select (of a trained model, too), up to model.num_queries x classes: the "
        "boxes beyond it can never be found.",
    ),
    warning(
        "boxes-over-queries",
        "Images with more boxes than model.num_queries",
        "Raise model.num_queries (and model.num_select): the boxes beyond it can never be found.",
    ),
)
