"""Files of models on this machine, fetched where they lie elsewhere."""

import hashlib
from pathlib import Path

from dino_api.names import FailureReason
from dino_trainer.errors import TrainerError
from dino_trainer.storage.opening import open_store
from dino_trainer.storage.uris import is_remote, local_path, split


def fetch(uri: str, into: Path) -> Path:
    """A local path for `uri`: itself if it is local, else a copy below `into`.

    Raises:
        TrainerError: InputNotFound, AccessDenied or StorageUnavailable.
    """
    if not is_remote(uri):
        return require_local(uri)
    path = place_of(uri, into)
    folder, name = split(uri)
    open_store(folder).download(name, path)
    return path


def require_local(uri: str) -> Path:
    """The file of this machine. Raises TrainerError: InputNotFound where there is none."""
    path = local_path(uri)
    if path.is_dir():
        raise TrainerError(
            FailureReason.INPUT_NOT_FOUND,
            f"{path} is a folder, not a file of weights.",
            "Name the file within it; weights in several parts must be joined into one first.",
        )
    if not path.is_file():
        raise TrainerError(FailureReason.INPUT_NOT_FOUND, f"There is no file {path}.")
    return path


def place_of(uri: str, into: Path) -> Path:
    """The path where `fetch` puts, or finds, a file: no other URI has the same place."""
    if not is_remote(uri):
        return local_path(uri)
    own = hashlib.sha256(uri.encode()).hexdigest()[:16]
    return into / "weights" / own / split(uri)[1]
