"""What the API server said last, by uid and version, without the parts that no plan reads.

Deliveries may be late, double or out of order: an object replaces another only if its version is
higher, and a uid that was seen deleted never comes back.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Set

from dino_operator.plan.model import Object
from dino_operator.plan.observed.api_object import ApiObject
from dino_operator.plan.observed.children import Children
from dino_operator.plan.observed.job import Job
from dino_operator.plan.observed.objects import controller_uid
from dino_operator.plan.observed.pod import Pod
from dino_operator.plan.observed.resource import DinoAutoML, DinoJob
from dino_operator.runtime.keys import KINDS, Key, Kind, key_of, keys_of, named_by
from dino_operator.runtime.trim import trim

Place = tuple[str, str]
"""Namespace and name."""


def version_of(thing: Object) -> int:
    """resourceVersion as a number; the API server promises that it only grows."""
    return int(thing["metadata"].get("resourceVersion") or 0)


def _place(thing: Object) -> Place:
    return thing["metadata"]["namespace"], thing["metadata"]["name"]


def _shared_in(namespace: str) -> str:
    """In place of an owner's uid, which has no slash."""
    return f"{namespace}/"


def packed(kind: Kind, thing: Object) -> Object | bytes:
    """What is kept of an object: of a Job or a pod that has ended a text, in a fifth of the memory.

    They are most of what there is in a cluster that has run for long, and are seldom looked at.
    """
    match kind:
        case Kind.JOBS:
            over = ApiObject(thing).is_finished
        case Kind.PODS:
            over = not Pod(thing).is_live
        case _:
            over = False
    return json.dumps(thing, separators=(",", ":")).encode() if over else thing


def unpacked(kept: Object | bytes) -> Object:
    """The object of it."""
    if not isinstance(kept, bytes):
        return kept
    thing: Object = json.loads(kept)
    return thing


class ObjectCache:
    """All watched objects by kind and name, and by the keys of the plans that look at them.

    served: the kinds that the API server knows; an older installation may lack some.
    """

    def __init__(self) -> None:
        self.served = frozenset(Kind)
        self._things: dict[Kind, dict[Place, Object | bytes]] = {kind: {} for kind in Kind}
        self._under: dict[Kind, dict[Key, dict[Place, None]]] = {
            kind: defaultdict(dict) for kind in Kind
        }
        self._naming: dict[Key, dict[Key, None]] = defaultdict(dict)
        self._deleted: dict[str, int] = {}
        self._known: dict[str, set[tuple[str, str]]] = defaultdict(set)

    def put(self, kind: Kind, thing: Object) -> bool:
        """Takes the object in, unless something newer is known. Returns whether it did."""
        if thing["metadata"]["uid"] in self._deleted or not keys_of(kind, thing):
            return False
        present = self._present(kind, _place(thing))
        if present is not None:
            if version_of(present) >= version_of(thing):
                return False
            self._drop(kind, present)
        kept = trim(kind, thing)
        self._things[kind][_place(kept)] = packed(kind, kept)
        for key in keys_of(kind, kept):
            self._under[kind][key][_place(kept)] = None
        for target in named_by(kind, kept):
            self._naming[target][key_of(kind, kept)] = None
        return True

    def remove(self, kind: Kind, thing: Object) -> None:
        """Forgets the object, but not a newer one of the same name; remembers that it is gone."""
        uid = thing["metadata"]["uid"]
        self._deleted[uid] = version_of(thing)
        present = self._present(kind, _place(thing))
        if present is not None and present["metadata"]["uid"] == uid:
            self._drop(kind, present)

    def _present(self, kind: Kind, place: Place) -> Object | None:
        kept = self._things[kind].get(place)
        return None if kept is None else unpacked(kept)

    def _drop(self, kind: Kind, present: Object) -> None:
        del self._things[kind][_place(present)]
        for key in keys_of(kind, present):
            self._under[kind][key].pop(_place(present), None)
            if not self._under[kind][key]:
                del self._under[kind][key]
        for target in named_by(kind, present):
            self._naming[target].pop(key_of(kind, present), None)
            if not self._naming[target]:
                del self._naming[target]

    def replace(
        self, kind: Kind, things: Iterable[Object], version: int, keys: set[Key] | None = None
    ) -> set[Key]:
        """Takes in a whole list as of that version and drops ghosts: what the list lacks.

        keys: those the list covers; None for all. What is newer than the list stays. Returns the
        keys of ghosts.
        """
        return self.drop_ghosts(kind, self.put_all(kind, things), version, keys)

    def put_all(self, kind: Kind, things: Iterable[Object]) -> set[str]:
        """Takes in a part of a list; returns the uids of it."""
        listed = set()
        for thing in things:
            listed.add(thing["metadata"]["uid"])
            self.put(kind, thing)
        return listed

    def drop_ghosts(
        self, kind: Kind, listed: Set[str], version: int, keys: set[Key] | None = None
    ) -> set[Key]:
        """What `replace` does once the objects of those uids were put."""
        ghosts = set()
        for key in list(self._under[kind] if keys is None else keys):
            for thing in self._of(kind, key):
                if thing["metadata"]["uid"] not in listed and version_of(thing) <= version:
                    ghosts |= self.wakes(kind, thing)
                    self._drop(kind, thing)
        return ghosts

    def forget_deleted(self, before: int) -> None:
        """Forgets deletions as of that version: nothing older can still be on its way."""
        gone = self._deleted.items()
        self._deleted = {uid: version for uid, version in gone if version > before}

    def wakes(self, kind: Kind, thing: Object) -> set[Key]:
        """The keys of the plans that look at the object: as theirs, or because they name it."""
        naming = self._naming.get(key_of(kind, thing), {}) if kind in KINDS else {}
        return {*keys_of(kind, thing), *naming}

    def _of(self, kind: Kind, key: Key) -> tuple[Object, ...]:
        places = self._under[kind].get(key, {})
        return tuple(unpacked(self._things[kind][place]) for place in places)

    def resource(self, key: Key) -> Object | None:
        """The DinoJob or DinoAutoML of a key."""
        return next(iter(self._of(key.kind, key)), None)

    def children(self, key: Key, strangers: tuple[ApiObject, ...] = ()) -> Children:
        """What carries the label of the key, and what its resource names."""
        searches = key.kind is Kind.DINOAUTOMLS
        return Children(
            tuple(map(Job, self._of(Kind.JOBS, key))),
            tuple(map(Pod, self._of(Kind.PODS, key))),
            strangers,
            self._known_to(key),
            dinojobs=tuple(map(DinoJob, self._of(Kind.DINOJOBS, key))) if searches else (),
            automls=() if searches else tuple(map(DinoAutoML, self._of(Kind.DINOAUTOMLS, key))),
            others=self._others(key),
            automl_served=Kind.DINOAUTOMLS in self.served,
        )

    def _others(self, key: Key) -> dict[tuple[str, str], DinoJob | DinoAutoML]:
        """What the resource names, what that names, and so on; searches of named jobs as well."""
        others: dict[tuple[str, str], DinoJob | DinoAutoML] = {}
        waiting = [key]
        seen = set()
        while waiting:
            looked = waiting.pop()
            thing = self.resource(looked)
            if thing is None or looked in seen:
                continue
            seen.add(looked)
            waiting += named_by(looked.kind, thing)
            if looked != key:
                others[KINDS[looked.kind], thing["metadata"]["name"]] = (
                    DinoJob(thing) if looked.kind is Kind.DINOJOBS else DinoAutoML(thing)
                )
                made = self._of(Kind.DINOAUTOMLS, looked)
                waiting += [key_of(Kind.DINOAUTOMLS, each) for each in made]
        return others

    def know(self, thing: Object) -> None:
        """Remembers that an object exists which is not watched, until `forget_known`.

        What a resource controls is remembered for its plans alone: those of thousands would look
        at what each of the others has.
        """
        owner = controller_uid(thing) or _shared_in(thing["metadata"]["namespace"])
        self._known[owner].add((thing["kind"], thing["metadata"]["name"]))

    def _known_to(self, key: Key) -> frozenset[tuple[str, str]]:
        """Kinds and names: of what the resource controls, and of what its namespace shares."""
        resource = self.resource(key)
        own = () if resource is None else self._known.get(resource["metadata"]["uid"], ())
        return frozenset((*own, *self._known.get(_shared_in(key.namespace), ())))

    def forget_known(self) -> None:
        """Shared objects are not watched: now and then they are made sure of again."""
        self._known.clear()

    def all_keys(self) -> set[Key]:
        """Every key that anything belongs to."""
        return {key for under in self._under.values() for key in under}

    def resources(self, kind: Kind) -> Iterator[Object]:
        """Every object of that kind."""
        yield from map(unpacked, self._things[kind].values())
