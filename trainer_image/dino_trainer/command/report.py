"""`dino report`: from search.json to the report of a search, beside its results."""

from __future__ import annotations

import json
from pathlib import Path

from dino_api.names import REPORT_FILE, SEARCH_KEY, FailureReason, Stage
from dino_api.result import Result
from dino_api.search.record import SearchRecord
from dino_trainer.command.launch import scratch_dir
from dino_trainer.errors import TrainerError, invalid_spec
from dino_trainer.report.reporter import write_termination
from dino_trainer.report.terminal import open_terminal
from dino_trainer.results.output import Output
from dino_trainer.search_report.page import search_page

_REMEDY = "Give the search.json that a search left in its output."


def run(path: Path, output_uri: str) -> int:
    """Writes report.html and search.json to the output; returns the exit code.

    Raises TrainerError: InputNotFound, InvalidSpec, and what writing to the output ends with.
    """
    text = _read(path)
    try:
        record = SearchRecord.model_validate(json.loads(text))
    except (RecursionError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise invalid_spec(f"{path} is not the record of a search: {reason}.", _REMEDY) from error
    say = open_terminal().line
    output = Output(output_uri, scratch_dir(), say)
    artifacts = []
    for name, content in ((REPORT_FILE, search_page(record)), (SEARCH_KEY, text)):
        artifacts.append(output.publish_text(name, content))
    write_termination(Result(action=Stage.REPORT, artifacts=artifacts))
    say(f"{len(record.history)} trials. Report: {output.uri(REPORT_FILE)}")
    return 0


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise TrainerError(
            FailureReason.INPUT_NOT_FOUND, f"There is no file {path}.", "Check the path after -e."
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise invalid_spec(f"{path} cannot be read: {error}.", _REMEDY) from error
