"""One run of one action, from the spec file to the exit code."""

from __future__ import annotations

import os
import sys
import threading
import traceback
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import NoReturn

import yaml

from dino_api.actions import ACTIONS
from dino_api.experiment import ExperimentSpec, digest
from dino_api.kubectl_yaml.writer import Dumper
from dino_api.names import (
    ERROR_FILE,
    EXPERIMENT_FILE,
    STATUS_FILE,
    TRAINS,
    Action,
    Env,
    FailureReason,
    Option,
)
from dino_api.result import Failure, Result
from dino_trainer.command.announce import announce
from dino_trainer.command.previous_run import (
    differing_keys,
    earlier_result,
    kept_checkpoint,
    source_digest,
    still_holds,
)
from dino_trainer.distributed.launcher import Topology, is_rank, supervise
from dino_trainer.distributed.processes import end_with_launcher, leave_failure
from dino_trainer.distributed.world import World
from dino_trainer.errors import TrainerError, failure_of, invalid_spec
from dino_trainer.machine.child_processes import fork_server
from dino_trainer.report.cluster import ProgressPush, Target
from dino_trainer.report.quiet_reporter import QuietReporter, SilentTerminal
from dino_trainer.report.reporter import (
    RESULT_FILE,
    Reporter,
    folder_of,
    write_termination,
)
from dino_trainer.report.terminal import Terminal, open_terminal
from dino_trainer.results.output import Output
from dino_trainer.run import RunContext
from dino_trainer.spec.file import read_spec_file
from dino_trainer.spec.sections import output_folder, shape_section
from dino_trainer.storage.files import named, replacing
from dino_trainer.storage.store import Say


@dataclass(frozen=True)
class _PreparedRun:
    """A spec that can be run, and the place where its results go."""

    action: Action
    spec: ExperimentSpec
    output: Output
    work_dir: Path
    digest: str
    terminal: Terminal
    stop: threading.Event
    earlier: Result | None = None

    @property
    def run_id(self) -> str:
        return os.environ.get(Env.JOB_UID) or uuid.uuid4().hex

    def reporter(self, push: ProgressPush | None = None) -> Reporter:
        epochs = self.spec.train.num_epochs if self.action in TRAINS else None
        return Reporter(self.output, epochs, terminal=self.terminal, push=push)

    def again(self) -> _PreparedRun:
        """The same with the output as another process has left it."""
        output, _ = _claimed(self.spec, self.action, self.terminal.line, self.stop)
        return replace(self, output=output)

    def still_valid(self) -> Result | None:
        """The result of an earlier run that makes this one needless."""
        earlier = self.earlier
        if earlier is None or earlier.spec_digest != self.digest:
            return None
        source = source_digest(self.spec, self.action)
        return earlier if still_holds(earlier, self.output, source) else None

    def left(self, failure: TrainerError | None = None) -> Result:
        """What a failed run has to show."""
        kept = failure and failure.kept
        known = {"spec_digest": self.digest, "checkpoint": kept_checkpoint(self.output)}
        return (kept or Result()).model_copy(update={**known, "action": self.action})


def launch(action: Action, spec_path: Path, overrides: Sequence[str], stop: threading.Event) -> int:
    """Runs `action` and reports how it ended; returns the exit code.

    An action in several processes starts them and waits for them; each of them comes here again.

    Raises TrainerError where it ends before there is an output to report into. Until then nothing
    of an earlier run in the same place was touched.
    """
    if is_rank():
        return _launch_as_rank(action, spec_path, overrides, stop)
    opened = _open(action, spec_path, overrides, stop, open_terminal())
    if earlier := opened.still_valid():
        where = opened.output.uri(RESULT_FILE)
        opened.terminal.line(f"Nothing to do: {where} is the result of this very spec.")
        write_termination(earlier.model_copy(update={"folder": folder_of(opened.output)}))
        return 0
    shape = Topology.of(shape_section(opened.spec, action))
    if shape.size > 1:
        return _launch_ranks(shape, opened, [action, Option.EXPERIMENT, str(spec_path), *overrides])
    return _launch_here(opened)


def _open(
    action: Action,
    spec_path: Path,
    overrides: Sequence[str],
    stop: threading.Event,
    terminal: Terminal,
) -> _PreparedRun:
    """Reads the spec and makes its output this run's."""
    spec, warnings = read_spec_file(spec_path, overrides, action)
    for warning in warnings:
        terminal.line(warning)
    output, earlier = _claimed(spec, action, terminal.line, stop)
    fingerprint = digest(spec, action)
    return _PreparedRun(action, spec, output, scratch_dir(), fingerprint, terminal, stop, earlier)


def _claimed(
    spec: ExperimentSpec, action: Action, say: Say, stop: threading.Event
) -> tuple[Output, Result | None]:
    """The output, and the result of a run that succeeded in it before."""
    output = Output(output_folder(spec, action), scratch_dir(), say, stop=stop)
    # Ranks share one local copy of the output; their launcher has looked for them.
    result = None if is_rank() else earlier_result(output)
    earlier = result if result and not result.failure else None
    output.claim(
        digest(spec, action), earlier is not None, lambda: differing_keys(output, spec, action)
    )
    return output, earlier


def _launch_here(opened: _PreparedRun) -> int:
    """In this process, which has no peers."""
    with _context(opened, World.alone()) as context:
        code = _run(opened, context)
    if opened.output.stuck:
        _leave(code)
    return code


def _launch_ranks(shape: Topology, opened: _PreparedRun, arguments: Sequence[str]) -> int:
    """In processes of their own; the first node's launcher reports for all."""
    say = opened.terminal.line
    say(f"Running in {shape.size} processes, {shape.local} of them here.")
    run_id = os.environ.get(Env.RDZV_ID) or opened.digest
    failure = supervise(shape, arguments, run_id, opened.stop, say)
    if failure is None:
        return 0
    # First of all: the store, which is asked next, may be what the ranks have failed for.
    lost = Result(action=opened.action, spec_digest=opened.digest, failure=failure)
    write_termination(lost)
    if shape.index == 0:
        try:
            _report_for_ranks(opened, failure)
        except TrainerError as error:
            say(f"{RESULT_FILE} cannot be written: {error.message}")
    _print(failure)
    return failure.exit_code or 1


def _report_for_ranks(opened: _PreparedRun, failure: Failure) -> None:
    """Why the ranks failed, with what they left. Raises TrainerError where that cannot be read."""
    now = opened.again()
    reporter = now.reporter()
    reporter.failed(failure, now.left())
    reporter.close()


def _launch_as_rank(
    action: Action, spec_path: Path, overrides: Sequence[str], stop: threading.Event
) -> int:
    """As one of several processes. Why it fails goes to the launcher, which alone reports it."""
    end_with_launcher()
    is_main = os.environ["RANK"] == "0"
    opened = None
    try:
        terminal = open_terminal() if is_main else SilentTerminal()
        opened = _open(action, spec_path, overrides, stop, terminal)
        section = shape_section(opened.spec, action)
        if section is None:
            raise invalid_spec(
                f"dino {action} runs in one process, and here it was started as one of "
                f"{os.environ['WORLD_SIZE']}.",
                "Start it by itself, without torchrun.",
            )
        # Torch, which a faulty spec did not have to wait for.
        from dino_trainer.distributed.group import joined

        with joined(section.num_gpus) as world, _context(opened, world) as context:
            _act(opened, context)
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001
        failure = failure_of(error)
        if opened and is_main:
            _save_what_is_left(error, failure, opened.output)
        elif failure.reason == FailureReason.INTERNAL_ERROR:
            traceback.print_exception(error)
        if not leave_failure(failure.as_failure()):  # torchrun's ranks have no launcher of ours
            explain(failure, error)
        _leave(failure.exit_code)
    return 0


@contextmanager
def _context(opened: _PreparedRun, world: World) -> Iterator[RunContext]:
    """What the action gets. Rank 0 alone reports."""
    if ACTIONS[opened.action].reads and opened.spec.dataset.workers:
        fork_server()  # of the loader's workers: it imports torch while this process does
    if world.is_main:
        opened.output.fetch(STATUS_FILE)
        target = Target.from_env()
        push = ProgressPush(target, opened.terminal.line) if target else None
        reporter: Reporter | QuietReporter = opened.reporter(push)
    else:
        reporter = QuietReporter()
    try:
        yield RunContext(
            opened.output,
            reporter,
            opened.work_dir,
            opened.stop,
            opened.digest,
            opened.run_id,
            world,
            opened.action,
        )
    finally:
        reporter.close()


def _leave(code: int) -> NoReturn:
    """Ends the process at once. Its usual end would wait for threads that hang in an upload."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _run(opened: _PreparedRun, context: RunContext) -> int:
    try:
        _act(opened, context)
    # Whatever ends a run is reported to the resource with its reason before the process ends.
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001
        failure = failure_of(error)
        _save_what_is_left(error, failure, opened.output)
        context.reporter.failed(failure.as_failure(), opened.left(failure))
        explain(failure, error)
        return failure.exit_code
    return 0


def _act(opened: _PreparedRun, context: RunContext) -> None:
    """The action, from its announcement to its published result."""
    output, reporter, action = opened.output, context.reporter, opened.action
    if context.world.is_main:
        announce(action, opened.spec, output, reporter.say)
        reporter.event(f"Starting DINO {action}.", "STARTED")
        _write_spec(opened.spec, output)
    # Before the action reads it: what replaces it meanwhile makes the result outdated.
    source = source_digest(opened.spec, action) if context.world.is_main else None
    module = import_module(f"dino_trainer.actions.{action}")
    result: Result = module.run(opened.spec, context)
    if context.world.is_main:
        output.settle()
        output.confirm(result.artifacts)
        known = {"spec_digest": context.digest, "action": action, "source_digest": source}
        reporter.finished(result.model_copy(update=known))


def _save_what_is_left(error: BaseException, failure: TrainerError, output: Output) -> None:
    """Uploads that still wait, and the traceback of a bug of ours."""
    lost = output.finish()
    if lost and lost not in failure.message:
        failure.message = f"{failure.message} {lost}"
    _keep_traceback(error, failure, output)


def explain(failure: TrainerError, error: BaseException) -> None:
    """Reason, sentence and remedy for people; the traceback only for who asks with DINO_DEBUG=1."""
    if os.environ.get(Env.DEBUG) == "1":
        traceback.print_exception(error)
    _print(failure.as_failure())


def _print(failure: Failure) -> None:
    print(f"{failure.reason}: {failure.message}\n{failure.remedy}", file=sys.stderr, flush=True)


def scratch_dir() -> Path:
    """The folder where data and results are made: DINO_WORK_DIR, or the user's cache."""
    given = os.environ.get(Env.WORK_DIR)
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(given) if given else Path(cache, "dino")


def _write_spec(spec: ExperimentSpec, output: Output) -> None:
    """The resolved spec beside the results. The key for encrypted models is nobody's business."""
    content = spec.model_dump(mode="json", exclude={"encryption_key"})
    path = output.dir / EXPERIMENT_FILE
    with named(path), replacing(path) as aside:
        aside.write_text(yaml.dump(content, Dumper=Dumper, sort_keys=False), encoding="utf-8")
    output.publish(EXPERIMENT_FILE)


def _keep_traceback(error: BaseException, failure: TrainerError, output: Output) -> None:
    """Our own bugs leave their traceback in a file beside the results, and say where."""
    if failure.reason != FailureReason.INTERNAL_ERROR:
        return
    text = "".join(traceback.format_exception(error))
    try:
        output.publish_text(ERROR_FILE, text)
    except (TrainerError, OSError):
        print(text, file=sys.stderr, flush=True)
        return
    failure.remedy = f"{failure.remedy} The traceback is in {output.uri(ERROR_FILE)}."
