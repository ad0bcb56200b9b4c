"""Pictures of images with mistakes: what is right, what is wrong, and what is missing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dino_trainer.evaluation.grid import class_name_of
from dino_trainer.pages.marks import Colour, Mark, corners_of
from dino_trainer.scoring.matching import BoxSet
from dino_trainer.scoring.statistics import Statistics
from dino_trainer.scoring.verdict import DetectionKind, Verdict, mistaken

# So many images are shown: the worst, of each class as many more, and no more than all together.
WORST, OF_EACH_CLASS, MOST_PICTURED = 24, 3, 48
# Apart for most colour-blind people (Okabe and Ito); each also says in words what it is.
MARK_COLOURS = {
    DetectionKind.RIGHT: (0, 158, 115),
    DetectionKind.CONFUSED: (230, 159, 0),
    DetectionKind.FALSE: (213, 94, 0),
}
MISSED, CROWD = (86, 180, 233), (170, 170, 170)


def pictured(statistics: Statistics, detections: BoxSet, truth: BoxSet) -> list[int]:
    """The images to show: the worst of all, then the worst of each class, many mistakes first."""
    chosen = dict.fromkeys(statistics.mistakes.worst(WORST).tolist())
    images, labels = mistaken(detections, truth, statistics.verdict)
    images = images[np.argsort(labels, kind="stable")]
    counts = np.unique(labels, return_counts=True)[1]
    ends = np.cumsum(counts)
    for place in np.argsort(-counts, kind="stable"):
        if len(chosen) >= MOST_PICTURED:
            break
        of_class = images[ends[place] - counts[place] : ends[place]]
        own, times = np.unique(of_class, return_counts=True)
        worst = own[np.argsort(-times, kind="stable")][:OF_EACH_CLASS]
        chosen |= dict.fromkeys(worst.tolist())
    return list(chosen)[:MOST_PICTURED]


def marks(
    place: int, detections: BoxSet, truth: BoxSet, verdict: Verdict, names: Sequence[str]
) -> list[Mark]:
    """What to draw on the image at `place`, the mistakes last, as they matter most."""
    made = [
        _mark(truth, at, CROWD, f"{class_name_of(names, int(truth.labels[at]))}, a crowd")
        for at in np.flatnonzero((truth.images == place) & truth.crowd).tolist()
    ]
    own = np.flatnonzero(detections.images == place)
    for kind in (DetectionKind.RIGHT, DetectionKind.FALSE, DetectionKind.CONFUSED):
        made += [
            _mark(detections, at, MARK_COLOURS[kind], _text(at, detections, truth, verdict, names))
            for at in own[verdict.kinds[own] == kind][::-1]
        ]
    made += [
        _mark(truth, at, MISSED, f"{class_name_of(names, int(truth.labels[at]))} missed")
        for at in np.flatnonzero((truth.images == place) & verdict.missed).tolist()
    ]
    return made


def _mark(boxes: BoxSet, at: int, colour: Colour, text: str) -> Mark:
    return Mark(corners_of(boxes.boxes[at]), colour, text)


def _text(
    at: int, detections: BoxSet, truth: BoxSet, verdict: Verdict, names: Sequence[str]
) -> str:
    caption = f"{class_name_of(names, int(detections.labels[at]))} {detections.scores[at]:.2f}"
    if verdict.kinds[at] != DetectionKind.CONFUSED:
        return caption
    is_a = class_name_of(names, int(truth.labels[verdict.partners[at]]))
    return f"{caption}, is {is_a}"
