"""report.html of a quantization: what it costs, what it gains, and which layers it is about."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dino_api import metric
from dino_api.result import Comparison, Scored
from dino_trainer.pages import render
from dino_trainer.quantize.static import Quantized
from dino_trainer.storage.byte_meter import human_bytes

Layers = tuple[str, Sequence[str]]
"""A title, and names of layers."""

# What is said of the weights: of a file for CPUs, and of another one.
_WHERE = {
    True: ", small enough that every CPU adds their products up exactly",
    False: ". ONNX Runtime on x86 without VNNI cuts sums of their products off, unless the "
    "session sets session.x64quantprecision: 1",
}


def layers_page(
    verdict: str, passed: bool, comparison: Comparison, done: Quantized, on: str
) -> str:
    """The whole page. on: what both were compared on."""
    chosen = done.chosen
    method = (
        f"Both ran on {on}. Ranges of values come from {done.images} calibration "
        f"images, by the algorithm {done.algorithm}; activations are "
        f"{'UINT8, for CPUs' if done.for_cpu else 'INT8, symmetric around zero'}, weights INT8 "
        f"with a scale for each channel{_WHERE[done.for_cpu]}."
    )
    lists = (
        (f"{len(chosen.layers)} layers compute in INT8", chosen.layers),
        ("Kept in floating point by quantize.skip_names", chosen.skipped),
        ("Kept in floating point as the backbone's first layers", chosen.early),
    )
    return quantization_page(verdict, passed, comparison, method, lists)


def quantization_page(
    verdict: str, passed: bool, comparison: Comparison, method: str, lists: Sequence[Layers]
) -> str:
    """A page on any quantization. method: how it was done. lists: empty ones are left out."""
    rows = list(_rows(comparison))
    done = method + _counted(comparison)
    return render("quantization", verdict=verdict, passed=passed, rows=rows, done=done, lists=lists)


def _counted(comparison: Comparison) -> str:
    most = comparison.max_detections
    return f" The {most} best detections of a class in an image count." if most else ""


def _rows(comparison: Comparison) -> Iterator[tuple[str, str, str]]:
    one, other = comparison.reference, comparison.candidate
    yield "number format", one.precision or "", other.precision or ""
    yield "mAP", metric.text(one.mAP), metric.text(other.mAP)
    yield "mAP50", metric.text(one.mAP50), metric.text(other.mAP50)
    yield "milliseconds for one image", _time(one), _time(other)
    yield "size of the file", human_bytes(one.bytes or 0), human_bytes(other.bytes or 0)
    if comparison.matched is not None:
        yield "detections found again", "", f"{100 * comparison.matched:.1f} %"


def _time(one: Scored) -> str:
    return "" if one.latency_ms is None else f"{one.latency_ms:.1f}"
