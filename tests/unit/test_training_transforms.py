"""Transforms: pictures arrive whole, and boxes stay on what they enclose."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from dino_api.experiment import AugmentationConfig
from dino_trainer.data import transforms
from dino_trainer.data.random_streams import Draws
from dino_trainer.data.transforms import Geometry
from dino_trainer.errors import TrainerError

SIZE = (120, 160)  # height, width
BOX = (30, 40, 90, 100)


def a_picture() -> Image.Image:
    """Grey with one white rectangle at BOX."""
    image = Image.new("RGB", (SIZE[1], SIZE[0]), (90, 90, 90))
    left, top, right, bottom = BOX
    ImageDraw.Draw(image).rectangle((left, top, right - 1, bottom - 1), fill=(255, 255, 255))
    return image


def find_white(picture: torch.Tensor) -> tuple[float, ...]:
    """(left, top, right, bottom) of what is white in uint8[3, h, w]."""
    rows, columns = np.where(picture.numpy().min(axis=0) > 172)
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


SPECS = {
    "resize or crop, as published": AugmentationConfig(
        scales=[96, 128],
        train_random_resize=[100, 140],
        train_random_crop_min=90,
        train_random_crop_max=130,
        random_resize_max_size=200,
    ),
    "a fixed size": AugmentationConfig(fixed_size=[96, 192]),
    "a fixed size after a zoom": AugmentationConfig(fixed_size=[96, 192], zoom_crop=[0.6, 1.0]),
}
JITTER = AugmentationConfig(fixed_random_crop=128)


@pytest.mark.parametrize("config", SPECS.values(), ids=SPECS)
def test_the_box_stays_on_the_rectangle(config: AugmentationConfig) -> None:
    shapes = set()
    for index in range(60):
        geometry = transforms.draw_train(config, SIZE, Draws(7, index))
        picture = transforms.apply(a_picture(), geometry)
        boxes, keep = transforms.apply_boxes(np.array([BOX], np.float32), SIZE, geometry)
        assert picture.dtype == torch.uint8
        assert tuple(picture.shape) == (3, *geometry.size)
        assert keep.tolist() == [True]
        np.testing.assert_allclose(boxes[0], find_white(picture), atol=1.6)
        shapes.add((geometry.crop is None, geometry.flip))
    assert {flip for _, flip in shapes} == {True, False}


def a_photograph(height: int, width: int) -> Image.Image:
    """Smooth shapes and a little noise, as a lens gives."""
    y, x = np.mgrid[:height, :width].astype(np.float64)
    waves = [np.sin(x / 37 + k) * np.cos(y / (23 + 9 * k)) * 90 + 128 for k in range(3)]
    noise = np.random.default_rng(0).normal(0, 3, (height, width, 3))
    return Image.fromarray((np.stack(waves, 2) + noise).clip(0, 255).astype(np.uint8))


GEOMETRIES = {
    "smaller": Geometry((60, 80)),
    "larger and mirrored": Geometry((205, 273), flip=True),
    "resized, cropped, resized": Geometry((97, 130), (150, 200), (11, 7, 121, 99), True),
    "a window": Geometry((64, 64), crop=(33, 20, 120, 110)),
    "a window as it is": Geometry((90, 87), crop=(33, 20, 120, 110)),
    "as it is": Geometry(SIZE),
}


@pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES)
def test_the_fast_way_draws_the_same_picture(geometry: Geometry) -> None:
    photograph = a_photograph(*SIZE)
    fast = transforms.apply(photograph, geometry).numpy().astype(int)
    plain = np.asarray(transforms.picture(photograph, geometry)).transpose(2, 0, 1).astype(int)
    assert fast.shape == plain.shape == (3, *geometry.size)
    assert np.abs(fast - plain).max() <= 1
    assert (fast != plain).mean() < 0.01


SHRINKS = {
    "enlarged": (Geometry((960, 1280)), 1),
    "half": (Geometry((240, 320)), 1),  # what is left of the resize would not hide it
    "a little less than half": (Geometry((192, 256)), 2),
    "one side only": (Geometry((480, 64)), 1),
    "an eighth": (Geometry((48, 64)), 8),
    "a window decides": (Geometry((100, 100), crop=(0, 0, 200, 200)), 1),
    "a large window": (Geometry((80, 80), crop=(0, 0, 400, 400)), 4),
    "the first resize decides": (Geometry((800, 800), (120, 160), (0, 0, 99, 99)), 2),
}


@pytest.mark.parametrize("geometry, shrink", SHRINKS.values(), ids=SHRINKS)
def test_how_far_a_picture_may_shrink_in_decoding(geometry: Geometry, shrink: int) -> None:
    assert transforms.shrink_for(geometry, (480, 640)) == shrink


LARGE = (601, 803)
REDUCED = {
    "whole": Geometry((150, 200)),
    "resized and cropped": Geometry((200, 300), (180, 240), (20, 20, 140, 100), True),
    "a window": Geometry((120, 160), crop=(101, 53, 703, 503)),
}


@pytest.mark.parametrize("geometry", REDUCED.values(), ids=REDUCED)
def test_a_photograph_that_shrinks_in_decoding_looks_the_same(
    tmp_path: Path, geometry: Geometry
) -> None:
    a_photograph(*LARGE).save(tmp_path / "a.jpg", quality=90)
    shrink = transforms.shrink_for(geometry, LARGE)
    whole = transforms.read_image(tmp_path / "a.jpg", LARGE[1], LARGE[0])
    small = transforms.read_image(tmp_path / "a.jpg", LARGE[1], LARGE[0], shrink)
    assert shrink == 2
    assert (whole.size, small.size) == ((803, 601), (402, 301))
    want = transforms.apply(whole, geometry).float()
    got = transforms.apply(small, geometry, LARGE).float()
    assert got.shape == want.shape
    shifted = (want[:, :, 1:] - want[:, :, :-1]).abs().mean()
    assert (got - want).abs().mean() < 0.6 * shifted  # not a pixel off


def test_the_whole_size_is_checked_where_a_file_is_shrunk(tmp_path: Path) -> None:
    a_photograph(64, 96).save(tmp_path / "a.jpg")
    with pytest.raises(TrainerError, match="is 96x64 pixels, its annotation says 48x32"):
        transforms.read_image(tmp_path / "a.jpg", 48, 32, shrink=2)
    a_photograph(64, 96).save(tmp_path / "a.png")
    assert transforms.read_image(tmp_path / "a.png", 96, 64, shrink=2).size == (96, 64)


def test_a_turned_file_shrinks_too(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    a_photograph(64, 96).save(tmp_path / "a.jpg", exif=exif)
    assert transforms.read_image(tmp_path / "a.jpg", 64, 96, shrink=2).size == (32, 48)
    assert transforms.read_image(tmp_path / "a.jpg", 96, 64, shrink=2).size == (48, 32)


def test_half_of_the_images_are_cropped_as_published() -> None:
    config = SPECS["resize or crop, as published"]
    drawn = [transforms.draw_train(config, SIZE, Draws(i)) for i in range(400)]
    cropped = [g for g in drawn if g.crop is not None]
    assert 0.4 < len(cropped) / len(drawn) < 0.6
    for g in cropped:
        sides = g.crop[2] - g.crop[0], g.crop[3] - g.crop[1]
        assert all(90 <= side <= 130 for side in sides)
        assert min(g.first) in (100, 140)
    assert {min(g.size) for g in drawn} >= {96, 128}
    assert max(max(g.size) for g in drawn) <= 200


def test_the_jitter_is_tao_s() -> None:
    drawn = [transforms.draw_train(JITTER, SIZE, Draws(i)) for i in range(600)]
    scales = np.array([g.first[1] / 128 for g in drawn])  # the longer side decides
    np.testing.assert_allclose(np.quantile(scales, [0, 0.25, 0.5, 0.75, 1]), QUARTERS, atol=0.1)
    assert 0.4 < np.mean([g.flip for g in drawn]) < 0.6
    for g in drawn:
        assert g.first[0] / g.first[1] == pytest.approx(SIZE[0] / SIZE[1], abs=0.05)
        assert g.size == (min(128, g.first[0]), min(128, g.first[1]))
        left, top, right, bottom = g.crop
        assert (bottom - top, right - left) == g.size
        assert 0 <= left < right <= g.first[1]
        assert 0 <= top < bottom <= g.first[0]
    offsets = [g.crop[0] / (g.first[1] - 128) for g in drawn if g.first[1] > 140]
    np.testing.assert_allclose(np.quantile(offsets, [0, 0.5, 1]), [0, 0.5, 1], atol=0.1)


QUARTERS = [0.1, 0.575, 1.05, 1.525, 2.0]


def test_boxes_follow_the_jitter() -> None:
    whole = 0
    for index in range(80):
        geometry = transforms.draw_train(JITTER, SIZE, Draws(index))
        picture = transforms.apply(a_picture(), geometry)
        assert tuple(picture.shape) == (3, *geometry.size)
        boxes, keep = transforms.apply_boxes(np.array([BOX], np.float32), SIZE, geometry)
        if keep.all() and (boxes[0, 2:] - boxes[0, :2]).min() > 8:
            np.testing.assert_allclose(boxes[0], find_white(picture), atol=2.1)
            whole += 1
    assert whole > 40


def test_a_jittered_picture_keeps_a_pixel() -> None:
    config = AugmentationConfig(fixed_random_crop=8)
    sizes = {transforms.draw_train(config, (4000, 40), Draws(i)).size for i in range(50)}
    assert min(width for _, width in sizes) == 1


def test_a_crop_larger_than_the_picture_takes_the_whole_side() -> None:
    crop = transforms.draw_size_crop((50, 200), 384, 600, Draws(1))
    assert crop == (0, 0, 200, 50)


def test_boxes_are_clipped_and_those_outside_dropped() -> None:
    geometry = Geometry((50, 50), crop=(50, 50, 100, 100))
    given = np.array([[40, 60, 70, 120], [0, 0, 50, 50], [60, 60, 60, 90]], np.float32)
    boxes, keep = transforms.apply_boxes(given, SIZE, geometry)
    assert keep.tolist() == [True, False, False]
    assert boxes.tolist() == [[0, 10, 20, 50]]
    assert boxes.dtype == np.float32


SIZES = {
    "short side to 800": ((480, 640), 800, 1333, (800, 1066)),
    "long side at most 1333": ((300, 1000), 800, 1333, (400, 1333)),
    "portrait": ((640, 480), 800, 1333, (1066, 800)),
    "already right": ((800, 1000), 800, 1333, (800, 1000)),
    "no limit": ((100, 1000), 400, None, (400, 4000)),
}


@pytest.mark.parametrize("size, short, longest, want", SIZES.values(), ids=SIZES)
def test_resize_keeps_the_aspect(size, short, longest, want) -> None:
    assert transforms.keep_aspect(size, short, longest) == want


def test_validation_geometry() -> None:
    config = AugmentationConfig(test_random_resize=64, random_resize_max_size=70)
    assert transforms.draw_eval(config, (120, 160)) == Geometry((52, 69))
    assert transforms.draw_eval(SPECS["a fixed size after a zoom"], SIZE) == Geometry((96, 192))


def test_the_same_key_draws_the_same_geometry() -> None:
    config = SPECS["resize or crop, as published"]
    first = [transforms.draw_train(config, SIZE, Draws(3, 1, i)) for i in range(20)]
    again = [transforms.draw_train(config, SIZE, Draws(3, 1, i)) for i in range(20)]
    other = [transforms.draw_train(config, SIZE, Draws(3, 2, i)) for i in range(20)]
    assert first == again != other


DRAWN = {
    "TAO's defaults": (AugmentationConfig(), "99367549485e1e33"),
    "a fixed size after a zoom": (SPECS["a fixed size after a zoom"], "4793107ce1cb6e5b"),
    "jitter": (JITTER, "68f5c6a28866e869"),
}


@pytest.mark.parametrize("config, digest", DRAWN.values(), ids=DRAWN)
def test_what_is_drawn_stays(config: AugmentationConfig, digest: str) -> None:
    """A training of an earlier release goes on with the images that it would have had: a later
    augmentation draws last, and only where its key is on."""
    drawn = [transforms.draw_train(config, (480, 640), Draws(7, 1, i)) for i in range(200)]
    text = repr([(each.size, each.first, each.crop, each.flip) for each in drawn])
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == digest


RAMP = np.arange(6, dtype=np.uint8).reshape(2, 3) * 40
MODES = {
    "grey": Image.fromarray(RAMP),
    "grey with alpha": Image.fromarray(RAMP).convert("LA"),
    "palette": Image.fromarray(RAMP).convert("P"),
    "rgba": Image.fromarray(RAMP).convert("RGBA"),
    "16 bit": Image.fromarray(RAMP.astype(np.uint16) * 256),
}


@pytest.mark.parametrize("image", MODES.values(), ids=MODES)
def test_every_mode_becomes_rgb(image: Image.Image, tmp_path: Path) -> None:
    image.save(tmp_path / "a.png")
    read = transforms.read_image(tmp_path / "a.png", 3, 2)
    assert read.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(read), np.repeat(RAMP[..., None], 3, axis=2))


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    Image.new("RGB", (16, 16), (200, 30, 30)).convert("CMYK").save(tmp_path / "a.jpg", quality=95)
    pixel = transforms.read_image(tmp_path / "a.jpg", 16, 16).getpixel((8, 8))
    np.testing.assert_allclose(pixel, (200, 30, 30), atol=6)


def an_exif_image(path: Path) -> None:
    """Stored 20 wide and 10 high, its left half white; shown turned: 10 wide and 20 high."""
    image = Image.new("RGB", (20, 10))
    ImageDraw.Draw(image).rectangle((0, 0, 9, 9), fill=(255, 255, 255))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(path, exif=exif)


@pytest.mark.parametrize(
    "size, white",
    {
        "annotated as shown: turned": ((10, 20), (5, 2)),
        "annotated as stored: left as it is": ((20, 10), (2, 5)),
    }.values(),
)
def test_exif_orientation_follows_the_annotation(tmp_path: Path, size, white) -> None:
    an_exif_image(tmp_path / "a.png")
    read = transforms.read_image(tmp_path / "a.png", *size)
    assert read.size == size
    assert read.getpixel(white) == (255, 255, 255)
    opposite = (size[0] - 1 - white[0], size[1] - 1 - white[1])
    assert read.getpixel(opposite) == (0, 0, 0)


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"no picture")
    with pytest.raises(TrainerError, match=r"a\.jpg cannot be read as an image") as caught:
        transforms.read_image(tmp_path / "a.jpg", 3, 2)
    assert caught.value.reason == "InvalidDataset"


def test_a_truncated_file_is_named(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.jpg")
    whole = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(TrainerError, match=r"a\.jpg cannot be read as an image"):
        transforms.read_image(tmp_path / "a.jpg", 64, 64)


def test_a_size_that_is_not_annotated_is_refused(tmp_path: Path) -> None:
    Image.new("RGB", (30, 20)).save(tmp_path / "a.png")
    with pytest.raises(TrainerError, match="is 30x20 pixels, its annotation says 31x20"):
        transforms.read_image(tmp_path / "a.png", 31, 20)
