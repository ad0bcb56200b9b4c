"""report.html of a quantization: what it costs, what it gains, and which layers it is about."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from dino_api.result import Comparison, Scored
from dino_trainer.byte_meter import human_bytes
from dino_trainer.quantize.static import Quantized

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem;color:#222}
table{border-collapse:collapse;margin:.5rem 0 1.5rem;min-width:60%}
th,td{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #ddd}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
.verdict{padding:.6rem 1rem;border-radius:.4rem;background:#eef4ea}
.verdict.bad{background:#fbeaea}li{font-family:monospace;font-size:.9em}
"""

# What is said of the weights: of a file for CPUs, and of another one.
_WHERE = {
    True: ", small enough that every CPU adds their products up exactly",
    False: ". ONNX Runtime on x86 without VNNI cuts sums of their products off, unless the "
    "session sets session.x64quantprecision: 1",
}


def page(verdict: str, passed: bool, found: Comparison, done: Quantized, on: str) -> str:
    """The whole page. on: what both were compared on."""
    chosen = done.chosen
    said = (
        f"Both ran on {escape(on)}. Ranges of values come from {done.images} calibration "
        f"images, by the algorithm {escape(done.algorithm)}; activations are "
        f"{'UINT8, for CPUs' if done.for_cpu else 'INT8, symmetric around zero'}, weights INT8 "
        f"with a scale for each channel{_WHERE[done.for_cpu]}."
    )
    lists = (
        names(f"{len(chosen.layers)} layers compute in INT8", chosen.layers),
        names("Kept in floating point by quantize.skip_names", chosen.skipped),
        names("Kept in floating point as the backbone's first layers", chosen.early),
    )
    return whole(verdict, passed, found, said, lists)


def whole(verdict: str, passed: bool, found: Comparison, said: str, lists: Sequence[str]) -> str:
    """A page on any quantization. said: HTML of how it was done. lists: of `names`."""
    kind = "" if passed else " bad"
    body = [
        "<h1>Quantization</h1>",
        f'<p class="verdict{kind}">{escape(verdict)}</p>',
        _table(found),
        f"<p>{said}</p>",
        *lists,
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        "<title>dino quantize</title>"
        f"<style>{_STYLE}</style></head><body>\n{''.join(body)}</body></html>\n"
    )


def _table(found: Comparison) -> str:
    rows = "".join(
        f'<tr><td>{name}</td><td class="n">{before}</td><td class="n">{after}</td></tr>\n'
        for name, before, after in _rows(found)
    )
    head = '<tr><th></th><th class="n">given</th><th class="n">quantized</th></tr>'
    return f"<table>{head}\n{rows}</table>"


def _rows(found: Comparison) -> Iterator[tuple[str, str, str]]:
    pair = found.reference, found.candidate
    yield "number format", *(escape(one.precision or "") for one in pair)
    yield "mAP", *(_score(one.mAP) for one in pair)
    yield "mAP50", *(_score(one.mAP50) for one in pair)
    yield "milliseconds for one image", *(_time(one) for one in pair)
    yield "size of the file", *(human_bytes(one.bytes or 0) for one in pair)
    if found.matched is not None:
        yield "detections found again", "", f"{100 * found.matched:.1f} %"


def _score(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _time(one: Scored) -> str:
    return "" if one.latency_ms is None else f"{one.latency_ms:.1f}"


def names(title: str, each: Sequence[str]) -> str:
    """A list with its title; nothing for an empty one."""
    if not each:
        return ""
    return f"<h2>{title}</h2><ul>{''.join(f'<li>{escape(name)}</li>' for name in each)}</ul>"
