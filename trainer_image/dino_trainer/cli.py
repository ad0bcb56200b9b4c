"""The `dino` command: `dino train -e spec.yaml [key=value …]`.

Reads and checks the spec, prepares the output, runs the action, and turns whatever happens into an
exit code, a sentence and a remedy. Torch is imported only once the spec is known to be good.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import NoReturn

from dino_api.names import Action
from dino_api.result import Result
from dino_trainer import cli_help
from dino_trainer.errors import failure_of
from dino_trainer.launch import explain, launch
from dino_trainer.report.reporter import write_termination

_USAGE_ERROR = 64


class _Parser(argparse.ArgumentParser):
    """Usage errors end with 64 as every other mistake in the request, not with argparse's 2."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(_USAGE_ERROR, f"{self.prog}: {message}\n")


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = _Parser(
        prog="dino",
        description="Train DINO object detectors from TAO experiment specs, here or on Kubernetes.",
        epilog=cli_help.main_epilog(),
        formatter_class=raw,
    )
    parser.add_argument("--version", action="version", version=f"dino {version('dino-operator')}")
    actions = parser.add_subparsers(dest="action", metavar="action", required=True)
    train = actions.add_parser(
        Action.TRAIN.value,
        help="train a detector and score it on validation images",
        description="Train a DINO detector on COCO data and score it after each validation.",
        epilog=cli_help.train_epilog(),
        formatter_class=raw,
    )
    train.add_argument(
        "-e",
        "--experiment",
        dest="spec",
        type=Path,
        required=True,
        metavar="FILE",
        help="the experiment spec (YAML)",
    )
    train.add_argument(
        "overrides",
        nargs="*",
        metavar="key=value",
        help="overrides of the spec: dotted key, YAML value",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    arguments = build_parser().parse_args(argv)
    stop = threading.Event()
    _stop_on_signals(stop)
    try:
        return launch(Action(arguments.action), arguments.spec, arguments.overrides, stop)
    # The one place where every exception becomes an exit code; nothing is swallowed.
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001
        failure = failure_of(error)
        explain(failure, error)
        write_termination(Result(failure=failure.as_failure()))
        return failure.exit_code


def _stop_on_signals(stop: threading.Event) -> None:
    """SIGTERM and SIGINT ask the action to stop after its step; a second Ctrl-C ends at once.

    A second SIGTERM changes nothing: some process managers send several, and the checkpoint that
    is being saved is worth more than their haste.
    """

    def asked(number: int, _frame: FrameType | None) -> None:
        if stop.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        if not stop.is_set():
            # Not print: the signal may have arrived in the middle of one.
            name = signal.Signals(number).name
            os.write(2, f"{name}: finishing this step, then saving a checkpoint.\n".encode())
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, asked)
