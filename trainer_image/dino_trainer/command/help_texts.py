"""The texts of `dino --help`: what a user needs to run the command without other reading."""

from __future__ import annotations

from dino_api import failures
from dino_api.names import DEFAULT_REGION, TRAINS, Action, Env
from dino_trainer.command.action_help import ALWAYS, HELP, TRAIN_EXAMPLES

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


def main_epilog() -> str:
    """Everything below the options of `dino --help`."""
    return (
        f"{TRAIN_EXAMPLES.rstrip()}\n\n"
        "`dino <action> --help` says more: examples, results, exit codes, "
        "environment."
    )
