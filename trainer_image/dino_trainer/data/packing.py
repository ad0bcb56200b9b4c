"""What a file is that should be an archive of images, and the commands that make one of it.

Each remedy is a line for a shell, in the folder of the file; what it makes is read.
"""

from __future__ import annotations

import shlex
from pathlib import PurePosixPath

from dino_trainer.errors import TrainerError, invalid_dataset

SUFFIXES = (".tar.gz", ".tgz", ".tar")
_BY_PYTHON = "python3 -m {module} -e {name} images && tar -czf {made} images/"
_BY_HAND = "Unpack it into a folder images, then: tar -czf {made} images/"
_ZIP, _TAR = _BY_PYTHON.replace("{module}", "zipfile"), _BY_PYTHON.replace("{module}", "tarfile")
# How it begins or ends, what that is, and what to do.
_BY_CONTENT: tuple[tuple[bytes, str, str], ...] = (
    (b"PK\x03\x04", "a ZIP archive", _ZIP),
    (b"PK\x05\x06", "an empty ZIP archive", "Pack the images: tar -czf {made} images/"),
    (b"BZh", "packed by bzip2", _TAR),
    (b"\xfd7zXZ", "packed by xz", _TAR),
    (b"\x28\xb5\x2f\xfd", "packed by zstd", _BY_HAND),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", _BY_HAND),
    (b"Rar!", "a RAR archive", _BY_HAND),
    (b"\x1f\x8b", "packed by gzip twice", "gunzip < {name} > once.tar.gz && mv once.tar.gz {made}"),
    (b"\xff\xd8\xff", "a JPEG image", "Name its folder, or pack that: tar -czf {made} images/"),
    (b"\x89PNG", "a PNG image", "Name its folder, or pack that: tar -czf {made} images/"),
    (b"version https://git-lfs", "a pointer of Git LFS, not the file", "git lfs pull"),
    (b"<?xml", "an XML document, such as a store's error", "Download it again."),
)
_BY_NAME = {
    ".zip": _BY_CONTENT[0], ".bz2": _BY_CONTENT[2], ".tbz": _BY_CONTENT[2],
    ".tbz2": _BY_CONTENT[2], ".xz": _BY_CONTENT[3], ".txz": _BY_CONTENT[3],
    ".zst": _BY_CONTENT[4], ".7z": _BY_CONTENT[5], ".rar": _BY_CONTENT[6],
}  # fmt: skip
_PAGES = (b"<!doctype html", b"<html")


def is_archive(name: str) -> bool:
    """Whether a file name or URI ends like an archive that is read."""
    return name.lower().endswith(SUFFIXES)


def stem(name: str) -> str:
    """`images.tar.gz` -> `images`."""
    base = PurePosixPath(name).name
    for suffix in SUFFIXES:
        if base.lower().endswith(suffix):
            return base[: -len(suffix)]
    return base


def other_by_name(name: str) -> TrainerError | None:
    """Of a file or URI that ends like an archive which is not read."""
    found = _BY_NAME.get(PurePosixPath(name.lower()).suffix)
    return _other(name, found[1], found[2]) if found else None


def other_by_content(name: str, head: bytes) -> TrainerError | None:
    """Of a file that is called like an archive and is none. head: its first bytes, or those of what
    gzip has packed in it."""
    for start, what, remedy in _BY_CONTENT:
        if head.startswith(start):
            return _other(name, what, remedy)
    if head.lstrip()[:20].lower().startswith(_PAGES):
        return _other(name, "a page of the web", "Download the file itself, not the page about it.")
    if head and _is_text(head):
        return _other(name, "text", f"Pack the images: {pack(name)}")
    return None


def _other(name: str, what: str, remedy: str) -> TrainerError:
    base = shlex.quote(PurePosixPath(name).name)
    return invalid_dataset(
        f"{name} is {what}. Read are .tar.gz, .tgz and .tar.",
        remedy.format(name=base, made=_made(name)),
    )


def pack(name: str, options: str = "-czf") -> str:
    """The command that makes an archive of that name."""
    return f"tar {options} {_made(name)} images/"


def again(name: str) -> str:
    """What to do where an archive is damaged."""
    return f"Pack it again ({pack(name)}), test it (tar -tzf {_made(name)}) and upload it again."


def followed(name: str) -> str:
    """What to do where an archive holds links. -h alone makes hard links of two links to one file.

    Only GNU tar knows the option for that.
    """
    return (
        f"Pack the files that the links lead to: {pack(name, '--hard-dereference -chzf')} (GNU "
        f"tar), or cp -RL images plain && tar -czf {_made(name)} plain/"
    )


def _made(name: str) -> str:
    base = PurePosixPath(name).name
    for suffix in () if is_archive(base) else _BY_NAME:
        if base.lower().endswith(suffix):
            base = base[: -len(suffix)].removesuffix(".tar") + ".tar.gz"
    return shlex.quote(base)


def _is_text(head: bytes) -> bool:
    try:
        text = head.decode()
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:
            return False
        text = head[: error.start].decode()
    return all(sign.isprintable() or sign.isspace() for sign in text)
