"""Files with broken bytes, of every kind that is read."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dino_trainer.data import decode
from tests.fuzz import seeds
from tests.fuzz.harness import ends, fuzzed
from tests.fuzz.readers import MOST_PIXELS, READERS
from tests.fuzz.spoiling import spoiled


@pytest.fixture(autouse=True)
def _small_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "MAX_PIXELS", MOST_PIXELS)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", MOST_PIXELS)


@pytest.mark.parametrize("name", seeds.FILES)
def test_good_files_are_read(name: str, folder: Path) -> None:
    """Else their spoiled ones would show nothing."""
    for whole in seeds.files(name):
        READERS[name].read(whole, folder)


@pytest.mark.parametrize("name", seeds.FILES)
@fuzzed(30)
@given(data=st.data())
def test_broken_bytes(name: str, data: st.DataObject, folder: Path) -> None:
    whole = data.draw(st.sampled_from(seeds.files(name)))
    content = data.draw(spoiled(whole))
    reader = READERS[name]
    with ends(*reader.named):
        reader.read(content, folder)
