"""Tests wait longer on a busy machine, and not for ever."""

import os
from types import SimpleNamespace

import pytest

from tests import patience


@pytest.mark.parametrize("load, looks", [(0.5, 10), (16.0, 77)])
def test_a_busy_second_counts_less(
    load: float, looks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = iter(range(1000))
    monkeypatch.setattr(patience, "time", SimpleNamespace(monotonic=lambda: next(now)))
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0))
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    waiting = patience.Patience(9.5)
    assert sum(1 for _ in iter(waiting.lasts, False)) == looks


def test_there_is_one_look_at_least() -> None:
    assert patience.Patience(0.0).lasts()
