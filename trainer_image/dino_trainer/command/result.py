"""`dino result`: says again what an action has left in its output; its own words may be lost."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

from dino_api.experiment import digest
from dino_api.names import Action, FailureReason
from dino_trainer.command.launch import scratch_dir
from dino_trainer.command.previous_run import differing_keys, earlier_result
from dino_trainer.errors import TrainerError, invalid_spec
from dino_trainer.report.reporter import RESULT_FILE, folder_of, write_termination
from dino_trainer.report.terminal import open_terminal
from dino_trainer.results.output import Output
from dino_trainer.spec.file import read_spec_file
from dino_trainer.spec.sections import output_folder

_REMEDY = "Run the action again: it begins with what it finds in its output."


def run(spec_path: Path, overrides: Sequence[str], action: Action, stop: threading.Event) -> int:
    """Reads the result.json of this very spec, prints it, and leaves it as the last words.

    Changes nothing in the output. Raises TrainerError: InvalidSpec, InputNotFound, and what reading
    the output ends with.
    """
    spec, _ = read_spec_file(spec_path, overrides, action)
    say = open_terminal().line
    output = Output(output_folder(spec, action), scratch_dir(), say, stop=stop, make=False)
    where = output.uri(RESULT_FILE)
    result = earlier_result(output)
    if result is None:
        message = f"There is no {where} that can be read."
        raise TrainerError(FailureReason.INPUT_NOT_FOUND, message, _REMEDY)
    wanted = digest(spec, action)
    if result.spec_digest != wanted:
        by = differing_keys(output, spec, action)
        by = by or f"spec digest {str(result.spec_digest)[:12]}…, this one has {wanted[:12]}…"
        raise invalid_spec(
            f"{where} is the result of another experiment ({by}).",
            _REMEDY,
        )
    result = result.model_copy(update={"action": action, "folder": folder_of(output)})
    say(result.to_termination_message())
    write_termination(result)
    return 0
