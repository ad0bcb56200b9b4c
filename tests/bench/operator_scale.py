"""Many DinoJobs at once: jobs a second and requests a job, ours beside a naive kopf operator.

API server, etcd and garbage collector are real; Jobs and pods are played (job_player.py). Requests
are counted by the API server's audit log. Both do the same work: a job without data is one Job on
either side. Our training, which checks its data first and so has two, stands in the parts.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.api.operator_cluster import a_manifest
from tests.bench import operator_requests as requests
from tests.bench.control_plane import PLAYED_JOBS, administrator
from tests.bench.harness import Bench, machine
from tests.bench.job_player import DINO_JOB, JobKind, JobPlayer
from tests.bench.operator_sides import Side, audit_log, naive, ours
from tests.bench.search_load_player import Api, Object, connect
from tests.patience import Patience

SIZES = tuple(int(n) for n in os.environ.get("DINO_BENCH_JOBS", "100,1000").split(","))
"""How many DinoJobs; 5000 and 10000 where the machine can."""
ROUNDS = int(os.environ.get("DINO_BENCH_ROUNDS", "3"))
"""Of the smallest size; half as many, and one at least, of the others."""
RUNS = 1.0
"""Seconds for which pods run."""
AT_ONCE = 8
"""Creates under way, as several people or a pipeline would."""
LIMIT = 900.0
"""Seconds that the first jobs may take; each of them may take LIMIT_OF_ONE more."""
LIMIT_OF_ONE = 0.3
PREFIX = "scale-"
Open = Callable[..., AbstractContextManager[Side]]


def without_data(name: str) -> Object:
    """Builds an engine of a file: one Job, with nothing to check before it."""
    made = a_manifest(name, action="gen_trt_engine", parent={"uri": "s3://bucket/model.onnx"})
    made["spec"]["resources"] = {"gpus": 1}
    for key in ("automlPolicy", "datasets"):
        del made["spec"][key]
    return made


@dataclass
class Lived:
    """One side's run over so many jobs. seconds: from the first create to the last end."""

    jobs: int
    seconds: float
    cpu: float
    asked: dict[str, list[requests.Asked]] = field(default_factory=dict)

    @property
    def per_second(self) -> float:
        """Jobs that ended a second."""
        return self.jobs / self.seconds

    @property
    def cpu_ms(self) -> float:
        """CPU milliseconds of the operator for each job."""
        return 1000 * self.cpu / self.jobs

    @property
    def all_asked(self) -> list[requests.Asked]:
        """Every request, whatever it was about."""
        return [each for some in self.asked.values() for each in some]

    @property
    def writes(self) -> float:
        """For each job, from its creation to its end."""
        return requests.count(each for each in self.all_asked if each.is_write) / self.jobs

    @property
    def calls_to_the_job(self) -> float:
        """For each job, the create of its first Job included.

        What is about no job, such as the bounds of the namespace, counts for all of them.
        """
        named = [some for name, some in self.asked.items() if name]
        shared = [each for each in self.asked.get("", ()) if not each.is_write]
        first = [requests.count(requests.to_the_job(some)) for some in named]
        return statistics.mean(first) + len(shared) / self.jobs


@dataclass(frozen=True)
class Contender:
    """An operator, and what it is given. manifest: of a job of that name."""

    open: Open
    manifest: Callable[[str], Object] = without_data
    kind: JobKind = DINO_JOB


SIDES = {"ours": Contender(ours), "naive": Contender(naive)}


async def create(api: Api, manifests: Sequence[Object], kind: JobKind = DINO_JOB) -> None:
    """All of them, as fast as they are taken."""
    room = asyncio.Semaphore(AT_ONCE)

    async def one(manifest: Object) -> None:
        async with room:
            await api.call("POST", api.collection(kind.version, kind.plural), manifest)

    await asyncio.gather(*map(one, manifests))


async def wait_for(count: int, player: JobPlayer, tasks: Sequence[asyncio.Task[Any]]) -> None:
    """Until so many jobs have ended."""
    waiting = Patience(LIMIT + LIMIT_OF_ONE * count)
    while len(player.ended) < count:
        assert waiting.lasts(), f"only {len(player.ended)} of {count} jobs ended"
        assert not player.trouble, player.trouble[:5]
        for task in tasks:
            if task.done():
                task.result()
        await asyncio.sleep(0.05)


async def live(side: Side, count: int, given: Contender) -> Lived:
    """Creates so many jobs and plays them; the first of all, which is not counted, warms up."""
    manifest, kind = given.manifest, given.kind
    async with connect(side.kubectl.kubeconfig, side.namespace) as api:
        player = JobPlayer(api, RUNS, kind=kind)
        playing = [asyncio.create_task(each) for each in (player.play(), player.follow())]
        try:
            await create(api, [manifest("warm")], kind)
            await wait_for(1, player, playing)
            await asyncio.sleep(1)
            since, cpu = audit_log().stat().st_size, side.used()
            began = time.monotonic()
            making = asyncio.create_task(
                create(api, [manifest(f"{PREFIX}{index}") for index in range(count)], kind)
            )
            await wait_for(count + 1, player, [*playing, making])
            seconds = max(player.ended.values()) - began
        finally:
            for task in playing:
                task.cancel()
    used = side.used() - cpu
    asked = requests.by_job(requests.read(audit_log(), since, *side.users), PREFIX)
    return Lived(count, seconds, used, asked)


def rounds(size: int) -> int:
    """How often so many jobs are lived through."""
    return ROUNDS if size == min(SIZES) else max(1, ROUNDS // 2)


def turns(
    size: int, sides: Mapping[str, Contender], stack: ExitStack, folder: Path
) -> dict[str, list[Lived]]:
    """Both sides in turns, each time with new processes and a namespace of their own."""
    kubectl = administrator(PLAYED_JOBS, "600s")
    found: dict[str, list[Lived]] = {name: [] for name in sides}
    for number in range(rounds(size)):
        order = list(sides) if number % 2 == 0 else list(reversed(sides))
        for name in order:
            given = sides[name]
            side = stack.enter_context(given.open(kubectl, folder / f"{name}-{size}-{number}"))
            found[name].append(lived := asyncio.run(live(side, size, given)))
            side.end()
            print(
                f"{size} jobs, {name}: {lived.per_second:.1f} a second, {lived.cpu_ms:.1f} ms of "
                f"CPU and {lived.writes:.1f} writes each",
                file=sys.stderr,
                flush=True,
            )
    return found


def trainings(size: int, stack: ExitStack, folder: Path) -> Lived:
    """Ours with trainings, each after its preflight."""
    side = stack.enter_context(
        ours(administrator(PLAYED_JOBS, "600s"), folder / f"trainings-{size}")
    )
    lived = asyncio.run(live(side, size, Contender(ours, a_manifest)))
    side.end()
    return lived


def middle(lived: Sequence[Lived], key: str) -> float:
    """The median of a number of theirs."""
    return round(statistics.median(getattr(each, key) for each in lived), 2)


def parts_of(size: int, found: dict[str, list[Lived]]) -> dict[str, Any]:
    """What stands behind one size's numbers; pairs are [ours, peer]."""
    both = list(found.values())
    return {
        f"{size} jobs: per second": [middle(each, "per_second") for each in both],
        f"{size} jobs: CPU ms a job": [middle(each, "cpu_ms") for each in both],
        f"{size} jobs: writes a job": [middle(each, "writes") for each in both],
        f"{size} jobs: rounds": len(both[0]),
    }


def main() -> None:
    waiting = os.getloadavg()[0]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        found = {size: turns(size, SIDES, stack, folder) for size in SIZES}
        trained = trainings(min(SIZES), stack, folder)
    emit(found, trained, waiting)


def emit(found: dict[int, dict[str, list[Lived]]], trained: Lived, load: float) -> None:
    """The three results, of the largest size. load: how many processes waited at the start."""
    largest = max(found)
    mine, theirs = (found[largest][name] for name in SIDES)
    parts: dict[str, Any] = {}
    for size, both in found.items():
        parts |= parts_of(size, both)
    with_data = {
        "load of the machine": round(load, 1),
        "trainings": trained.jobs,
        "trainings: per second": round(trained.per_second, 2),
        "trainings: CPU ms a job": round(trained.cpu_ms, 1),
    }
    same = "Both make one Job of each DinoJob; Jobs and pods are played, API server and etcd real."
    Bench(
        "operator_jobs_per_second",
        middle(mine, "per_second"),
        middle(theirs, "per_second"),
        "jobs/s",
        machine(),
        better="more",
        target=">= 3x",
        note=f"DinoJobs that end a second, of {largest} created at once; peer: a naive on.create "
        f"kopf operator. {same} Trainings have a preflight before their Job.",
        parts={**parts, **with_data},
    ).emit()
    requested(mine, theirs, trained)


def requested(mine: Sequence[Lived], theirs: Sequence[Lived], trained: Lived) -> None:
    """The results that no clock touches."""
    one, other = mine[-1], theirs[-1]
    Bench(
        "operator_calls_per_job",
        round(statistics.median(each.calls_to_the_job for each in mine), 2),
        round(statistics.median(each.calls_to_the_job for each in theirs), 2),
        "requests",
        machine(),
        target="<= 2.2",
        note="From the creation of a DinoJob to its first Job, by the API server's audit log. Ours "
        "makes a ConfigMap and the Job, and reads before, as a Job cannot be taken back; the peer "
        "makes the Job alone. The parts are all requests of a job's life.",
        parts={
            **{f"ours: {kind}": n for kind, n in requests.kinds(one.all_asked, one.jobs).items()},
            **{
                f"naive: {kind}": n
                for kind, n in requests.kinds(other.all_asked, other.jobs).items()
            },
        },
    ).emit()
    Bench(
        "operator_writes_per_job",
        middle([trained], "writes"),
        middle(theirs, "writes"),
        "requests",
        machine(),
        target="<= 8",
        note="From the creation of a training to its end, its preflight included, by the API "
        "server's audit log; the peer has no preflight. In the parts a job with one Job on either "
        "side.",
        parts={
            "one Job [ours, naive]": [middle(mine, "writes"), middle(theirs, "writes")],
            **{f"training: {kind}": n for kind, n in writes_of(trained).items()},
        },
    ).emit()


def writes_of(lived: Lived) -> dict[str, float]:
    """Writes of each kind for each job."""
    return requests.kinds((each for each in lived.all_asked if each.is_write), lived.jobs)


if __name__ == "__main__":
    main()
