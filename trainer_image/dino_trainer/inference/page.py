"""report.html of an inference: one file that needs no other, and in which every name is text."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape

from dino_trainer.inference.drawing import Colour
from dino_trainer.inference.tally import BINS, Tally

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:78rem;padding:0 1rem;color:#222}
table{border-collapse:collapse;margin:.5rem 0 1.5rem;min-width:40%}
th,td{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #ddd;vertical-align:top}
td.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
.bar{background:#4a7fb5;height:.8rem;min-width:1px}td.wide{width:20rem}
.verdict{padding:.6rem 1rem;border-radius:.4rem;background:#eef4ea}
.swatch{display:inline-block;width:.9rem;height:.9rem;margin-right:.4rem;vertical-align:middle}
.pictures{display:flex;flex-wrap:wrap;gap:.8rem}figure{margin:0}
figcaption{font-size:.85em;max-width:24rem;overflow-wrap:anywhere}img{max-width:24rem}
"""
_SKIPPED = 200


@dataclass(frozen=True)
class Shown:
    """A picture of the report. jpeg: small, with its boxes drawn."""

    name: str
    jpeg: bytes
    objects: int


def page(
    verdict: str, tally: Tally, colours: Sequence[Colour], threshold: float, shown: Iterable[Shown]
) -> str:
    """The whole page. verdict: what was done, in a sentence or two."""
    body = [
        "<h1>Inference</h1>",
        f'<p class="verdict">{escape(verdict)}</p>',
        _classes(tally, colours),
        _scores(tally, threshold),
        _pictures(list(shown)),
        _skipped(tally.skipped),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        "<title>dino inference</title>"
        f"<style>{_STYLE}</style></head><body>\n{''.join(body)}</body></html>\n"
    )


def _classes(tally: Tally, colours: Sequence[Colour]) -> str:
    most = max(tally.objects.tolist(), default=0) or 1
    rows = (
        f'<td class="n">{label}</td><td>{_swatch(colours[label])}{escape(name)}</td>'
        f'<td class="n">{tally.objects[label]:,}</td><td class="n">{tally.images[label]:,}</td>'
        f'<td class="wide">{_bar(tally.objects[label] / most)}</td>'
        for label, name in enumerate(tally.names)
        if name
    )
    return f"<h2>Classes</h2>{_table(('id', 'class', 'objects', 'images', ''), rows)}"


def _scores(tally: Tally, threshold: float) -> str:
    most = max(tally.scores.tolist()) or 1
    rows = (
        f'<td>{bin / BINS:.1f} to {(bin + 1) / BINS:.1f}</td><td class="n">{count:,}</td>'
        f'<td class="wide">{_bar(count / most)}</td>'
        for bin, count in enumerate(tally.scores.tolist())
        if (bin + 1) / BINS > threshold
    )
    heads = ("score", "objects", "")
    note = f"<p>Detections below {threshold:g} are left out.</p>"
    return f"<h2>Scores</h2>{note}{_table(heads, rows)}"


def _pictures(shown: Sequence[Shown]) -> str:
    if not shown:
        return ""
    figures = (
        f'<figure><img alt="{escape(one.name)}" '
        f'src="data:image/jpeg;base64,{base64.b64encode(one.jpeg).decode()}">'
        f"<figcaption>{escape(one.name)}: {one.objects}</figcaption></figure>"
        for one in shown
    )
    note = "<p>Spread evenly over the images; beside each its number of objects.</p>"
    return f'<h2>Pictures</h2>{note}<div class="pictures">{"".join(figures)}</div>'


def _skipped(skipped: Sequence[tuple[str, str]]) -> str:
    if not skipped:
        return ""
    rows = (f"<td>{escape(name)}</td><td>{escape(why)}</td>" for name, why in skipped[:_SKIPPED])
    more = len(skipped) - _SKIPPED
    note = f"<p>And {more:,} more; predictions.json names them all.</p>" if more > 0 else ""
    return f"<h2>Images that cannot be read</h2>{_table(('image', 'why'), rows)}{note}"


def _swatch(colour: Colour) -> str:
    red, green, blue = colour
    return f'<span class="swatch" style="background:rgb({red},{green},{blue})"></span>'


def _bar(share: float) -> str:
    return f'<div class="bar" style="width:{100 * share:.1f}%"></div>' if share else ""


def _table(heads: Sequence[str], rows: Iterable[str]) -> str:
    return f"<table>{''.join(_lines(heads, rows))}</table>\n"


def _lines(heads: Sequence[str], rows: Iterable[str]) -> Iterator[str]:
    yield f"<tr>{''.join(f'<th>{text}</th>' for text in heads)}</tr>\n"
    for row in rows:
        yield f"<tr>{row}</tr>\n"
