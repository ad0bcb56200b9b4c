"""Charts as places on a drawing: curves, points, columns. `templates/plots.html` draws them as SVG.

A tone is the number of a curve's colour and dashes, which `style.css` has for both themes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

WIDTH, HEIGHT = 400, 250
TONES = 8
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 12, 24, 42
_TICKS = 5
# Steps between ticks, as shares of a power of ten.
_STEPS = (1, 2, 2.5, 5, 10)


@dataclass(frozen=True)
class Axis:
    """What one direction shows. ticks: (value, text); where left out, round numbers.

    whole: of things that are counted: no tick lies between two of them.
    """

    title: str
    low: float
    high: float
    log: bool = False
    ticks: Sequence[tuple[float, str]] = ()
    whole: bool = False

    def share(self, value: float) -> float:
        """The place of a value from 0 to 1."""
        low, high, value = (self._scaled(one) for one in (self.low, self.high, value))
        return 0.5 if high <= low else min(1.0, max(0.0, (value - low) / (high - low)))

    def _scaled(self, value: float) -> float:
        return math.log10(max(value, 1e-30)) if self.log else value

    def marked(self) -> Sequence[tuple[float, str]]:
        """The ticks: those that were given, else round numbers, or powers of ten. None where an
        end is no number: a diverged trial's score may be NaN."""
        if self.ticks:
            return self.ticks
        if not (math.isfinite(self.low) and math.isfinite(self.high)):
            return ()
        if self.log:
            powers = range(math.ceil(math.log10(self.low)), math.floor(math.log10(self.high)) + 1)
            values = [10.0**power for power in powers]
            return [(one, f"{one:g}") for one in values or (self.low, self.high)]
        return [(one, f"{one:g}") for one in _round_numbers(self.low, self.high, self.whole)]


def _round_numbers(low: float, high: float, whole: bool) -> list[float]:
    if high <= low:
        return [low]
    rough = max((high - low) / _TICKS, 1.0 if whole else 0.0)
    power = 10.0 ** math.floor(math.log10(rough))
    steps = (one * power for one in _STEPS if one * power >= rough * 0.999)
    step = next(one for one in steps if not whole or one == round(one))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(place * step, 12) for place in range(first, last + 1)]


@dataclass(frozen=True)
class Curve:
    """Values along x, by a line or as points. texts: what is said of each point.

    step: whether it keeps a value until the next.
    """

    name: str
    xs: Sequence[float]
    ys: Sequence[float]
    tone: int = 0
    points: bool = False
    thick: bool = False
    step: bool = False
    texts: Sequence[str] = ()


@dataclass(frozen=True)
class CurvePath:
    """A curve on the drawing. path: of its line. points: (x, y, text)."""

    curve: Curve
    path: str
    points: Sequence[tuple[float, float, str]]


@dataclass(frozen=True)
class Column:
    """A column on the drawing. text: below it. count: above it."""

    x: float
    y: float
    width: float
    height: float
    text: str
    count: int


@dataclass(frozen=True)
class Plot:
    """All that a chart shows. label: what it is, for those who hear it. rule: a value of x that is
    marked, and its text."""

    label: str
    x: Axis
    y: Axis
    curves: Sequence[Curve] = ()
    columns: Sequence[tuple[str, int]] = ()
    rule: tuple[float, str] | None = None
    legend: bool = True
    size: tuple[int, int] = field(default=(WIDTH, HEIGHT))

    @property
    def edges(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of where the values are."""
        return _LEFT, _TOP, self.size[0] - _RIGHT, self.size[1] - _BOTTOM

    def at(self, x: float, y: float) -> tuple[float, float]:
        """The place of a pair of values."""
        left, top, right, bottom = self.edges
        across, up = self.x.share(x), self.y.share(y)
        return round(left + across * (right - left), 1), round(bottom - up * (bottom - top), 1)

    @property
    def x_ticks(self) -> list[tuple[float, str]]:
        """Places and texts along x."""
        return [(self.at(value, self.y.low)[0], text) for value, text in self.x.marked()]

    @property
    def y_ticks(self) -> list[tuple[float, str]]:
        """Places and texts along y."""
        return [(self.at(self.x.low, value)[1], text) for value, text in self.y.marked()]

    @property
    def drawn(self) -> list[CurvePath]:
        """The curves, in their order."""
        return [self._drawn(curve) for curve in self.curves]

    def _drawn(self, curve: Curve) -> CurvePath:
        places = [self.at(x, y) for x, y in zip(curve.xs, curve.ys, strict=True)]
        texts = curve.texts or [curve.name] * len(places)
        points = [(*place, text) for place, text in zip(places, texts, strict=True)]
        return CurvePath(curve, line_through(places, curve.step), points if curve.points else ())

    @property
    def bars(self) -> list[Column]:
        """The columns, from left to right."""
        left, _, right, bottom = self.edges
        room = (right - left) / max(len(self.columns), 1)
        bars = []
        for place, (text, count) in enumerate(self.columns):
            top = self.at(self.x.low, count)[1]
            x, width = round(left + (place + 0.1) * room, 1), round(0.8 * room, 1)
            bars.append(Column(x, top, width, round(bottom - top, 1), text, count))
        return bars


def line_through(places: Sequence[tuple[float, float]], step: bool = False) -> str:
    """The path of a line."""
    parts, before = [], ""
    for x, y in places:
        if not before:
            parts.append(f"M{x:g} {y:g}")
        else:
            parts.append(f"H{x:g}V{y:g}" if step else f"L{x:g} {y:g}")
        before = parts[-1]
    return "".join(parts)


def columns(label: str, title: str, counts: Sequence[tuple[str, int]]) -> Plot:
    """How often each of some values, or ranges of them, occurs. counts: (text, count)."""
    most = max((count for _, count in counts), default=0) or 1
    y = Axis("", 0, most * 1.12, ticks=[(0, "0")])
    return Plot(label, Axis(title, 0, 1, ticks=[(2, "")]), y, columns=counts)


def sparkline(ys: Sequence[float], most: int = 26) -> str:
    """The path of values from 0 to 1 in a square of 100 by 100, through at most about `most`."""
    every = max(1, -(-(len(ys) - 1) // (most - 1))) if len(ys) > 1 else 1
    kept = [*range(0, len(ys) - 1, every), len(ys) - 1] if len(ys) else []
    last = max(len(ys) - 1, 1)
    return line_through([(round(100 * at / last), round(100 - 100 * ys[at])) for at in kept])
