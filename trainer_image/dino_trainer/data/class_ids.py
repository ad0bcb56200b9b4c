"""Category ids that cannot be classes: a model has an output for each id up to the largest."""

from __future__ import annotations

from collections.abc import Mapping

from dino_api.result import MOST_CLASSES


def beyond(categories: Mapping[int, str]) -> list[int]:
    """The ids that no model can have an output for, the largest first."""
    return sorted((id for id in categories if id >= MOST_CLASSES), reverse=True)


def class_in_words(id: int, name: str) -> str:
    """Writes `2732727934 ('cell'), where 19999 is the largest possible`."""
    return f"{id} ({name!r}), where {MOST_CLASSES - 1} is the largest possible"
