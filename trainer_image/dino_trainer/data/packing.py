"""What a file is that should be an archive of images, and the commands that make one of it.

Each remedy is a line for a shell, in the folder of the file; what it makes is read.
"""

from __future__ import annotations

import shlex
from pathlib import PurePosixPath

from dino_api.formats import ARCHIVES
from dino_trainer.errors import TrainerError, invalid_dataset
from dino_trainer.first_bytes import PICTURES, Kind, kind_of_bytes

SUFFIXES = ARCHIVES
_BY_PYTHON = "python3 -m {module} -e {name} images && tar -czf {made} images/"
_BY_HAND = "Unpack it into a folder images, then: tar -czf {made} images/"
_ZIP, _TAR = _BY_PYTHON.replace("{module}", "zipfile"), _BY_PYTHON.replace("{module}", "tarfile")
_PICTURE = "Name its folder, or pack that: tar -czf {made} images/"
_PACK = "Pack the images: tar -czf {made} images/"
# What to do. The bytes that are looked at are those that gzip has packed, where it has.
_REMEDIES = {
    Kind.ZIP: _ZIP, Kind.EMPTY_ZIP: _PACK, Kind.BZIP2: _TAR, Kind.XZ: _TAR, Kind.ZSTD: _BY_HAND,
    Kind.SEVEN_ZIP: _BY_HAND, Kind.RAR: _BY_HAND, Kind.LFS: "git lfs pull",
    Kind.GZIP: "gunzip < {name} > once.tar.gz && mv once.tar.gz {made}",
    Kind.HTML: "Download the file itself, not the page about it.", Kind.XML: "Download it again.",
    **dict.fromkeys(PICTURES, _PICTURE),
}  # fmt: skip
_BY_NAME = {
    ".zip": Kind.ZIP, ".bz2": Kind.BZIP2, ".tbz": Kind.BZIP2, ".tbz2": Kind.BZIP2, ".xz": Kind.XZ,
    ".txz": Kind.XZ, ".zst": Kind.ZSTD, ".7z": Kind.SEVEN_ZIP, ".rar": Kind.RAR,
}  # fmt: skip


def is_archive(name: str) -> bool:
    """Whether a file name or URI ends like an archive that is read."""
    return name.lower().endswith(SUFFIXES)


def stem(name: str) -> str:
    """The name without its ending: `images.tar.gz` -> `images`."""
    base = PurePosixPath(name).name
    for suffix in SUFFIXES:
        if base.lower().endswith(suffix):
            return base[: -len(suffix)]
    return base


def other_by_name(name: str) -> TrainerError | None:
    """Says what is wrong with a file or URI that ends like an archive which is not read."""
    kind = _BY_NAME.get(PurePosixPath(name.lower()).suffix)
    return _other(name, kind) if kind else None


def other_by_content(name: str, head: bytes) -> TrainerError | None:
    """Says what is called like an archive and is none. head: its first bytes, or those of what
    gzip has packed in it."""
    kind = kind_of_bytes(head)
    return _other(name, kind) if kind else None


def _other(name: str, kind: Kind) -> TrainerError:
    base = shlex.quote(PurePosixPath(name).name)
    twice = " twice" if kind is Kind.GZIP else ""
    return invalid_dataset(
        f"{name} is {kind}{twice}. Read are .tar.gz, .tgz and .tar.",
        _REMEDIES.get(kind, _PACK).format(name=base, made=_made(name)),
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
            base = base[: -len(suffix)].removesuffix(ARCHIVES[-1]) + ARCHIVES[0]
    return shlex.quote(base)
