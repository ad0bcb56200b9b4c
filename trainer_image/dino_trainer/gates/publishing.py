"""The file that an action makes of a model: at its final place, or gone from there."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from dino_api.result import ModelFile, Result

if TYPE_CHECKING:
    from dino_trainer.run import RunContext


def publish_model(
    made: Path, file: ModelFile, result: Result, note: str, context: RunContext
) -> Result:
    """Moves a file whose gate passed to its final place; `result` with it as its model.

    made: where it was written, in the output's own folder. file: what it is, with the URI that it
    gets. note: the sentence of the gate. Raises TrainerError: those of `Output.publish`.
    """
    name = PurePosixPath(file.uri).name
    os.replace(made, context.output.dir / name)
    artifact = context.output.publish(name).artifact(name)
    changes = {"model": file, "note": note, "artifacts": [artifact, *result.artifacts]}
    return result.model_copy(update=changes)


def withdraw(names: tuple[str, ...], context: RunContext) -> None:
    """Takes back what an earlier run published as one of `names`, where a gate failed.

    A job without a parent takes what lies in the output: it would go on from another model than the
    one whose file was refused. Nothing else in the output is touched. Raises TrainerError: those of
    the store.
    """
    for name in names:
        if context.output.exists(name):
            context.output.remove(name)
            context.reporter.event(
                f"Warning: {context.output.uri(name)} of an earlier run is withdrawn: the gate "
                "failed for the model that is there now, and a later job would take the old file."
            )
