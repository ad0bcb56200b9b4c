"""report.html of a search: charts, the winner, and every trial with what it cost."""

from __future__ import annotations

import json
from collections.abc import Iterator
from html import escape
from typing import Any

import plotly.graph_objects as go
import yaml

from dino_api.automl import Best, Trial
from dino_api.search import describe
from dino_api.search.record import SearchRecord
from dino_api.yaml_writer import Dumper
from dino_trainer.search_report import charts
from dino_trainer.search_report.study import ENOUGH, study_of

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:78rem;padding:0 1rem;color:#222}
table{border-collapse:collapse;width:100%;margin:.5rem 0 1.5rem;font-size:.92em}
th,td{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #ddd;vertical-align:top}
td.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
tr.best{background:#eef4ea}
pre{background:#f6f6f6;padding:.8rem;overflow:auto;font-size:.9em}
.verdict{padding:.6rem 1rem;border-radius:.4rem;background:#eef4ea}
.Failed{color:#a40000}.Pruned{color:#8a5a00}
"""
_HEAD = ("trial", "state", "mAP50", "epochs", "GPU-hours", "parameters", "")


def page(record: SearchRecord) -> str:
    """The whole page; plotly's script is in it, so that it opens anywhere (5 MB)."""
    body = "".join(_parts(record))
    title = escape(record.name)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>Search {title}</title><style>{_STYLE}</style></head><body>\n{body}</body></html>\n"
    )


def _parts(record: SearchRecord) -> Iterator[str]:
    study = study_of(record)
    yield f"<h1>Search {escape(record.name)}</h1>"
    yield f'<p class="verdict">{escape(_verdict(record))}</p>'
    yield "<h2>mAP50 over trials</h2>"
    yield charts.over_trials(record).to_html(full_html=False, include_plotlyjs="inline")
    yield from _chart("The searched values", charts.parallel_coordinates(study), "two results")
    yield from _chart("Importance", charts.importance(study), f"{ENOUGH} results")
    yield from _chart("Learning curves", charts.learning_curves(record), "a validation")
    if record.best:
        yield from _winner(record.best)
    yield from _trials(record)
    yield from _space(record)


def _chart(title: str, figure: go.Figure | None, needs: str) -> Iterator[str]:
    yield f"<h2>{title}</h2>"
    if figure is None:
        yield f"<p>Nothing to show: this needs at least {needs}.</p>"
    else:
        yield figure.to_html(full_html=False, include_plotlyjs=False)


def _verdict(record: SearchRecord) -> str:
    hours = sum(one.gpu_seconds or 0 for one in record.history) / 3600
    said = [f"{len(record.history)} trials on the {record.engine} engine ({record.algorithm.name})"]
    if record.known:
        said.append(f"{len(record.known)} results of earlier searches were known")
    said.append(f"{hours:.2f} GPU-hours")
    return f"{'; '.join(said)}. {record.outcome}".strip()


def _winner(best: Best) -> Iterator[str]:
    where = best.checkpoint.uri if best.checkpoint else "no checkpoint"
    yield f"<h2>Winner: {escape(best.trial)}, mAP50 {best.mAP50:.4f}</h2>"
    yield f"<p><code>{escape(where)}</code></p>"
    yield "<p>To train it again, this is its <code>experiment</code>:</p>"
    text = yaml.dump(best.specification, Dumper=Dumper, sort_keys=False)
    yield f"<pre>{escape(text)}</pre>"


def _trials(record: SearchRecord) -> Iterator[str]:
    best = record.best.number if record.best else None
    yield "<h2>Trials</h2><table><tr>"
    yield "".join(f"<th>{name}</th>" for name in _HEAD) + "</tr>"
    for one in record.history:
        kind = ' class="best"' if one.number == best else ""
        yield f"<tr{kind}>{''.join(_row(one))}</tr>"
    yield "</table>"


def _row(one: Trial) -> Iterator[str]:
    hours = None if one.gpu_seconds is None else one.gpu_seconds / 3600
    yield f"<td>{one.number}<br><code>{escape(one.name)}</code></td>"
    yield f'<td class="{one.state}">{one.state}</td>'
    yield f'<td class="n">{_number(one.mAP50, 4)}</td>'
    yield f'<td class="n">{"" if one.epoch is None else one.epoch}</td>'
    yield f'<td class="n">{_number(hours, 3)}</td>'
    drawn = (f"{escape(path)} = {escape(_text(value))}" for path, value in one.parameters.items())
    yield f"<td>{'<br>'.join(drawn) or 'the defaults'}</td>"
    said = ": ".join(part for part in (one.reason, one.message) if part)
    yield f"<td>{escape(said)}</td>"


def _space(record: SearchRecord) -> Iterator[str]:
    yield "<h2>What was searched</h2><ul>"
    yield "".join(f"<li><code>{escape(line)}</code></li>" for line in describe(record.space))
    yield "</ul>"


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else json.dumps(value)
