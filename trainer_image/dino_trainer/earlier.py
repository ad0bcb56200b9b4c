"""What an earlier run left in the output, and what of it counts."""

from __future__ import annotations

from dino_api.names import BEST_CHECKPOINT, LATEST
from dino_api.result import Checkpoint, Result
from dino_trainer.output import Output
from dino_trainer.report.reporter import RESULT_FILE


def earlier_result(output: Output) -> Result | None:
    """The result of the run that ended here last; None where there is none that can be read."""
    path = output.fetch(RESULT_FILE)
    return Result.from_termination_message(path.read_text(encoding="utf-8")) if path else None


def still_holds(result: Result, output: Output, digest: str) -> bool:
    """Whether a result of success is that of the spec with this digest, and its files are there."""
    if result.spec_digest != digest:
        return False
    if result.checkpoint:
        # Of a training only the best checkpoint is needed: people tidy up.
        return output.exists(result.checkpoint.uri.rpartition("/")[2])
    return output.holds(result.artifacts)


def kept_checkpoint(output: Output) -> Checkpoint | None:
    """What a later attempt, or the user, can go on from after a failure."""
    files = output.published()
    latest, best = files.get(LATEST), files.get(BEST_CHECKPOINT)
    main = best or latest
    if main is None:
        return None
    return Checkpoint(
        uri=main.uri,
        latest_uri=latest.uri if latest else None,
        sha256=main.sha256,
        bytes=main.bytes,
    )
