"""What Prometheus reads. Numbers about jobs are counted from the cache when they are read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry, Gauge, Histogram, generate_latest
from prometheus_client import Counter as Count
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from dino_api import rfc3339
from dino_api.names import AUTOML_KIND, KIND, ConditionType, FailureReason, Phase
from dino_operator.plan.model import Condition, Object, is_true
from dino_operator.plan.observed import gpu_time, objects
from dino_operator.plan.observed.status import JobStatus

NAMES = {KIND: "dino_job", AUTOML_KIND: "dino_automl"}
"""How the metrics of a kind begin."""
ENDS = (Phase.COMPLETE, Phase.FAILED)
RESULTS = ("ok", "error", "bug")
"""Of a plan: carried out, to be tried again, or given up by a bug of ours."""
LABELS = {KIND: ("job_namespace", "job_name"), AUTOML_KIND: ("automl_namespace", "automl_name")}
"""Of series that one resource has: Prometheus itself writes `namespace` and `job` onto all."""
HOURS = (60, 300, 900, 3600, 4 * 3600, 12 * 3600, 24 * 3600, 3 * 86400, 7 * 86400)
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
"""Bounds for a plan's time. What lies beyond the last is drawn as just that: on a busy machine
plans were seen to take more than ten seconds."""
MINUTES = (1, 5, 15, 60, 300, 900, 3600, 4 * 3600)
STAYS = 3600.0
"""Seconds after its end for which a resource keeps series of its own: every Prometheus has read the
last value by then, and there are no more series than resources of the last hour."""


class OperatorMetrics:
    """The operator's counters, in a registry of their own.

    Series that are looked at for increases are there from 0 on: Prometheus sees none where a series
    begins with 1, so that the first failure, end or bug would be missed.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        registry = self.registry
        self.reconciles = Count(
            "dino_operator_reconcile", "Plans carried out", ["kind", "result"], registry=registry
        )
        for kind in NAMES:
            for result in RESULTS:
                self.reconciles.labels(kind, result)
        self.seconds = Histogram(
            "dino_operator_reconcile_duration_seconds",
            "Time for one plan",
            ["kind"],
            buckets=SECONDS,
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
        self.queued = Histogram(
            f"{NAMES[KIND]}_queue_seconds",
            "From when nothing but a place was missing to the first pod's start",
            buckets=(*MINUTES[:-2], *HOURS[3:]),
            registry=registry,
        )
        self.staging = Histogram(
            f"{NAMES[KIND]}_staging_seconds",
            "For how long the pods of a DinoJob that ended had brought their data to them",
            buckets=MINUTES,
            registry=registry,
        )
        self.last_event = Gauge(
            "dino_watch_last_event_timestamp_seconds",
            "When the watch of that kind, or a resync, last said something",
            ["kind"],
            registry=registry,
        )

    def _failures(self, kind: str) -> Count:
        message = f"{kind}s that failed for good"
        count = Count(f"{NAMES[kind]}_failures", message, ["reason"], registry=self.registry)
        for reason in FailureReason:
            count.labels(reason.value)
        return count

    def _durations(self, kind: str) -> Histogram:
        name, message = f"{NAMES[kind]}_duration_seconds", "From the first pod's start to the end"
        times = Histogram(name, message, ["phase"], buckets=HOURS, registry=self.registry)
        for phase in ENDS:
            times.labels(phase.value)
        return times

    def watch(self, kind: str, resources: Callable[[], Iterable[Object]]) -> None:
        """Counts `dino_jobs{phase}`, or `dino_automls{phase}`, from these at each reading.

        So are series of single resources; of DinoJobs also `dino_job_unchanged_seconds{phase}`.
        """
        self.registry.register(_Phases(kind, resources))
        self.registry.register(_Best(kind, resources))
        if kind == KIND:
            self.registry.register(_SilenceCollector(resources))
            self.registry.register(_GpuSeconds(resources))

    def reconciled(self, kind: str, result: str, seconds: float) -> None:
        """One plan for that kind was carried out, with that result."""
        self.reconciles.labels(kind, result).inc()
        self.seconds.labels(kind).observe(seconds)

    def started(self, status: Object) -> None:
        """The first pod of a DinoJob's work runs, as that status says for the first time."""
        if "automl" not in status:  # a search's start is that of a trial, which is counted itself
            self.queued.observe(_queued(status))

    def ended(self, kind: str, status: Object) -> None:
        """A resource of that kind came to its end, with that status."""
        if status["phase"] == Phase.FAILED:
            self.failures[kind].labels(status.get("failure", {}).get("reason", "")).inc()
        if "startTime" in status and "completionTime" in status:
            ended = rfc3339.parse(status["completionTime"])
            ran = (ended - rfc3339.parse(status["startTime"])).total_seconds()
            self.durations[kind].labels(status["phase"]).observe(ran)
        staged = _number((status.get("progress") or {}).get("stagingSeconds"))
        if kind == KIND and staged is not None:
            self.staging.observe(staged)

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
        name, message = f"{NAMES[self._kind]}s", f"{self._kind}s by phase"
        family = GaugeMetricFamily(name, message, labels=["phase"])
        for phase in Phase:
            family.add_metric([phase.value], phases.get(phase.value, 0))
        yield family


class _SilenceCollector(Collector):
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


class _OfEach(Collector):
    """A series for each resource, until an hour after its end."""

    def __init__(self, kind: str, resources: Callable[[], Iterable[Object]]) -> None:
        self._kind, self._resources = kind, resources

    def _shown(self, now: datetime) -> Iterator[tuple[tuple[str, str], Object]]:
        """The values of its labels, and the resource."""
        for each in self._resources():
            end = rfc3339.read(each.get("status", {}).get("completionTime"))
            if end is None or (now - end).total_seconds() < STAYS:
                yield (each["metadata"]["namespace"], each["metadata"]["name"]), each


class _GpuSeconds(_OfEach):
    """What each DinoJob's GPUs have cost; from 0 on, as soon as it is known to ask for one.

    It is counted from statuses, so a restart changes nothing. Within a process no series goes down,
    whatever clocks and pods say: Prometheus would take that for a new start from 0.
    """

    def __init__(self, resources: Callable[[], Iterable[Object]]) -> None:
        super().__init__(KIND, resources)
        self._highest: dict[str, float] = {}

    def collect(self) -> Iterator[Metric]:
        highest, now = {}, datetime.now(UTC)
        text = "Seconds for which the DinoJob's pods have run, times its GPUs"
        name = f"{NAMES[KIND]}_gpu_seconds"
        family = CounterMetricFamily(name, text, labels=LABELS[KIND])
        for labels, job in self._shown(now):
            status = JobStatus(job.get("status", {}))
            if status.gpus and not status.search:
                uid = objects.uid_of(job)
                highest[uid] = max(gpu_time.so_far(status, now), self._highest.get(uid, 0.0))
                family.add_metric(labels, highest[uid])
        self._highest = highest
        yield family


class _Best(_OfEach):
    """The best mAP50 of each DinoJob or search that has one."""

    def collect(self) -> Iterator[Metric]:
        name, text = f"{NAMES[self._kind]}_best_map50", f"The {self._kind}'s best mAP50 so far"
        family = GaugeMetricFamily(name, text, labels=LABELS[self._kind])
        for labels, each in self._shown(datetime.now(UTC)):
            best = max(_scores(each.get("status", {})), default=None)
            if best is not None:
                family.add_metric(labels, best)
        yield family


def _scores(status: Object) -> Iterator[float]:
    """Each mAP50 that a status has. A pod writes its progress itself: what is none is left out, and
    so is -1, which says that there was nothing to find."""
    progress = status.get("progress") or {}
    parts = (status.get("best"), status.get("metrics"), progress, *(progress.get("curve") or ()))
    for each in parts:
        score = _number((each or {}).get("mAP50"))
        if score is not None and score >= 0:
            yield score


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _queued(status: Object) -> float:
    """Seconds from when nothing but a place was missing to the first pod's start: its data was
    good, its parent complete, and nobody held it."""
    whole: Object = {"status": status}
    ready = [
        Condition.of(whole, kind)
        for kind in (ConditionType.DATA_READY, ConditionType.PARENT_READY)
        if is_true(whole, kind)
    ]
    ready.append(Condition.of(whole, ConditionType.SUSPENDED))
    times = [time for each in ready if each and (time := rfc3339.read(each.since))]
    started = rfc3339.parse(status["startTime"])
    return max(0.0, (started - max(times, default=started)).total_seconds())


GOING = [each.value for each in (Phase.PENDING, Phase.PREPARING, Phase.QUEUED, Phase.RUNNING)]
"""The phases of jobs that have not ended and are not held."""


def _last_change(job: Object) -> datetime:
    """When the job was made, changed a condition or told progress, whichever was last."""
    status = job.get("status", {})
    times = [each.get("lastTransitionTime") for each in status.get("conditions", [])]
    times += [(status.get("progress") or {}).get("updatedAt")]
    created = rfc3339.parse(job["metadata"]["creationTimestamp"])
    return max([created, *(time for time in map(rfc3339.read, times) if time)])
