"""The headers of a .tar's plain files, read in a third of the time that the library takes.

An archive of photographs has one for every 200 kB: what the library does with each takes as long as
to copy the photograph itself. Everything but a plain file with a short name is left to the library.
"""

from __future__ import annotations

import re
import tarfile
from typing import Self

_NUMBER = rb"(?:[0-7]{7}[ \0]|[0-7]{6}[ \0]{2})"
_LONG = rb"[0-7]{11}[ \0]"
# Name; mode, user, group; size, time; checksum; kind; link, magic and names; device; no prefix.
_PLAIN = re.compile(
    rb".{100}" + 3 * _NUMBER + 2 * _LONG + _NUMBER + rb"0.{172}(?:" + _NUMBER + rb"|\0{8}){2}\0",
    re.DOTALL,
)
_SIZE, _CHECKSUM = slice(124, 135), slice(148, 156)


class Header(tarfile.TarInfo):
    """A header; of a plain file its name, size and kind alone are read."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        if len(buf) != tarfile.BLOCKSIZE or not _PLAIN.match(buf) or not _is_whole(buf):
            return super().frombuf(buf, encoding, errors)
        name, _, _ = bytes(buf[:100]).partition(b"\0")
        header = cls(name.decode(encoding, errors))
        header.size = int(buf[_SIZE], 8)
        return header


def _is_whole(buf: bytes | bytearray) -> bool:
    """Whether the checksum is right; its own bytes count as spaces."""
    own = buf[_CHECKSUM]
    return sum(buf) - sum(own) + 8 * ord(" ") == int(own.strip(b" \0"), 8)
