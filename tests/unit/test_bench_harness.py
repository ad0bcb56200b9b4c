"""The harness of tests/bench: pairing, records, and the book of results."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.bench import __main__ as runner
from tests.bench import book
from tests.bench.harness import Bench, Pair, Times, cannot_run, machine, paired
from tests.patience import LONG

MACHINE = {"cpu": "A CPU", "cores": 2, "threads": 1, "torch": "2.14"}
GPU = {**MACHINE, "gpu": "A GPU"}


def test_both_sides_run_in_turns_and_neither_is_always_first() -> None:
    order: list[str] = []
    now = iter(range(100))
    pair = paired(
        lambda: order.append("ours"), lambda: order.append("peer"), 2, 1, lambda: float(next(now))
    )
    assert order == ["ours", "peer", "ours", "peer", "peer", "ours"]
    assert pair == Pair(Times((1.0, 1.0)), Times((1.0, 1.0)))


def test_a_pair_compares_medians() -> None:
    pair = Pair(Times((1.0, 2.0, 9.0)), Times((4.0, 8.0, 6.0)))
    record = pair.bench("x", MACHINE, {"images": 3}, note="Words.").record()
    assert (record["ours"], record["peer"], record["ratio"]) == (2.0, 6.0, 3.0)
    assert record["parts"] == {"best ours": 1.0, "best peer": 4.0, "rounds": 3, "images": 3}


@pytest.mark.parametrize(
    "ours, peer, better, ratio",
    [(2, 237, "less", 118.5), (30, 10, "more", 3), (0, 31, "less", None), (5, None, "less", None)],
)
def test_above_one_is_better(ours: float, peer: float | None, better: str, ratio: object) -> None:
    assert Bench("x", ours, peer, "s", MACHINE, better).ratio == ratio  # type: ignore[arg-type]


def test_a_record_is_one_line_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    Bench("x", 1.0, 2.0, "s", MACHINE, target=">= 2x").emit()
    line = capsys.readouterr().out
    assert line.count("\n") == 1
    assert json.loads(line) == {
        "name": "x",
        "ours": 1.0,
        "peer": 2.0,
        "ratio": 2.0,
        "unit": "s",
        "machine": MACHINE,
        "target": ">= 2x",
    }


def test_the_machine_is_described_without_its_name() -> None:
    facts = machine()
    assert facts["cores"] >= 1  # type: ignore[operator]
    assert facts.keys() <= {"cpu", "cores", "threads", "torch", "python", "gpu"}


def entry(bench: str, name: str, date: str = "2026-01-01", **more: object) -> book.Entry:
    record = Bench(name, 1.0, 2.0, "s", MACHINE).record()
    return {**record, "bench": bench, "date": date, **more}


def test_entries_of_benches_that_did_not_run_are_kept() -> None:
    old = [entry("a", "a1"), entry("a", "a2"), entry("b", "b1"), entry("a", "a1", machine=GPU)]
    new = {"a": [entry("a", "a1", "2026-02-02")], "b": []}
    merged = book.merge(old, new)
    assert [(e["name"], e["date"], "gpu" in e["machine"]) for e in merged] == [
        ("a1", "2026-02-02", False),
        ("b1", "2026-01-01", False),
        ("a1", "2026-01-01", True),
    ]


def test_the_page(tmp_path: Path) -> None:
    entries = [
        entry("a", "a1", target=">= 2x", note="What it is.", parts={"images": 2000, "share": 0.5}),
        entry("a", "a2", machine=GPU, peer=None, ratio=None),
    ]
    book.write(entries, tmp_path)
    page = (tmp_path / "benchmarks.md").read_text()
    assert "## A CPU, 2 cores, 1 threads, torch 2.14\n" in page
    assert "## A GPU, A CPU, 2 cores" in page
    assert "| a1 | 1 | 2 | s | 2x | >= 2x | 2026-01-01 |\n" in page
    assert "| a2 | 1 | - | s | - |  | 2026-01-01 |" in page
    assert "- **a1**: What it is. (images 2,000, share 0.5)\n" in page
    assert book.read(tmp_path / "benchmarks.json") == entries
    assert book.read(tmp_path / "none.json") == []


PROGRAMS = {
    "good": "import tests.bench.harness as h\n"
    "h.Bench('x', 1.0, 2.0, 's', {'cpu': 'c', 'cores': 1}).emit()\n",
    "lacking": "import tests.bench.harness as h\nh.cannot_run('It needs a moon.')\n",
    "broken": "import sys\nsys.exit('It fell.')\n",
    "slow": "import time\ntime.sleep(3600)\n",
}


def test_programs_and_how_they_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = Path(__file__).parents[2]
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{root}")
    folder = tmp_path / "programs"
    folder.mkdir()
    (folder / "helper.py").write_text("HELP = 1\n")
    for name, text in PROGRAMS.items():
        (folder / f"{name}.py").write_text(text + '\nif __name__ == "__main__":\n    pass\n')
    assert runner.benches(folder) == sorted(PROGRAMS)
    ran = {
        name: runner.run(name, "2026-01-01", "programs", LONG if name != "slow" else 0.2)
        for name in PROGRAMS
    }
    assert [e["name"] for e in ran["good"].entries] == ["x"]
    assert ran["good"].entries[0]["date"] == "2026-01-01"
    assert ran["lacking"] == runner.Ran((), "It needs a moon.")
    assert ran["broken"] == runner.Ran((), "exit code 1: It fell.", failed=True)
    assert ran["slow"].failed
    assert "stopped after" in ran["slow"].why


def test_a_bench_that_cannot_run_is_no_failure() -> None:
    with pytest.raises(SystemExit) as end:
        cannot_run("It needs a moon.")
    assert end.value.code == 0


def test_a_name_that_does_not_exist(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        runner.main(["no_such"])
    assert "there is no bench no_such; there are " in capsys.readouterr().err
    with pytest.raises(SystemExit):
        runner.main(["--only", "no_such"])
