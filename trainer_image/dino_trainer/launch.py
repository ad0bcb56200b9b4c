"""One run of one action, from the spec file to the exit code."""

from __future__ import annotations

import os
import sys
import threading
import traceback
import uuid
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import yaml

from dino_api.experiment import DataSource, ExperimentSpec, digest
from dino_api.names import Action, Env, FailureReason
from dino_api.result import Checkpoint, Result
from dino_trainer.errors import TrainerError, failure_of
from dino_trainer.output import Output
from dino_trainer.report.cluster import ProgressPush, Target
from dino_trainer.report.reporter import RESULT_FILE, STATUS_FILE, Reporter, write_termination
from dino_trainer.report.terminal import open_terminal
from dino_trainer.run import RunContext
from dino_trainer.spec_file import read_spec
from dino_trainer.storage import Say, replacing

SPEC_FILE = "experiment.yaml"
ERROR_FILE = "error.log"


def launch(action: Action, spec_path: Path, overrides: Sequence[str], stop: threading.Event) -> int:
    """Runs `action` and reports how it ended; returns the exit code.

    Raises TrainerError where it ends before there is an output to report into. Until then nothing
    of an earlier run in the same place was touched.
    """
    spec, warnings = read_spec(spec_path, overrides)
    terminal = open_terminal()
    for warning in warnings:
        terminal.line(warning)
    work_dir = scratch_dir()
    folder = spec.train.results_dir
    output = Output(spec.results_dir, action, work_dir, terminal.line, folder=folder, stop=stop)
    fingerprint = digest(spec)
    output.claim(fingerprint)
    if earlier := _finished_earlier(output, fingerprint):
        terminal.line(f"Nothing to do: {output.uri(RESULT_FILE)} is the result of this very spec.")
        write_termination(earlier)
        return 0
    output.fetch(STATUS_FILE)
    target = Target.from_env()
    push = ProgressPush(target, terminal.line) if target else None
    reporter = Reporter(output, spec.train.num_epochs, terminal=terminal, push=push)
    run_id = os.environ.get(Env.JOB_UID) or uuid.uuid4().hex
    context = RunContext(output, reporter, work_dir, stop, fingerprint, run_id)
    try:
        code = _run(action, spec, context)
    finally:
        reporter.close()
    if output.stuck:
        _leave(code)
    return code


def _leave(code: int) -> None:
    """Ends the process at once. Its usual end would wait for threads that hang in an upload."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _run(action: Action, spec: ExperimentSpec, context: RunContext) -> int:
    output, reporter = context.output, context.reporter
    try:
        _announce(spec, output, reporter.say)
        reporter.event(f"Starting DINO {action}.", "STARTED")
        _write_spec(spec, output)
        module = import_module(f"dino_trainer.actions.{action}")
        result: Result = module.run(spec, context)
        output.settle()
        reporter.finished(result.model_copy(update={"spec_digest": context.digest}))
    # Whatever ends a run is reported to the resource with its reason before the process ends.
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001
        failure = failure_of(error)
        lost = output.finish()
        if lost and lost not in failure.message:
            failure.message = f"{failure.message} {lost}"
        _keep_traceback(error, failure, output)
        kept = Result(spec_digest=context.digest, checkpoint=_kept_checkpoint(output))
        reporter.failed(failure.as_failure(), kept)
        explain(failure, error)
        return failure.exit_code
    return 0


def explain(failure: TrainerError, error: BaseException) -> None:
    """Reason, sentence and remedy for people; the traceback only for who asks with DINO_DEBUG=1."""
    if os.environ.get("DINO_DEBUG") == "1":
        traceback.print_exception(error)
    print(f"{failure.reason}: {failure.message}\n{failure.remedy}", file=sys.stderr, flush=True)


def scratch_dir() -> Path:
    """Where data and results are made: DINO_WORK_DIR, or the user's cache."""
    given = os.environ.get(Env.WORK_DIR)
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(given) if given else Path(cache, "dino")


def _finished_earlier(output: Output, fingerprint: str) -> Result | None:
    """The result of an earlier run of this spec, if it succeeded and its checkpoint is there."""
    path = output.fetch(RESULT_FILE)
    result = path and Result.from_termination_message(path.read_text(encoding="utf-8"))
    if not result or result.failure or result.spec_digest != fingerprint:
        return None
    if result.checkpoint and not output.exists(result.checkpoint.uri.rpartition("/")[2]):
        return None
    return result


def _write_spec(spec: ExperimentSpec, output: Output) -> None:
    """The resolved spec beside the results. The key for encrypted models is nobody's business."""
    content = spec.model_dump(mode="json", exclude={"encryption_key"})
    with replacing(output.dir / SPEC_FILE) as aside:
        aside.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    output.publish(SPEC_FILE)


def _announce(spec: ExperimentSpec, output: Output, say: Say) -> None:
    """What is going to happen, before it happens."""
    model, train, data = spec.model, spec.train, spec.dataset
    device = f"{train.num_gpus} GPU" if train.num_gpus else "the CPU"
    say(f"Training data    {_sources(data.train_data_sources)}")
    say(f"Validation data  {_sources(data.val_data_sources) or 'the training data again'}")
    say(
        f"Model            DINO on {model.backbone}, {model.num_feature_levels} levels, "
        f"{model.num_queries} queries, {model.enc_layers} + {model.dec_layers} layers"
    )
    say(
        f"Training         {train.num_epochs} epochs of batches of {data.batch_size} on {device}, "
        f"validated every {train.validation_interval}"
    )
    say(f"Train results will be saved at: {output.uri('')}")


def _sources(sources: Sequence[DataSource] | None) -> str:
    return ", ".join(f"{source.image_dir} ({source.json_file})" for source in sources or ())


def _kept_checkpoint(output: Output) -> Checkpoint | None:
    """What a later attempt, or the user, can go on from after a failure."""
    files = output.published()
    latest, best = files.get("dino_model_latest.pth"), files.get("dino_model_best.pth")
    main = best or latest
    if main is None:
        return None
    return Checkpoint(
        uri=main.uri,
        latest_uri=latest.uri if latest else None,
        sha256=main.sha256,
        bytes=main.bytes,
    )


def _keep_traceback(error: BaseException, failure: TrainerError, output: Output) -> None:
    """Our own bugs leave their traceback in a file beside the results, and say where."""
    if failure.reason != FailureReason.INTERNAL_ERROR:
        return
    text = "".join(traceback.format_exception(error))
    try:
        (output.dir / ERROR_FILE).write_text(text, encoding="utf-8")
        output.publish(ERROR_FILE)
    except (TrainerError, OSError):
        print(text, file=sys.stderr, flush=True)
        return
    failure.remedy = f"{failure.remedy} The traceback is in {output.uri(ERROR_FILE)}."
