"""Sound pictures with oddities are read; whatever a decoder raises names the file."""

from __future__ import annotations

import errno
import io
import os
import pickle
import random
import re
import struct
import warnings
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from dino_api.experiment import AugmentationConfig
from dino_api.names import FailureReason
from dino_trainer.data import decode, transforms
from dino_trainer.data.decode import UnreadableImage, open_image
from dino_trainer.data.image_facts import ImageToCheck, look
from dino_trainer.data.image_metadata import exif_orientation
from dino_trainer.data.image_store import FileInMemory
from dino_trainer.data.random_streams import Draws
from dino_trainer.errors import TrainerError, failure_of
from dino_trainer.inference.stream import Images, OpenedImage, Unreadable
from tests.unit import image_oddities as odd
from tests.unit.image_oddities import (
    SIDEWAYS,
    SIZE,
    SOUND,
    chunk,
    encoded,
    exif,
    jpeg,
    picture,
    segment,
)

SOURCE = Path(decode.__file__).parents[1]
MUTANTS = int(os.environ.get("DINO_TEST_MUTANTS", "100"))


def read_alike(content: bytes, name: str = "a.jpg") -> Image.Image | str:
    """The picture, or why there is none: in training, preflight and inference alike."""
    file, size = FileInMemory(name, content), SIZE
    read: Image.Image | str
    try:
        size = open_image(file).upright
        read = transforms.read_image(file, *size)
    except UnreadableImage as error:
        read, said = error.why, error.message
        assert said == f"{name} cannot be read as an image: {read}."
    seen = Images(AugmentationConfig(fixed_size=[32, 48]))[0, file]
    flaws = dict(look(ImageToCheck(file, *size)).flaws)  # type: ignore[arg-type]
    if isinstance(read, str):
        assert seen == Unreadable(0, read)
        assert flaws == {"image-unreadable": read}
    else:
        assert isinstance(seen, OpenedImage)
        assert seen.size == size[::-1]
        assert not {"image-unreadable", "image-size-differs"} & set(flaws)
        assert (read.mode, read.size) == ("RGB", size)
    return read


@pytest.mark.parametrize("name", SOUND)
def test_a_sound_picture_with_an_oddity_is_read(name: str) -> None:
    read = read_alike(SOUND[name]())
    assert isinstance(read, Image.Image)
    turned = name.startswith("turned")
    assert read.size == (SIZE[::-1] if turned else SIZE)
    if turned:  # as a viewer shows it
        plain = np.asarray(picture(), int)
        shown = np.asarray(read.transpose(Image.Transpose.ROTATE_90), int)
        assert np.abs(shown - plain).mean() < 12
        assert np.abs(shown[::-1, ::-1] - plain).mean() > 30


@pytest.mark.parametrize("stored", [jpeg(segment(0xE1, exif(SIDEWAYS))), odd.tiff(SIDEWAYS)],
                         ids=["JPEG", "TIFF"])  # fmt: skip
def test_annotations_of_the_stored_pixels_get_them(stored: bytes) -> None:
    """A TIFF, which Pillow turns by itself, as a JPEG."""
    for size, rule in ((SIZE, "exif-unturned"), (SIZE[::-1], "exif-turned")):
        read = transforms.read_image(FileInMemory("a", stored), *size)
        assert read.size == size
        assert [id for id, _ in look(ImageToCheck(FileInMemory("a", stored), *size)).flaws] == [
            rule
        ]
    unturned = np.asarray(transforms.read_image(FileInMemory("a", stored), *SIZE), int)
    assert np.abs(unturned - np.asarray(picture(), int)).mean() < 12


ORIENTATIONS = {
    "SHORT": ((0x0112, 3, 1, b"\x08\0\0\0"), 8),
    "BYTE": ((0x0112, 1, 1, b"\x03\0\0\0"), 3),
    "twice": ((0x0112, 3, 2, b"\x06\0\x06\0"), 6),
    "text": ((0x0112, 2, 2, b"6\0\0\0"), 0),
    "elsewhere": ((0x0112, 3, 9, b"\x06\0\0\0"), 0),
    "none": ((0x0112, 3, 0, b"\x06\0\0\0"), 0),
    "too large": ((0x0112, 3, 1, b"\x09\0\0\0"), 0),
}


def test_the_endings_are_those_of_the_documentation() -> None:
    page = (Path(__file__).parents[2] / "docs" / "images.md").read_text()
    table = page[page.index("|---|") : page.index("- **With")]
    assert sorted(re.findall(r"\.[a-z0-9]+", table)) == sorted(decode.IMAGE_FORMATS)
    assert f"{decode.MAX_PIXELS:,}" in page


def test_a_camera_may_write_the_other_end_first() -> None:
    entry = struct.pack(">HHLHH", 0x0112, 3, 1, 6, 0)
    data = b"MM\0*" + struct.pack(">LH", 8, 1) + entry + b"\0" * 4
    assert exif_orientation(data) == 6


@pytest.mark.parametrize("entry, orientation", ORIENTATIONS.values(), ids=ORIENTATIONS)
def test_the_orientation_is_found_among_odd_tags(entry: odd.Entry, orientation: int) -> None:
    data = exif(entry, *odd.ODD)
    assert exif_orientation(data) == exif_orientation(data[6:]) == orientation
    for end in range(len(data)):
        assert exif_orientation(data[:end]) in (0, orientation)


WITH_PROFILE = jpeg(segment(0xFE, b"note"), segment(0xE2, b"x" * 60_000))


def test_the_pixels_are_those_of_the_whole_file() -> None:
    others = [SOUND[name]() for name in ("CMYK", "a palette with transparency", "grey with alpha")]
    for content in (WITH_PROFILE, jpeg(progressive=True, subsampling=0), *others):
        with Image.open(io.BytesIO(content)) as image:
            plain = np.asarray(image.convert("RGBA").convert("RGB") if image.mode == "P"
                               else image.convert("RGB"))  # fmt: skip
        assert (np.asarray(read_alike(content)) == plain).all()


BROKEN = {
    "": "it holds nothing",
    "\0" * 40: "it holds nothing but zeros",
    "version https://git-lfs.github.com/spec/v1\no": "it is a Git LFS pointer (run git lfs pull)",
    " <!DOCTYPE HTML>\n<title>403": "it is an HTML page",
    "hello": "it is a text",
    "\x01\x02\x03\x04": "its format is not known",
    "\x89PNG\r\n\x1a\n and no more": "it begins as PNG does, and what follows is damaged",
    "\0\0\0\x18ftypheic\0\0\0\0": "it is HEIF, which is not read (convert it to JPEG)",
    "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n": "it is a PostScript document",
}  # fmt: skip


@pytest.mark.parametrize("content, why", BROKEN.items(), ids=BROKEN.values())
def test_what_is_no_picture_is_named_as_what_it_is(content: str, why: str) -> None:
    assert read_alike(content.encode("latin-1")) == why


@pytest.mark.parametrize("cut", [3, 4, 8, 30])
@pytest.mark.parametrize("options", [{}, {"progressive": True}], ids=["baseline", "progressive"])
def test_a_jpeg_that_lacks_pixels_is_not_read(cut: int, options: dict[str, bool]) -> None:
    """Not even few: half a row of grey would be trained on."""
    whole = encoded(picture((160, 120)), "JPEG", **options)
    assert "truncated" in str(read_alike(whole[:-cut]))


def test_a_picture_of_too_many_pixels_is_refused_in_words() -> None:
    header = struct.pack(">LLBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99))
    why = "it has more than 268,435,456 pixels; cut it into tiles, or shrink it"
    assert read_alike(bomb + chunk(b"IEND", b"")) == why


def test_a_panorama_below_the_bound_is_read_without_a_warning() -> None:
    """150 million pixels: Pillow by itself warns of a bomb from 89 million on."""
    wide = encoded(Image.new("1", (30_000, 5_000)), "PNG")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert look(ImageToCheck(FileInMemory("a.png", wide), 30_000, 5_000)).flaws == ()


def test_memory_that_does_not_suffice_is_no_fault_of_the_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def load(*_: object) -> None:
        raise MemoryError

    content = jpeg()
    monkeypatch.setattr(Image.Image, "load", load)
    with pytest.raises(TrainerError, match=r"ran out of host memory reading a\.jpg") as caught:
        look(ImageToCheck(FileInMemory("a.jpg", content), *SIZE))
    assert caught.value.reason == FailureReason.OUT_OF_MEMORY


def test_a_worker_s_error_keeps_its_words() -> None:
    error = UnreadableImage("a.jpg", "it holds nothing")
    again = pickle.loads(pickle.dumps(error))
    assert (again.message, again.why) == (error.message, error.why)
    text = "\n".join(["Caught UnreadableImage in DataLoader worker.", *error.__notes__])
    assert failure_of(RuntimeError(text)).message == error.message


@pytest.mark.parametrize("size", [(1, 3000), (3000, 1), (3, 2999), (1, 1)])
def test_a_strip_keeps_a_pixel(size: tuple[int, int]) -> None:
    """In every augmentation and both formats, boxes in step."""
    configs = [AugmentationConfig(fixed_random_crop=128), AugmentationConfig(fixed_size=[32, 48]),
               AugmentationConfig(fixed_size=[32, 48], zoom_crop=[0.1, 1.0]),
               AugmentationConfig(scales=[48], train_random_resize=[64], train_random_crop_min=32,
                                  train_random_crop_max=48, test_random_resize=64,
                                  random_resize_max_size=128)]  # fmt: skip
    shape = size[::-1]
    for kind in ("PNG", "JPEG"):
        file = FileInMemory("strip", encoded(picture(size), kind))
        assert look(ImageToCheck(file, *size)).flaws == ()
        for number, config in enumerate(configs * 4):
            for geometry in (
                transforms.draw_train(config, shape, Draws(number)),
                transforms.draw_eval(config, shape),
            ):
                shrink = transforms.shrink_for(geometry, shape)
                image = transforms.read_image(file, *size, shrink)
                pixels = transforms.apply(image, geometry, shape)
                assert tuple(pixels.shape) == (3, *geometry.size)
                assert min(geometry.size) >= 1
                assert transforms.picture(transforms.read_image(file, *size), geometry).size


def test_mutants_of_metadata_are_read_or_named() -> None:
    """DINO_TEST_MUTANTS says how many: each is read everywhere, or refused in the same words."""
    originals = odd.originals()
    read = 0
    for seed in range(MUTANTS):
        content = odd.mutant(originals[seed % len(originals)], random.Random(seed))
        try:
            outcome = read_alike(content)
        except Exception as error:
            raise AssertionError(f"mutant {seed}") from error
        if isinstance(outcome, str):
            assert re.fullmatch(r"[^\n\x1b]{3,300}", outcome), seed
        read += not isinstance(outcome, str)
    print(f"{read} of {MUTANTS} mutants are read, the others are named")
    assert MUTANTS // 3 < read < MUTANTS


def test_pictures_are_decoded_in_one_place() -> None:
    """Image.open anywhere else would raise what nobody names."""
    opening = {
        path.relative_to(SOURCE).as_posix()
        for path in SOURCE.rglob("*.py")
        if re.search(r"\bImage\.open\(|exif_transpose\(|\.getexif\(", path.read_text())
    }
    assert opening == {"data/decode.py"}


class FailingFile(NamedTuple):
    """A file that the system does not hand out, the first few times."""

    name: str
    left: list[int]
    code: int = errno.ESTALE

    def read_bytes(self) -> bytes:
        if self.left[0]:
            self.left[0] -= 1
            raise OSError(self.code, os.strerror(self.code), self.name)
        return jpeg()


def seen_in(file: FailingFile) -> OpenedImage | Unreadable:
    return Images(AugmentationConfig())[0, file]


def test_a_disk_or_mount_that_fails_is_no_fault_of_the_image() -> None:
    """Of days of training one such answer was the end, for good: InvalidDataset."""
    assert open_image(FailingFile("a.jpg", [1])).kind == "JPEG", "a hiccup costs nothing"
    for code in (errno.EIO, errno.ESTALE, errno.ETIMEDOUT):
        for read in (open_image, seen_in):
            with pytest.raises(TrainerError, match=r"failed on a\.jpg") as caught:
                read(FailingFile("a.jpg", [2], code))
            assert caught.value.rule.retry == "counted"


def test_what_another_attempt_would_find_as_well_names_the_image() -> None:
    for code in (errno.EACCES, errno.ENOENT):
        with pytest.raises(UnreadableImage, match=os.strerror(code)):
            open_image(FailingFile("a.jpg", [1], code))
        assert isinstance(seen_in(FailingFile("a.jpg", [1], code)), Unreadable)
