"""`python -m charts.draw_dashboard URL FILE.svg`: the dashboard, drawn from a Prometheus.

Each panel stands where Grafana puts it and shows what its own queries answer. It is no Grafana: a
picture for the docs, and a check that there is no panel without data.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

Object = dict[str, Any]
DASHBOARD = Path(__file__).resolve().parent / "dino-operator" / "files" / "dashboard.json"
COLUMN, ROW = 50, 30  # pixels of a unit of Grafana's grid
POINTS = 150  # of a line
TICKS = 4
LETTER = 6  # pixels, about
COLOURS = ("#3274d9", "#e0752d", "#37872d", "#c4162a", "#8f3bb8", "#b8860b", "#0f7b7b", "#7b5b4b")
UNITS = {"percentunit": (100, " %"), "ops": (1, "/s"), "reqps": (1, "/s"), "h": (1, " h")}
"""What a value is multiplied by, and what stands behind it. Seconds go their own way."""
TIMES = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"), (0.001, "ms"))
STYLE = """\
text {font: 11px sans-serif; fill: #44484d} .title {font-size: 13px; font-weight: bold}
.big {font-size: 26px} .box {fill: #fff; stroke: #d5d8dc} .grid {stroke: #e6e8ea}
path {fill: none; stroke-width: 1.5}"""


class NotDrawn(Exception):
    """A Prometheus that does not answer, or takes no query, in a sentence."""


@dataclass(frozen=True)
class Window:
    """From when to when is drawn, in seconds since 1970."""

    start: float
    end: float

    @property
    def step(self) -> float:
        return (self.end - self.start) / POINTS


@dataclass(frozen=True)
class PanelSeries:
    """What one series of a panel is called, and its values by their times."""

    label: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Prometheus:
    """The server that is asked."""

    url: str

    def lines(self, target: Object, window: Window) -> Iterator[PanelSeries]:
        """What a query of a panel answers: at the end of the window, or all the way."""
        query = {"query": target["expr"]}
        if target.get("instant"):
            found = self._ask("query", {**query, "time": window.end})
        else:
            times = {"start": window.start, "end": window.end, "step": window.step}
            found = self._ask("query_range", {**query, **times})
        for each in found:
            points = each.get("values") or [each["value"]]
            numbers = ((float(at), float(value)) for at, value in points)
            kept = tuple(each for each in numbers if math.isfinite(each[1]))
            if kept:
                yield PanelSeries(_label(target["legendFormat"], each["metric"]), kept)

    def _ask(self, what: str, words: Object) -> list[Object]:
        url = f"{self.url.rstrip('/')}/api/v1/{what}?{urllib.parse.urlencode(words)}"
        try:
            with urllib.request.urlopen(url, timeout=60) as reply:
                found: list[Object] = json.load(reply)["data"]["result"]
        except urllib.error.HTTPError as error:
            said = error.read(300).decode(errors="replace")
            raise NotDrawn(f"{self.url} refuses {words['query']!r}: {said}") from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise NotDrawn(f"{self.url} does not answer as a Prometheus: {error}") from error
        return found


def _label(form: str, labels: dict[str, str]) -> str:
    """Grafana's legend: `{{name}}` stands for that label's value."""
    return re.sub(r"{{(\w+)}}", lambda found: labels.get(found[1], ""), form)


def written(value: float, unit: str) -> str:
    """A value as an axis or a bar has it."""
    if unit == "s":
        by, name = next((each for each in TIMES if abs(value) >= each[0]), TIMES[3])
        return f"{value / by:.3g} {name}"
    by, name = UNITS.get(unit, (1, ""))
    return f"{value * by:.3g}{name}"


def _text(x: float, y: float, said: str, kind: str = "") -> str:
    of_kind = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.0f}" y="{y:.0f}"{of_kind}>{escape(said)}</text>'


@dataclass(frozen=True)
class Panel:
    """One panel of the dashboard, with what its queries answered."""

    panel: Object
    lines: tuple[PanelSeries, ...]
    window: Window

    @property
    def unit(self) -> str:
        return str(self.panel["fieldConfig"]["defaults"]["unit"])

    def drawn(self) -> str:
        """Its part of the picture."""
        place = self.panel["gridPos"]
        wide, high = place["w"] * COLUMN - 8, place["h"] * ROW - 8
        draw = {"timeseries": self._curves, "stat": self._numbers, "bargauge": self._bars}
        nothing = [_text(wide / 2 - 20, high / 2, "No data")]
        inside = draw[self.panel["type"]](wide, high) if self.lines else nothing
        return "\n".join(
            (
                f'<g transform="translate({place["x"] * COLUMN + 4} {place["y"] * ROW + 4})">',
                f'<rect class="box" width="{wide}" height="{high}" rx="4"/>',
                _text(12, 20, self.panel["title"], "title"),
                *inside,
                "</g>",
            )
        )

    def _numbers(self, wide: int, high: int) -> list[str]:
        width = wide / len(self.lines)
        parts = []
        for number, line in enumerate(self.lines):
            x = 20 + number * width
            parts.append(_text(x, high / 2, written(line.points[-1][1], self.unit), "big"))
            parts.append(_text(x, high / 2 + 24, line.label))
        return parts

    def _bars(self, wide: int, high: int) -> list[str]:
        most = max(line.points[-1][1] for line in self.lines) or 1
        height, parts = min(26.0, (high - 40) / len(self.lines)), []
        for number, line in enumerate(self.lines):
            y, value = 36 + number * height, line.points[-1][1]
            size = f'width="{value / most * (wide - 340):.0f}" height="{height * 0.7:.0f}"'
            parts.append(_text(12, y + height / 2, line.label))
            parts.append(f'<rect x="230" y="{y:.0f}" {size} fill="{COLOURS[0]}"/>')
            x = 238 + value / most * (wide - 340)
            parts.append(_text(x, y + height / 2, written(value, self.unit)))
        return parts

    def _curves(self, wide: int, high: int) -> list[str]:
        legend, rows = self._legend(wide, high)
        top, bottom, left, right = 36, high - 28 - 16 * rows, 58, wide - 14
        most = _above(max(value for line in self.lines for _, value in line.points), self.unit)
        span = self.window.end - self.window.start

        def x_of(at: float) -> float:
            return left + (at - self.window.start) / span * (right - left)

        def y_of(value: float) -> float:
            return bottom - value / most * (bottom - top)

        parts = []
        for tick in range(TICKS + 1):
            value, at = most * tick / TICKS, self.window.start + span * tick / TICKS
            y, x = y_of(value), min(x_of(at), right - 30)
            parts.append(f'<path class="grid" d="M{left} {y:.0f}H{right}"/>')
            parts.append(_text(8, y + 4, written(value, self.unit)))
            parts.append(_text(x, bottom + 16, time.strftime("%H:%M", time.gmtime(at))))
        for number, line in enumerate(self.lines):
            there = [(at, x_of(at), y_of(value)) for at, value in line.points]
            colour = COLOURS[number % len(COLOURS)]
            parts.append(f'<path stroke="{colour}" d="{_path(there, 1.5 * self.window.step)}"/>')
        return [*parts, *legend]

    def _legend(self, wide: int, high: int) -> tuple[list[str], int]:
        """Its parts and how many rows it takes, from the bottom up."""
        places, x, row = [], 14.0, 0
        for line in self.lines:
            width = 26 + LETTER * len(line.label)
            if x + width > wide and x > 14:
                x, row = 14.0, row + 1
            places.append((x, row))
            x += width
        parts = []
        for number, (line, (x, at)) in enumerate(zip(self.lines, places, strict=True)):
            y, colour = high - 8 - 16 * (row - at), COLOURS[number % len(COLOURS)]
            parts.append(f'<path stroke="{colour}" d="M{x:.0f} {y - 4}h10"/>')
            parts.append(_text(x + 14, y, line.label))
        return parts, row + 1


def _above(most: float, unit: str) -> float:
    """The least number that is no less, and round in the unit in which it is written."""
    if most <= 0:
        return 1
    by = next((each for each, _ in TIMES if most >= each), 1) if unit == "s" else 1
    size = by * 10.0 ** math.floor(math.log10(most / by))
    return next(each * size for each in (1, 2, 4, 6, 8, 10) if each * size >= most * 0.999)


def _path(points: list[tuple[float, float, float]], gap: float) -> str:
    """An SVG path, broken where there is no value; points on a level line are left out."""
    said, last = [], -math.inf
    for number, (at, x, y) in enumerate(points):
        around = points[number - 1 : number + 2]
        level = len(around) == 3 and len({round(each[2], 1) for each in around}) == 1
        near = at - last <= gap and (number + 1 == len(points) or points[number + 1][0] - at <= gap)
        if not (level and near):
            said.append(f"{'L' if at - last <= gap else 'M'}{x:.1f} {y:.1f}")
            if at - last > gap:
                said.append("h1")  # one value alone is seen, too
        last = at
    return "".join(said)


def picture(panels: list[Panel]) -> str:
    """The whole dashboard as SVG."""
    places = [each.panel["gridPos"] for each in panels]
    wide = COLUMN * max(each["x"] + each["w"] for each in places)
    high = ROW * max(each["y"] + each["h"] for each in places)
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {high}">',
            f"<style>{STYLE}</style>",
            f'<rect width="{wide}" height="{high}" fill="#f4f5f5"/>',
            *(each.drawn() for each in panels),
            "</svg>\n",
        )
    )


def panels_of(dashboard: Object, prometheus: Prometheus, window: Window) -> list[Panel]:
    """Its panels with what they show of that time. Raises NotDrawn."""
    return [
        Panel(
            panel,
            tuple(line for each in panel["targets"] for line in prometheus.lines(each, window)),
            window,
        )
        for panel in dashboard["panels"]
    ]


def main(arguments: list[str] | None = None) -> int:
    """Draws it; 1 when a panel or a query of it has nothing to show, or nobody answers."""
    parser = argparse.ArgumentParser(prog="python -m charts.draw_dashboard", description=__doc__)
    parser.add_argument("url", help="a Prometheus that reads the operator: http://localhost:9090")
    parser.add_argument("file", type=Path, help="the SVG that is written")
    parser.add_argument("--minutes", type=float, default=60, help="how far it goes back (60)")
    words = parser.parse_args(arguments)
    now = time.time()
    dashboard = json.loads(DASHBOARD.read_text())
    try:
        window = Window(now - 60 * words.minutes, now)
        panels = panels_of(dashboard, Prometheus(words.url), window)
        words.file.write_text(picture(panels))
    except (NotDrawn, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    empty = [each.panel["title"] for each in panels if not each.lines]
    for title in empty:
        print(f"error: {title!r} has no data", file=sys.stderr)
    return 1 if empty else 0


if __name__ == "__main__":
    sys.exit(main())
