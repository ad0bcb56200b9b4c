"""report.html of a preflight: what its template shows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dino_api.names import TRAINS
from dino_trainer.pages import PageHead, render
from dino_trainer.pages.gallery import Gallery
from dino_trainer.pages.plot import columns
from dino_trainer.preflight.examples import MOST_PICTURED


def preflight_page(report: Mapping[str, Any], sheet: bytes | None, gallery: Gallery) -> str:
    """The whole page. report: what report.json holds. sheet: JPEG of samples. gallery: of images
    with findings."""
    action, findings, statistics = report["action"], report["findings"], report["statistics"]
    errors = sum(one["severity"] == "error" for one in findings)
    splits, classes = statistics["splits"], statistics["classes"]
    counts = (("errors", errors), ("warnings", len(findings) - errors), ("classes", len(classes)))
    return render(
        "preflight",
        PageHead(
            "dino preflight",
            "Data of this training" if action in TRAINS else "Data",
            _verdict(action, errors, len(findings) - errors),
            good=not errors,
            facts=[(name, f"{count:,}") for name, count in [*counts, *_images(splits)]],
        ),
        gallery,
        findings=findings,
        most_pictured=MOST_PICTURED,
        splits=[(name, _split(name, split)) for name, split in splits.items()],
        classes=classes,
        most=max((one[split] for one in classes for split in splits), default=0) or 1,
        skipped=[(one["source"], one["image"], one["why"]) for one in report.get("skipped", ())],
        sheet=sheet,
    )


def _images(splits: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    for name, split in splits.items():
        yield f"{name} images", split["images"]


def _split(name: str, split: Mapping[str, Any]) -> dict[str, object]:
    sizes = _ranges(split["boxSizes"])
    counts = _ranges(split["boxesPerImage"])
    side = "square root of the area in pixels, from"
    return {
        "images": split["images"],
        "boxes": split["boxes"],
        "most": split["mostBoxesInOneImage"],
        "sizes": columns(f"Box sizes in {name}", side, sizes),
        "counts": columns(f"Boxes per image in {name}", "boxes in an image, from", counts),
    }


def _ranges(bins: list[dict[str, Any]]) -> list[tuple[str, int]]:
    """Each range by where it begins; the last one has no end."""
    return [(f"{one['from']}{'+' * (one['below'] is None)}", one["count"]) for one in bins]


def _verdict(action: str, errors: int, warnings: int) -> str:
    subject = "Training" if action == "train" else f"dino {action}"
    text = f"{subject} cannot begin" if errors else f"{subject} can begin"
    return f"{text}: {errors} errors, {warnings} warnings."
