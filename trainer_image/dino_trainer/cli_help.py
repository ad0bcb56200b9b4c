"""The texts of `dino --help`: what a user needs to run the command without other reading."""

from __future__ import annotations

from typing import NamedTuple

from dino_api import failures
from dino_api.names import Action, Env

_EXAMPLES = """\
examples:
  dino train -e spec.yaml
  dino train -e spec.yaml results_dir=/tmp/run train.num_epochs=3 dataset.batch_size=2
  dino train -e spec.yaml train.num_gpus=0            train on the CPU
  dino train -e spec.yaml results_dir=s3://bucket/run results go to S3
  dino preflight -e spec.yaml                         check the data first, all of it
  dino rules                                          everything that is checked

a smallest spec.yaml (every key has TAO's name and default; COCO annotations):
  results_dir: ./results
  dataset:
    train_data_sources: [{image_dir: train/images, json_file: train/annotations.json}]
    val_data_sources: [{image_dir: val/images.tar.gz, json_file: val/annotations.json}]
  train: {num_epochs: 12}

image_dir is a folder, an archive (.tar.gz, .tgz, .tar), or either of them on S3 (s3://…).
"""

_RESULTS = """\
results, in <results_dir>/train/:
  dino_model_latest.pth   to resume from: run the same command again
  dino_model_best.pth     the best validation so far
  result.json             metrics, checkpoint, or the failure with its remedy
  status.json             one line an event, in TAO's form
  experiment.yaml         the spec with every default filled in
  manifest.json           sizes and SHA-256 of the files above
A finished run is not run again: the same spec with the same results_dir ends at once, with 0.
Ctrl-C or SIGTERM finishes the step, saves a checkpoint and ends with 143.
"""

_PREFLIGHT = """\
Training and validation sources are staged as training does, and every annotation and every image is
checked. All findings are listed, errors first, each with a count, examples and what to do. Training
on the same machine, or with the same DINO_CACHE_DIR, uses what was staged here.

results, in <results_dir>/preflight/ or in the folder of --report:
  report.html   findings, classes, box sizes, boxes per image, augmented samples with their boxes
  report.json   the same for programs
  result.json   what training will be told: classes, images, boxes, warnings, or the failure

exit codes: 0 where there are at most warnings; 65 for data that cannot be trained on; 66 where data
is missing altogether; 64 for a spec that cannot be run; 69, 74, 77 and 143 as for training.
"""

_VARIABLES = (
    (Env.WORK_DIR, "where data is copied to (default: ~/.cache/dino)"),
    (Env.CACHE_DIR, "where staged data is kept and shared (default: data/ in the above)"),
    (Env.S3_ENDPOINT, "URL of the S3 server (default: AWS)"),
    (Env.S3_REGION, "region of the buckets (default: us-east-1)"),
    (Env.S3_PATH_STYLE, "true for servers that want http://host/bucket"),
    (Env.S3_ACCESS_KEY, f"credentials, with {Env.S3_SECRET_KEY}"),
    ("DINO_STORAGE_PATIENCE", "seconds to wait for a server that is away (default: 120)"),
    ("DINO_DEBUG", "1 shows the traceback of an unexpected error"),
)


class ActionText(NamedTuple):
    """What `dino --help` and `dino <action> --help` say about an action."""

    summary: str
    description: str
    examples: str
    results: str


ACTIONS: dict[Action, ActionText] = {
    Action.TRAIN: ActionText(
        "train a detector and score it on validation images",
        "Train a DINO detector on COCO data and score it after each validation.",
        _EXAMPLES,
        _RESULTS,
    ),
    Action.EVALUATE: ActionText(
        "score a checkpoint, an ONNX file or an engine on test images",
        "Find objects in the test images and score them as COCO does.",
        "",
        "",
    ),
    Action.INFERENCE: ActionText(
        "find objects in images that have no annotations",
        "Find objects in images; write labels and draw boxes.",
        "",
        "",
    ),
    Action.EXPORT: ActionText(
        "write a checkpoint as an ONNX file",
        "Write a checkpoint as an ONNX file that is proven to find the same objects.",
        "",
        "",
    ),
    Action.GEN_TRT_ENGINE: ActionText(
        "build a TensorRT engine of an ONNX file",
        "Build a TensorRT engine for the GPU of this machine.",
        "",
        "",
    ),
    Action.QUANTIZE: ActionText(
        "make an INT8 ONNX file",
        "Quantize an ONNX file to INT8 with calibration images.",
        "",
        "",
    ),
    Action.DISTILL: ActionText(
        "train a detector with a larger one as its teacher",
        "Train a DINO detector that also learns from a trained one.",
        "",
        "",
    ),
}


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
    text = ACTIONS[action]
    parts = [text.examples.rstrip(), text.results.rstrip(), exit_codes(), environment()]
    return "\n\n".join(parts)


def preflight_epilog() -> str:
    """Everything below the options of `dino preflight --help`."""
    return "\n\n".join([_PREFLIGHT.rstrip(), environment()])


def main_epilog() -> str:
    """Everything below the options of `dino --help`."""
    return (
        f"{_EXAMPLES.rstrip()}\n\n`dino train --help` says more: results, exit codes, environment."
    )
