"""Asks for published files once more: only what can be read back may be reported."""

from __future__ import annotations

from collections.abc import Iterable

from dino_api.names import FailureReason
from dino_api.result import Artifact
from dino_trainer.errors import TrainerError
from dino_trainer.storage.files import sha256_of
from dino_trainer.storage.store import Store
from dino_trainer.storage.uris import is_remote, local_path


def confirm(store: Store, artifacts: Iterable[Artifact]) -> None:
    """Raises StorageUnavailable for an artifact that is gone or not what it was.

    store: whose base the artifacts lie below. Its own failures leave as they are.
    """
    for artifact in artifacts:
        if problem := doubt(store, artifact):
            raise TrainerError(
                FailureReason.STORAGE_UNAVAILABLE,
                f"{artifact.uri} was published, and {problem}.",
                "See who else writes to the output or deletes from it, and run it again.",
            )


def doubt(store: Store, artifact: Artifact) -> str | None:
    """What is wrong with a published file, by size and SHA-256; None where nothing is."""
    base = store.uri("")
    key = artifact.uri.removeprefix(base).lstrip("/")
    entry = store.head(key)
    if entry is None:
        return "is not there"
    if artifact.bytes is not None and entry.size != artifact.bytes:
        return f"has {entry.size:,} bytes there instead of {artifact.bytes:,}"
    digest = store.digest_of(key) if is_remote(base) else sha256_of(local_path(artifact.uri))
    if digest and artifact.sha256 and digest != artifact.sha256:
        return "has another SHA-256 there"
    return None


def damaged(where: str, expected: int, actual: int) -> str:
    """Says that a file is not used. expected, actual: bytes."""
    what = f"({actual:,} bytes, {expected:,} expected, or another SHA-256)"
    return f"{where} differs from what was published {what}: it is not used."
