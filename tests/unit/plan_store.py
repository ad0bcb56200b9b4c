"""An API server in memory, which refuses what must never be asked of it.

Only what the operator can notice is modelled. Its controllers are in `plan_world`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import datetime

from dino_api import rfc3339
from dino_api.names import KUEUE_QUEUE_LABEL, Label, Stage
from dino_operator.plan.annotations import Annotation
from dino_operator.plan.model import Delete, Object, Patch, is_finished, is_true
from dino_operator.plan.observed import objects
from dino_operator.plan.observed.pod import Pod
from dino_operator.runtime.client import ApiError
from dino_operator.runtime.keys import PLURALS, Key, Kind, keys_of
from tests.builders import NOON, a_job
from tests.unit.plan_actions import job_to


class Crash(Exception):
    """The operator's process ends here."""


class Store:
    """What exists. Every change goes through `_store`, which numbers it and tells watchers."""

    def __init__(self) -> None:
        self.things: dict[Kind, dict[str, Object]] = {kind: {} for kind in Kind}
        self.others: set[tuple[str, str]] = set()
        self.version = 10
        self.now: datetime = NOON
        self.born = 0
        self.captures = False
        self.writes = 0
        self.crash: Callable[[str], None] = lambda moment: None
        self.before: Object = {}
        self.watchers: list[Callable[[Kind, str, Object], None]] = []
        self.ended: dict[str, Object] = {}
        self.created_jobs: list[str] = []
        self.checked: set[str | None] = set()
        self.micro_batches: dict[str | None, int] = {}
        self.limit_ranges: list[Object] = []
        self.events_of: dict[str, list[Object]] = {}

    # ---- the API that the operator sees -------------------------------------------------------

    async def get(self, kind: str, namespace: str, name: str) -> Object | None:
        if kind not in set(Kind):
            there = {(of.lower() + "s", named) for of, named in self.others}
            return {"metadata": {"name": name}} if (kind, name) in there else None
        return copy.deepcopy(self.things[Kind(kind)].get(name))

    async def served(self, group: str) -> frozenset[str]:
        return frozenset()  # no Katib

    async def list_in(self, group: str, plural: str, space: str, selector: str) -> list[Object]:
        raise AssertionError("nothing of Kueue is listed where it is not served")

    async def list_all(
        self, kind: str, namespace: str | None, selector: str
    ) -> tuple[list[Object], int]:
        assert kind == "limitranges", "nothing of Katib is listed where it is not served"
        return copy.deepcopy(self.limit_ranges), self.version

    async def events(self, namespace: str, uid: str) -> list[Object]:
        return copy.deepcopy(self.events_of.get(uid, []))

    async def children(self, kind: Kind, key: Key) -> tuple[list[Object], int]:
        found = [each for each in self.things[kind].values() if key in keys_of(kind, each)]
        return copy.deepcopy(found), self.version

    async def create(self, thing: Object) -> Object:
        with self._write():
            kind, name = thing["kind"], thing["metadata"]["name"]
            plural = PLURALS.get(kind)
            if (kind, name) in self.others or (plural and name in self.things[plural]):
                raise ApiError(409, "AlreadyExists", name)
            if plural is None:
                self.others.add((kind, name))
                return thing
            made = self._newborn(thing)
            if plural is Kind.JOBS:
                self._may_run(thing)
                self.created_jobs.append(name)
                if self.captures:  # a LocalQueue named default, by Kueue's webhook
                    made["metadata"]["labels"].setdefault(KUEUE_QUEUE_LABEL, "default")
                    made["spec"]["suspend"] = True
                held = made["spec"].get("suspend")
                made["status"] = {} if held else {"startTime": self._stamp()}
            self._store(plural, made)
            return copy.deepcopy(made)

    async def patch(self, namespace: str, patch: Patch) -> Object:
        with self._write():
            thing = self._same(Kind(patch.kind), patch.name, patch.uid)
            self.before = copy.deepcopy(thing)
            notes = patch.body.get("metadata", {}).get("annotations", {})
            thing["metadata"].setdefault("annotations", {}).update(notes)
            _drop_nulls(thing["metadata"]["annotations"])
            thing["metadata"]["labels"].update(patch.body.get("metadata", {}).get("labels", {}))
            changes = patch.body.get("spec", {})
            if patch.kind == "jobs" and "suspend" in changes:
                assert not queued(thing), "Kueue alone suspends and resumes its Jobs"
                if changes["suspend"] is False:
                    assert not self._is_stopped(thing), "a stopped job is not resumed"
                    marks = self.before["metadata"]["annotations"]
                    assert Annotation.HELD in marks, "whoever suspends a Job resumes it"
                    thing["status"]["startTime"] = self._stamp()
            thing["spec"].update(changes)
            _drop_nulls(thing["spec"])
            self._store(Kind(patch.kind), thing)
            return copy.deepcopy(thing)

    async def delete(self, namespace: str, delete: Delete) -> None:
        with self._write():
            kind = Kind(delete.kind)
            if delete.name in self.things[kind]:
                self.remove(kind, self._same(kind, delete.name, delete.uid))

    async def apply_status(self, resource: Object, status: Object) -> Object:
        with self._write():
            meta, kind = resource["metadata"], PLURALS[resource["kind"]]
            stored = self._same(kind, meta["name"], meta["uid"])
            if meta["resourceVersion"] != stored["metadata"]["resourceVersion"]:
                raise ApiError(409, "Conflict", "another version")
            assert stored.get("status") != status, "a write without a change"
            stored["status"] = copy.deepcopy(status)
            self._store(kind, stored)
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
            assert is_finished(other), f"{objects.name_of(other)} is not finished"
        for pod in self.things[Kind.PODS].values():
            assert not Pod(pod).is_live, f"{objects.name_of(pod)} may hold a GPU"
        owner = objects.controller_uid(job)
        assert owner not in self.ended, "nothing is run after the end"
        if reads_result(job):
            assert self._has_worked(owner), "no result is read before the work is done"
            return
        assert not self._is_stopped(job), "a stopped job is not run again"
        if is_preflight(job):
            assert owner not in self.checked, "good data is not checked again"
        else:
            reads = job["metadata"]["labels"][Label.ACTION.value] != "gen_trt_engine"
            assert owner in self.checked or not reads, "no work before its data was checked"
            self._may_be_so_large(owner, job)

    def _has_worked(self, owner: str | None) -> bool:
        """Whether an attempt at the work has succeeded."""
        mine = (j for j in self.things[Kind.JOBS].values() if objects.controller_uid(j) == owner)
        return any(is_true(job, "Complete") and not is_preflight(job) for job in mine)

    def _is_stopped(self, job: Object) -> bool:
        """Whether the DinoJob of the Job is to end for good."""
        owner, mine = self.dinojob, objects.controller_uid(job)
        policy = owner["spec"]["runPolicy"] if owner else {}
        return bool(owner and objects.uid_of(owner) == mine and policy.get("stop"))

    def _may_be_so_large(self, owner: str | None, job: Object) -> None:
        """What did not fit in memory once is not tried again."""
        pod = job["spec"]["template"]["spec"]["containers"][0]
        env = {each["name"]: each.get("value") for each in pod["env"]}
        images = int(env.get("DINO_MICRO_BATCH", 1000))
        assert images <= self.micro_batches.get(owner, 1000), "the micro-batch grew"
        self.micro_batches[owner] = images

    # ---- storage ------------------------------------------------------------------------------

    def _stamp(self) -> str:
        return rfc3339.text(self.now)

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

    def submit(
        self,
        retries: int = 2,
        suspended: bool = False,
        nodes: int = 1,
        queue: str | None = None,
        action: str = "train",
        deadline: int | None = None,
    ) -> None:
        """kubectl apply. Only a training has several nodes."""
        job = job_to(action).policy(maxRetries=retries, suspend=suspended)
        if deadline:
            job.policy(activeDeadlineSeconds=deadline)
        gpus = int(action == "gen_trt_engine")
        job.spec(resources={"gpus": gpus, "nodes": nodes if action == "train" else 1})
        if queue:
            job.spec(queueName=queue)
        self._store(Kind.DINOJOBS, self._newborn(job.obj()))

    def submit_searched(self) -> None:
        """The same, without automlPolicy: a search is made for it."""
        self._store(Kind.DINOJOBS, self._newborn(a_job().searched().obj()))

    def search_says(self, status: Object) -> None:
        """The status of the DinoAutoML, as its own plan would write it."""
        search = copy.deepcopy(self.things[Kind.DINOAUTOMLS]["x"])
        search["status"] = status
        self._store(Kind.DINOAUTOMLS, search)

    @property
    def dinojob(self) -> Object | None:
        """The one DinoJob, if it exists."""
        return copy.deepcopy(self.things[Kind.DINOJOBS].get("x"))

    def says(self, progress: Object) -> None:
        """The pod of the DinoJob writes its progress."""
        found = self.dinojob
        assert found is not None
        found["status"]["progress"] = progress
        self._store(Kind.DINOJOBS, found)

    def edit(self, **policy: object) -> None:
        """kubectl patch of spec.runPolicy."""
        job = self.dinojob
        assert job is not None
        job["spec"]["runPolicy"].update(policy)
        job["metadata"]["generation"] += 1
        self._store(Kind.DINOJOBS, job)

    def note_ends(self) -> None:
        """Remembers ends, and fails where one was taken back."""
        job = self.dinojob
        if job is None:
            return
        over = [each for each in ("Complete", "Failed") if is_true(job, each)]
        uid = job["metadata"]["uid"]
        assert len(over) < 2
        assert uid not in self.ended or over == self.ended[uid]["over"], "an end was taken back"
        if over:
            self.ended.setdefault(uid, {"over": over})


def _drop_nulls(part: Object) -> None:
    """A merge patch removes what is null."""
    for key in [key for key, value in part.items() if value is None]:
        del part[key]


def queued(job: Object) -> bool:
    """Whether Kueue decides when the Job runs."""
    return KUEUE_QUEUE_LABEL in job["metadata"]["labels"]


def reads_result(job: Object) -> bool:
    """Whether the Job reads the result of an attempt."""
    return bool(job["metadata"]["labels"][Label.ACTION.value] == Stage.RESULT)


def is_preflight(job: Object) -> bool:
    """Whether the Job checks data."""
    return bool(job["metadata"]["labels"][Label.ACTION.value] == Stage.PREFLIGHT)


class _Write:
    """A request that may be lost on the way, or be done and its answer lost."""

    def __init__(self, world: Store) -> None:
        self._world = world

    def __enter__(self) -> None:
        self._world.crash("before")

    def __exit__(self, *error: object) -> None:
        self._world.note_ends()
        if error[0] is None:
            self._world.crash("after")
