"""report.html of an inference: what its template shows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from dino_trainer.inference.drawing import Colour
from dino_trainer.inference.tally import BINS, Tally
from dino_trainer.pages import render

_SKIPPED = 200


@dataclass(frozen=True)
class ReportPicture:
    """A picture of the report. jpeg: small, with its boxes drawn."""

    name: str
    jpeg: bytes
    objects: int


def inference_page(
    verdict: str,
    tally: Tally,
    colours: Sequence[Colour],
    threshold: float,
    shown: Iterable[ReportPicture],
) -> str:
    """The whole page. verdict: what was done, in a sentence or two."""
    return render(
        "inference",
        verdict=verdict,
        classes=list(_classes(tally, colours)),
        threshold=f"{threshold:g}",
        scores=list(_scores(tally, threshold)),
        shown=list(shown),
        skipped=tally.skipped[:_SKIPPED],
        more=len(tally.skipped) - _SKIPPED,
    )


def _classes(tally: Tally, colours: Sequence[Colour]) -> Iterator[dict[str, object]]:
    most = max(tally.objects.tolist(), default=0) or 1
    for label, name in enumerate(tally.names):
        if name:
            yield {
                "label": label,
                "name": name,
                "colour": tuple(colours[label]),
                "objects": tally.objects[label],
                "images": tally.images[label],
                "share": tally.objects[label] / most,
            }


def _scores(tally: Tally, threshold: float) -> Iterator[dict[str, object]]:
    most = max(tally.scores.tolist()) or 1
    for bin, count in enumerate(tally.scores.tolist()):
        low, high = bin / BINS, (bin + 1) / BINS
        if high > threshold:
            yield {"low": low, "high": high, "count": count, "share": count / most}
