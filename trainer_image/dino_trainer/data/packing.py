"""What a file is that should be an archive of images, and the commands that make one of it.

Each remedy is a line for a shell, in the folder of the file; what it makes is read.
"""

from __future__ import annotations

import shlex
from pathlib import PurePosixPath

from dino_api.formats import ARCHIVES
from dino_trainer.errors import TrainerError, invalid_dataset
from dino_trainer.first_bytes import PICTURES, Signature, kind_of_bytes

SUFFIXES = ARCHIVES
# From this size on it takes seconds to inflate an archive; gzip is worth that where it saves more
# than this share.
_LARGE, _WORTH = 256 << 20, 0.05
_BY_PYTHON = "python3 -m {module} -e {name} images && tar -czf {made} images/"
_BY_HAND = "Unpack it into a folder images, then: tar -czf {made} images/"
_ZIP, _TAR = _BY_PYTHON.replace("{module}", "zipfile"), _BY_PYTHON.replace("{module}", "tarfile")
_PICTURE = "Name its folder, or pack that: tar -czf {made} images/"
_PACK = "Pack the images: tar -czf {made} images/"
# What to do. The bytes that are looked at are those that gzip has packed, where it has.
_REMEDIES = {
    Signature.ZIP: _ZIP, Signature.EMPTY_ZIP: _PACK, Signature.BZIP2: _TAR, Signature.XZ: _TAR,
    Signature.ZSTD: _BY_HAND, Signature.SEVEN_ZIP: _BY_HAND, Signature.RAR: _BY_HAND,
    Signature.LFS: "git lfs pull",
    Signature.GZIP: "gunzip < {name} > once.tar.gz && mv once.tar.gz {made}",
    Signature.HTML: "Download the file itself, not the page about it.",
    Signature.XML: "Download it again.",
    **dict.fromkeys(PICTURES, _PICTURE),
}  # fmt: skip
_BY_NAME = {
    ".zip": Signature.ZIP, ".bz2": Signature.BZIP2, ".tbz": Signature.BZIP2,
    ".tbz2": Signature.BZIP2, ".xz": Signature.XZ, ".txz": Signature.XZ, ".zst": Signature.ZSTD,
    ".7z": Signature.SEVEN_ZIP, ".rar": Signature.RAR,
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


def _other(name: str, kind: Signature) -> TrainerError:
    base = shlex.quote(PurePosixPath(name).name)
    twice = " twice" if kind is Signature.GZIP else ""
    return invalid_dataset(
        f"{name} is {kind}{twice}. Read are .tar.gz, .tgz and .tar.",
        _REMEDIES.get(kind, _PACK).format(name=base, made=_made(name)),
    )


def pack(name: str, options: str = "-czf") -> str:
    """The command that makes an archive of that name."""
    return f"tar {options} {_made(name)} images/"


def useless_gzip(packed: int, size: int) -> bool:
    """Whether a .tar of `size` bytes is large, and was packed by gzip to hardly fewer.

    Where it became larger, gzip has stored it, which costs no time.
    """
    return packed >= _LARGE and (1 - _WORTH) * size < packed < size


def slow_gzip(name: str) -> str:
    """What to say of such an archive."""
    return (
        f"{name} is hardly smaller than what gzip has packed in it, and inflating it takes most of "
        f"its staging. A .tar is staged several times faster: "
        f"tar -cf {shlex.quote(stem(name) + '.tar')} images/"
    )


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
