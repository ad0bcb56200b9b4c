"""report.html: one file that needs no other, and in which every name is text."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from dino_api.names import TRAINS

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;color:#222}
table{border-collapse:collapse;width:100%;margin:.5rem 0 1.5rem}
th,td{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #ddd;vertical-align:top}
td.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
.error{color:#a40000;font-weight:600}.warning{color:#8a5a00;font-weight:600}
.bar{background:#4a7fb5;height:.8rem;min-width:1px}
.verdict{padding:.6rem 1rem;border-radius:.4rem;background:#eef4ea}
.verdict.bad{background:#fbeaea}
code{font-size:.9em}img{max-width:100%}ul{margin:0;padding-left:1.1rem}
"""


def page(report: dict[str, Any], sheet: bytes | None) -> str:
    """The whole page. report: what report.json holds. sheet: JPEG of samples."""
    body = [
        f"<h1>{_title(report['action'])}</h1>",
        _verdict(report),
        _findings(report["findings"]),
        _splits(report["statistics"]["splits"]),
        _classes(report["statistics"]) if report["statistics"]["classes"] else "",
        _samples(sheet),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        "<title>dino preflight</title>"
        f"<style>{_STYLE}</style></head><body>\n{''.join(body)}</body></html>\n"
    )


def _title(action: str) -> str:
    return "Data of this training" if action in TRAINS else "Data"


def _verdict(report: dict[str, Any]) -> str:
    errors = sum(one["severity"] == "error" for one in report["findings"])
    warnings = len(report["findings"]) - errors
    kind = " bad" if errors else ""
    subject = "Training" if report["action"] == "train" else f"dino {report['action']}"
    text = f"{subject} cannot begin" if errors else f"{subject} can begin"
    return f'<p class="verdict{kind}">{text}: {errors} errors, {warnings} warnings.</p>'


def _findings(findings: Sequence[dict[str, Any]]) -> str:
    if not findings:
        return "<h2>Findings</h2><p>None.</p>"
    rows = (
        (
            f'<span class="{one["severity"]}">{one["severity"]}</span><br>'
            f"<code>{escape(one['id'])}</code>",
            one["count"],
            f"{escape(one['message'])}<br><em>{escape(one['remedy'])}</em>",
        )
        for one in findings
    )
    return f"<h2>Findings</h2>{_table(('', 'count', 'what, and what to do'), rows)}"


def _splits(splits: dict[str, Any]) -> str:
    parts = []
    for name, split in splits.items():
        parts.append(
            f"<h2>{escape(name.capitalize())}</h2><p>{split['images']} images, {split['boxes']} "
            f"boxes, at most {split['mostBoxesInOneImage']} in one image.</p>"
            "<h3>Box sizes (square root of the area, pixels)</h3>"
            f"{_histogram(split['boxSizes'])}<h3>Boxes per image</h3>"
            f"{_histogram(split['boxesPerImage'])}"
        )
    return "".join(parts)


def _histogram(bins: Sequence[dict[str, Any]]) -> str:
    most = max(one["count"] for one in bins) or 1
    rows = ((_range(one), one["count"], _bar(one["count"] / most)) for one in bins)
    return _table(("from, below", "count", ""), rows)


def _range(one: dict[str, Any]) -> str:
    return f"{one['from']} and more" if one["below"] is None else f"{one['from']} to {one['below']}"


def _classes(statistics: dict[str, Any]) -> str:
    splits = list(statistics["splits"])
    most = max((one[s] for one in statistics["classes"] for s in splits), default=0) or 1
    rows = (
        (
            str(one["id"]),
            escape(one["name"]),
            *(one[split] for split in splits),
            "".join(_bar(one[split] / most) for split in splits),
        )
        for one in statistics["classes"]
    )
    heads = ("id", "class", *(f"boxes in {split}" for split in splits), "")
    return f"<h2>Classes</h2>{_table(heads, rows)}"


def _samples(sheet: bytes | None) -> str:
    if sheet is None:
        return ""
    data = base64.b64encode(sheet).decode()
    return (
        "<h2>Samples as the model sees them</h2>"
        f'<p><img alt="samples" src="data:image/jpeg;base64,{data}"></p>'
    )


def _bar(share: float) -> str:
    return f'<div class="bar" style="width:{100 * share:.1f}%"></div>' if share else ""


def _table(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Numbers are set apart; texts are HTML already."""
    head = "".join(f"<th>{escape(text)}</th>" for text in heads)
    body = "".join(f"<tr>{''.join(_cell(value) for value in row)}</tr>\n" for row in rows)
    return f"<table><tr>{head}</tr>\n{body}</table>\n"


def _cell(value: Any) -> str:
    return f'<td class="n">{value:,}</td>' if isinstance(value, int) else f"<td>{value}</td>"
