"""Pictures as cameras, editors and networks leave them, and mutants of their metadata."""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin

SIZE = (48, 32)
ORIENTATION = 0x0112
Entry = tuple[int, int, int, bytes]  # tag, type, count, and the four bytes of the value
SIDEWAYS: Entry = (ORIENTATION, 3, 1, b"\x06\0\0\0")
SIDEWAYS_LONG: Entry = (ORIENTATION, 4, 1, b"\x06\0\0\0")
# Tags before and after the orientation, with types and counts that are not theirs.
ODD: tuple[Entry, ...] = (
    (0x010E, 3, 1, b"\x2a\0\0\0"),
    (0x010F, 2, 1 << 30, b"\0\0\0\x7f"),
    (0x0110, 99, 1, b"abcd"),
    (0x011A, 2, 4, b"ab\0\0"),
    (0x8769, 2, 7, b"\xff\xff\xff\0"),
)


def picture(size: tuple[int, int] = SIZE, seed: int = 0) -> Image.Image:
    """Noise within waves: no two rows or columns are alike."""
    y, x = np.mgrid[: size[1], : size[0]]
    noise = np.random.default_rng(seed).integers(0, 40, (size[1], size[0], 3))
    waves = np.stack([x * 3, y * 5, x + y], 2) % 200
    return Image.fromarray((waves + noise).astype(np.uint8))


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


def exif(*entries: Entry) -> bytes:
    """EXIF data of one directory, little-endian."""
    rows = [struct.pack("<HHL", *entry[:3]) + entry[3] for entry in sorted(entries)]
    return b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", len(rows)) + b"".join(rows) + b"\0" * 4


def segment(marker: int, body: bytes) -> bytes:
    return bytes((0xFF, marker)) + (len(body) + 2).to_bytes(2, "big") + body


def chunk(kind: bytes, body: bytes, crc: int | None = None) -> bytes:
    said = zlib.crc32(kind + body) if crc is None else crc
    return struct.pack(">L", len(body)) + kind + body + struct.pack(">L", said)


def jpeg(*segments: bytes, **options: Any) -> bytes:
    """A JPEG with further segments after its first marker."""
    made = encoded(picture(), "JPEG", **options)
    return made[:2] + b"".join(segments) + made[2:]


def png(*chunks: bytes) -> bytes:
    """A PNG with further chunks after its header."""
    made = encoded(picture(), "PNG")
    return made[:33] + b"".join(chunks) + made[33:]


def tiff(*entries: Entry) -> bytes:
    """A TIFF with further tags in its directory, which is moved to the end of the file."""
    made = encoded(picture(), "TIFF")
    at = struct.unpack("<L", made[4:8])[0]
    count = struct.unpack("<H", made[at : at + 2])[0]
    rows = [made[at + 2 + 12 * n : at + 14 + 12 * n] for n in range(count)]
    rows += [struct.pack("<HHL", *entry[:3]) + entry[3] for entry in entries]
    rows.sort(key=lambda row: struct.unpack("<H", row[:2])[0])
    directory = struct.pack("<H", len(rows)) + b"".join(rows) + b"\0" * 4
    return made[:4] + struct.pack("<L", len(made)) + made[8:] + directory


XMP = b'<x:xmpmeta><rdf tiff:Orientation="6"/></x:xmpmeta>'
_RAW_EXIF = b"\nexif\n      38\n" + exif(SIDEWAYS).hex().encode()
# Each is SIZE as stored, and a sound picture to any viewer; those that start with "turned" are
# upright at SIZE turned by a quarter.
SOUND: dict[str, Callable[[], bytes]] = {
    "turned, beside odd tags": lambda: jpeg(segment(0xE1, exif(SIDEWAYS, *ODD))),
    "turned, orientation as LONG": lambda: jpeg(segment(0xE1, exif(SIDEWAYS_LONG))),
    "turned, PNG with eXIf and odd tags": lambda: png(chunk(b"eXIf", exif(SIDEWAYS, *ODD)[6:])),
    "turned, PNG of ImageMagick": lambda: png(
        chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(_RAW_EXIF))
    ),
    "turned by XMP": lambda: jpeg(segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + XMP)),
    "turned, PNG by XMP": lambda: png(chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP)),
    "turned, WebP with odd tags": lambda: encoded(picture(), "WEBP", lossless=True,
                                                  exif=exif(SIDEWAYS, *ODD)),
    "turned, TIFF": lambda: tiff(SIDEWAYS),
    "turned, TIFF with odd tags": lambda: tiff(SIDEWAYS, *ODD),
    "2 MiB of text": lambda: png(chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"x" * (2 << 20)))),
    "100 MiB of text in all": lambda: png(
        *[chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"x" * (1 << 20)))] * 100
    ),
    "text after the pixels": lambda: encoded(picture(), "PNG")[:-12]
    + chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"x" * (2 << 20))) + chunk(b"IEND", b""),
    "text with a wrong checksum": lambda: png(chunk(b"tEXt", b"Comment\0hello", crc=1)),
    "a colour profile that is none": lambda: png(
        chunk(b"iCCP", b"x\0\0broken"), chunk(b"pHYs", b"1")
    ),
    "animation without frames": lambda: png(chunk(b"acTL", b"\0" * 3), chunk(b"fcTL", b"\0")),
    "no IEND": lambda: encoded(picture(), "PNG")[:-12],
    "broken multi-picture index": lambda: jpeg(segment(0xE2, b"MPF\0II*\0\x08\0\0\0\x01\0")),
    "broken Photoshop block": lambda: jpeg(segment(0xED, b"Photoshop 3.0\0" + b"8BIM\x04")),
    "short JFIF and Adobe markers": lambda: jpeg(
        segment(0xE0, b"JFIF\0\1"), segment(0xEE, b"Adobe\0")
    ),
    "a JPEG without its end marker": lambda: jpeg()[:-2],
    "a JPEG that lost half of its end marker": lambda: jpeg()[:-1],
    "a progressive JPEG without its end marker": lambda: jpeg(progressive=True)[:-2],
    "bytes after the end": lambda: jpeg() + b"\0" * 100 + b"trailer",
    "two pictures in one file": lambda: encoded(picture(), "MPO", save_all=True,
                                                append_images=[picture(seed=1)]),
    "a palette with transparency": lambda: encoded(
        picture().quantize(8), "PNG", transparency=bytes(range(8))
    ),
    "grey with alpha": lambda: encoded(picture().convert("LA"), "PNG"),
    "16 bits": lambda: encoded(Image.new("I;16", SIZE, 40_000), "PNG"),
    "32-bit floats": lambda: encoded(Image.new("F", SIZE, 100), "TIFF"),
    "1 bit": lambda: encoded(picture().convert("1"), "PNG"),
    "CMYK": lambda: encoded(picture().convert("CMYK"), "JPEG"),
    "CIELAB": lambda: encoded(Image.new("LAB", SIZE, (128, 10, 20)), "TIFF"),
    "an animation": lambda: encoded(
        picture(), "GIF", save_all=True, append_images=[picture(seed=1)]
    ),
    "JPEG 2000": lambda: encoded(picture(), "JPEG2000"),
    "AVIF": lambda: encoded(picture(), "AVIF"),
    "PPM": lambda: encoded(picture(), "PPM"),
}  # fmt: skip


def originals() -> list[bytes]:
    """Small real pictures with metadata of every kind, to be mutated."""
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "hello", zip=True)
    info.add_itxt("XML:com.adobe.xmp", XMP.decode())
    odd = exif(SIDEWAYS, *ODD)
    return [
        jpeg(segment(0xE1, odd), segment(0xE2, b"MPF\0II*\0" + b"\0" * 40), segment(0xFE, b"note")),
        jpeg(segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + XMP), segment(0xED, b"8BIM" * 5)),
        encoded(picture(), "PNG", pnginfo=info, exif=odd, dpi=(72, 72), icc_profile=b"x" * 40),
        encoded(picture().quantize(8), "PNG", transparency=3, pnginfo=info),
        encoded(picture(), "WEBP", exif=odd, xmp=XMP),
        tiff(SIDEWAYS, (0x010E, 2, 4, b"abc\0"), (0x0131, 2, 4, b"xyz\0")),
        encoded(picture(), "TIFF", compression="tiff_lzw", exif=Image.Exif(), dpi=(72, 72)),
        encoded(picture(), "GIF", comment=b"note", transparency=0),
        encoded(picture(), "JPEG2000"),
        encoded(picture(), "BMP", dpi=(72, 72)),
        encoded(picture(), "AVIF", exif=exif(SIDEWAYS), xmp=XMP),
    ]


def mutant(original: bytes, chance: random.Random) -> bytes:
    """One or two changes of metadata: types, counts, lengths, whole blocks twice or not at all."""
    content = original
    for _ in range(chance.choice((1, 1, 2))):
        content = chance.choice((_rewritten, _rewritten, _blocks, _bytes))(content, chance)
    return content


def _rewritten(content: bytes, chance: random.Random) -> bytes:
    """A type, a count or a value of a tag of EXIF or TIFF; bytes where there is none."""
    at = content.find(b"II*\0")
    if at < 0:
        return _bytes(content, chance)
    first = at + int.from_bytes(content[at + 4 : at + 8], "little")
    count = int.from_bytes(content[first : first + 2], "little")
    entry = first + 2 + 12 * chance.randrange(max(1, count))
    field, width = chance.choice(((0, 2), (2, 2), (4, 4), (8, 4), (-entry + first, 2)))
    value = chance.choice((0, 1, 2, 7, 12, 13, 129, 255, 0x8769, 0xFFFF, 1 << 31, (1 << 32) - 1))
    new = (value & ((1 << 8 * width) - 1)).to_bytes(width, "little")
    place = entry + field
    return content[:place] + new + content[place + width :]


def _blocks(content: bytes, chance: random.Random) -> bytes:
    """Drops, repeats, shortens or fills one block of a JPEG or PNG; bytes elsewhere."""
    if content.startswith(b"\xff\xd8"):
        spans = _jpeg_spans(content)
    elif content.startswith(b"\x89PNG"):
        spans = _png_spans(content)
    else:
        return _bytes(content, chance)
    start, end = chance.choice(spans)
    block = content[start:end]
    new = chance.choice((
        b"", block * 2, block[:-3], block[:6] + chance.randbytes(len(block) - 6), block + b"\0\xff",
    ))  # fmt: skip
    return content[:start] + new + content[end:]


def _jpeg_spans(content: bytes) -> list[tuple[int, int]]:
    spans, at = [], 2
    while at + 4 < len(content) and content[at] == 0xFF and content[at + 1] != 0xDA:
        end = at + 2 + int.from_bytes(content[at + 2 : at + 4], "big")
        spans.append((at, end))
        at = end
    return spans or [(0, len(content))]


def _png_spans(content: bytes) -> list[tuple[int, int]]:
    spans, at = [], 8
    while at + 8 < len(content):
        end = at + 12 + int.from_bytes(content[at : at + 4], "big")
        spans.append((at, min(end, len(content))))
        at = end
    return spans


def _bytes(content: bytes, chance: random.Random) -> bytes:
    """A few bytes of the first half, where metadata lies."""
    changed = bytearray(content)
    for _ in range(chance.choice((1, 2, 4))):
        changed[chance.randrange(min(len(changed), 400))] = chance.randrange(256)
    return bytes(changed)
