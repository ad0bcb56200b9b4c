"""URIs of files: what they name, and whether it lies on this machine."""

from __future__ import annotations

from pathlib import Path

from dino_trainer.errors import invalid_spec


def is_remote(uri: str) -> bool:
    """Whether `uri` has to be copied here before a program can open it."""
    return "://" in uri and not uri.startswith("file://")


def local_path(uri: str) -> Path:
    """The path of a URI that is not remote."""
    return Path(uri.removeprefix("file://"))


def split(uri: str) -> tuple[str, str]:
    """Parts `s3://bucket/a/b.json` into (`s3://bucket/a`, `b.json`); the same for paths.

    Raises InvalidSpec where no file is named.
    """
    base, slash, name = uri.rpartition("/")
    if not name or base in ("s3:/", "file:/"):
        raise invalid_spec(f"{uri!r} names no file.", "Write the full path of the file.")
    return (base or "/" if slash else "."), name
