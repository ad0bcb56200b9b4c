"""Random walks of edits on jobs and searches that live: the real operator, a cluster in memory.

A walk goes from edit to edit, and the operator and the cluster come to rest after each. However it
went, what runs in the end is what runs for a resource that was created with the last spec; an edit
that is taken back leaves what was there before it; and a new process at rest writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

from dino_operator.plan.annotations import Annotation
from dino_operator.plan.model import Object
from dino_operator.plan.observed.api_object import ApiObject
from dino_operator.plan.observed.pod import Pod
from dino_operator.runtime.keys import PLURALS, Kind
from tests.proof.operations import GONE, Operation
from tests.unit.namespace_world import Namespace
from tests.unit.plan_operator import Interrupted
from tests.unit.plan_store import copied, is_preflight

ROUNDS = 60
"""Within which the cluster comes to rest after an edit."""
QUIET = 2
"""Rounds without a change after which it rests."""
EDITS = 8
"""Of one walk."""
CRASH = 70
COUNTED = frozenset({Annotation.SPENT.value, Annotation.SPENT_UNTIL.value})
"""What the operator remembers of a suspension; without a clock that goes on it means nothing."""


class Life:
    """One resource in a cluster of its own."""

    def __init__(self, resource: Object) -> None:
        self.world = Namespace()
        self.kind, self.name = PLURALS[resource["kind"]], resource["metadata"]["name"]
        self.world._store(self.kind, self.world._newborn(resource))
        self.operator = Interrupted(self.world)
        self.rest()

    def close(self) -> None:
        """Nothing more is done with it."""
        self.operator.loop.close()

    @property
    def resource(self) -> Object:
        """As it is now; not to be changed."""
        return self.world.things[self.kind][self.name]

    def edit(self, spec: Object) -> None:
        """kubectl apply of another spec; then all comes to rest."""
        thing = copied(self.resource)
        thing["spec"] = copied(spec)
        thing["metadata"]["generation"] += 1
        self.world._store(self.kind, thing)
        self.rest()

    def rest(self) -> None:
        """Until nothing changes any more. Data is good, and trainings run on."""
        quiet, seen = 0, -1
        for _ in range(ROUNDS):
            self.goes_on()
            quiet = quiet + 1 if self.world.version == seen else 0
            seen = self.world.version
            if quiet == QUIET:
                return
        raise AssertionError(f"it does not come to rest: {self.shown()}")

    def goes_on(self) -> None:
        """One round of everybody."""
        self.world.collect_garbage()
        self.world.control_jobs()
        self.world.start_pod()
        self._end_what_must()
        self.operator.deliver_all()
        keys = self.operator.keys()
        for key in keys:
            self.operator.reconcile(key)

    def _end_what_must(self) -> None:
        """Checks of data end well; pods that were asked to go do."""
        live = [pod for pod in self.world.pods() if Pod(pod).is_live]
        for index, pod in reversed(list(enumerate(live))):
            if is_preflight(pod) or "deletionTimestamp" in pod["metadata"]:
                self.world.end_pod(0, index)

    def end(self, code: int) -> None:
        """Every training that runs ends so; then all comes to rest, whatever time that takes."""
        while self.world.live_pod() is not None:
            self.world.end_pod(code)
        self.rest()

    def shown(self) -> Object:
        """What runs, and what is said of it, without names of pods, times and uids."""
        jobs = {each["metadata"]["name"]: _job(each) for each in self.world.jobs()}
        ours = {
            f"{each['kind']} {each['metadata']['name']}": _told(each)
            for each in self.world.resources()
        }
        return {"jobs": jobs, **ours}

    def is_at_rest_after_a_restart(self) -> bool:
        """Whether a new process writes nothing."""
        before = self.world.writes
        self.operator.restart()
        for _ in range(QUIET):
            self.goes_on()
        return self.world.writes == before


def _job(job: Object) -> Object:
    """A Job that is not suspended says so or not; one that has ended keeps the deadline that it had
    then. The template holds hashes of the uid."""
    notes = job["metadata"].get("annotations", {})
    kept = {key: text for key, text in notes.items() if key not in COUNTED}
    spec = {key: value for key, value in job["spec"].items() if key != "template"}
    if not spec.get("suspend"):
        spec.pop("suspend", None)
    if ApiObject(job).is_finished:
        spec.pop("activeDeadlineSeconds", None)
    return {"spec": spec, "notes": kept}


def _told(thing: Object) -> Object:
    status = thing.get("status", {})
    rows = [(row["number"], row["state"], row["parameters"]) for row in status.get("history", [])]
    said = sorted((e["type"], e["status"], e["reason"]) for e in status.get("conditions", []))
    failed = status.get("failure", {}).get("reason")
    kept = {key: status.get(key) for key in ("phase", "attempts", "engine", "search", "trials")}
    policy = thing["spec"].get("runPolicy")
    return {**kept, "rows": rows, "said": said, "failed": failed, "runPolicy": policy}


# ---- walks ---------------------------------------------------------------------------------------


class Walk:
    """Edits of a resource, each on what the one before left. chance: the same each time."""

    def __init__(self, start: Object, edits: list[Operation], seed: int) -> None:
        self.start, self.edits, self.chance = start, edits, Random(seed)

    def specs(self) -> Iterator[Object]:
        """The spec after each edit. The last one holds and stops nothing."""
        made = copied(self.start)
        for _ in range(EDITS):
            operation = self.chance.choice(self.edits)
            for at, value in operation.changes:
                _put(made["spec"], at, value)
            yield copied(made["spec"])
        yield _resumed(made["spec"])


def _resumed(spec: Object) -> Object:
    """The spec without a hold: what is held has another past than what was never begun."""
    made = copied(spec)
    for node in (made, made.get("runPolicy") or {}):
        if node.get("suspend"):
            node["suspend"] = False
    return dict(made)


def _put(spec: Object, at: tuple[Any, ...], value: Any) -> None:
    *above, leaf = at
    for part in above:
        spec = spec.setdefault(part, {})
    if value is GONE or value is None:
        spec.pop(leaf, None)
    else:
        spec[leaf] = copied(value)


def walked(start: Object, edits: list[Operation], seed: int) -> list[str]:
    """What went wrong on one walk with that seed."""
    found: list[str] = []
    walk = Walk(start, edits, seed)
    life, spec = Life(start), start["spec"]
    for after in walk.specs():
        before = life.shown()
        life.edit(after)
        if walk.chance.random() < 0.5 and not _is_held(spec):
            there = life.shown()
            life.edit(spec)
            found += _differences("taken back", before, life.shown())
            life.edit(after)
            found += _differences("done once more", there, life.shown())
        spec = after
    other = Life({**start, "spec": spec})
    found += _differences("created so", other.shown(), life.shown())
    if not life.is_at_rest_after_a_restart():
        found.append("a new process writes at rest")
    if life.kind is Kind.DINOJOBS:
        found += _ended(life, other, seed)
    for each in (life, other):
        each.close()
    return [f"walk {seed}: {each}" for each in found]


def _is_held(spec: Object) -> bool:
    """What is held and was not begun has no Job; once it was begun, it keeps one."""
    return bool(spec.get("suspend") or (spec.get("runPolicy") or {}).get("suspend"))


def _ended(life: Life, other: Life, seed: int) -> list[str]:
    """Both end alike, too: well, or by a crash, which retries and times to live then show."""
    code = (0, CRASH)[seed % 2]
    for each in (life, other):
        each.end(code)
    found = _differences(f"ended with {code}", other.shown(), life.shown())
    if not life.is_at_rest_after_a_restart():
        found.append(f"ended with {code}, a new process writes")
    return found


def _differences(when: str, wanted: Any, found: Any, at: str = "") -> list[str]:
    """Each leaf that is another one."""
    if wanted == found:
        return []
    if not isinstance(wanted, dict) or not isinstance(found, dict):
        return [f"{when}: {at} is {found!r}, not {wanted!r}"]
    keys = sorted(wanted.keys() | found.keys())
    below = ((key, wanted.get(key), found.get(key)) for key in keys)
    return [each for key, a, b in below for each in _differences(when, a, b, f"{at}.{key}")]
