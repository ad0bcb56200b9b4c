"""The `dino` command: `dino <action> -e spec.yaml [key=value …]`, `dino preflight`, `dino rules`.

Reads and checks the spec, prepares the output, runs the action, and turns whatever happens into an
exit code, a sentence and a remedy. Torch is imported only once the spec is known to be good.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import MutableMapping, Sequence
from importlib.metadata import version
from pathlib import Path
from types import FrameType

from dino_api.command_line import CommandParser, parsed
from dino_api.names import SPEC_KEY, TRAINS, Action, Env, Option, Stage
from dino_api.reported import print_any_text
from dino_api.result import Result
from dino_trainer.command import help_texts
from dino_trainer.command.action_help import HELP
from dino_trainer.command.launch import explain, launch, scratch_dir
from dino_trainer.command.rules import print_rules
from dino_trainer.convert.formats import FORMATS
from dino_trainer.distributed.launcher import is_rank
from dino_trainer.errors import failure_of
from dino_trainer.report.reporter import write_termination
from dino_trainer.report.terminal import open_terminal
from dino_trainer.spec.search_file import with_draw

SPIN_COUNT = "1000"  # turns, some microseconds
RENUMBER, CONVERT, WEIGHTS, INIT = "renumber", "convert", "weights", "init"
DOCTOR = "doctor"
_WITHOUT_SPEC = (RENUMBER, CONVERT, WEIGHTS, INIT, DOCTOR)
_OVERRIDES = "overrides"
_GOODBYE = "finishing this step, then saving a checkpoint"
_GOODBYE_UNSAVED = "stopping"


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = CommandParser(
        prog="dino",
        description="Train, evaluate, export and run DINO object detectors from TAO experiment "
        "specs, here or on Kubernetes.",
        epilog=help_texts.main_epilog(),
    )
    parser.add_argument("--version", action="version", version=f"dino {version('dino-operator')}")
    actions = parser.add_subparsers(dest="action", metavar="action", required=True)
    for action in Action:
        _add_action(actions, action)
    preflight = actions.add_parser(
        Stage.PREFLIGHT,
        help="check the data of an action, all of it, before a GPU is used",
        description="Stage and check the data that an action reads; write a report.",
        epilog=help_texts.preflight_epilog(),
    )
    _add_spec(preflight)
    _add_for(preflight, "whose data")
    preflight.add_argument(
        Option.REPORT,
        metavar="DIR",
        help="folder or s3:// URI for the report (default: <results_dir>/preflight)",
    )
    _add_report(actions)
    _add_result(actions)
    _add_renumber(actions)
    _add_convert(actions)
    _add_weights(actions)
    _add_init(actions)
    _add_doctor(actions)
    rules = actions.add_parser(
        "rules",
        help="list everything that is checked, and what to do about it",
        description="Every rule and failure: id, severity, where it is checked, remedy.",
    )
    rules.add_argument("--json", action="store_true", help="as a JSON list")
    return parser


def _add_action(actions: argparse._SubParsersAction[CommandParser], action: Action) -> None:
    text = HELP[action]
    parser = actions.add_parser(
        action.value,
        help=text.summary,
        description=text.description,
        epilog=help_texts.action_epilog(action),
    )
    _add_spec(parser)
    if action == Action.TRAIN:
        parser.add_argument(
            Option.SEARCH,
            type=Path,
            metavar="FILE",
            help="search.json of a search: overrides of what it searches are taken as its draw",
        )


def _add_report(actions: argparse._SubParsersAction[CommandParser]) -> None:
    report = actions.add_parser(
        Stage.REPORT,
        help="make the report of a search from its search.json",
        description="Write report.html (charts, winner, every trial) of a search.",
    )
    report.add_argument(
        Option.EXPERIMENT,
        dest="spec",
        type=Path,
        required=True,
        metavar="FILE",
        help="search.json of a search",
    )
    report.add_argument(
        Option.OUTPUT,
        required=True,
        metavar="DIR",
        help="folder or s3:// URI that report.html and search.json are written to",
    )


def _add_result(actions: argparse._SubParsersAction[CommandParser]) -> None:
    result = actions.add_parser(
        Stage.RESULT,
        help="say again what an action has left in its output",
        description="Read result.json of the output, check that it is of this spec, print it.",
    )
    _add_spec(result)
    _add_for(result, "whose result")


def _add_renumber(actions: argparse._SubParsersAction[CommandParser]) -> None:
    renumber = actions.add_parser(
        RENUMBER,
        help="write annotations whose category ids are 1, 2, 3 and so on",
        description="Write NAME.renumbered.json beside each NAME.json, with category ids from 1 "
        "in the order of the ids given. One id becomes the same in all files.",
        epilog=help_texts.RENUMBER_EPILOG,
    )
    renumber.add_argument(
        "files",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="COCO annotations: those of training, validation and test, all at once",
    )


def _add_convert(actions: argparse._SubParsersAction[CommandParser]) -> None:
    convert = actions.add_parser(
        CONVERT,
        help="write COCO from YOLO, Pascal VOC, KITTI, Label Studio, CVAT, Datumaro or FiftyOne",
        description="Write what an annotation tool left as COCO folders that a training takes.",
        epilog=help_texts.convert_epilog(),
    )
    add = convert.add_argument
    add("format", choices=list(FORMATS), metavar="FORMAT", help=", ".join(FORMATS))
    add("source", metavar="SOURCE", help="the folder or file of the export: see below")
    add(Option.OUTPUT, required=True, metavar="DIR", help="folder to write; it must not exist yet")
    add("--split", metavar="SHARES", help="draw train, val and test: 0.8,0.1,0.1 (or 0.9,0.1)")
    add("--images", metavar="DIR", help="folder of the images, where they lie elsewhere")
    add(
        "--classes",
        metavar="FILE",
        help="names in the order of their ids, one a line: an earlier classes.txt keeps its ids",
    )
    add("--archive", action="store_true", help="pack the images of each split: images.tar.gz")
    add(
        "--link",
        action="store_true",
        help="hard links in place of copies, where that can be: whoever edits one edits both",
    )
    add(
        "--voc-zero-based",
        action="store_true",
        help="read Pascal VOC's corners as edges counted from 0, not as the devkit's pixels "
        "counted from 1 of which the last is inside",
    )


def _add_weights(actions: argparse._SubParsersAction[CommandParser]) -> None:
    weights = actions.add_parser(
        WEIGHTS,
        help="get the weights of a backbone to where trainings read them",
        description="Fetch the published weights of a backbone, or take a file that you have, "
        "check that they fit, and keep them in a folder or on S3.",
        epilog=help_texts.weights_epilog(),
    )
    ways = weights.add_subparsers(dest="way", metavar="way", required=True)
    fetch = ways.add_parser("fetch", help="from where torchvision or timm publish them")
    fetch.add_argument("backbone", metavar="NAME", help="as model.backbone: resnet_50, timm/…")
    fetch.add_argument(
        Option.OUTPUT, default=".", metavar="DIR", help="folder or s3:// URI (default: here)"
    )
    put = ways.add_parser("put", help="a file that was fetched elsewhere")
    put.add_argument("file", metavar="FILE", help="what torch saved, or safetensors")
    put.add_argument("output", metavar="DIR", help="folder or s3:// URI")
    put.add_argument("--backbone", required=True, metavar="NAME", help="as model.backbone")


def _add_init(actions: argparse._SubParsersAction[CommandParser]) -> None:
    init = actions.add_parser(
        INIT,
        help="write a spec for a COCO folder, with settings for this machine",
        description="Look at a COCO folder and at this machine, and write a spec that trains "
        "there, with comments that say why.",
        epilog=help_texts.INIT_EPILOG,
    )
    init.add_argument("folder", metavar="DIR", help="folder with train/annotations.json or alike")
    init.add_argument(
        Option.OUTPUT,
        type=Path,
        default=Path(SPEC_KEY),
        metavar="FILE",
        help="the spec to write (default: spec.yaml here); it must not exist yet",
    )


def _add_doctor(actions: argparse._SubParsersAction[CommandParser]) -> None:
    doctor = actions.add_parser(
        DOCTOR,
        help="say what this machine can do: GPU, bf16, memory, ONNX Runtime, TensorRT, S3",
        description="Look at this machine and say what is there, doubtful or missing, and what to "
        "do about it. Nothing is written.",
        epilog=help_texts.doctor_epilog(),
    )
    doctor.add_argument("uri", nargs="?", default="", metavar="URI", help="s3:// URI to list")
    doctor.add_argument(
        Option.OUTPUT, choices=["text", "json"], default="text", help="text (default) or json"
    )


def _add_for(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument(
        Option.ACTION,
        dest="action_for",
        type=Action,
        choices=list(Action),
        default=Action.TRAIN,
        metavar="ACTION",
        help=f"{what}: train (default), " + ", ".join(list(Action)[1:]),
    )


def _add_spec(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        Option.EXPERIMENT,
        "--experiment",
        dest="spec",
        type=Path,
        required=True,
        metavar="FILE",
        help="the experiment spec (YAML)",
    )
    parser.add_argument(
        _OVERRIDES,
        nargs="*",
        metavar="key=value",
        help="overrides of the spec: dotted key, YAML value",
    )


def share_cores(env: MutableMapping[str, str]) -> None:
    """Let OpenMP's threads sleep soon where they wait for each other; call before torch is loaded.

    By default they spin for milliseconds. Where others compute on the same cores, the thread that
    all wait for then gets no core, since the waiting ones hold it (`tests/bench/busy_cores.py`).
    Whoever sets one of these variables is respected.
    """
    if Env.OMP_WAIT_POLICY not in env:
        env.setdefault(Env.SPIN_COUNT, SPIN_COUNT)


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    print_any_text(sys.stdout, sys.stderr)
    arguments = parsed(build_parser(), argv, _OVERRIDES)
    share_cores(os.environ)
    if arguments.action == "rules":
        return print_rules(arguments.json)
    if arguments.action in _WITHOUT_SPEC:
        return _on_files(arguments)
    stages = {stage.value: stage for stage in Stage}
    action = stages.get(arguments.action) or Action(arguments.action)
    stop = threading.Event()
    _stop_on_signals(stop, _GOODBYE if action in TRAINS else _GOODBYE_UNSAVED)
    try:
        return _run(action, arguments, stop)
    # The one place where every exception becomes an exit code; nothing is swallowed.
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001
        failure = failure_of(error)
        explain(failure, error)
        write_termination(Result(action=action, failure=failure.as_failure()))
        return failure.exit_code


def _on_files(arguments: argparse.Namespace) -> int:
    """What needs neither spec nor output."""
    try:
        if arguments.action == RENUMBER:
            from dino_trainer.command import renumber

            return renumber.run(arguments.files)
        if arguments.action == WEIGHTS:
            from dino_trainer.command import weights

            return weights.run(arguments)
        if arguments.action == INIT:
            from dino_trainer.command import init

            return init.run(arguments.folder, arguments.output)
        if arguments.action == DOCTOR:
            from dino_trainer.command import doctor

            return doctor.run(arguments.uri, arguments.output, scratch_dir())
        # Pillow and numpy, which nothing else here needs.
        from dino_trainer.command import convert

        return convert.run(arguments, open_terminal().line)
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001
        failure = failure_of(error)
        explain(failure, error)
        return failure.exit_code


def _run(action: str, arguments: argparse.Namespace, stop: threading.Event) -> int:
    if action == Stage.PREFLIGHT:
        # Pillow and numpy, which nothing else here needs.
        from dino_trainer.command.preflight import run

        return run(
            arguments.spec, arguments.overrides, arguments.report, stop, arguments.action_for
        )
    if action == Stage.RESULT:
        from dino_trainer.command import result

        return result.run(arguments.spec, arguments.overrides, arguments.action_for, stop)
    if action == Stage.REPORT:
        # Optuna, which nothing else here needs.
        from dino_trainer.command import report

        return report.run(arguments.spec, arguments.output)
    overrides = arguments.overrides
    if action == Action.TRAIN and arguments.search:
        overrides = with_draw(arguments.search, arguments.spec, overrides)
    return launch(Action(action), arguments.spec, overrides, stop)


def _stop_on_signals(stop: threading.Event, goodbye: str) -> None:
    """SIGTERM and SIGINT ask the action to stop after its step; a second Ctrl-C ends at once.

    A second SIGTERM changes nothing: some process managers send several, and the checkpoint that
    is being saved is worth more than their haste.
    """

    def asked(number: int, _frame: FrameType | None) -> None:
        if stop.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        if not stop.is_set() and not is_rank():  # its launcher says so for all
            # Not print: the signal may have arrived in the middle of one.
            name = signal.Signals(number).name
            os.write(2, f"{name}: {goodbye}.\n".encode())
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, asked)
