"""report.html of an inference: what its template shows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from dino_trainer.inference.tally import BINS, Tally
from dino_trainer.pages import PageHead, render
from dino_trainer.pages.gallery import Gallery, GalleryPicture
from dino_trainer.pages.marks import Colour
from dino_trainer.pages.plot import columns

_SKIPPED = 200


@dataclass(frozen=True)
class ReportPicture:
    """A picture of the report. jpeg: small, with its boxes drawn. classes: of its objects."""

    name: str
    jpeg: bytes
    objects: int
    classes: frozenset[str] = frozenset()


def inference_page(
    verdict: str,
    tally: Tally,
    colours: Sequence[Colour],
    threshold: float,
    shown: Iterable[ReportPicture],
) -> str:
    """The whole page. verdict: what was done, in a sentence or two."""
    facts = (
        ("images", f"{tally.read:,}"),
        ("objects", f"{tally.total:,}"),
        ("images without any", f"{tally.empty:,}"),
        ("cannot be read", f"{len(tally.skipped):,}"),
    )
    gallery = Gallery([_picture(one) for one in shown])
    return render(
        "inference",
        PageHead("dino inference", "Inference", verdict, facts=facts),
        gallery,
        classes=list(_classes(tally, colours, gallery)),
        threshold=f"{threshold:g}",
        scores=columns("Objects by score", "score, from", list(_scores(tally, threshold))),
        skipped=tally.skipped[:_SKIPPED],
        more=len(tally.skipped) - _SKIPPED,
    )


def _picture(one: ReportPicture) -> GalleryPicture:
    text = "1 object" if one.objects == 1 else f"{one.objects:,} objects"
    return GalleryPicture(one.name, one.jpeg, [("", text)], one.classes)


def _classes(
    tally: Tally, colours: Sequence[Colour], gallery: Gallery
) -> Iterator[dict[str, object]]:
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
                "pictures": gallery.about(name),
            }


def _scores(tally: Tally, threshold: float) -> Iterator[tuple[str, int]]:
    """From where, and how many, of each tenth that reaches the threshold."""
    for bin, count in enumerate(tally.scores.tolist()):
        if (bin + 1) / BINS > threshold:
            yield f"{bin / BINS:.1f}", count
