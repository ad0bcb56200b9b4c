"""The texts of `dino --help`: what a user needs to run the command without other reading."""

from __future__ import annotations

from dino_api import failures
from dino_api.names import DEFAULT_REGION, TRAINS, Action, Env
from dino_trainer.command.action_help import ALWAYS, HELP, TRAIN_EXAMPLES
from dino_trainer.convert.formats import FORMATS

_PREFLIGHT = """\
examples:
  dino preflight -e spec.yaml                   training and validation data
  dino preflight -e spec.yaml --for evaluate    test data; --for quantize: calibration and test data

Data is staged as the action does it, and every annotation and every image is checked. All findings
are listed, errors first, each with a count, examples and what to do. The action on the same
machine, or with the same DINO_CACHE_DIR, uses what was staged here.

results, in <results_dir>/preflight/ or in the folder of --report:
  report.html   findings, classes, box sizes, boxes per image, augmented samples with their boxes
  report.json   the same for programs
  result.json   what the resource will be told: classes, images, boxes, warnings, or the failure

exit codes: 0 where there are at most warnings; 65 for data that cannot be trained on; 66 where data
is missing altogether; 64 for a spec that cannot be run; 69, 74, 77 and 143 as for training.
"""

_VARIABLES = (
    (Env.WORK_DIR, "where data is copied to (default: ~/.cache/dino)"),
    (Env.CACHE_DIR, "where staged data is kept and shared (default: data/ in the above)"),
    (Env.S3_ENDPOINT, "URL of the S3 server (default: AWS)"),
    (Env.S3_REGION, f"region of the buckets (default: {DEFAULT_REGION})"),
    (Env.S3_PATH_STYLE, "true for servers that want http://host/bucket"),
    (Env.S3_ACCESS_KEY, f"credentials, with {Env.S3_SECRET_KEY}"),
    (Env.STORAGE_PATIENCE, "seconds to wait for a server that is away (default: 120)"),
    (Env.DEBUG, "1 shows the traceback of an unexpected error"),
)


def exit_codes() -> str:
    """The table of exit codes, from the failure catalogue."""
    lines = ["exit codes:", "    0  done"]
    lines += [
        f"  {rule.exit_code:>3}  {rule.reason}: {rule.when}"
        for rule in failures.TABLE
        if rule.exit_code is not None
    ]
    return "\n".join(lines)


def environment() -> str:
    """The environment variables that the command reads."""
    lines = [f"  {name:<22} {text}" for name, text in _VARIABLES]
    return "\n".join(["environment:", *lines])


def action_epilog(action: Action) -> str:
    """Everything below the options of `dino <action> --help`."""
    text = HELP[action]
    results = text.results if action in TRAINS else text.results + ALWAYS
    parts = [text.examples.rstrip(), results.rstrip(), exit_codes(), environment()]
    return "\n\n".join(parts)


def preflight_epilog() -> str:
    """Everything below the options of `dino preflight --help`."""
    return "\n\n".join([_PREFLIGHT.rstrip(), environment()])


RENUMBER_EPILOG = """\
example:
  dino renumber train/annotations.json val/annotations.json
  then name train/annotations.renumbered.json and val/annotations.renumbered.json in the spec
  (json_file), or upload them as annotations.json

Ids of images and annotations, and all other keys, stay as they are.
"""


INIT_EPILOG = """\
examples:
  dino init coco                                  what `dino convert` wrote becomes spec.yaml
  dino init photos/coco --output photos.yaml

Read are these layouts:
  DIR/train/annotations.json with images/ or images.tar.gz beside it; val and test likewise
  DIR/train/_annotations.coco.json with the images beside it
  DIR/annotations/instances_train2017.json with DIR/train2017
  DIR/annotations.json with DIR/images, without splits
Sizes, queries and epochs follow from the data; batch, precision and layers from the machine. Where
DIR is of another format, the `dino convert` command that helps is said.
"""


_DOCTOR = """\
examples:
  dino doctor                            this machine
  dino doctor s3://photos/digits         and whether that can be listed
  dino doctor --output json              for programs

ok: there. warn: there, and something will go worse for it. missing: not there, or not usable. It
looks, and tries nothing out: no training, no product of matrices, no file written.
S3 credentials are looked for as a training does, and never shown.

exit codes: 0, also where a GPU or TensorRT is missing, which a machine may lack;
  {NoGPU} where there is a GPU that PyTorch cannot use
  {StorageUnavailable} where the S3 server does not answer that {endpoint} names
  {AccessDenied} where the URI may not be listed, or there are no credentials for it
  {InputNotFound} where there is no such bucket; {InvalidSpec} for a setting that is none
  {InternalError} where PyTorch cannot be loaded, or another part cannot be looked at
"""


def doctor_epilog() -> str:
    """Everything below the options of `dino doctor --help`."""
    codes = {rule.reason.value: rule.exit_code for rule in failures.TABLE}
    text = _DOCTOR.format(**codes, endpoint=Env.S3_ENDPOINT).rstrip()
    return "\n\n".join([text, environment()])


_CONVERT = """\
examples:
  dino convert yolo  dataset/ --output coco                      the splits that data.yaml has
  dino convert voc   VOC2012/ --output coco --split 0.8,0.1,0.1  train, val and test
  dino convert cvat  export/  --output coco --split 0.9,0.1 --archive
  dino convert label-studio project.json --images photos --output coco

formats, and what SOURCE is:
{formats}

what is written, each folder as a data source of a training takes it:
  DIR/train/annotations.json  COCO, with category ids from 1 in the order of the format
  DIR/train/images/           or images.tar.gz with --archive; file_name begins below images/
  DIR/val/, DIR/test/         likewise; an export without splits is written into DIR itself
  DIR/classes.txt             the names in the order of the ids, as inference takes them (classmap)

then: dino preflight, with image_dir: DIR/train/images, json_file: DIR/train/annotations.json

Which split an image falls into depends on its name alone: images that come later move none.
Boxes that are turned and polygons become the upright boxes around them, which is counted and said.
The source is never changed. Videos and tracks are refused. docs/data.md says more of each format.
"""


def convert_epilog() -> str:
    """Everything below the options of `dino convert --help`."""
    lines = [f"  {name:<13} {one.called}: {one.source}" for name, one in FORMATS.items()]
    return _CONVERT.replace("{formats}", "\n".join(lines))


_WEIGHTS = """\
examples:
  dino weights fetch resnet_50                            into this folder
  dino weights fetch swin_tiny_224_1k --output s3://photos/weights
  dino weights put ~/r50.pth s3://photos/weights --backbone resnet_50

What it prints last belongs into the experiment. Weights are published under licences of their own.
"""


def weights_epilog() -> str:
    """Everything below the options of `dino weights --help`."""
    return "\n\n".join([_WEIGHTS.rstrip(), environment()])


def main_epilog() -> str:
    """Everything below the options of `dino --help`."""
    return (
        f"{TRAIN_EXAMPLES.rstrip()}\n\n"
        "`dino <action> --help` says more: examples, results, exit codes, "
        "environment."
    )
