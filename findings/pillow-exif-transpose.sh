#!/bin/sh
# Pillow 13.0.0, any platform.
#
# ImageOps.exif_transpose loses a sound JPEG whose EXIF has, beside the orientation, a tag of a type that is not its usual
# one: here YCbCrPositioning as BYTE in place of SHORT, which Pillow reads without complaint. The pixels are turned; then
# the orientation is taken out and the whole EXIF is written anew into `info`, which a caller who wants upright pixels has
# no use for, and the writer packs the value as the tag's usual type. The exception (struct.error) names neither the tag
# nor the file, and is none of those that the documentation of Image.open lists. Without the odd tag the file is turned.
#
# Seen:
#   the orientation alone: (16, 32)
#   an odd tag beside it, read as b'\x01': struct.error: required argument is not an integer
#
# Fails where that is no longer so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT TERM
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pillow==13.0.0
"$folder/venv/bin/python" - <<'PYTHON'
import io
import struct

from PIL import Image, ImageOps

ORIENTATION = struct.pack("<HHLHH", 0x0112, 3, 1, 6, 0)
POSITIONING_AS_BYTE = struct.pack("<HHL4s", 0x0213, 1, 1, b"\1\0\0\0")


def photograph(*entries):
    count = struct.pack("<H", len(entries))
    exif = b"Exif\0\0II*\0\x08\0\0\0" + count + b"".join(entries) + b"\0" * 4
    content = io.BytesIO()
    Image.new("RGB", (32, 16)).save(content, "JPEG", exif=exif)
    return Image.open(content)


def turned(image):
    try:
        return str(ImageOps.exif_transpose(image).size)
    except Exception as error:
        return f"{type(error).__module__}.{type(error).__name__}: {error}"


plain, odd = photograph(ORIENTATION), photograph(ORIENTATION, POSITIONING_AS_BYTE)
value = odd.getexif()[0x0213]
alone, beside = turned(plain), turned(odd)
print(f"the orientation alone: {alone}")
print(f"an odd tag beside it, read as {value}: {beside}")
assert (alone, value) == ("(16, 32)", b"\1")
assert beside == "struct.error: required argument is not an integer"
PYTHON
