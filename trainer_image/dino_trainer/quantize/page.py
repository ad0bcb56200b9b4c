"""report.html of a quantization: what it costs, what it gains, and which layers it is about."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dino_api import metric
from dino_api.result import ModelComparison, ScoredModel
from dino_trainer.pages import PageHead, render
from dino_trainer.quantize.static import QuantizationResult
from dino_trainer.storage.byte_meter import human_bytes

Layers = tuple[str, Sequence[str]]
"""A title, and names of layers."""

Row = tuple[tuple[str, str, str], tuple[float, ...]]

# What is said of the weights: of a file for CPUs, and of another one.
_WHERE = {
    True: ", small enough that every CPU adds their products up exactly",
    False: ". ONNX Runtime on x86 without VNNI cuts sums of their products off, unless the "
    "session sets session.x64quantprecision: 1",
}


def layers_page(
    verdict: str, passed: bool, comparison: ModelComparison, done: QuantizationResult, on: str
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
    verdict: str, passed: bool, comparison: ModelComparison, method: str, lists: Sequence[Layers]
) -> str:
    """A page on any quantization. method: how it was done. lists: empty ones are left out."""
    head = PageHead(
        "dino quantize", "Quantization", verdict, passed, facts=list(_facts(comparison))
    )
    done = method + _counted(comparison)
    return render("quantization", head, rows=list(_rows(comparison)), done=done, lists=lists)


def _facts(comparison: ModelComparison) -> Iterator[tuple[str, str]]:
    """What it costs, and what it gains, where both are known."""
    one, other = comparison.reference, comparison.candidate
    if one.mAP is not None and other.mAP is not None:
        sign = "+" if other.mAP > one.mAP else ""
        yield "change of mAP", f"{sign}{metric.text(other.mAP - one.mAP)}"
    if one.latency_ms and other.latency_ms:
        yield (
            "time of one image, of the given file's",
            f"{100 * other.latency_ms / one.latency_ms:.0f} %",
        )
    if one.bytes and other.bytes:
        yield "size, of the given file's", f"{100 * other.bytes / one.bytes:.0f} %"
    if comparison.matched is not None:
        yield "detections found again", f"{100 * comparison.matched:.1f} %"


def _counted(comparison: ModelComparison) -> str:
    most = comparison.max_detections
    return f" The {most} best detections of a class in an image count." if most else ""


def _rows(comparison: ModelComparison) -> Iterator[Row]:
    """Of each number the texts of both, and how long their bars are."""
    one, other = comparison.reference, comparison.candidate
    yield ("number format", one.precision or "", other.precision or ""), ()
    yield ("mAP", metric.text(one.mAP), metric.text(other.mAP)), (one.mAP or 0, other.mAP or 0)
    shares = (one.mAP50 or 0, other.mAP50 or 0)
    yield ("mAP50", metric.text(one.mAP50), metric.text(other.mAP50)), shares
    times = _of_larger(one.latency_ms, other.latency_ms)
    yield ("milliseconds for one image", _time(one), _time(other)), times
    sizes = (human_bytes(one.bytes or 0), human_bytes(other.bytes or 0))
    yield ("size of the file", *sizes), _of_larger(one.bytes, other.bytes)
    if (matched := comparison.matched) is not None:
        yield ("detections found again", "", f"{100 * matched:.1f} %"), (0, matched)


def _of_larger(*values: float | None) -> tuple[float, ...]:
    largest = max(one or 0 for one in values)
    return tuple((one or 0) / largest for one in values) if largest else ()


def _time(one: ScoredModel) -> str:
    return "" if one.latency_ms is None else f"{one.latency_ms:.1f}"
