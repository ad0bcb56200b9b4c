"""An API server in memory, which refuses what must never be asked of it.

Only what the operator can notice is modelled. Its controllers are in `plan_world`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

from dino_api import rfc3339
from dino_api.names import KIND, KUEUE_QUEUE_LABEL, FailureReason, Label, Stage
from dino_operator.plan.annotations import Annotation
from dino_operator.plan.model import Delete, Object, Patch, is_true
from dino_operator.plan.observed import objects
from dino_operator.plan.observed.api_object import ApiObject
from dino_operator.plan.observed.pod import Pod
from dino_operator.runtime.client import ApiError
from dino_operator.runtime.keys import KINDS, PLURALS, Key, Kind, keys_of
from tests.builders import NOON, a_job
from tests.unit.plan_actions import job_to

NESTED = frozenset({dict, list})


class Crash(Exception):
    """The operator's process ends here."""


def copied(thing: Any) -> Any:
    """A copy of what JSON may say, in a tenth of the time of copy.deepcopy."""
    if isinstance(thing, dict):
        return {k: copied(each) if type(each) in NESTED else each for k, each in thing.items()}
    if isinstance(thing, list):
        return [copied(each) if type(each) in NESTED else each for each in thing]
    return thing


class Store:
    """What exists. Every change goes through `_store`, which numbers it and tells watchers.

    ever: whether what others may change at any time is so, or was when the plan that asks began.
    """

    def __init__(self) -> None:
        self.things: dict[Kind, dict[str, Object]] = {kind: {} for kind in Kind}
        self.others: set[tuple[str, str]] = set()
        self.version = 10
        self.now: datetime = NOON
        self.born = 0
        self.captures = False
        self.takes_every_spec = False
        self.writes = 0
        self.crash: Callable[[str], None] = lambda moment: None
        self.read: Callable[[], None] = lambda: None
        self.ever: Callable[[Callable[[], bool]], bool] = lambda fact: fact()
        self.before: Object = {}
        self.watchers: list[Callable[[Kind, str, Object], None]] = []
        self.ended: dict[str, Object] = {}
        self.created_jobs: list[str] = []
        self.checked: set[str | None] = set()
        self.done: set[str | None] = set()
        self.failed: set[str | None] = set()
        self.unread: set[str | None] = set()
        self.micro_batches: dict[str | None, int] = {}
        self.limit_ranges: list[Object] = []
        self.events_of: dict[str, list[Object]] = {}

    # ---- the API that the operator sees -------------------------------------------------------

    async def get(self, kind: str, namespace: str, name: str) -> Object | None:
        self.read()
        if kind not in set(Kind):
            there = {(of.lower() + "s", named) for of, named in self.others}
            return {"metadata": {"name": name}} if (kind, name) in there else None
        return self.things[Kind(kind)].get(name)

    async def served(self, group: str) -> frozenset[str]:
        return frozenset()  # no Katib

    async def list_in(self, group: str, plural: str, space: str, selector: str) -> list[Object]:
        raise AssertionError("nothing of Kueue is listed where it is not served")

    async def list_all(
        self, kind: str, namespace: str | None, selector: str
    ) -> tuple[list[Object], int]:
        assert kind == "limitranges", "nothing of Katib is listed where it is not served"
        self.read()
        return copied(self.limit_ranges), self.version

    async def events(self, namespace: str, uid: str) -> list[Object]:
        return copied(self.events_of.get(uid, []))

    async def children(self, kind: Kind, key: Key) -> tuple[list[Object], int]:
        self.read()
        found = [each for each in self.things[kind].values() if key in keys_of(kind, each)]
        return found, self.version

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
            if plural in KINDS:
                self._may_exist(thing)
            if plural is Kind.JOBS:
                self._may_run(thing)
                self.created_jobs.append(name)
                if self.captures:  # a LocalQueue named default, by Kueue's webhook
                    made["metadata"]["labels"].setdefault(KUEUE_QUEUE_LABEL, "default")
                    made["spec"]["suspend"] = True
                held = made["spec"].get("suspend")
                made["status"] = {} if held else {"startTime": self._stamp()}
            return self._store(plural, made)

    async def patch(self, namespace: str, patch: Patch) -> Object:
        with self._write():
            thing = self._same(Kind(patch.kind), patch.name, patch.uid)
            self.before = copied(thing["metadata"].get("annotations", {}))
            changes = patch.body.get("spec", {})
            if patch.kind == "jobs" and "suspend" in changes:
                assert not queued(thing), "Kueue alone suspends and resumes its Jobs"
                if changes["suspend"] is False:
                    going = self.ever(lambda: not self._is_stopped(thing))
                    assert going, "a stopped job is not resumed"
                    assert Annotation.HELD in self.before, "whoever suspends a Job resumes it"
                    thing["status"]["startTime"] = self._stamp()
            if patch.kind != "jobs" and changes:
                thing["metadata"]["generation"] += 1
            merge(thing, patch.body)
            return self._store(Kind(patch.kind), thing)

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
            told = copied(status)
            progress = stored.get("status", {}).get("progress")
            if progress is not None:  # the pod's own field
                told.setdefault("progress", progress)
            assert stored.get("status") != told, "a write without a change"
            planned = told.get("observedGeneration")
            assert planned == stored["metadata"]["generation"], "a status of another spec"
            if kind is Kind.DINOJOBS and ApiObject({"status": told}).is_finished:
                self._may_end(stored, told)
            if kind is Kind.DINOAUTOMLS and "completionTime" in told:
                self._may_end_search(stored)
            stored["status"] = told
            return self._store(kind, stored)

    def _write(self) -> _Write:
        self.writes += 1
        return _Write(self)

    def _same(self, kind: Kind, name: str, uid: str) -> Object:
        found = self.things[kind].get(name)
        if found is None:
            raise ApiError(404, "NotFound", name)
        if found["metadata"]["uid"] != uid:
            raise ApiError(409, "Conflict", name)
        return copied(found)

    def _may_exist(self, made: Object) -> None:
        """Whether a DinoJob or DinoAutoML may be made now; a world with searches says more."""

    def _may_run(self, job: Object) -> None:
        """No GPU Job beside another, none after the end, none of a name that trains elsewhere."""
        for other in self._beside(Kind.JOBS, job):
            assert ApiObject(other).is_finished, f"{objects.name_of(other)} is not finished"
        for pod in self._beside(Kind.PODS, job):
            assert not Pod(pod).is_live, f"{objects.name_of(pod)} may hold a GPU"
        owner = objects.controller_uid(job)
        assert owner not in self.ended, "nothing is run after the end"
        if Label.JOB.value not in job["metadata"]["labels"]:
            return  # the report of a search
        if reads_result(job):
            worked = self.ever(lambda: self._has_worked(owner))
            assert worked, "no result is read before the work is done"
            return
        assert self.ever(lambda: not self._is_stopped(job)), "a stopped job is not run again"
        assert not self._has_worked(owner), "work that is done is not done again"
        if is_preflight(job):
            assert not self._knows_data(job), "good data is not checked again"
        else:
            reads = self._owner(job)["spec"].get("datasets")
            assert self._is_checked(owner) or not reads, "no work before its data was checked"
            self._may_be_so_large(owner, job)

    def _beside(self, kind: Kind, job: Object) -> Iterator[Object]:
        """What carries the same name of a job."""
        wanted = job["metadata"]["labels"].get(Label.JOB.value)
        for each in self.things[kind].values():
            if each["metadata"]["labels"].get(Label.JOB.value) == wanted:
                yield each

    def _owner(self, job: Object) -> Object:
        """The DinoJob of the Job; an empty one where it is gone."""
        mine = objects.controller_uid(job)
        found = (each for each in self.things[Kind.DINOJOBS].values())
        empty: Object = {"metadata": {}, "spec": {}}
        return next((each for each in found if objects.uid_of(each) == mine), empty)

    def _is_checked(self, owner: str | None) -> bool:
        """Whether the data of that DinoJob was found good, by its own preflight or another's."""
        return owner in self.checked

    def _has_worked(self, owner: str | None) -> bool:
        """Whether an attempt at the work has succeeded and is there to be seen. One whose Job was
        deleted before that was written down is made again: it finds its result."""
        mine = (j for j in self.things[Kind.JOBS].values() if objects.controller_uid(j) == owner)
        work = (job for job in mine if not (is_preflight(job) or reads_result(job)))
        return any(is_true(job, "Complete") for job in work)

    def _knows_data(self, job: Object) -> bool:
        """Whether it is to be seen that the data is good: in the status, or of the Job that checked
        it. Where that was deleted before it was written down, the data is checked again."""
        owner = objects.controller_uid(job)
        mine = (j for j in self.things[Kind.JOBS].values() if objects.controller_uid(j) == owner)
        seen = any(is_preflight(each) and is_true(each, "Complete") for each in mine)
        return seen or is_true(self._owner(job), "DataReady")

    def _is_stopped(self, job: Object) -> bool:
        """Whether the DinoJob of the Job is to end for good."""
        return bool(self._owner(job)["spec"].get("runPolicy", {}).get("stop"))

    def _may_end(self, resource: Object, told: Object) -> None:
        """The last word is of a child that ended so, or of the spec."""
        uid, policy = objects.uid_of(resource), resource["spec"].get("runPolicy", {})
        for pod in self.things[Kind.PODS].values():
            mine = pod["metadata"]["labels"].get(Label.JOB_UID.value) == uid
            assert not (mine and Pod(pod).is_live), "the last word before its pods have ended"
        if is_true({"status": told}, "Complete"):
            worked = uid in self.done or self.ever(lambda: self._search_ended(uid, "Complete"))
            assert worked, "Complete, and no Job of it has succeeded"
            return
        (last,) = (each for each in told["conditions"] if each["type"] == "Failed")
        reason = last["reason"]
        if reason == FailureReason.STOPPED:
            assert policy.get("stop"), "Stopped, and nobody has asked for it"
        elif reason == FailureReason.INVALID_SPEC:
            assert uid in self.failed or not self.takes_every_spec, "a spec that is not refused"
        elif reason == FailureReason.DEADLINE_EXCEEDED and uid not in self.failed:
            assert policy.get("activeDeadlineSeconds"), "a deadline that there is not"
        else:
            of_child = uid in self.failed or self.ever(
                lambda: self._search_ended(uid, "Failed") or self._parent_failed(resource)
            )
            assert of_child, f"{reason}, of no child"

    def _may_end_search(self, search: Object) -> None:
        """A search is over once each of its trials is: from then on none of them is followed."""
        if "completionTime" in search.get("status", {}):
            return
        for each in self.things[Kind.DINOJOBS].values():
            mine = objects.controller_uid(each) == objects.uid_of(search)
            trial = Label.TRIAL.value in each["metadata"].get("labels", {})
            running = mine and trial and not ApiObject(each).is_finished
            assert not running, f"the search is over, and {objects.name_of(each)} runs"

    def _search_ended(self, owner: str, how: str) -> bool:
        """Whether a search that was made for that DinoJob ended so."""
        mine = self.things[Kind.DINOAUTOMLS].values()
        return any(objects.controller_uid(each) == owner and is_true(each, how) for each in mine)

    def _parent_failed(self, resource: Object) -> bool:
        """Whether what it starts from has failed."""
        named = resource["spec"].get("parent") or {}
        kind = PLURALS[named.get("kind") or KIND]
        parent = self.things[kind].get(named.get("name", ""))
        return parent is not None and is_true(parent, "Failed")

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
        made = copied(thing)
        self.born += 1
        made["metadata"].update(uid=f"uid-{self.born}", creationTimestamp=self._stamp())
        made["metadata"].setdefault("generation", 1)
        return made

    def _store(self, kind: Kind, thing: Object) -> Object:
        """Keeps a copy and returns it. What is kept is never changed: readers get it as it is."""
        self.version += 1
        kept = copied(thing)
        kept["metadata"]["resourceVersion"] = str(self.version)
        name = kept["metadata"]["name"]
        event = "MODIFIED" if name in self.things[kind] else "ADDED"
        self.things[kind][name] = kept
        self._tell(kind, event, kept)
        return kept

    def remove(self, kind: Kind, thing: Object) -> None:
        """It is gone."""
        self.version += 1
        gone = copied(self.things[kind].pop(thing["metadata"]["name"]))
        gone["metadata"]["resourceVersion"] = str(self.version)
        self._tell(kind, "DELETED", gone)

    def _tell(self, kind: Kind, event: str, thing: Object) -> None:
        for watcher in self.watchers:
            watcher(kind, event, thing)

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
        """kubectl apply. Here only a training has several nodes."""
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
        search = copied(self.things[Kind.DINOAUTOMLS]["x"])
        search["status"] = status
        self._store(Kind.DINOAUTOMLS, search)

    @property
    def dinojob(self) -> Object | None:
        """The one DinoJob, if it exists; not to be changed."""
        return self.things[Kind.DINOJOBS].get("x")

    def says(self, progress: Object) -> None:
        """The pod of the DinoJob writes its progress."""
        found = copied(self.dinojob)
        assert found is not None
        found["status"]["progress"] = progress
        self._store(Kind.DINOJOBS, found)

    def edit(self, **policy: object) -> None:
        """kubectl patch of spec.runPolicy."""
        job = copied(self.dinojob)
        assert job is not None
        job["spec"]["runPolicy"].update(policy)
        job["metadata"]["generation"] += 1
        self._store(Kind.DINOJOBS, job)

    def label(self, value: str) -> None:
        """kubectl label: a foreign edit that says nothing."""
        job = copied(self.dinojob)
        assert job is not None
        job["metadata"].setdefault("labels", {})["team"] = value
        self._store(Kind.DINOJOBS, job)

    def note_ends(self) -> None:
        """Remembers ends, and fails where one was taken back."""
        for kind in KINDS:
            for thing in self.things[kind].values():
                self._note_end(thing)

    def _note_end(self, thing: Object) -> None:
        over = [each for each in ("Complete", "Failed") if is_true(thing, each)]
        uid = objects.uid_of(thing)
        assert len(over) < 2
        assert uid not in self.ended or over == self.ended[uid]["over"], "an end was taken back"
        if over:
            self.ended.setdefault(uid, {"over": over})


def merge(thing: Object, patch: Mapping[str, Any]) -> None:
    """A merge patch: what is null is removed."""
    for key, value in patch.items():
        if value is None:
            thing.pop(key, None)
        elif isinstance(value, dict):
            merge(thing.setdefault(key, {}), value)
        else:
            thing[key] = copied(value)


def queued(job: Object) -> bool:
    """Whether Kueue decides when the Job runs."""
    return KUEUE_QUEUE_LABEL in job["metadata"]["labels"]


def reads_result(job: Object) -> bool:
    """Whether the Job reads the result of an attempt."""
    return bool(job["metadata"]["labels"].get(Label.ACTION.value) == Stage.RESULT)


def is_preflight(job: Object) -> bool:
    """Whether the Job checks data."""
    return bool(job["metadata"]["labels"].get(Label.ACTION.value) == Stage.PREFLIGHT)


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
