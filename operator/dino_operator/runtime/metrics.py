"""What Prometheus reads. Numbers about jobs are counted from the cache when they are read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry, Gauge, Histogram, generate_latest
from prometheus_client import Counter as Count
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from dino_api.names import KIND, Phase
from dino_operator.plan.model import Object

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
        self.oldest = Gauge(
            "dino_operator_queue_oldest_seconds",
            "How long the oldest of them has waited",
            registry=registry,
        )
        self.failures = Count(
            "dino_job_failures", "Jobs that failed for good", ["reason"], registry=registry
        )
        self.durations = Histogram(
            "dino_job_duration_seconds",
            "From the first pod's start to the end",
            ["phase"],
            buckets=HOURS,
            registry=registry,
        )
        self.last_event = Gauge(
            "dino_watch_last_event_timestamp_seconds",
            "When the watch of that kind, or a resync, last said something",
            ["kind"],
            registry=registry,
        )

    def watch_jobs(self, resources: Callable[[], Iterable[Object]]) -> None:
        """Counts `dino_jobs{phase}` from these resources at each reading."""
        self.registry.register(_JobCounts(resources))

    def reconciled(self, result: str, seconds: float) -> None:
        """One plan was carried out, with that result."""
        self.reconciles.labels(KIND, result).inc()
        self.seconds.labels(KIND).observe(seconds)

    def text(self) -> bytes:
        """The exposition format."""
        return generate_latest(self.registry)


class _JobCounts(Collector):
    def __init__(self, resources: Callable[[], Iterable[Object]]) -> None:
        self._resources = resources

    def collect(self) -> Iterator[Metric]:
        phases = Counter(
            each.get("status", {}).get("phase", Phase.PENDING.value) for each in self._resources()
        )
        family = GaugeMetricFamily("dino_jobs", "DinoJobs by phase", labels=["phase"])
        for phase in Phase:
            family.add_metric([phase.value], phases.get(phase.value, 0))
        yield family
