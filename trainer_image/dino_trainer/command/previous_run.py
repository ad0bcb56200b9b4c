"""What an earlier run left in the output, and what of it counts."""

from __future__ import annotations

from dino_api.experiment import ExperimentSpec
from dino_api.experiment.digest import differences, in_words
from dino_api.kubectl_yaml.reader import read
from dino_api.names import BEST_CHECKPOINT, EXPERIMENT_FILE, LATEST_CHECKPOINT, Action
from dino_api.result import Checkpoint, Result
from dino_trainer.errors import TrainerError
from dino_trainer.model_files.naming import model_uri
from dino_trainer.report.reporter import RESULT_FILE
from dino_trainer.results.output import Output
from dino_trainer.storage.files import sha256_of
from dino_trainer.storage.opening import open_store
from dino_trainer.storage.uris import is_remote, local_path, split


def earlier_result(output: Output) -> Result | None:
    """The result of the run that ended here last; None where there is none that can be read."""
    path = output.fetch(RESULT_FILE)
    if path is None:
        return None
    return Result.from_termination_message(path.read_text(encoding="utf-8", errors="replace"))


def still_holds(result: Result, output: Output, source: str | None) -> bool:
    """Whether a result is that of the model that is there now, and its files are there.

    source: what `source_digest` says now. A model that is gone makes no result outdated.
    """
    if source not in (None, result.source_digest):
        return False
    if result.checkpoint:
        # Of a training only the best checkpoint is needed: people tidy up.
        return output.exists(result.checkpoint.uri.rpartition("/")[2])
    return all(output.holds(artifact) for artifact in result.artifacts)


def source_digest(spec: ExperimentSpec, action: Action) -> str | None:
    """What lies where the action's model is read: its SHA-256, or what its store knows instead.

    None for a training, and where there is no such file.
    """
    if action == Action.TRAIN:
        return None
    base, name = split(model_uri(spec, action))
    store = open_store(base)
    entry = store.head(name)
    if entry is None:
        return None
    known = store.digest_of(name) if is_remote(base) else sha256_of(local_path(base) / name)
    return f"sha256:{known}" if known else f"etag:{entry.etag} {entry.size}"


def differing_keys(output: Output, spec: ExperimentSpec, action: Action) -> str:
    """The keys by which the spec of an earlier run differs; empty where that is not to be read."""
    try:
        path = output.fetch(EXPERIMENT_FILE)
        content = path and read(path.read_text(encoding="utf-8"))
        before = ExperimentSpec.model_validate(content or None)
    except (TrainerError, OSError, ValueError):  # of another release, or damaged
        return ""
    return in_words(differences(before, spec, action), "there")


def kept_checkpoint(output: Output) -> Checkpoint | None:
    """What a later attempt, or the user, can go on from after a failure."""
    files = output.published()
    latest, best = files.get(LATEST_CHECKPOINT), files.get(BEST_CHECKPOINT)
    main = best or latest
    if main is None:
        return None
    return Checkpoint(
        uri=main.uri,
        latest_uri=latest.uri if latest else None,
        sha256=main.sha256,
        bytes=main.bytes,
    )
