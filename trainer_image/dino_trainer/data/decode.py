"""The one place where images are decoded, and where whatever a decoder raises gets a name.

Preflight, training, evaluation, calibration and inference read through `open_image`, so that all
of them read the same files, and refuse the same ones in the same words.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
from PIL import Image, UnidentifiedImageError

from dino_api.names import FailureReason
from dino_api.reported import shortened
from dino_trainer.data import image_metadata as metadata
from dino_trainer.data.image_store import ImageFile
from dino_trainer.errors import TrainerError, from_os_error
from dino_trainer.first_bytes import HEAD, PICTURES, TEXTS, Signature, kind_of_bytes

if TYPE_CHECKING:
    from PIL.TiffImagePlugin import TiffImageFile

# What files of a format may end in. Files are told apart by content; without annotations, the
# ending decides whether a file is an image at all.
IMAGE_FORMATS = {
    ".jpg": "JPEG", ".jpeg": "JPEG", ".jpe": "JPEG", ".jfif": "JPEG", ".jif": "JPEG",
    ".mpo": "JPEG", ".png": "PNG", ".apng": "PNG", ".bmp": "BMP", ".dib": "BMP", ".gif": "GIF",
    ".tif": "TIFF", ".tiff": "TIFF", ".webp": "WEBP", ".ppm": "PPM", ".pgm": "PPM", ".pbm": "PPM",
    ".pnm": "PPM", ".jp2": "JPEG2000", ".j2k": "JPEG2000", ".jpx": "JPEG2000", ".jpf": "JPEG2000",
    ".j2c": "JPEG2000", ".jpc": "JPEG2000", ".avif": "AVIF",
}  # fmt: skip
# Pillow knows more: some need a program beside it, some have nothing to be known by.
READ_FORMATS = tuple(dict.fromkeys((*IMAGE_FORMATS.values(), "DIB")))
# Four bytes a pixel in memory: 1 GiB. A header that says more may be a trap.
MAX_PIXELS = 1 << 28
Image.MAX_IMAGE_PIXELS = MAX_PIXELS  # Pillow warns from here on, and refuses twice as many
# They name no file, and what matters is raised.
warnings.filterwarnings("ignore", module=r"PIL\.")

Pixels = tuple[int, int]  # (width, height), as Pillow and COCO have it
_SIDEWAYS = (5, 6, 7, 8)
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_90,
}  # fmt: skip
_BACK = {6: 8, 8: 6}
# By way of these, where Pillow resolves what the pixels mean.
_STEPS = {"P": "RGBA", "PA": "RGBA", "La": "LA", "RGBa": "RGBA"}
_REMEDIES = {Signature.LFS: " (run git lfs pull)"}
_HEIF = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")
_LONGEST = 200


class UnreadableImage(TrainerError):
    """InvalidDataset for one image. why: a few words without its name."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(
            FailureReason.INVALID_DATASET,
            f"{name} cannot be read as an image: {why}.",
            "Replace the file, or remove it and its entry in the annotations.",
        )
        self.name, self.why = name, why

    def __reduce__(self) -> tuple[type[UnreadableImage], tuple[str, ...]]:
        return UnreadableImage, (self.name, self.why)


@dataclass
class EncodedPicture:
    """An image whose header was read. Sizes are (width, height).

    stored: as the pixels lie in the file. orientation: 1 to 8, as EXIF counts.
    kind: its format, as `IMAGE_FORMATS` has it. mode: of its pixels, as Pillow has it.
    """

    name: str
    content: bytes
    image: Image.Image
    stored: Pixels
    orientation: int
    kind: str
    mode: str

    @property
    def upright(self) -> Pixels:
        """The size as viewers show it."""
        return self.stored[::-1] if self.orientation in _SIDEWAYS else self.stored

    def size_for(self, wanted: Pixels) -> Pixels:
        """The size where annotations say `wanted`: upright, unless only `stored` fits."""
        return self.stored if wanted == self.stored else self.upright

    def rgb(self, wanted: Pixels, shrink: int = 1) -> Image.Image:
        """Decodes 8-bit RGB of `size_for(wanted)`; a JPEG of that by `shrink`: 2, 4 or 8.

        For one call. Raises UnreadableImage, OutOfMemory.
        """
        with _naming(self.name):
            image = self._loaded(shrink)
            unturned = wanted == self.stored != self.upright
            turned = self.kind == "TIFF"  # by Pillow itself
            turn = _TURNS.get(self.orientation)
            if turned and unturned:
                image = image.transpose(_TURNS[_BACK.get(self.orientation, self.orientation)])
            elif turn is not None and not (turned or unturned):
                image = image.transpose(turn)
            return to_rgb(image)

    def _loaded(self, shrink: int) -> Image.Image:
        try:
            return _load(self.image, shrink)
        except OSError:
            whole = _completed(self.content) if self.kind == "JPEG" else b""
            if not whole:
                raise
        return _load(_open(whole), shrink)


def open_image(file: ImageFile) -> EncodedPicture:
    """Reads a file, and of the image its header.

    Raises UnreadableImage, OutOfMemory; StorageUnavailable where a disk or a mount fails, which is
    no fault of the image, also at a second try.
    """
    with _naming(file.name):
        content = _content(file)
        try:
            stripped = metadata.strip(content)
            image = _open(stripped.content)
        except UnidentifiedImageError as error:
            raise UnreadableImage(file.name, _is_instead(content)) from error
        kind = "BMP" if image.format == "DIB" else image.format or ""
        stored, orientation = image.size, stripped.orientation
        if kind == "TIFF":
            tag = cast("TiffImageFile", image).tag_v2.get(0x0112, 1)
            orientation = int(tag) if tag in range(2, 9) else 1
            stored = stored[::-1] if orientation in _SIDEWAYS else stored
        elif kind not in ("JPEG", "PNG"):
            orientation = metadata.orientation_of(image.info)
        return EncodedPicture(
            file.name, stripped.content, image, stored, orientation, kind, image.mode
        )


def _content(file: ImageFile) -> bytes:
    """Raises StorageUnavailable, and OSError for what another attempt would find as well."""
    try:
        return file.read_bytes()
    except OSError as error:
        if not _passes(error):
            raise
    try:
        return file.read_bytes()
    except OSError as error:
        if not _passes(error):
            raise
        raise from_os_error(error, file.name) from error


def _passes(error: OSError) -> bool:
    """Whether it is a disk, a mount or its server that fails. Decoders' own have no number."""
    known = error.errno is not None
    return known and from_os_error(error, "").reason == FailureReason.STORAGE_UNAVAILABLE


def to_rgb(image: Image.Image) -> Image.Image:
    """Makes 8-bit RGB of any mode; 16-bit values keep their upper eight bits."""
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I"):
        values = np.asarray(image) >> 8
        image = Image.fromarray(values.clip(0, 255).astype(np.uint8))
    if image.mode in _STEPS:
        image = image.convert(_STEPS[image.mode])
    return image.convert("RGB")


def _open(content: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(content), formats=READ_FORMATS)
    if image.width * image.height > MAX_PIXELS:
        raise Image.DecompressionBombError
    return image


def _load(image: Image.Image, shrink: int) -> Image.Image:
    if shrink > 1:
        width, height = image.size
        image.draft(image.mode, (max(1, width // shrink), max(1, height // shrink)))
    image.load()
    return image


def _completed(jpeg: bytes) -> bytes:
    """A JPEG that lacks nothing but its end marker, with one; b"" for one that lacks more.

    Whatever follows a whole image makes no difference to it.
    """
    body = jpeg.rstrip(b"\xff")
    either, other = (
        _load(_open(body + bits * 64 + b"\xff\xd9"), 1).tobytes() for bits in (b"\xaa", b"\x55")
    )
    return body + b"\xff\xd9" if either == other else b""


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """A decoder may raise anything for a broken file; whatever it is, the file is named."""
    try:
        yield
    except TrainerError:
        raise
    except MemoryError as error:
        raise TrainerError(
            FailureReason.OUT_OF_MEMORY, f"The process ran out of host memory reading {name}."
        ) from error
    except Exception as error:
        raise UnreadableImage(name, _why(error)) from error


def _why(error: Exception) -> str:
    """An exception in a few words."""
    if isinstance(error, Image.DecompressionBombError):
        return f"it has more than {MAX_PIXELS:,} pixels; cut it into tiles, or shrink it"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = shortened(" ".join(str(error).split()).rstrip("."), _LONGEST)
    if not text or not isinstance(error, OSError | SyntaxError | ValueError):
        return f"its decoder fails ({' '.join([type(error).__name__, text]).rstrip()})"
    return text


def _is_instead(content: bytes) -> str:
    """What a file is that no decoder knows."""
    if not content.strip(b"\0"):
        return f"it holds {'nothing but zeros' if content else 'nothing'}"
    if content[4:8] == b"ftyp" and content[8:12] in _HEIF:
        return "it is HEIF, which is not read (convert it to JPEG)"
    kind = kind_of_bytes(content[:HEAD])
    if kind is None or kind in (*PICTURES, *TEXTS):  # which may be an image's first bytes
        for name in READ_FORMATS:
            accept = Image.OPEN[name][1]
            if accept and accept(content[:16].ljust(16, b"\0")) is True:
                return f"it begins as {name} does, and what follows is damaged"
    return f"it is {kind}{_REMEDIES.get(kind, '')}" if kind else "its format is not known"
