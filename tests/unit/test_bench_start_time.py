"""How the bench of the start divides time into stages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.bench import start_time
from tests.bench.start_time import Watcher, middle, parts_of, read_log

LOG = """\
2026-01-01T00:00:05.500000000Z Training data    s3://dino/small/train (annotations.json)
2026-01-01T00:00:05.750000000Z Starting DINO train.
2026-01-01T00:00:08.000000000Z Downloading s3://dino/small/train/annotations.json
2026-01-01T00:00:08.250000000Z Downloading 24 images (30 kB) from s3://dino/small/train
2026-01-01T00:00:09.000000000Z Training 12 of 12 steps, 6 an epoch, 4 images a step, on the CPU.
2026-01-01T00:00:10.000000000Z epoch 0/2  step 1/12  8%  loss 20.1
2026-01-01T00:00:20.000000000Z epoch 0/2  step 9/12  75%  loss 10.1
"""
ZERO = 1767225600.0  # that midnight
SEEN = {
    "called": ZERO,
    "applied": ZERO + 0.2,
    "preflight job": ZERO + 0.1,
    "preflight ended": ZERO + 3.0,
    "train job": ZERO + 3.25,
    "train scheduled": ZERO + 3.5,
}
STAGES = {
    "kubectl apply": 0.2,
    "operator: preflight Job": 0.0,  # it was there before kubectl had returned
    "preflight": 2.8,
    "operator: training Job": 0.25,
    "scheduling": 0.25,
    "container start, Python": 2.0,
    "spec and output": 0.25,
    "import of torch": 2.25,
    "staging": 0.25,
    "model": 0.75,
    "first step": 1.0,
}


def test_stages_follow_each_other_without_a_gap() -> None:
    parts = parts_of(SEEN, read_log(LOG))
    assert list(parts) == list(STAGES)
    assert parts == pytest.approx(STAGES, abs=1e-5)
    assert sum(parts.values()) == pytest.approx(10.0, abs=1e-5)


def test_without_preflight_and_with_data_that_is_there() -> None:
    seen = {key: at for key, at in SEEN.items() if not key.startswith("preflight")}
    log = [line for line in read_log(LOG) if not line.text.startswith("Downloading")]
    parts = parts_of(seen, log)
    assert parts["operator: training Job"] == pytest.approx(3.05, abs=1e-5)
    assert parts["import, staging, model"] == pytest.approx(3.25, abs=1e-5)
    assert "preflight" not in parts
    assert "staging" not in parts


def test_a_trial_begins_where_the_one_before_ended() -> None:
    seen = {"called": ZERO + 3, "train job": ZERO + 3.25, "train scheduled": ZERO + 3.5}
    parts = parts_of(seen, read_log(LOG))
    assert next(iter(parts)) == "operator: training Job"
    assert parts == pytest.approx({k: STAGES[k] for k in parts}, abs=1e-5)
    assert sum(parts.values()) == pytest.approx(7.0, abs=1e-5)


def test_the_middle_round_is_the_one_of_the_median_whole() -> None:
    rounds = [{"a": 1.0, "b": 9.0}, {"a": 5.0, "b": 1.0}, {"a": 2.0, "b": 2.0}]
    assert middle(rounds) == {"a": 5.0, "b": 1.0}


def event(stage: str, **status: Any) -> dict[str, Any]:
    labels = {"dino-operator.io/action": stage}
    return {"object": {"metadata": {"name": f"{stage}-pod", "labels": labels}, "status": status}}


def test_what_counts_is_when_something_was_seen_first() -> None:
    watcher = Watcher()
    watcher.note("job", event("train"))
    assert watcher.seen.keys() == {"train job"}
    at = watcher.seen["train job"]
    watcher.note("job", event("train"))
    assert watcher.seen["train job"] == at
    watcher.note("pod", event("preflight", phase="Pending"))
    scheduled = [{"type": "PodScheduled", "status": "True"}]
    watcher.note("pod", event("preflight", phase="Succeeded", conditions=scheduled))
    watcher.note("pod", event("something-else"))
    assert watcher.pods == {"preflight": "preflight-pod"}
    assert watcher.seen.keys() == {
        "train job",
        "preflight pod",
        "preflight scheduled",
        "preflight ended",
    }


@pytest.mark.parametrize("value", [None, "", "0", "yes"])
def test_no_cluster_is_touched_without_consent(
    value: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Whatever cluster there is: opening it replaces an operator and deletes jobs."""
    opened: list[Path] = []
    monkeypatch.setattr(start_time, "open_lab", opened.append)
    monkeypatch.setenv("CLUSTER", "current")
    monkeypatch.delenv(start_time.CONSENT, raising=False)
    if value is not None:
        monkeypatch.setenv(start_time.CONSENT, value)
    with pytest.raises(SystemExit) as end:
        start_time.main()
    assert end.value.code == 0
    assert "set DINO_BENCH_CLUSTER=1" in capsys.readouterr().out
    assert opened == []
    monkeypatch.setenv(start_time.CONSENT, "1")
    start_time.find_lab(tmp_path)
    assert opened == [tmp_path]
