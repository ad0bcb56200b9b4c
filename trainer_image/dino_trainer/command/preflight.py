"""`dino preflight`: from a spec to a verdict on its data, before a GPU is asked for."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from pathlib import Path

from dino_api.experiment import ExperimentSpec
from dino_api.names import REPORT_DATA_FILE, REPORT_FILE, TRAINS, Action, FailureReason, Stage
from dino_api.reported import shortened
from dino_api.result import Artifact, Result
from dino_trainer.command.launch import explain, scratch_dir
from dino_trainer.errors import TrainerError
from dino_trainer.preflight.check import PreflightResult, check, dataset_status
from dino_trainer.preflight.examples import example_pictures
from dino_trainer.preflight.findings import Finding
from dino_trainer.preflight.page import preflight_page
from dino_trainer.preflight.samples import sample_sheet
from dino_trainer.preflight.statistics import dataset_statistics, skipped_images
from dino_trainer.report.reporter import RESULT_FILE, folder_of, write_termination
from dino_trainer.report.terminal import open_terminal
from dino_trainer.results.output import Output
from dino_trainer.spec.file import read_spec_file
from dino_trainer.spec.sections import section_of, subfolder
from dino_trainer.storage.store import Say

_SCHEMA = 1
_SHOWN = 10


def run(
    spec_path: Path,
    overrides: Sequence[str],
    report: str | None,
    stop: threading.Event,
    action: Action = Action.TRAIN,
) -> int:
    """Checks, prints, publishes the report and the result; returns the exit code.

    report: where the report goes, in place of `<results_dir>/preflight`.
    Raises TrainerError where the data could not be checked at all.
    """
    elsewhere = [f"results_dir={report}"] if report else []
    spec, warnings = read_spec_file(spec_path, [*overrides, *elsewhere], action)
    say = open_terminal().line
    for warning in warnings:
        say(warning)
    work_dir = scratch_dir()
    output = Output(report or _folder(spec, action), work_dir, say)
    checked = check(spec, work_dir, say, stop, action)
    for finding in checked.findings.all():
        say(f"{finding.rule.severity}: {finding.rule.id}: {finding.message}")
        say(f"  -> {finding.remedy}")
    failure = failure_of_data(checked, output.uri(REPORT_FILE))
    result = Result(
        action=Stage.PREFLIGHT,
        artifacts=_publish(spec, checked, output, stop),
        dataset=dataset_status(checked),
        failure=failure.as_failure() if failure else None,
        folder=folder_of(output),
    )
    output.publish_text(RESULT_FILE, _json(result.to_dict()))
    write_termination(result)
    _conclude(checked, output, say)
    if failure is None:
        return 0
    explain(failure, failure)
    return failure.exit_code


def failure_of_data(checked: PreflightResult, report: str) -> TrainerError | None:
    """Why the action must not begin: the errors by id and count, with their messages.

    Data that is not there at all is InputNotFound; anything else is InvalidDataset.
    """
    errors = checked.findings.errors
    if not errors:
        return None
    missing = all(one.rule.id == "source-missing" for one in errors)
    reason = FailureReason.INPUT_NOT_FOUND if missing else FailureReason.INVALID_DATASET
    counts = ", ".join(f"{one.rule.id} ({one.count})" for one in errors)
    messages = " ".join(one.message for one in errors[:_SHOWN])
    plural = "error" if len(errors) == 1 else "kinds of errors"
    message = f"The data has {len(errors)} {plural}: {counts}. {messages}"
    return TrainerError(reason, shortened(message, 1800), _remedy(errors, report))


def _remedy(errors: list[Finding], report: str) -> str:
    first = errors[0].remedy
    more = "" if len(errors) == 1 else " The other errors have theirs in the report."
    return f"{first}{more} Report: {report}"


def _folder(spec: ExperimentSpec, action: Action) -> str:
    """Beside the action's results, wherever those are."""
    base = spec.results_dir or section_of(spec, action).results_dir
    return subfolder(base, Stage.PREFLIGHT)


def _publish(
    spec: ExperimentSpec, checked: PreflightResult, output: Output, stop: threading.Event
) -> list[Artifact]:
    content: dict[str, object] = {
        "schema": _SCHEMA,
        "action": checked.action.value,
        "ok": not checked.findings.errors,
        "findings": [finding.to_dict() for finding in checked.findings.all()],
        "dataset": dataset_status(checked).to_dict(),
        "statistics": dataset_statistics(checked.splits),
    }
    if left_out := skipped_images(checked.splits):
        content["skipped"] = left_out
    augmented = checked.action in TRAINS
    first = checked.splits[0] if checked.splits else None
    sheet = sample_sheet(spec, first, augmented=augmented) if first else None
    gallery = example_pictures(checked.findings.all(), checked.splits, stop)
    return [
        output.publish_text(REPORT_FILE, preflight_page(content, sheet, gallery)),
        output.publish_text(REPORT_DATA_FILE, _json(content)),
    ]


def _json(content: dict[str, object]) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _conclude(checked: PreflightResult, output: Output, say: Say) -> None:
    errors, warnings = len(checked.findings.errors), len(checked.findings.warnings)
    say(f"{_counted(checked)}: {errors} kinds of errors, {warnings} of warnings.")
    say(f"Report: {output.uri(REPORT_FILE)}")


def _counted(checked: PreflightResult) -> str:
    """What there is, in words."""
    if checked.action in TRAINS:
        train, *rest = checked.splits
        scored = rest[0].images if rest else "the same"
        return f"{train.images} training images with {train.boxes} boxes, {scored} for validation"
    counts = [f"{s.images} {s.name} images with {s.boxes} boxes" for s in checked.splits]
    if checked.action == Action.INFERENCE:
        counts.append(f"{checked.pictures} images")
    return ", ".join(counts) or f"dino {checked.action} reads no data here"
