"""Job controller and kubelet of a namespace in one: every Job has a pod for a moment, and is over.

For a control plane without a Job controller (`devcluster/cluster up --played-jobs`): what these two
take would be most of what a bench of operators measures. Who writes DinoJobs is measured; what is
played costs both sides the same. It follows the DinoJobs as well, to know when they have ended, or
the objects of another kind that a peer has in their place.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import aiohttp

from dino_api import names
from dino_api.names import Label, Stage
from dino_operator.plan.observed.api_object import ApiObject
from tests.api.operator_cluster import CHECKED, RESULT
from tests.bench.search_load_player import MERGE, OURS, Api, Object, stamp

SCHEDULER = "played"
"""No scheduler of that name exists, so that pods wait for nobody but the player."""
JOB = {"apiVersion": "batch/v1", "kind": "Job"}


class JobKind(NamedTuple):
    """What people create for a job. version: with its group. selector: of the Jobs that the
    operator makes for it."""

    version: str
    plural: str
    selector: str


DINO_JOB = JobKind(names.API_VERSION, names.PLURAL, OURS)


def never(name: str) -> bool:
    """No pod runs on."""
    return False


@dataclass
class JobPlayer:
    """Plays every Job of the namespace.

    runs: seconds for which a pod that works runs. stays: whether the pods that work for the DinoJob
    of that name run on for ever. running: DinoJobs that say that they run. ended: when the
    DinoJobs that have ended were seen to, by the clock. kind: what is followed in place of
    DinoJobs; its pods leave no last words.
    """

    api: Api
    runs: float = 0.0
    stays: Callable[[str], bool] = never
    kind: JobKind = DINO_JOB
    running: set[str] = field(default_factory=set)
    ended: dict[str, float] = field(default_factory=dict)
    trouble: list[str] = field(default_factory=list)
    _seen: set[str] = field(default_factory=set)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def play(self) -> None:
        """Until it is cancelled."""
        where = f"/apis/batch/v1/namespaces/{self.api.namespace}/jobs"
        async for kind, job in self.api.watch(where, self.kind.selector):
            uid = job["metadata"]["uid"]
            if kind == "ADDED" and uid not in self._seen and not ApiObject(job).is_finished:
                self._seen.add(uid)
                task = asyncio.create_task(self._live(job))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def follow(self) -> None:
        """Notes what is told of DinoJobs, until it is cancelled."""
        where = self.api.collection(self.kind.version, self.kind.plural)
        async for kind, thing in self.api.watch(where):
            name = thing["metadata"]["name"]
            if kind != "DELETED" and ApiObject(thing).is_finished:
                self.ended.setdefault(name, time.monotonic())
            if (thing.get("status") or {}).get("phase") == "Running":
                self.running.add(name)
            else:
                self.running.discard(name)

    async def _live(self, job: Object) -> None:
        try:
            await self._run(job)
        except aiohttp.ClientResponseError as error:
            if error.status != 404:  # deleted meanwhile
                self.trouble.append(f"{job['metadata']['name']}: {error.status} {error.message}")
        except aiohttp.ClientError as error:
            self.trouble.append(f"{job['metadata']['name']}: {error!r}")

    async def _run(self, job: Object) -> None:
        """A Job from its first pod to its end."""
        labels = job["metadata"]["labels"]
        stage, began = labels.get(Label.ACTION.value, ""), stamp()
        pod = await self._make_pod(job)
        await self._tell(job, {"startTime": began, "active": 1, "ready": 0})
        await self._say(pod, "Running", {"running": {"startedAt": stamp()}})
        if stage != Stage.PREFLIGHT:
            if self.stays(labels.get(Label.JOB.value, "")):
                return
            await asyncio.sleep(self.runs)
        now = stamp()
        ended: Object = {"exitCode": 0, "reason": "Completed", "startedAt": began}
        ended |= {"finishedAt": now, "message": json.dumps(words(stage)) if stage else ""}
        await self._say(pod, "Succeeded", {"terminated": ended})
        await self._tell(job, complete(began, now))

    async def _make_pod(self, job: Object) -> str:
        meta, template = job["metadata"], job["spec"]["template"]
        name = f"{meta['name']}-0"
        owner = {**JOB, "name": meta["name"], "uid": meta["uid"], "controller": True}
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {**template["metadata"], "name": name, "ownerReferences": [owner]},
            "spec": {**template["spec"], "schedulerName": SCHEDULER},
        }
        await self.api.call("POST", f"/api/v1/namespaces/{self.api.namespace}/pods", pod)
        return name

    async def _tell(self, job: Object, status: Object) -> None:
        where = f"/apis/batch/v1/namespaces/{self.api.namespace}/jobs/{job['metadata']['name']}"
        await self.api.call("PATCH", f"{where}/status", {"status": status}, MERGE)

    async def _say(self, pod: str, phase: str, state: Object) -> None:
        container: dict[str, Any] = {"name": "trainer", "image": "trainer:1", "imageID": ""}
        container |= {"state": state, "ready": "running" in state, "restartCount": 0}
        body = {"status": {"phase": phase, "containerStatuses": [container]}}
        await self.api.pod("PATCH", pod, "/status", body, MERGE)


def words(stage: str) -> Object:
    """The last words of a pod that went well."""
    if stage == Stage.PREFLIGHT:
        return CHECKED
    engine = {"uri": "s3://bucket/out/model.engine", "format": "engine"}
    kept = RESULT if stage == names.Action.TRAIN else {"schema": 1, "model": engine}
    return {**kept, "action": stage}


def complete(began: str, ended: str) -> Object:
    """The status of a Job that succeeded, as the Job controller leaves it."""
    conditions = [
        {
            "type": kind,
            "status": "True",
            "reason": "CompletionsReached",
            "message": "Reached expected number of succeeded pods",
            "lastProbeTime": ended,
            "lastTransitionTime": ended,
        }
        for kind in ("SuccessCriteriaMet", "Complete")
    ]
    return {
        "startTime": began,
        "completionTime": ended,
        "active": 0,
        "ready": 0,
        "succeeded": 1,
        "uncountedTerminatedPods": {},
        "conditions": conditions,
    }
