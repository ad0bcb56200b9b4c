"""Where good values lie before anything was tried: around the defaults.

A range is looked at through the distribution function of its prior: a normal distribution around
the key's default, cut off at the ends of the range (on its logarithm for a log scale). Every value
becomes a share u between 0 and 1, and the default's neighbourhood takes most of them up. What is
drawn evenly in u is drawn near the default in the range; a sampler that works in u learns on top of
that. A small part of the prior is spread over the whole range, so that none of it is out of reach.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist

from dino_api.experiment.paths import field_at
from dino_api.resources.dinoautoml import SearchParameter, Value
from dino_api.search import kind_of, typed

WIDTH = 0.12
"""Standard deviation of the prior, as a share of the range."""
EVEN = 0.05
"""Share of the prior that is spread evenly, so that no part of the range is out of reach."""
FAVOUR = 0.5
"""Probability of the default where choices have one; the others share the rest."""
BISECTIONS = 50
DIGITS = 4
"""Significant digits of a drawn number: more would only be hard to read."""


def default_of(parameter: SearchParameter) -> Value | None:
    """The key's default where it can be drawn, or None."""
    default = field_at(parameter.path).default
    if parameter.choices is not None:
        wanted = [typed(parameter.path, each) for each in parameter.choices]
        return default if default in wanted else None
    if isinstance(default, bool) or not isinstance(default, int | float):
        return None
    return default if Dimension(parameter).contains(default) else None


@dataclass(frozen=True)
class Dimension:
    """A range and the way from its values to shares of its prior and back.

    even: every part of the range counts the same, as the scale says, wherever the default lies.
    """

    parameter: SearchParameter
    even: bool = False

    @property
    def low(self) -> float:
        """The lowest value."""
        return float(self.parameter.min or 0.0)

    @property
    def high(self) -> float:
        """The highest value."""
        return float(self.parameter.max or 0.0)

    @property
    def step(self) -> float:
        """The distance of two values; 0 where any value may be drawn."""
        if self.parameter.step is not None:
            return self.parameter.step
        return 1.0 if kind_of(self.parameter.path) == "int" else 0.0

    def contains(self, value: float) -> bool:
        """Whether the value lies in the range."""
        return self.low <= value <= self.high

    def share(self, value: float) -> float:
        """The value's place in the prior, 0..1. value: in the range."""
        return min(1.0, max(0.0, self._below(self._scaled(value))))

    def value(self, share: float) -> Value:
        """The value at that place: on the step, in the type of the key, inside the range."""
        low, high = self._ends
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            low, high = (middle, high) if self._below(middle) < share else (low, middle)
        scaled = (low + high) / 2
        value = math.exp(scaled) if self._is_log else scaled
        return typed(self.parameter.path, self._tidy(value))

    def _below(self, scaled: float) -> float:
        """The distribution function of the prior."""
        bottom, top = self._ends
        even = (scaled - bottom) / (top - bottom) if top > bottom else 0.5
        normal = self._normal
        if normal is None:
            return even
        below, above = normal.cdf(bottom), normal.cdf(top)
        near = (normal.cdf(scaled) - below) / (above - below)
        return EVEN * even + (1 - EVEN) * near

    @property
    def values(self) -> list[Value]:
        """Every value of a range with a step."""
        count = int((self.high - self.low) / self.step + 1e-9) + 1
        values = [_rounded(self.low + index * self.step) for index in range(count)]
        return [typed(self.parameter.path, each) for each in values]

    @property
    def _is_log(self) -> bool:
        return self.parameter.scale == "log"

    def _scaled(self, value: float) -> float:
        return math.log(value) if self._is_log else value

    @cached_property
    def _ends(self) -> tuple[float, float]:
        """Both ends of the range and half a step more, so that its ends are drawn as often."""
        half = self.step / 2
        if self._is_log:
            return math.log(max(self.low - half, self.low / 2)), math.log(self.high + half)
        return self.low - half, self.high + half

    @cached_property
    def _normal(self) -> NormalDist | None:
        default = None if self.even else default_of(self.parameter)
        bottom, top = self._ends
        if default is None or top <= bottom:
            return None
        return NormalDist(self._scaled(float(default)), WIDTH * (top - bottom))

    def _tidy(self, value: float) -> float:
        if self.step:
            last = int((self.high - self.low) / self.step + 1e-9)
            index = round((value - self.low) / self.step)
            return _rounded(self.low + self.step * min(max(index, 0), last))
        return min(max(_rounded(value, DIGITS), self.low), self.high)


def choices_of(parameter: SearchParameter) -> list[Value]:
    """The choices in the types of their key."""
    return [typed(parameter.path, each) for each in parameter.choices or []]


def choice_at(parameter: SearchParameter, share: float, even: bool = False) -> Value:
    """The choice at that place of the prior, in which the default takes up more than the others."""
    values = choices_of(parameter)
    default = None if even else default_of(parameter)
    if default is None or len(values) == 1:
        return values[min(int(share * len(values)), len(values) - 1)]
    favour = max(FAVOUR, 1 / len(values))
    if share < favour:
        return default
    others = [each for each in values if each != default]
    index = int((share - favour) / (1 - favour) * len(others))
    return others[min(index, len(others) - 1)]


def _rounded(value: float, digits: int = 12) -> float:
    """Significant digits; 12 take away what adding up steps leaves behind."""
    return float(f"{value:.{digits}g}")
