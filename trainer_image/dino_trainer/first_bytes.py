"""What a file is by its first bytes, where it is not what was asked for.

One table for checkpoints, archives and images alike. What to do about it depends on what was
asked for: each reader has remedies of its own.
"""

from __future__ import annotations

import codecs
import re
from enum import StrEnum

from dino_api.formats import CALLED

HEAD = 512
"""So many bytes show it. Of a file that is longer, the last character may be cut."""


class Signature(StrEnum):
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


PICTURES = (Signature.PNG, Signature.JPEG, Signature.GIF)
COMPRESSED = (
    Signature.GZIP,
    Signature.BZIP2,
    Signature.XZ,
    Signature.ZSTD,
    Signature.SEVEN_ZIP,
    Signature.RAR,
)
TEXTS = (Signature.JSON, Signature.TEXT)
"""What is known by its characters alone; some formats of images are text, too."""

_BEGINNINGS: tuple[tuple[bytes, Signature], ...] = (
    (b"version https://git-lfs", Signature.LFS),
    (b"PK\x03\x04", Signature.ZIP),
    (b"PK\x05\x06", Signature.EMPTY_ZIP),
    (b"\x1f\x8b", Signature.GZIP),
    (b"BZh", Signature.BZIP2),
    (b"\xfd7zXZ\x00", Signature.XZ),
    (b"\x28\xb5\x2f\xfd", Signature.ZSTD),
    (b"7z\xbc\xaf\x27\x1c", Signature.SEVEN_ZIP),
    (b"Rar!", Signature.RAR),
    (b"\x89PNG", Signature.PNG),
    (b"\xff\xd8\xff", Signature.JPEG),
    (b"GIF8", Signature.GIF),
    (b"%PDF", Signature.PDF),
    (b"%!PS", Signature.POSTSCRIPT),
    (b"\x7fELF", Signature.PROGRAM),
    (b"\x89HDF\r\n\x1a\n", Signature.HDF5),
    (b"ftrt", Signature.ENGINE),
    (b"ptrt", Signature.ENGINE),
    (b"\x93NUMPY", Signature.NUMPY),
    (b"GGUF", Signature.GGUF),
    (b"\x00\x05\x16\x07", Signature.APPLE_DOUBLE),
)
# Possessive: of many comments, each way to read them would else be tried.
_BEFORE = rb"(?>\s*(?:<!--.*?-->|<\?xml.*?\?>))*+\s*"
_MARKUP: tuple[tuple[re.Pattern[bytes], Signature], ...] = (
    (
        re.compile(_BEFORE + rb"<(?:!doctype\s+html|html|head|body)\b", re.I | re.S),
        Signature.HTML,
    ),
    (re.compile(_BEFORE + rb"<(?:!doctype\s+svg|svg)\b", re.I | re.S), Signature.SVG),
    (re.compile(rb"\s*<(?:\?xml|Error\b)"), Signature.XML),
)


def kind_of_bytes(head: bytes) -> Signature | None:
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
    return Signature.JSON if start.lstrip().startswith((b"{", b"[")) else Signature.TEXT


def is_text(head: bytes) -> bool:
    """Whether it is UTF-8 that can be printed, and anything at all. head: as of `kind_of_bytes`."""
    reader = codecs.getincrementaldecoder("utf-8")()
    try:
        text = reader.decode(head.removeprefix(codecs.BOM_UTF8), final=len(head) < HEAD)
    except UnicodeDecodeError:
        return False
    return bool(text) and all(each.isprintable() or each in "\t\n\v\f\r" for each in text)
