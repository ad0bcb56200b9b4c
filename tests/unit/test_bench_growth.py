"""The benches of growth: exponents, their table in the book, and what they run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench import book, growth_data
from tests.bench.growth_curves import Point, exponent, grown
from tests.bench.growth_files import Shape, write

MACHINE = {"cpu": "A CPU", "cores": 2, "torch": "2.14"}
SIZES = (1, 10, 100, 1000)


@pytest.mark.parametrize("power", [0, 1, 1.5, 2])
def test_an_exponent_is_that_of_the_power(power: float) -> None:
    assert exponent(SIZES, [3 * size**power for size in SIZES]) == pytest.approx(power)


def test_what_is_fixed_does_not_hide_the_growth_of_the_last_sizes() -> None:
    assert exponent(SIZES, [50 + size**2 for size in SIZES]) > 1.7
    assert exponent(SIZES, [0, 0, 0, 0]) == pytest.approx(0)


def test_a_curve_is_a_row_of_the_book(tmp_path: Path) -> None:
    points = [Point(size, size / 1000, 2.5 * size) for size in SIZES]
    entry = grown("growth_x", "images", points, MACHINE, "What it is.").record()
    book.write([{**entry, "bench": "growth", "date": "2026-01-01"}], tmp_path)
    page = (tmp_path / "benchmarks.md").read_text()
    row = "| growth_x | images | 1; 10; 100; 1,000 | 0.001; 0.01; 0.1; 1 | 2.5; 25; 250; 2,500 |"
    assert f"{row} 1.00 | 1.00 | <= 1.1 |\n" in page
    assert "| growth_x | 1 | - | exponent | - | <= 1.1 | 2026-01-01 |" in page


@pytest.mark.parametrize("name", growth_data.CURVES)
def test_a_task_does_what_it_measures(name: str, tmp_path: Path) -> None:
    """Each asserts what it made."""
    curve, shape = growth_data.CURVES[name], Shape(20, 3, 5)
    write(tmp_path, shape)
    assert curve.task(tmp_path, shape)() is not None
    assert [curve.size(one) for one in curve.shapes] == sorted({*map(curve.size, curve.shapes)})
