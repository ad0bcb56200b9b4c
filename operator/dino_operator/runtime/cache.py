"""What the API server said last, by uid and version, without the parts that no plan reads.

Deliveries may be late, double or out of order: an object replaces another only if its version is
higher, and a uid that was seen deleted never comes back.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from enum import StrEnum

from dino_api.names import PLURAL, Label
from dino_operator.plan.model import Children, Object
from dino_operator.plan.names import job_label

Key = tuple[str, str]
"""Namespace, and the value of the job label: the same for a DinoJob and all its children."""


class Kind(StrEnum):
    """What is watched."""

    DINOJOBS = PLURAL
    JOBS = "jobs"
    PODS = "pods"


_META = (
    "name",
    "namespace",
    "uid",
    "generation",
    "resourceVersion",
    "creationTimestamp",
    "deletionTimestamp",
    "labels",
    "annotations",
    "ownerReferences",
)
_SPEC = {
    Kind.JOBS: ("suspend", "activeDeadlineSeconds", "ttlSecondsAfterFinished"),
    Kind.PODS: ("nodeName",),
}
_POD_STATUS = ("phase", "reason", "message", "startTime", "conditions", "containerStatuses")


def trim(kind: Kind, thing: Object) -> Object:
    """The parts that plans read. A pod shrinks to a tenth."""
    meta = {key: thing["metadata"][key] for key in _META if key in thing["metadata"]}
    status = thing.get("status") or {}
    if kind is Kind.DINOJOBS:
        meta.pop("annotations", None)
        return {**thing, "metadata": meta, "status": status}
    if kind is Kind.PODS:
        status = {key: status[key] for key in _POD_STATUS if key in status}
    spec = {key: thing["spec"][key] for key in _SPEC[kind] if key in thing.get("spec", {})}
    return {"metadata": meta, "spec": spec, "status": status}


def key_of(kind: Kind, thing: Object) -> Key:
    """Whose plan the object belongs to."""
    meta = thing["metadata"]
    if kind is Kind.DINOJOBS:
        return meta["namespace"], job_label(meta["name"])
    return meta["namespace"], str(meta.get("labels", {}).get(Label.JOB.value, ""))


def version_of(thing: Object) -> int:
    """resourceVersion as a number; the API server promises that it only grows."""
    return int(thing["metadata"].get("resourceVersion") or 0)


class Cache:
    """All watched objects by kind, key and name."""

    def __init__(self) -> None:
        self._store: dict[Kind, dict[Key, dict[str, Object]]] = {
            kind: defaultdict(dict) for kind in Kind
        }
        self._deleted: dict[str, int] = {}
        self._known: set[tuple[str, str, str]] = set()

    def put(self, kind: Kind, thing: Object) -> bool:
        """Takes the object in, unless something newer is known. Returns whether it did."""
        uid, version = thing["metadata"]["uid"], version_of(thing)
        if uid in self._deleted:
            return False
        bucket = self._store[kind][key_of(kind, thing)]
        present = bucket.get(thing["metadata"]["name"])
        if present is not None and version_of(present) >= version:
            return False
        bucket[thing["metadata"]["name"]] = trim(kind, thing)
        return True

    def remove(self, kind: Kind, thing: Object) -> None:
        """Forgets the object, but not a newer one of the same name; remembers that it is gone."""
        meta = thing["metadata"]
        self._deleted[meta["uid"]] = version_of(thing)
        self._drop(kind, key_of(kind, thing), meta["name"], meta["uid"])

    def _drop(self, kind: Kind, key: Key, name: str, uid: str) -> None:
        bucket = self._store[kind][key]
        present = bucket.get(name)
        if present is not None and present["metadata"]["uid"] == uid:
            del bucket[name]
        if not bucket:
            del self._store[kind][key]

    def replace(
        self, kind: Kind, things: Iterable[Object], version: int, keys: set[Key] | None = None
    ) -> set[Key]:
        """Takes in a whole list as of that version and drops ghosts: what the list lacks.

        keys: those the list covers; None for all. What is newer than the list stays. Returns the
        keys of ghosts.
        """
        listed = set()
        for thing in things:
            listed.add(thing["metadata"]["uid"])
            self.put(kind, thing)
        ghosts = set()
        for key in list(self._store[kind] if keys is None else keys):
            for name, thing in list(self._store[kind].get(key, {}).items()):
                uid = thing["metadata"]["uid"]
                if uid not in listed and version_of(thing) <= version:
                    self._drop(kind, key, name, uid)
                    ghosts.add(key)
        return ghosts

    def forget_deleted(self, before: int) -> None:
        """Forgets deletions as of that version: nothing older can still be on its way."""
        gone = self._deleted.items()
        self._deleted = {uid: version for uid, version in gone if version > before}

    def resource(self, key: Key) -> Object | None:
        """The DinoJob of a key."""
        return next(iter(self._store[Kind.DINOJOBS].get(key, {}).values()), None)

    def children(self, key: Key, strangers: tuple[Object, ...] = ()) -> Children:
        """What carries the label of the key."""
        known = frozenset((kind, name) for space, kind, name in self._known if space == key[0])
        jobs = tuple(self._store[Kind.JOBS].get(key, {}).values())
        pods = tuple(self._store[Kind.PODS].get(key, {}).values())
        return Children(jobs, pods, strangers, known)

    def know(self, namespace: str, kind: str, name: str) -> None:
        """Remembers that a shared object exists, until `forget_known`."""
        self._known.add((namespace, kind, name))

    def forget_known(self) -> None:
        """Shared objects are not watched: now and then they are made sure of again."""
        self._known.clear()

    def all_keys(self) -> set[Key]:
        """Every key that anything belongs to."""
        return {key for buckets in self._store.values() for key in buckets}

    def resources(self) -> Iterator[Object]:
        """Every DinoJob."""
        for bucket in self._store[Kind.DINOJOBS].values():
            yield from bucket.values()
