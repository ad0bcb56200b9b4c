"""What a file is by its first bytes, where it is not what was asked for.

One table for checkpoints, archives and pictures alike. What to do about it depends on what was
asked for: each reader has remedies of its own.
"""

from __future__ import annotations

import codecs
import re
from enum import StrEnum

from dino_api.formats import CALLED

HEAD = 512
"""So many bytes show it. Of a file that is longer, the last character may be cut."""


class Kind(StrEnum):
    """What strangers' files are. The value completes `it is …`."""

    LFS = "a Git LFS pointer"
    HTML = "an HTML page"
    SVG = "an SVG drawing"
    XML = "an XML text, as object stores answer with an error"
    JSON = "a JSON text"
    TEXT = "a text"
    ZIP = "a ZIP archive"
    EMPTY_ZIP = "an empty ZIP archive"
    GZIP = "compressed with gzip"
    BZIP2 = "compressed with bzip2"
    XZ = "compressed with xz"
    ZSTD = "compressed with zstd"
    SEVEN_ZIP = "a 7-Zip archive"
    RAR = "a RAR archive"
    PNG = "a PNG image"
    JPEG = "a JPEG image"
    GIF = "a GIF image"
    PDF = "a PDF document"
    POSTSCRIPT = "a PostScript document"
    PROGRAM = "a program"
    HDF5 = "an HDF5 file, as Keras and TAO's TensorFlow networks write it"
    ENGINE = CALLED["engine"]
    NUMPY = "a NumPy array"
    GGUF = "a GGUF file of a language model"
    APPLE_DOUBLE = "what macOS puts beside a file (its name begins with ._)"


PICTURES = (Kind.PNG, Kind.JPEG, Kind.GIF)
COMPRESSED = (Kind.GZIP, Kind.BZIP2, Kind.XZ, Kind.ZSTD, Kind.SEVEN_ZIP, Kind.RAR)
TEXTS = (Kind.JSON, Kind.TEXT)
"""What is known by its characters alone; some formats of pictures are text, too."""

_BEGINNINGS: tuple[tuple[bytes, Kind], ...] = (
    (b"version https://git-lfs", Kind.LFS),
    (b"PK\x03\x04", Kind.ZIP),
    (b"PK\x05\x06", Kind.EMPTY_ZIP),
    (b"\x1f\x8b", Kind.GZIP),
    (b"BZh", Kind.BZIP2),
    (b"\xfd7zXZ\x00", Kind.XZ),
    (b"\x28\xb5\x2f\xfd", Kind.ZSTD),
    (b"7z\xbc\xaf\x27\x1c", Kind.SEVEN_ZIP),
    (b"Rar!", Kind.RAR),
    (b"\x89PNG", Kind.PNG),
    (b"\xff\xd8\xff", Kind.JPEG),
    (b"GIF8", Kind.GIF),
    (b"%PDF", Kind.PDF),
    (b"%!PS", Kind.POSTSCRIPT),
    (b"\x7fELF", Kind.PROGRAM),
    (b"\x89HDF\r\n\x1a\n", Kind.HDF5),
    (b"ftrt", Kind.ENGINE),
    (b"ptrt", Kind.ENGINE),
    (b"\x93NUMPY", Kind.NUMPY),
    (b"GGUF", Kind.GGUF),
    (b"\x00\x05\x16\x07", Kind.APPLE_DOUBLE),
)
# Possessive: of many comments, each way to read them would else be tried.
_BEFORE = rb"(?>\s*(?:<!--.*?-->|<\?xml.*?\?>))*+\s*"
_MARKUP: tuple[tuple[re.Pattern[bytes], Kind], ...] = (
    (re.compile(_BEFORE + rb"<(?:!doctype\s+html|html|head|body)\b", re.I | re.S), Kind.HTML),
    (re.compile(_BEFORE + rb"<(?:!doctype\s+svg|svg)\b", re.I | re.S), Kind.SVG),
    (re.compile(rb"\s*<(?:\?xml|Error\b)"), Kind.XML),
)


def kind_of_bytes(head: bytes) -> Kind | None:
    """The kind; None for no known one. head: the first `HEAD` bytes, or all of a shorter file."""
    for begins, kind in _BEGINNINGS:
        if head.startswith(begins):
            return kind
    start = head.removeprefix(codecs.BOM_UTF8)  # no more than a mark before a text
    for pattern, kind in _MARKUP:
        if pattern.match(start):
            return kind
    if not is_text(head):
        return None
    return Kind.JSON if start.lstrip().startswith((b"{", b"[")) else Kind.TEXT


def is_text(head: bytes) -> bool:
    """Whether it is UTF-8 that can be printed, and anything at all. head: as of `kind_of_bytes`."""
    reader = codecs.getincrementaldecoder("utf-8")()
    try:
        text = reader.decode(head.removeprefix(codecs.BOM_UTF8), final=len(head) < HEAD)
    except UnicodeDecodeError:
        return False
    return bool(text) and all(each.isprintable() or each in "\t\n\v\f\r" for each in text)
