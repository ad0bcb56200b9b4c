"""A crowd of DinoJobs: what progress pushes cost with many pods, and how a restart copes with all.

On a control plane whose Jobs and pods are played. Our operator makes those that run on and push
their progress, and one that ends; the others are copies of that one, with Jobs and pods.
"""

from __future__ import annotations

import asyncio
import math
import os
import re
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from dino_api import names
from dino_api.result import Progress, Validation
from dino_trainer.report.cluster import interval
from tests.api.operator_cluster import a_manifest
from tests.api.operator_process import Process
from tests.bench import operator_requests as requests
from tests.bench.control_plane import PLAYED_JOBS, administrator, peak_mib
from tests.bench.harness import Bench, machine
from tests.bench.job_copies import read_family
from tests.bench.job_player import JobPlayer
from tests.bench.operator_scale import create, wait_for
from tests.bench.operator_sides import (
    Side,
    audit_log,
    ours,
    rests,
)
from tests.bench.search_load_player import APPLY, Api, connect, stamp
from tests.patience import LONG, Patience

JOBS = int(os.environ.get("DINO_BENCH_CROWD", "10000"))
"""DinoJobs in all; the names of the results say how many there were."""
PUSHING = int(os.environ.get("DINO_BENCH_PUSHING", "1000"))
"""Of them, those that run on and push."""
SECONDS = 60.0
YOUNG, OLD = interval(0.0), interval(100_000.0)
"""Seconds between two pushes of a pod that has just begun, and of one that has run for a day."""
EPOCHS = 24
LIMIT = 3000.0
PREFIX, ORIGINAL = "crowd-", "crowd-original"
DURATION = "apiserver_request_duration_seconds_bucket"


@dataclass(frozen=True)
class Pushes:
    """What a minute of pushes was. taken: seconds of each by the pods' clock. buckets: the API
    server's own, requests that took at most so many seconds. cpu: the operator's share of a core.
    """

    pods: int
    taken: Sequence[float]
    refused: int
    buckets: Mapping[float, int]
    seconds: float
    cpu: float


@dataclass(frozen=True)
class Restart:
    """A new process, from its start until it had nothing in hand. mib: the most memory so far."""

    seconds: float
    ready: float
    mib: float
    asked: Sequence[requests.Asked] = field(default_factory=tuple)


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that so large a share does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def of_buckets(buckets: Mapping[float, int], share: float) -> float:
    """The same from counts of those up to each bound, evenly spread within a bucket, as Prometheus'
    histogram_quantile has it; the largest bound where it lies beyond."""
    bounds = sorted(buckets)
    wanted = share * buckets[bounds[-1]]
    low, below = 0.0, 0
    for bound in bounds:
        if buckets[bound] >= wanted:
            inside = buckets[bound] - below
            if math.isinf(bound) or not inside:
                return low
            return low + (bound - low) * (wanted - below) / inside
        low, below = bound, buckets[bound]
    return low


def read_buckets(text: str) -> Counter[float]:
    """Of all writes of DinoJobs' status, from the API server's metrics."""
    found: Counter[float] = Counter()
    for line in text.splitlines():
        about = ('resource="dinojobs"', 'subresource="status"')
        is_write = re.search(r'verb="(APPLY|PATCH)"', line) and all(each in line for each in about)
        bound = re.search(r'le="([^"]+)"', line)
        if line.startswith(DURATION) and is_write and bound:
            found[float(bound[1])] += int(float(line.rpartition(" ")[2]))
    return found


def progress(epoch: int) -> Progress:
    """What a training of 24 epochs tells after that many, with its curve so far."""
    curve = [Validation(epoch=each, mAP50=0.5) for each in range(1, epoch + 1)]
    return Progress(
        epoch=epoch,
        epochs=EPOCHS,
        step=100 * epoch,
        steps=100 * EPOCHS,
        percent=100 * epoch // EPOCHS,
        eta_seconds=60 * (EPOCHS - epoch),
        loss=4.2,
        learning_rate=1e-4,
        images_per_second=52.5,
        mAP50=0.5,
        curve=curve,
        updated_at=stamp(),
    )


@dataclass
class Pusher:
    """The pods of those DinoJobs: each tells its progress at regular moments of its own."""

    api: Api
    names: Sequence[str]
    taken: list[float] = field(default_factory=list)
    refused: int = 0

    async def push_for(self, seconds: float, every: float) -> None:
        """Whatever the last push took, the next one comes when it is due."""
        began = time.monotonic()
        pushes = [
            self._push(name, began + every * (turn + index / len(self.names)), turn + 1)
            for index, name in enumerate(self.names)
            for turn in range(round(seconds / every))
        ]
        await asyncio.gather(*pushes)

    async def _push(self, name: str, due: float, epoch: int) -> None:
        await asyncio.sleep(due - time.monotonic())
        body = {
            "apiVersion": names.API_VERSION,
            "kind": names.KIND,
            "metadata": {"name": name, "namespace": self.api.namespace},
            "status": {"progress": progress(min(epoch, EPOCHS)).to_dict()},
        }
        query = f"fieldManager={names.PROGRESS_FIELD_MANAGER}&force=true"
        where = f"{self.api.ours(names.PLURAL)}/{name}/status?{query}"
        asked = time.monotonic()
        try:
            await self.api.call("PATCH", where, body, APPLY)
        except aiohttp.ClientError:
            self.refused += 1
        self.taken.append(time.monotonic() - asked)


async def populate(side: Side, pushing: int) -> list[str]:
    """Lives so many trainings, and ORIGINAL to its end; returns the names of those that run on."""
    every = [f"{PREFIX}{index}" for index in range(pushing)]
    staying = set(every)
    async with connect(side.kubectl.kubeconfig, side.namespace) as api:
        player = JobPlayer(api, stays=staying.__contains__)
        playing = [asyncio.create_task(each) for each in (player.play(), player.follow())]
        manifests = [a_manifest(name) for name in (ORIGINAL, *every)]
        making = asyncio.create_task(create(api, manifests))
        try:
            await wait_for(1, player, [*playing, making])
            waiting = Patience(LIMIT)
            while len(player.running) < pushing:
                assert waiting.lasts(), f"only {len(player.running)} of {pushing} run"
                await asyncio.sleep(0.2)
        finally:
            for task in playing:
                task.cancel()
    return every


async def add_ended(side: Side, count: int) -> None:
    """So many that have ended; the operator does not run meanwhile, since it would live them."""
    operator = own(side)
    operator.kill()
    async with connect(side.kubectl.kubeconfig, side.namespace) as api:
        family = await read_family(api, ORIGINAL)
        await family.copies(api, [f"{PREFIX}ended-{index}" for index in range(count)])
    operator.start()
    rests(operator, LONG)


def own(side: Side) -> Process:
    """Our operator's process."""
    assert isinstance(side.own, Process)
    return side.own


def durations(side: Side) -> Counter[float]:
    """The API server's, so far."""
    return read_buckets(side.kubectl("get", "--raw", "/metrics").stdout)


async def push(side: Side, staying: Sequence[str], every: float) -> Pushes:
    """A minute of their progress."""
    async with connect(side.kubectl.kubeconfig, side.namespace) as api:
        pusher = Pusher(api, staying)
        await pusher.push_for(every, every)  # the first reports make the statuses larger
        pusher.taken.clear()
        before, cpu, began = durations(side), side.used(), time.monotonic()
        await pusher.push_for(SECONDS, every)
        seconds = time.monotonic() - began
        used = (side.used() - cpu) / seconds
        after = durations(side)
    buckets = {bound: after[bound] - before[bound] for bound in after}
    return Pushes(len(staying), pusher.taken, pusher.refused, buckets, seconds, used)


def restart(side: Side) -> Restart:
    """Kills the operator and starts it again; what it writes by that stands in the log."""
    operator = own(side)
    operator.kill()
    since, began = audit_log().stat().st_size, time.monotonic()
    operator.start()
    ready = time.monotonic() - began
    seconds = rests(operator, LONG) - began
    mib = peak_mib(side.pid)
    asked = tuple(requests.read(audit_log(), since, side.user))
    return Restart(seconds, ready, mib, asked)


def main() -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        ours(administrator(PLAYED_JOBS, "600s"), Path(folder) / "crowd") as side,
    ):
        began = time.monotonic()
        staying = asyncio.run(populate(side, PUSHING))
        rests(own(side), LONG)
        asyncio.run(add_ended(side, JOBS - PUSHING - 1))
        lived = time.monotonic() - began
        young, old = (asyncio.run(push(side, staying, every)) for every in (YOUNG, OLD))
        rests(own(side), LONG)
        again = restart(side)
    told_of_pushes(old, young).emit()
    for each in told_of_restart(again, lived):
        each.emit()


def told_of_pushes(old: Pushes, young: Pushes) -> Bench:
    """The API server's own p99, with what the pods and the operator saw."""
    return Bench(
        "progress_push_p99_ms",
        milliseconds(old.buckets, 0.99),
        None,
        "ms",
        machine(),
        target="< 100 ms",
        note=f"{old.pods} pods that have run for hours push their progress every {OLD:.0f} s; in "
        f"parts also those that have just begun, every {YOUNG:.0f} s: the API server's histogram "
        "of writes of a DinoJob's status. The pods' connections are kept, unlike in a cluster; "
        "they, API server, etcd and operator share the machine.",
        parts={
            f"{each} {what}": value
            for each, pushed in (("old", old), ("young", young))
            for what, value in parts_of(pushed).items()
        },
    )


def milliseconds(buckets: Mapping[float, int], share: float) -> float:
    """The same of `of_buckets`."""
    return round(1000 * of_buckets(buckets, share), 1)


def parts_of(pushed: Pushes) -> Mapping[str, float]:
    """What there is to say of them."""
    return {
        "pushes a second": round(len(pushed.taken) / pushed.seconds, 1),
        "refused": pushed.refused,
        "p50 ms": milliseconds(pushed.buckets, 0.5),
        "p99 ms": milliseconds(pushed.buckets, 0.99),
        "p99 ms by the pods' clock": round(1000 * percentile(pushed.taken, 0.99), 1),
        "operator's share of a core": round(pushed.cpu, 2),
    }


def told_of_restart(again: Restart, lived: float) -> Iterable[Bench]:
    """Time and memory."""
    crowd = f"{JOBS} DinoJobs, of which {PUSHING} run, each with two Jobs and two pods"
    written = [each for each in again.asked if each.is_write]
    yield Bench(
        f"operator_restart_{JOBS}_seconds",
        round(again.seconds, 1),
        None,
        "s",
        machine(),
        target="< 30 s with 10,000",
        note=f"From the start of the process until it has looked at all of {crowd}, and has "
        "nothing in hand.",
        parts={
            "ready s": round(again.ready, 1),
            "writes": len(written),
            **{str(kind): count for kind, count in Counter(map(str, again.asked)).most_common(8)},
            "seconds in which the crowd was made": round(lived),
        },
    )
    yield Bench(
        f"operator_restart_{JOBS}_mib",
        round(again.mib),
        None,
        "MiB",
        machine(),
        target="< 400 MB with 10,000",
        note=f"The most resident memory of the operator by then, with {crowd}.",
    )


if __name__ == "__main__":
    main()
