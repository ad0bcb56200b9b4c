"""`make gpu-check` without a GPU: its table is whole, tells what is wrong, and what is missing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tests.gpu import __main__ as check
from tests.gpu.checks import ORDER
from tests.gpu.rows import Row, bounded, table, wanted


def rows_of(folder: Path) -> list[Row]:
    return [Row(**one) for one in json.loads((folder / "gpu.json").read_text())]


def test_a_rehearsal_on_a_cpu_has_figures_and_a_table(tmp_path: Path) -> None:
    words = ("--device", "cpu", "--out", str(tmp_path), "--minutes", "30", "sampling.large")
    assert check.main(list(words)) == 0
    rows = rows_of(tmp_path)
    assert len([row for row in rows if row.verdict == "ok"]) == 4 * 3  # four numbers of each dtype
    assert not [row for row in rows if row.verdict in ("wrong", "skipped")]
    assert (tmp_path / "gpu.md").read_text() == table(rows)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_what_is_missing_is_named_and_ends_well(tmp_path: Path) -> None:
    assert check.main(["--out", str(tmp_path), "--minutes", "30", "step.numbers"]) == 0
    (_, row) = rows_of(tmp_path)
    assert (row.check, row.verdict) == ("step.numbers", "skipped")
    assert row.note.endswith("finds no CUDA device")


def test_what_finds_no_time_is_said(tmp_path: Path) -> None:
    assert check.main(["--out", str(tmp_path), "--minutes", "0"]) == 0
    rows = rows_of(tmp_path)[1:]
    assert [row.check for row in rows] == list(ORDER)
    assert {row.note for row in rows} == {"no time is left"}


def test_a_figure_beyond_its_bound_is_wrong_and_so_is_no_number() -> None:
    assert [bounded("a", "b", value, 1.0).verdict for value in (1.0, 1.1, float("nan"))] == [
        "ok",
        "wrong",
        "wrong",
    ]
    assert [wanted("a", "b", value, 1.0).verdict for value in (1.0, 0.9, float("nan"))] == [
        "ok",
        "wrong",
        "wrong",
    ]


def test_a_check_that_breaks_leaves_its_rows_and_makes_the_run_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = [Row("a", "b", "ok"), Row("a", "the check itself", "wrong", note="it broke")]
    monkeypatch.setattr(check, "run_apart", lambda *_: broken)
    assert check.main(["--out", str(tmp_path), "step.cost"]) == 1
    assert rows_of(tmp_path)[1:] == broken
