"""What Prometheus reads. Numbers about jobs are counted from the cache when they are read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry, Gauge, Histogram, generate_latest
from prometheus_client import Counter as Count
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from dino_api import rfc3339
from dino_api.names import AUTOML_KIND, KIND, FailureReason, Phase
from dino_operator.plan.model import Object

NAMES = {KIND: "dino_job", AUTOML_KIND: "dino_automl"}
"""How the metrics of a kind begin."""
HOURS = (60, 300, 900, 3600, 4 * 3600, 12 * 3600, 24 * 3600, 3 * 86400, 7 * 86400)


class Metrics:
    """The operator's counters, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        registry = self.registry
        self.reconciles = Count(
            "dino_operator_reconcile", "Plans carried out", ["kind", "result"], registry=registry
        )
        self.seconds = Histogram(
            "dino_operator_reconcile_duration_seconds",
            "Time for one plan",
            ["kind"],
            registry=registry,
        )
        self.requests = Count(
            "dino_operator_apiserver_requests",
            "Requests by verb",
            ["verb", "code"],
            registry=registry,
        )
        self.depth = Gauge(
            "dino_operator_queue_depth", "Keys that wait for a worker", registry=registry
        )
        self.working = Gauge(
            "dino_operator_queue_working", "Keys that a worker has in hand", registry=registry
        )
        self.oldest = Gauge(
            "dino_operator_queue_oldest_seconds",
            "How long the oldest of them has waited",
            registry=registry,
        )
        self.leader = Gauge(
            "dino_operator_leader",
            "1 where this operator works, 0 where it stands by",
            registry=registry,
        )
        self.leader.set(1)
        self.failures = {kind: self._failures(kind) for kind in NAMES}
        self.durations = {kind: self._durations(kind) for kind in NAMES}
        self.last_event = Gauge(
            "dino_watch_last_event_timestamp_seconds",
            "When the watch of that kind, or a resync, last said something",
            ["kind"],
            registry=registry,
        )

    def _failures(self, kind: str) -> Count:
        """Every reason from 0 on: Prometheus sees no increase where a series begins with 1."""
        message = f"{kind}s that failed for good"
        count = Count(f"{NAMES[kind]}_failures", message, ["reason"], registry=self.registry)
        for reason in FailureReason:
            count.labels(reason.value)
        return count

    def _durations(self, kind: str) -> Histogram:
        name, said = f"{NAMES[kind]}_duration_seconds", "From the first pod's start to the end"
        return Histogram(name, said, ["phase"], buckets=HOURS, registry=self.registry)

    def watch(self, kind: str, resources: Callable[[], Iterable[Object]]) -> None:
        """Counts `dino_jobs{phase}`, or `dino_automls{phase}`, from these at each reading.

        Of DinoJobs also `dino_job_unchanged_seconds{phase}`.
        """
        self.registry.register(_Phases(kind, resources))
        if kind == KIND:
            self.registry.register(_Unchanged(resources))

    def reconciled(self, kind: str, result: str, seconds: float) -> None:
        """One plan for that kind was carried out, with that result."""
        self.reconciles.labels(kind, result).inc()
        self.seconds.labels(kind).observe(seconds)

    def ended(self, kind: str, status: Object) -> None:
        """A resource of that kind came to its end, with that status."""
        if status["phase"] == Phase.FAILED:
            self.failures[kind].labels(status.get("failure", {}).get("reason", "")).inc()
        if "startTime" in status and "completionTime" in status:
            ended = rfc3339.parse(status["completionTime"])
            ran = (ended - rfc3339.parse(status["startTime"])).total_seconds()
            self.durations[kind].labels(status["phase"]).observe(ran)

    def text(self) -> bytes:
        """The exposition format."""
        return generate_latest(self.registry)


class _Phases(Collector):
    def __init__(self, kind: str, resources: Callable[[], Iterable[Object]]) -> None:
        self._kind, self._resources = kind, resources

    def collect(self) -> Iterator[Metric]:
        phases = Counter(
            each.get("status", {}).get("phase", Phase.PENDING.value) for each in self._resources()
        )
        name, said = f"{NAMES[self._kind]}s", f"{self._kind}s by phase"
        family = GaugeMetricFamily(name, said, labels=["phase"])
        for phase in Phase:
            family.add_metric([phase.value], phases.get(phase.value, 0))
        yield family


class _Unchanged(Collector):
    """By phase, how long ago the job that is silent for longest said something."""

    def __init__(self, resources: Callable[[], Iterable[Object]]) -> None:
        self._resources = resources

    def collect(self) -> Iterator[Metric]:
        now, longest = datetime.now(UTC), dict.fromkeys(GOING, 0.0)
        for each in self._resources():
            status = each.get("status", {})
            phase = status.get("phase", Phase.PENDING.value)
            if phase in longest and "automl" not in status:  # a search speaks by its trials
                age = (now - _last_change(each)).total_seconds()
                longest[phase] = max(longest[phase], age)
        text = "Longest time since a DinoJob of that phase changed a condition or told progress"
        family = GaugeMetricFamily(f"{NAMES[KIND]}_unchanged_seconds", text, labels=["phase"])
        for phase, seconds in longest.items():
            family.add_metric([phase], seconds)
        yield family


GOING = [each.value for each in (Phase.PENDING, Phase.PREPARING, Phase.QUEUED, Phase.RUNNING)]
"""The phases of jobs that have not ended and are not held."""


def _last_change(job: Object) -> datetime:
    """When the job was made, changed a condition or told progress, whichever was last."""
    status = job.get("status", {})
    times = [each.get("lastTransitionTime") for each in status.get("conditions", [])]
    times += [(status.get("progress") or {}).get("updatedAt")]
    created = rfc3339.parse(job["metadata"]["creationTimestamp"])
    return max([created, *(time for time in map(rfc3339.read, times) if time)])
