"""What Prometheus reads, of jobs in the cache."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client.parser import text_string_to_metric_families as families

from dino_api import rfc3339
from dino_api.names import KIND, FailureReason, Phase
from dino_operator.runtime.metrics import Metrics
from tests.builders import JobBuilder, Object, a_job
from tests.statuses import COMPLETE, QUEUED, RUNNING

HOUR = 3600


def ago(seconds: float) -> str:
    return rfc3339.text(datetime.now(UTC) - timedelta(seconds=seconds))


def silent_for(seconds: float, status: Object, name: str = "x") -> JobBuilder:
    """A job that said that so long ago."""
    told = [{**each, "lastTransitionTime": ago(seconds)} for each in status["conditions"]]
    job = a_job(name).status({**status, "conditions": told})
    job.meta["creationTimestamp"] = ago(seconds + 60)
    return job


def read(metrics: Metrics, name: str) -> dict[str, float]:
    """A metric's values by their one label."""
    return {
        next(iter(each.labels.values())): each.value
        for family in families(metrics.text().decode())
        for each in family.samples
        if each.name == name
    }


def unchanged(*jobs: JobBuilder) -> dict[str, float]:
    metrics = Metrics()
    metrics.watch(KIND, lambda: [each.obj() for each in jobs])
    return read(metrics, "dino_job_unchanged_seconds")


def test_the_job_that_is_silent_for_longest_counts() -> None:
    found = unchanged(
        silent_for(HOUR, QUEUED), silent_for(3 * HOUR, QUEUED, "y"), silent_for(60, RUNNING, "z")
    )
    assert found["Queued"] == pytest.approx(3 * HOUR, abs=60)
    assert found["Running"] == pytest.approx(60, abs=60)
    assert found["Pending"] == found["Preparing"] == 0


def test_progress_is_a_word() -> None:
    job = silent_for(3 * HOUR, RUNNING)
    job.thing["status"]["progress"] = {"epoch": 1, "updatedAt": ago(HOUR)}
    assert unchanged(job)["Running"] == pytest.approx(HOUR, abs=60)


@pytest.mark.parametrize("text", ["soon", "", "2026-01-01T12:00:00", None])
def test_progress_without_a_time_does_not_hinder(text: str | None) -> None:
    """A training pod writes it: whatever it is, all other numbers are read."""
    job = silent_for(HOUR, RUNNING)
    job.thing["status"]["progress"] = {"epoch": 1, "updatedAt": text}
    assert unchanged(job)["Running"] == pytest.approx(HOUR, abs=60)


def test_a_job_that_nobody_has_looked_at_waits_since_it_was_made() -> None:
    job = a_job()
    job.meta["creationTimestamp"] = ago(HOUR)
    assert unchanged(job)["Pending"] == pytest.approx(HOUR, abs=60)


def test_what_has_ended_is_held_or_is_searched_is_not_silent() -> None:
    searched = silent_for(HOUR, {**RUNNING, "automl": "x"})
    found = unchanged(silent_for(HOUR, COMPLETE), searched)
    assert set(found) == {"Pending", "Preparing", "Queued", "Running"}
    assert not any(found.values())
    assert Phase.SUSPENDED not in found


def test_the_first_failure_of_a_reason_is_an_increase() -> None:
    """From 0, which Prometheus has seen, and not a series that begins with 1."""
    metrics = Metrics()
    before = read(metrics, "dino_job_failures_total")
    assert before == dict.fromkeys(FailureReason, 0.0)
    metrics.ended(KIND, {"phase": "Failed", "failure": {"reason": "Diverged"}})
    assert read(metrics, "dino_job_failures_total") == before | {"Diverged": 1.0}
