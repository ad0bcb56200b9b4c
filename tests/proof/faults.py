"""Between the operator and a real API server: each plan spoils one moment of one workload's life.

First every workload is lived through once undisturbed, which tells its writes, its changes and its
end. From these the plans follow: at each write {killed before it, its answer dropped, killed after
it}; at each change that the operator sees {it is not told of it, and lists anew later; the newest
child is deleted meanwhile}; and starts on lists that are some changes old. After each of them the
workload must end as it did undisturbed, and then nothing is written.

There is no kubelet: the API server's own Job controller makes pods, the script of the workload says
how they end. Many plans go on at once, each in a namespace of its own.
"""

from __future__ import annotations

import asyncio
import json
import os
import uuid
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from dino_api.names import Label, Stage
from dino_operator.plan.model import Delete, Object, Patch, Settings
from dino_operator.plan.observed import objects
from dino_operator.plan.observed.api_object import ApiObject
from dino_operator.plan.observed.objects import CONTAINER
from dino_operator.plan.observed.pod import Pod
from dino_operator.runtime.cache import ObjectCache
from dino_operator.runtime.client import MERGE, ApiError, Client, path
from dino_operator.runtime.keys import Kind
from dino_operator.runtime.metrics import OperatorMetrics
from dino_operator.runtime.reconcile import Reconciler
from tests.api.operator_cluster import CHECKED, RESULT
from tests.builders import stamp
from tests.patience import Patience
from tests.proof.workloads import Workload

What = Literal["none", "kill before", "drop the answer", "kill after", "untold", "deleted", "stale"]
AT_WRITES: tuple[What, ...] = ("kill before", "drop the answer", "kill after")
AT_CHANGES: tuple[What, ...] = ("untold", "deleted", "stale")
SETTINGS = Settings("trainer:1", retry_backoff=0.1, recheck=1)
METRICS = OperatorMetrics()
PATIENCE = 120.0
PAUSE = 0.3
"""Seconds between two looks; the Job controller takes a second or so for each Job."""
UNTOLD = 4
"""Looks that are left out after a change that is not told."""
QUIET = 2
"""Looks without a write after which a life is over: a killed operator has something left to do."""
BACK = 2
"""How many changes the lists of a stale start are old."""
REPORTED = {
    "schema": 1,
    "action": "report",
    "artifacts": [{"name": "report.html", "uri": "s3://bucket/out/report.html"}],
}
AT_ONCE = int(os.environ.get("DINO_FAULT_AT_ONCE", "8"))
T, Each = TypeVar("T"), TypeVar("Each")
Lists = dict[Kind, tuple[list[Object], int]]


class Killed(Exception):
    """The operator's process ends here."""


@dataclass(frozen=True)
class Fault:
    """One moment, and what befalls the operator then. at: the so manyth write or change."""

    what: What = "none"
    at: int = 0

    def __str__(self) -> str:
        where = "write" if self.what in AT_WRITES else "change"
        return f"{self.what} at {where} {self.at}" if self.at else "undisturbed"


class Line:
    """The operator's way to the API server, with a fault at one of its writes."""

    def __init__(self, client: Client, fault: Fault) -> None:
        self._client, self._fault = client, fault
        self.writes: list[str] = []
        self.befell = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)  # reads

    async def create(self, thing: Object) -> Object:
        called = f"create {thing['kind']} {objects.name_of(thing)}"
        return await self._write(called, lambda: self._client.create(thing))

    async def patch(self, namespace: str, patch: Patch) -> Object:
        called = f"patch {patch.kind} {patch.name}"
        return await self._write(called, lambda: self._client.patch(namespace, patch))

    async def delete(self, namespace: str, delete: Delete) -> None:
        called = f"delete {delete.kind} {delete.name}"
        await self._write(called, lambda: self._client.delete(namespace, delete))

    async def apply_status(self, resource: Object, status: Object) -> Object:
        called = f"status of {objects.name_of(resource)}: {status['phase']}"
        return await self._write(called, lambda: self._client.apply_status(resource, status))

    async def _write(self, called: str, write: Callable[[], Any]) -> Any:
        self.writes.append(called)
        what = self._fault.what if len(self.writes) == self._fault.at else "none"
        self.befell |= what in AT_WRITES
        if what == "kill before":
            raise Killed
        answer = await write()
        if what == "drop the answer":
            raise ApiError(0, "Unreachable", "the answer was dropped")
        if what == "kill after":
            raise Killed
        return answer


@dataclass
class Run:
    """One workload with one fault, in a namespace of its own."""

    client: Client
    workload: Workload
    fault: Fault = Fault()
    changes: int = 0
    blind: int = 0
    befell: bool = False
    violations: list[str] = field(default_factory=list)
    ended: dict[str, str] = field(default_factory=dict)
    lived: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.namespace = f"fault-{uuid.uuid4().hex[:10]}"
        self.line = Line(self.client, self.fault)
        self.past: list[Lists] = []
        self._start(ObjectCache())

    def __str__(self) -> str:
        return f"{self.workload.name}: {self.fault}"

    def _start(self, cache: ObjectCache) -> None:
        """A new process of the operator."""
        self.cache = cache
        self.reconciler = Reconciler(cache, self.line, SETTINGS, METRICS)  # type: ignore[arg-type]

    # ---- the life of a workload -----------------------------------------------------------------

    async def live(self) -> Object:
        """From its creation to its end; returns what is told of it then."""
        space = {"metadata": {"name": self.namespace}}
        await self.client.request("POST", "/api/v1/namespaces", body=space)
        try:
            await self.workload.begin(self)
            await self._until_over()
            told = self.told(await self._lists())
            await self._rests()
            return told
        finally:
            await self.client.request("DELETE", f"/api/v1/namespaces/{self.namespace}")

    async def _until_over(self) -> None:
        waiting, quiet = Patience(PATIENCE), 0
        while waiting.lasts():
            before = len(self.line.writes)
            lists = await self._lists()
            self._judge(lists)
            await self._see(lists)
            await self._work()
            await self._kubelet(lists)
            done = await self.workload.act(self, lists) and self._is_over(lists)
            quiet = quiet + 1 if done and len(self.line.writes) == before else 0
            if quiet == QUIET:
                return
            await asyncio.sleep(PAUSE)
        self.violations.append(f"it does not end: {self.told(await self._lists())}")

    def _is_over(self, lists: Lists) -> bool:
        """Whether all has ended that can, with nothing left that runs."""
        resources = [*lists[Kind.DINOJOBS][0], *lists[Kind.DINOAUTOMLS][0]]
        live = any(Pod(pod).is_live for pod in lists[Kind.PODS][0])
        jobs = self.workload.leaves_nothing and lists[Kind.JOBS][0]
        return all(ApiObject(each).is_finished for each in resources) and not live and not jobs

    async def _rests(self) -> None:
        """A new process at rest writes nothing."""
        self._start(ObjectCache())
        before = len(self.line.writes)
        for _ in range(3):
            self._know(await self._lists())
            await self._work()
        for each in self.line.writes[before:]:
            self.violations.append(f"written at rest: {each}")

    # ---- the operator ---------------------------------------------------------------------------

    async def _lists(self) -> Lists:
        asked = [self.client.list_all(kind, self.namespace) for kind in Kind]
        return dict(zip(Kind, await asyncio.gather(*asked), strict=True))

    def _know(self, lists: Lists) -> None:
        for kind, (things, version) in lists.items():
            self.cache.replace(kind, things, version)
        self.cache.forget_known()

    async def _see(self, lists: Lists) -> None:
        """The operator is told of what has changed, unless the fault is that it is not."""
        if not self.past or _versions(lists) != _versions(self.past[-1]):
            self.past.append(lists)
            self.changes += 1
            if self.changes == self.fault.at:
                await self._befall()
        if self.blind:
            self.blind -= 1
        else:
            self._know(lists)

    async def _befall(self) -> None:
        self.befell = self.fault.what in AT_CHANGES
        if self.fault.what in ("untold", "deleted"):
            self.blind = UNTOLD
        if self.fault.what == "deleted":
            await self._delete_newest()
        if self.fault.what == "stale":
            self._start(ObjectCache())
            self._know(self.past[max(0, len(self.past) - 1 - BACK)])
            self.blind = 1

    async def _delete_newest(self) -> None:
        """The newest Job goes, and with it its pods, while the operator is told of nothing."""
        jobs, _ = await self.client.list_all(Kind.JOBS, self.namespace)
        for job in sorted(jobs, key=lambda each: int(each["metadata"]["resourceVersion"]))[-1:]:
            gone = Delete(objects.name_of(job), objects.uid_of(job))
            await self.client.delete(self.namespace, gone)

    async def _work(self) -> None:
        for key in sorted(self.cache.all_keys()):
            try:
                await self.reconciler.reconcile(key)
            except Killed:
                self._start(ObjectCache())
                return
            except ApiError:
                continue  # the queue would try again later

    # ---- the kubelet ----------------------------------------------------------------------------

    async def _kubelet(self, lists: Lists) -> None:
        """Pods start, and end at the next look, unless the workload has somebody act before."""
        for pod in lists[Kind.PODS][0]:
            phase = pod["status"].get("phase")
            if phase == "Pending":
                await self._set(pod, "Running", running={"startedAt": stamp()})
            elif phase == "Running" and not self.workload.holds(self, pod):
                await self._end(pod)

    async def _end(self, pod: Object) -> None:
        labels = pod["metadata"]["labels"]
        code = self.workload.codes.get(labels["batch.kubernetes.io/job-name"], 0)
        ended = {"exitCode": code, "startedAt": stamp(), "finishedAt": stamp()}
        ended["reason"] = "Error" if code else "Completed"
        if not code:
            ended["message"] = json.dumps(_words(labels.get(Label.ACTION.value, "")))
        await self._set(pod, "Failed" if code else "Succeeded", terminated=ended)

    async def _set(self, pod: Object, phase: str, **state: Object) -> None:
        about = {"name": CONTAINER, "state": state, "image": "trainer:1", "imageID": ""}
        container = {**about, "ready": "running" in state, "restartCount": 0}
        body = {"status": {"phase": phase, "containerStatuses": [container]}}
        where = path("pods", self.namespace, objects.name_of(pod), "status")
        try:
            await self.client.request("PATCH", where, body=body, content=MERGE)
        except ApiError as error:
            if error.status not in (404, 409):
                raise

    # ---- what must hold -------------------------------------------------------------------------

    def _judge(self, lists: Lists) -> None:
        busy: dict[str, list[str]] = {}
        for job in lists[Kind.JOBS][0]:
            name = job["metadata"]["labels"].get(Label.JOB.value, "")
            if not ApiObject(job).is_finished:
                busy.setdefault(name, []).append(objects.name_of(job))
            self._may_be(job)
        self.violations += [f"two Jobs at once: {names}" for names in busy.values() if names[1:]]
        for kind in (Kind.DINOJOBS, Kind.DINOAUTOMLS):
            for each in lists[kind][0]:
                self._note_end(each)

    def _may_be(self, job: Object) -> None:
        """No Job is made after the end of its resource."""
        uid, owner = objects.uid_of(job), objects.controller_uid(job)
        if uid not in self.lived and owner in self.ended:
            self.violations.append(f"made after the end: {objects.name_of(job)}")
        self.lived.add(uid)

    def _note_end(self, thing: Object) -> None:
        uid, phase = objects.uid_of(thing), thing.get("status", {}).get("phase", "")
        if ApiObject(thing).is_finished and self.ended.setdefault(uid, phase) != phase:
            self.violations.append(f"an end was taken back: {self.ended[uid]}, {phase}")
        if uid in self.ended and not ApiObject(thing).is_finished:
            self.violations.append(f"an end was taken back: {self.ended[uid]}")

    def told(self, lists: Lists) -> Object:
        """What users see in the end, without times, uids and sentences."""
        things = [*lists[Kind.DINOJOBS][0], *lists[Kind.DINOAUTOMLS][0]]
        return {f"{each['kind']} {objects.name_of(each)}": _shown(each) for each in things}


def _versions(lists: Lists) -> list[str]:
    things = (each for listed, _ in lists.values() for each in listed)
    return sorted(
        f"{objects.uid_of(each)} {each['metadata']['resourceVersion']}" for each in things
    )


def _words(stage: str) -> Object:
    known = {Stage.PREFLIGHT.value: CHECKED, Stage.REPORT.value: REPORTED}
    return known.get(stage, {**RESULT, "action": "train" if stage == Stage.RESULT else stage})


def _shown(thing: Object) -> Object:
    status = thing.get("status", {})
    kept = ("phase", "attempts", "metrics", "checkpoint", "failure")
    shown = {key: status[key] for key in kept if key in status}
    if "failure" in shown:
        shown["failure"] = shown["failure"]["reason"]
    conditions = status.get("conditions", [])
    shown["conditions"] = sorted((e["type"], e["status"], e["reason"]) for e in conditions)
    shown["trials"] = [(row["number"], row["state"]) for row in status.get("history", [])]
    return shown


@dataclass(frozen=True)
class Reference:
    """A workload's undisturbed life."""

    workload: Workload
    writes: tuple[str, ...]
    changes: int
    told: Object

    def faults(self) -> Iterator[Fault]:
        """Every plan that follows from it."""
        for at in range(1, len(self.writes) + 1):
            yield from (Fault(what, at) for what in AT_WRITES)
        for at in range(2, self.changes):
            yield from (Fault(what, at) for what in AT_CHANGES)


async def learn(client: Client, workload: Workload) -> Reference:
    """Lives it through once. Raises AssertionError where that goes wrong by itself."""
    run = Run(client, workload)
    told = await run.live()
    assert not run.violations, f"{run}: {run.violations}"
    return Reference(workload, tuple(run.line.writes), run.changes, told)


@dataclass(frozen=True)
class SpoiledRun:
    """What went wrong with a fault, and whether it befell: another life may be over before."""

    violations: tuple[str, ...]
    befell: bool


async def spoiled(client: Client, reference: Reference, fault: Fault) -> SpoiledRun:
    """Nothing has gone wrong where it ended as it does undisturbed."""
    run = Run(client, reference.workload, fault)
    told = await run.live()
    found = list(dict.fromkeys(run.violations))
    if not found and told != reference.told:
        found = [f"it ended as {told}, undisturbed as {reference.told}"]
    return SpoiledRun(tuple(f"{run}: {each}" for each in found), run.befell or run.line.befell)


async def several(do: Callable[[Each], Awaitable[T]], things: Sequence[Each]) -> list[T]:
    """So many at once, and their answers in order."""
    room = asyncio.Semaphore(AT_ONCE)

    async def one(thing: Each) -> T:
        async with room:
            return await do(thing)

    return list(await asyncio.gather(*map(one, things)))
