"""The form of a rule about the data, and the sentence that its rules share."""

from __future__ import annotations

from dataclasses import dataclass

from dino_api.problem import Severity


@dataclass(frozen=True)
class DataRule:
    """One kind of finding. error: training is not begun. warning: it is, and the status says so.

    title: what is found, as the start of a sentence. remedy: what to do about it, in sentences.
    """

    id: str
    severity: Severity
    title: str
    remedy: str


def error(id: str, title: str, remedy: str) -> DataRule:
    """A rule by which training is not begun."""
    return DataRule(id, "error", title, remedy)


def warning(id: str, title: str, remedy: str) -> DataRule:
    """A rule by which training is begun, and the status says so."""
    return DataRule(id, "warning", title, remedy)


FORM = (
    'COCO is {"images": [{"id", "file_name", "width", "height"}], '
    '"annotations": [{"image_id", "category_id", "bbox"}], "categories": [{"id", "name"}]}.'
)
