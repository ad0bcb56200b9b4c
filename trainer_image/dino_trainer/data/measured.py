"""The size of an image whose annotations do not say it.

Label Studio writes width and height as null for an image without a result.
"""

from __future__ import annotations

import io
from collections.abc import Callable

from PIL import Image

from dino_trainer.data.image_store import ImageStore

# (width, height) of the image of a name, upright; or the id of the rule that it breaks.
SizeOf = Callable[[str], "tuple[int, int] | str"]
_ORIENTATION = 0x0112
_SIDEWAYS = range(5, 9)


def sizes_in(store: ImageStore) -> SizeOf:
    """Measures the images of a store."""

    def size_of(name: str) -> tuple[int, int] | str:
        file = store.find(name)
        return _size(file.read_bytes) if file else "image-missing"

    return size_of


def _size(read: Callable[[], bytes]) -> tuple[int, int] | str:
    try:
        with Image.open(io.BytesIO(read())) as image:
            width, height = image.size
            turned = image.getexif().get(_ORIENTATION) in _SIDEWAYS
    # A broken file may raise anything in a decoder.
    except Exception:  # noqa: BLE001
        return "image-unreadable"
    return (height, width) if turned else (width, height)
