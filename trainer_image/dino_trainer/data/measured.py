"""What entries of images leave out and their files show: the size, and the name.

Label Studio writes width and height as null for an image without a result. LVIS has the address of
an image in place of its name: .../train2017/000000391895.jpg, and val2017 in the same file.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from dino_trainer.data.decode import UnreadableImage, open_image
from dino_trainer.data.image_store import ImageStore
from dino_trainer.data.name_forms import can_be_a_name, parts_of_address


class UnmeasuredImage(NamedTuple):
    """An image that tells no size.

    rule: the id of that which it breaks. why: in a few words, "" where it is missing.
    """

    rule: str
    why: str = ""


def size_of(name: str, store: ImageStore) -> tuple[int, int] | UnmeasuredImage:
    """(width, height) of an image, upright; or why it has none."""
    file = store.find(name)
    if file is None:
        return UnmeasuredImage("image-missing")
    try:
        return open_image(file).upright
    except UnreadableImage as error:
        return UnmeasuredImage("image-unreadable", error.why)


def with_file_name(item: Any, store: ImageStore | None) -> Any:
    """An entry with a file_name: that of its address, with or without the last folder."""
    if not (parts := _of_address(item)):
        return item
    name = "/".join(parts)
    if store and not store.find(name) and store.find(parts[-1]):
        name = parts[-1]
    return {**item, "file_name": name}


def short_names(items: Iterable[Any]) -> list[str]:
    """The names without their folder, where it is not known yet which of both is there."""
    last = (parts[-1] for item in items if (parts := _of_address(item)))
    return [name for name in last if can_be_a_name(name)]


def _of_address(item: Any) -> list[str]:
    if not isinstance(item, dict) or "file_name" in item:
        return []
    address = item.get("coco_url")
    parts = parts_of_address(address) if isinstance(address, str) else None
    return parts.path.strip("/").split("/")[-2:] if parts else []
