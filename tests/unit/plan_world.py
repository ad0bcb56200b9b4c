"""A cluster in memory: an API server, a Job controller and a garbage collector, one step at a time.

Only what the operator can notice is modelled. Nothing happens by itself: a test, or Hypothesis,
calls the steps, so that it decides what comes late, twice, in the middle of something, or never.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

from dino_operator.plan import observe
from dino_operator.plan.model import Delete, Object, Patch
from dino_operator.plan.names import Annotation
from dino_operator.runtime.cache import Key, Kind, key_of
from dino_operator.runtime.client import ApiError
from tests.builders import NOON, a_job, at

RESULT = '{"schema":1,"action":"train","metrics":{"mAP50":0.75}}'


class Crash(Exception):
    """The operator's process ends here."""


class World:
    """What exists. Every change goes through `_store`, which numbers it and tells watchers."""

    def __init__(self) -> None:
        self.things: dict[Kind, dict[str, Object]] = {kind: {} for kind in Kind}
        self.others: set[tuple[str, str]] = set()
        self.version = 10
        self.now: datetime = NOON
        self.born = 0
        self.writes = 0
        self.crash: Callable[[str], None] = lambda moment: None
        self.watchers: list[Callable[[Kind, str, Object], None]] = []
        self.ended: dict[str, Object] = {}
        self.created_jobs: list[str] = []

    # ---- the API that the operator sees -------------------------------------------------------

    async def get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        return copy.deepcopy(self.things[kind].get(name))

    async def children(self, kind: Kind, key: Key) -> tuple[list[Object], int]:
        found = [each for each in self.things[kind].values() if key_of(kind, each) == key]
        return copy.deepcopy(found), self.version

    async def create(self, thing: Object) -> Object:
        with self._write():
            kind, name = thing["kind"], thing["metadata"]["name"]
            taken = name in self.things[Kind.JOBS] if kind == "Job" else (kind, name) in self.others
            if taken:
                raise ApiError(409, "AlreadyExists", name)
            if kind != "Job":
                self.others.add((kind, name))
                return thing
            self._may_run(thing)
            self.created_jobs.append(name)
            made = self._newborn(thing)
            made["status"] = {"startTime": self._stamp()}
            self._store(Kind.JOBS, made)
            return copy.deepcopy(made)

    async def patch_job(self, namespace: str, patch: Patch) -> Object:
        with self._write():
            job = self._same(Kind.JOBS, patch.name, patch.uid)
            notes = patch.body.get("metadata", {}).get("annotations", {})
            job["metadata"].setdefault("annotations", {}).update(notes)
            if patch.body.get("spec", {}).get("suspend") is False:
                job["status"]["startTime"] = self._stamp()
            job["spec"].update(patch.body.get("spec", {}))
            self._store(Kind.JOBS, job)
            return copy.deepcopy(job)

    async def delete_job(self, namespace: str, delete: Delete) -> None:
        with self._write():
            if delete.name in self.things[Kind.JOBS]:
                self.remove(Kind.JOBS, self._same(Kind.JOBS, delete.name, delete.uid))

    async def apply_status(self, resource: Object, status: Object) -> Object:
        with self._write():
            meta = resource["metadata"]
            stored = self._same(Kind.DINOJOBS, meta["name"], meta["uid"])
            if meta["resourceVersion"] != stored["metadata"]["resourceVersion"]:
                raise ApiError(409, "Conflict", "another version")
            assert stored.get("status") != status, "a write without a change"
            stored["status"] = copy.deepcopy(status)
            self._store(Kind.DINOJOBS, stored)
            return copy.deepcopy(stored)

    def _write(self) -> _Write:
        self.writes += 1
        return _Write(self)

    def _same(self, kind: Kind, name: str, uid: str) -> Object:
        found = self.things[kind].get(name)
        if found is None:
            raise ApiError(404, "NotFound", name)
        if found["metadata"]["uid"] != uid:
            raise ApiError(409, "Conflict", name)
        return copy.deepcopy(found)

    def _may_run(self, job: Object) -> None:
        """No GPU Job beside another, none after the end, none of a name that trains elsewhere."""
        for other in self.things[Kind.JOBS].values():
            assert observe.is_finished(other), f"{observe.name_of(other)} is not finished"
        for pod in self.things[Kind.PODS].values():
            assert not observe.is_live(pod), f"{observe.name_of(pod)} may hold a GPU"
        assert observe.controller_uid(job) not in self.ended, "nothing is run after the end"

    # ---- storage ------------------------------------------------------------------------------

    def _stamp(self) -> str:
        return observe.format_time(self.now)

    def _newborn(self, thing: Object) -> Object:
        made = copy.deepcopy(thing)
        self.born += 1
        made["metadata"].update(uid=f"uid-{self.born}", creationTimestamp=self._stamp())
        return made

    def _store(self, kind: Kind, thing: Object) -> None:
        self.version += 1
        thing["metadata"]["resourceVersion"] = str(self.version)
        name = thing["metadata"]["name"]
        event = "MODIFIED" if name in self.things[kind] else "ADDED"
        self.things[kind][name] = thing
        self._tell(kind, event, thing)

    def remove(self, kind: Kind, thing: Object) -> None:
        """It is gone."""
        self.version += 1
        gone = self.things[kind].pop(thing["metadata"]["name"])
        gone["metadata"]["resourceVersion"] = str(self.version)
        self._tell(kind, "DELETED", gone)

    def _tell(self, kind: Kind, event: str, thing: Object) -> None:
        for watcher in self.watchers:
            watcher(kind, event, copy.deepcopy(thing))

    # ---- users --------------------------------------------------------------------------------

    def submit(self, retries: int = 2, suspended: bool = False) -> None:
        """kubectl apply."""
        job = a_job().policy(maxRetries=retries, suspend=suspended).obj()
        self._store(Kind.DINOJOBS, self._newborn(job))

    @property
    def dinojob(self) -> Object | None:
        """The one DinoJob, if it exists."""
        return copy.deepcopy(self.things[Kind.DINOJOBS].get("x"))

    def edit(self, **policy: object) -> None:
        """kubectl patch of spec.runPolicy."""
        job = self.dinojob
        assert job is not None
        job["spec"]["runPolicy"].update(policy)
        job["metadata"]["generation"] += 1
        self._store(Kind.DINOJOBS, job)

    # ---- controllers --------------------------------------------------------------------------

    def jobs(self) -> Iterator[Object]:
        """Copies of the Jobs."""
        yield from copy.deepcopy(list(self.things[Kind.JOBS].values()))

    def pods(self) -> Iterator[Object]:
        """Copies of the pods."""
        yield from copy.deepcopy(list(self.things[Kind.PODS].values()))

    def live_pod(self) -> Object | None:
        """The pod that may hold a GPU, if there is one."""
        return next(filter(observe.is_live, self.pods()), None)

    def collect_garbage(self) -> None:
        """Deletes what lost its owner; a live pod is asked to go and goes when it ends."""
        owners = {each["metadata"]["uid"] for kind in Kind for each in self.things[kind].values()}
        for job in self.jobs():
            if observe.controller_uid(job) not in owners:
                self.remove(Kind.JOBS, job)
        for pod in self.pods():
            if observe.controller_uid(pod) not in owners:
                self.ask_to_go(pod)

    def ask_to_go(self, pod: Object) -> None:
        """Deletes a pod: at once if it ended, else it first gets its grace period."""
        if not observe.is_live(pod):
            self.remove(Kind.PODS, pod)
        elif "deletionTimestamp" not in pod["metadata"]:
            pod["metadata"]["deletionTimestamp"] = self._stamp()
            self._store(Kind.PODS, pod)

    def control_jobs(self) -> None:
        """One round of the Job controller."""
        for job in self.jobs():
            if observe.is_finished(job):
                continue
            pods = observe.pods_of(job, self.pods())
            live = [pod for pod in pods if observe.is_live(pod)]
            if job["spec"].get("suspend"):
                for pod in live:
                    self.ask_to_go(pod)
            elif not live and not self._finish(job, pods):
                self._make_pod(job)

    def _finish(self, job: Object, pods: list[Object]) -> bool:
        """Ends the Job by its last pod's exit code; 143 is ignored and replaced."""
        codes = [(observe.container_state(pod, "terminated") or {}).get("exitCode") for pod in pods]
        made = observe.annotation(job, Annotation.RETRIES) and job["status"].get("made", 0)
        if 0 in codes:
            job["status"]["completionTime"] = self._stamp()
            self._end(job, "Complete", "CompletionsReached")
        elif [code for code in codes if code not in (143, None)]:
            self._end(job, "Failed", "PodFailurePolicy")
        elif made > len(pods):
            self._end(job, "Failed", "BackoffLimitExceeded")
        else:
            return False
        return True

    def _end(self, job: Object, kind: str, reason: str) -> None:
        ended = {"type": kind, "status": "True", "reason": reason}
        job["status"]["conditions"] = [{**ended, "lastTransitionTime": self._stamp()}]
        self._store(Kind.JOBS, job)

    def _make_pod(self, job: Object) -> None:
        owner = {"kind": "Job", "uid": job["metadata"]["uid"], "controller": True}
        pod = self._newborn({"metadata": {}, "spec": {}, "status": {"phase": "Pending"}})
        pod["metadata"].update(
            name=f"{job['metadata']['name']}-{self.born}",
            namespace=job["metadata"]["namespace"],
            labels=job["metadata"]["labels"],
            ownerReferences=[owner],
        )
        self._store(Kind.PODS, pod)
        job["status"]["made"] = job["status"].get("made", 0) + 1
        self._store(Kind.JOBS, job)

    def start_pod(self) -> None:
        """A pending pod runs."""
        pod = self.live_pod()
        if pod is None or pod["status"]["phase"] != "Pending":
            return
        pod["status"] = {"phase": "Running", "containerStatuses": [_container("running")]}
        self._store(Kind.PODS, pod)

    def end_pod(self, code: int) -> None:
        """A live pod ends; one that was asked to go ends with 143 and disappears."""
        pod = self.live_pod()
        if pod is None:
            return
        going = "deletionTimestamp" in pod["metadata"]
        code = 143 if going else code
        ended = {"exitCode": code, "reason": "Error", "finishedAt": self._stamp()}
        if code == 0:
            ended["message"] = RESULT
        phase = "Failed" if code else "Succeeded"
        pod["status"] = {"phase": phase, "containerStatuses": [_container("terminated", **ended)]}
        self._store(Kind.PODS, pod)

    def lose_pod(self) -> None:
        """A pod disappears without a word."""
        pod = self.live_pod()
        if pod is not None:
            self.remove(Kind.PODS, pod)

    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.now += timedelta(seconds=seconds)

    def note_ends(self) -> None:
        """Remembers ends, and fails where one was taken back."""
        job = self.dinojob
        if job is None:
            return
        over = [each for each in ("Complete", "Failed") if observe.is_true(job, each)]
        uid = job["metadata"]["uid"]
        assert len(over) < 2
        assert uid not in self.ended or over == self.ended[uid]["over"], "an end was taken back"
        if over:
            self.ended.setdefault(uid, {"over": over})


class _Write:
    """A request that may be lost on the way, or be done and its answer lost."""

    def __init__(self, world: World) -> None:
        self._world = world

    def __enter__(self) -> None:
        self._world.crash("before")

    def __exit__(self, *error: object) -> None:
        self._world.note_ends()
        if error[0] is None:
            self._world.crash("after")


def _container(state: str, **more: object) -> Object:
    return {"name": observe.CONTAINER, "state": {state: {"startedAt": at(0), **more}}}
