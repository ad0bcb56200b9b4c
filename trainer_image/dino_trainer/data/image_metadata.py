"""Of an image's metadata the orientation alone matters; the rest never reaches a decoder.

Cameras, editors and uploads leave much beside the pixels: tags of wrong types and counts, megabytes
of text, checksums that do not fit. Viewers do not mind. Pillow parses all of it and raises what
comes to pass, so that a sound image would end a training. JPEG and PNG, which carry most of it,
are therefore stripped of what is neither pixels nor needed to decode them.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, Literal, NamedTuple

UPRIGHT = 1
_ORIENTATION = 0x0112
_ORDERS: Mapping[bytes, Literal["little", "big"]] = {b"II": "little", b"MM": "big"}
# The integers of TIFF by type, with their bytes: BYTE, SHORT, LONG, and the signed ones.
_WIDTHS = {1: 1, 3: 2, 4: 4, 6: 1, 8: 2, 9: 4}
_XMP = re.compile(rb"tiff:Orientation(?:=[\"']|>)([1-8])")
_XMP_SEGMENT = b"http://ns.adobe.com/xap/1.0/\0"
_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_EXIF, _PNG_XMP = b"Raw profile type exif", b"XML:com.adobe.xmp"
_LONGEST_TEXT = 1 << 20


class StrippedFile(NamedTuple):
    """A file without what is not needed, and what was found there.

    exif, xmp: as they stand in the file, empty where there are none.
    """

    content: bytes
    exif: bytes = b""
    xmp: bytes = b""

    @property
    def orientation(self) -> int:
        """The orientation, 1 to 8 as EXIF counts; that of XMP where EXIF says none."""
        return exif_orientation(self.exif) or xmp_orientation(self.xmp) or UPRIGHT


def strip(content: bytes) -> StrippedFile:
    """A JPEG or PNG without its metadata; any other file, or one in disorder, as it is."""
    if content.startswith(b"\xff\xd8\xff"):
        return _strip_jpeg(content)
    if content.startswith(_PNG):
        return _strip_png(content)
    return StrippedFile(content)


def orientation_of(info: Mapping[Any, Any]) -> int:
    """The orientation in the `info` of an image that Pillow has opened."""
    blocks = (info.get("exif"), info.get("xmp"))
    exif, xmp = (one if isinstance(one, bytes) else b"" for one in blocks)
    return exif_orientation(exif) or xmp_orientation(xmp) or UPRIGHT


def exif_orientation(exif: bytes) -> int:
    """The orientation that EXIF data says, 0 where it says none. What else is in it is not read."""
    tiff = exif[6:] if exif.startswith(b"Exif\0") else exif
    order = _ORDERS.get(tiff[:2])
    if order is None:
        return 0

    def number(at: int, width: int) -> int:
        return int.from_bytes(tiff[at : at + width], order)

    first = number(4, 4)
    for at in range(first + 2, min(first + 2 + 12 * number(first, 2), len(tiff) - 11), 12):
        if number(at, 2) == _ORIENTATION:
            width, count = _WIDTHS.get(number(at + 2, 2), 0), number(at + 4, 4)
            value = number(at + 8, width) if 0 < width * count <= 4 else 0
            return value if 1 <= value <= 8 else 0
    return 0


def xmp_orientation(xmp: bytes) -> int:
    """The orientation that XMP says, 0 where it says none."""
    match = _XMP.search(xmp)
    return int(match[1]) if match else 0


def _strip_jpeg(content: bytes) -> StrippedFile:
    kept, exif, xmp = [b"\xff\xd8"], b"", b""
    for marker, start, end in _segments(content):
        body = content[start + 4 : end]
        if marker == 0xE1:
            exif = exif or (body if body.startswith(b"Exif\0") else b"")
            xmp = xmp or (body if body.startswith(_XMP_SEGMENT) else b"")
        elif _shapes_pixels(marker, body):
            kept.append(content[start:end])
        if marker == 0xDA:
            return StrippedFile(b"".join([*kept, content[end:]]), exif, xmp)
    return StrippedFile(content, exif, xmp)  # no scan: its decoder says so


def _segments(content: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, start and end of each segment up to the first scan; libjpeg skips what is between."""
    at = content.find(b"\xff", 2)
    while 0 <= at < len(content) - 3:
        marker = content[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        if marker in (0x00, 0x01, *range(0xD0, 0xD9)):  # they have no length
            at = content.find(b"\xff", at + 2)
            continue
        end = at + 2 + int.from_bytes(content[at + 2 : at + 4], "big")
        if end < at + 4 or end > len(content):
            return
        yield marker, at, end
        at = content.find(b"\xff", end)


def _shapes_pixels(marker: int, body: bytes) -> bool:
    """Whether a decoder needs a segment. Of the application's own ones two tell the colours."""
    if marker == 0xE0:
        return body.startswith(b"JFIF\0") and len(body) >= 14
    if marker == 0xEE:
        return body.startswith(b"Adobe") and len(body) >= 12
    return not (0xE0 <= marker <= 0xEF or marker == 0xFE)


def _strip_png(content: bytes) -> StrippedFile:
    places, blocks = [(0, len(_PNG))], dict.fromkeys((b"eXIf", _PNG_EXIF, _PNG_XMP), b"")
    for kind, start, end in _chunks(content):
        critical = not kind[0] & 0x20
        if critical or (kind == b"tRNS" and _is_whole(content, start, end)):
            places.append((start, end))
        elif kind in (b"eXIf", b"tEXt", b"zTXt", b"iTXt") and _is_whole(content, start, end):
            _note(kind, content[start + 8 : end - 4], blocks)
    if sum(end - start for start, end in places) < len(content):
        content = b"".join(content[start:end] for start, end in places)
    return StrippedFile(content, blocks[b"eXIf"] or blocks[_PNG_EXIF], blocks[_PNG_XMP])


def _chunks(content: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and end of each chunk; the last one may end early."""
    at = len(_PNG)
    while at + 8 <= len(content):
        end = at + 12 + int.from_bytes(content[at : at + 4], "big")
        yield content[at + 4 : at + 8], at, min(end, len(content))
        at = end


def _is_whole(content: bytes, start: int, end: int) -> bool:
    checksum = int.from_bytes(content[end - 4 : end], "big")
    return end - start >= 12 and zlib.crc32(content[start + 4 : end - 4]) == checksum


def _note(kind: bytes, body: bytes, blocks: dict[bytes, bytes]) -> None:
    """Keeps what may say an orientation."""
    if kind == b"eXIf":
        blocks[kind] = body
        return
    keyword, _, rest = body.partition(b"\0")
    if keyword in blocks:
        with suppress(ValueError, zlib.error):
            text = _text(kind, rest)
            blocks[keyword] = text if keyword == _PNG_XMP else _from_hex(text)


def _text(kind: bytes, rest: bytes) -> bytes:
    """The text of a chunk after its keyword. Raises zlib.error."""
    if kind == b"tEXt":
        return rest
    if kind == b"zTXt":
        return _inflated(rest[1:])
    text = rest[2:].partition(b"\0")[2].partition(b"\0")[2]  # after language and translation
    return _inflated(text) if rest[:1] == b"\1" else text


def _inflated(data: bytes) -> bytes:
    return zlib.decompressobj().decompress(data, _LONGEST_TEXT)


def _from_hex(text: bytes) -> bytes:
    """What ImageMagick writes: a name, a length, then hexadecimal lines. Raises ValueError."""
    return bytes.fromhex(b"".join(text.split(b"\n")[3:]).decode("ascii"))
