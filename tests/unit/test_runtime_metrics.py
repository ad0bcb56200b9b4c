"""What Prometheus reads, of jobs in the cache."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families as families

from dino_api import rfc3339
from dino_api.names import AUTOML_KIND, KIND, FailureReason, Phase
from dino_operator.runtime.metrics import OperatorMetrics
from tests.builders import JobBuilder, Object, a_job, at
from tests.statuses import COMPLETE, QUEUED, RUNNING, changed_at, told

HOUR = 3600
FAILED = told("Failed", failed=("Crashed", "why", True), failure={"reason": "Crashed"})


NOW = [datetime.now(UTC)]


@pytest.fixture(autouse=True)
def _one_moment() -> None:
    """All that a test says was before one moment, however long it takes to say it."""
    NOW[0] = datetime.now(UTC)


def ago(seconds: float) -> str:
    return rfc3339.text(NOW[0] - timedelta(seconds=seconds))


def silent_for(seconds: float, status: Object, name: str = "x") -> JobBuilder:
    """A job that said that so long ago."""
    told = [{**each, "lastTransitionTime": ago(seconds)} for each in status["conditions"]]
    job = a_job(name).status({**status, "conditions": told})
    job.meta["creationTimestamp"] = ago(seconds + 60)
    return job


def read(metrics: OperatorMetrics, name: str) -> dict[str, float]:
    """A metric's values by their one label."""
    return {
        next(iter(each.labels.values())): each.value
        for family in families(metrics.text().decode())
        for each in family.samples
        if each.name == name
    }


def unchanged(*jobs: JobBuilder) -> dict[str, float]:
    metrics = OperatorMetrics()
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
    metrics = OperatorMetrics()
    before = read(metrics, "dino_job_failures_total")
    assert before == dict.fromkeys(FailureReason, 0.0)
    metrics.ended(KIND, {"phase": "Failed", "failure": {"reason": "Diverged"}})
    assert read(metrics, "dino_job_failures_total") == before | {"Diverged": 1.0}


def test_the_first_end_of_a_phase_and_the_first_bug_are_increases() -> None:
    metrics = OperatorMetrics()
    text = metrics.text().decode()
    for name in ("job", "automl"):
        for phase in ("Complete", "Failed"):
            assert f'dino_{name}_duration_seconds_count{{phase="{phase}"}} 0.0\n' in text
    for kind in (KIND, AUTOML_KIND):
        for result in ("ok", "error", "bug"):
            labels = f'{{kind="{kind}",result="{result}"}}'
            assert f"dino_operator_reconcile_total{labels} 0.0\n" in text


# ---- series of single resources ----------------------------------------------------------------


def running_for(seconds: float, name: str = "x", **status: Any) -> JobBuilder:
    """A job whose pod has run for so long, and spoke a minute ago."""
    job = silent_for(seconds, RUNNING, name)
    job.thing["status"] |= {"progress": {"updatedAt": ago(60)}, **status}
    return job


class MetricsOfJobs:
    """Metrics of jobs that come and go, as one operator after another reads them."""

    def __init__(self, *jobs: JobBuilder) -> None:
        self.jobs = list(jobs)
        self.restart()

    def restart(self) -> None:
        self.metrics = OperatorMetrics()
        self.metrics.watch(KIND, lambda: [each.obj() for each in self.jobs])

    def gpu_seconds(self) -> dict[str, float]:
        return self.of_each("dino_job_gpu_seconds_total")

    def of_each(self, metric: str) -> dict[str, float]:
        """A metric's values by namespace and name."""
        return {
            f"{each.labels['job_namespace']}/{each.labels['job_name']}": each.value
            for family in families(self.metrics.text().decode())
            for each in family.samples
            if each.name == metric
        }


def test_gpus_cost_while_pods_run_and_a_restart_changes_nothing() -> None:
    cluster = MetricsOfJobs(running_for(HOUR), running_for(HOUR, "two", gpus=2, gpuSeconds=100))
    found = cluster.gpu_seconds()
    assert found["team/x"] == pytest.approx(HOUR - 60, abs=5)
    assert found["team/two"] == pytest.approx(100 + 2 * (HOUR - 60), abs=10)
    cluster.restart()
    assert cluster.gpu_seconds() == found


def test_a_job_that_asks_for_gpus_begins_with_0_and_one_that_does_not_has_no_series() -> None:
    """Prometheus counts no increase for the first value that it sees of a series."""
    without = silent_for(60, {**QUEUED, "gpus": 0}, "cpu")
    unseen = a_job("new")
    assert MetricsOfJobs(silent_for(60, QUEUED), without, unseen).gpu_seconds() == {"team/x": 0}


def test_a_searched_job_has_none_its_trials_have() -> None:
    assert MetricsOfJobs(running_for(HOUR, automl="x")).gpu_seconds() == {}


def test_gpu_seconds_never_go_down_while_a_job_is_there() -> None:
    """A pod may say that it spoke later than its Job ended: clocks differ."""
    job = running_for(HOUR)
    cluster = MetricsOfJobs(job)
    told = cluster.gpu_seconds()["team/x"]
    job.thing["status"] |= {"progress": {"updatedAt": ago(HOUR - 5)}}
    assert cluster.gpu_seconds()["team/x"] == told
    job.uid("of a new one with that name")
    assert cluster.gpu_seconds()["team/x"] == 5


@pytest.mark.parametrize("status", [COMPLETE, FAILED], ids=lambda status: status["phase"])
def test_an_ended_job_leaves_an_hour_later(status: Object) -> None:
    scored = {**status, "metrics": {"mAP50": 0.75}, "gpuSeconds": 55}
    job = a_job().status({**scored, "completionTime": ago(HOUR - 60)})
    cluster = MetricsOfJobs(job)
    assert cluster.gpu_seconds() == {"team/x": 55}
    assert cluster.of_each("dino_job_best_map50") == {"team/x": 0.75}
    job.thing["status"]["completionTime"] = ago(HOUR + 60)
    assert cluster.gpu_seconds() == cluster.of_each("dino_job_best_map50") == {}


SCORES = {
    "the last validation": ({"mAP50": 0.5}, 0.5),
    "a better one before": ({"mAP50": 0.5, "curve": [{"mAP50": 0.6}, {"mAP50": 0.5}]}, 0.6),
    "nothing to find": ({"mAP50": -1}, None),
    "no validation so far": ({"percent": 3}, None),
    "what is no number": ({"mAP50": "good"}, None),
    "a model without any value is one": ({"mAP50": 0.0}, 0.0),
}


@pytest.mark.parametrize("sentence", SCORES)
def test_the_best_score(sentence: str) -> None:
    progress, best = SCORES[sentence]
    job = a_job().status({**RUNNING, "progress": progress})
    expected = {} if best is None else {"team/x": best}
    assert MetricsOfJobs(job).of_each("dino_job_best_map50") == expected


def test_the_best_score_of_a_search() -> None:
    metrics, search = (
        OperatorMetrics(),
        a_job("daml").status({"phase": "Running", "best": {"mAP50": 0.8}}),
    )
    metrics.watch(AUTOML_KIND, lambda: [search.obj()])
    text = metrics.text().decode()
    labels = 'automl_name="daml",automl_namespace="team"'
    assert f"dino_automl_best_map50{{{labels}}} 0.8\n" in text


def test_a_plan_of_half_a_minute_is_told_from_one_of_eleven_seconds() -> None:
    """A busy machine was seen to need that long; by the client's own bounds both were 10."""
    metrics = OperatorMetrics()
    for seconds in (11, 31):
        metrics.reconciled(KIND, "ok", seconds)
    bounds = {
        each.labels["le"]: each.value
        for family in families(metrics.text().decode())
        for each in family.samples
        if each.name == "dino_operator_reconcile_duration_seconds_bucket"
    }
    assert [bounds[each] for each in ("10.0", "30.0", "60.0", "+Inf")] == [0, 1, 2, 2]


def waited(status: Object) -> float:
    """Seconds in the queue, of a job that starts with this status."""
    metrics = OperatorMetrics()
    metrics.started({**status, "startTime": at(300)})
    (total,) = (
        each.value
        for family in families(metrics.text().decode())
        for each in family.samples
        if each.name == "dino_job_queue_seconds_sum"
    )
    return total


def test_a_job_waits_from_when_it_lacked_nothing_but_a_place() -> None:
    status = told("Running", parent=("ParentComplete", "", True))
    assert waited(changed_at(status, DataReady=100, ParentReady=60, Suspended=0)) == 200
    assert waited(changed_at(status, DataReady=100, ParentReady=120, Suspended=0)) == 180
    assert waited(changed_at(status, DataReady=100, ParentReady=60, Suspended=250)) == 50
    assert waited(told("Running", data=None, when=20)) == 280


def test_a_job_that_began_before_its_data_was_known_waited_for_nothing() -> None:
    assert waited(changed_at(told("Running"), DataReady=310)) == 0


def test_a_search_has_not_waited_its_trials_have() -> None:
    metrics = OperatorMetrics()
    metrics.started({**RUNNING, "automl": "x"})
    assert "dino_job_queue_seconds_count 0.0" in metrics.text().decode()


@pytest.mark.parametrize("progress", [{"stagingSeconds": 40.5}, {}, None, {"stagingSeconds": "?"}])
def test_staging_is_told_once_at_the_end(progress: Object | None) -> None:
    metrics = OperatorMetrics()
    metrics.ended(KIND, {**COMPLETE, "progress": progress})
    known = progress == {"stagingSeconds": 40.5}
    text = metrics.text().decode()
    assert f"dino_job_staging_seconds_count {float(known)}" in text
    assert f"dino_job_staging_seconds_sum {40.5 * known}" in text
