"""Every order of what may befall two jobs, so many steps deep: x trains, y evaluates its model.

Breadth first from several beginnings: every move in every state that was not seen before. The
`Namespace` refuses what must not be asked in any of them; from those that the last move leads to,
the cluster goes on by itself, and both jobs end. DINO_MODEL_DEPTH is how deep; 8 in `make proof`.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from dino_api.names import ConditionReason
from dino_operator.plan.model import Condition, Object, is_true
from dino_operator.plan.observed import objects
from dino_operator.plan.observed.api_object import ApiObject
from dino_operator.plan.observed.pod import Pod
from dino_operator.runtime.cache import ObjectCache, unpacked, version_of
from dino_operator.runtime.keys import Key, Kind
from tests.unit.namespace_world import Namespace
from tests.unit.plan_actions import job_to
from tests.unit.plan_operator import Event, Interrupted

DEPTH = int(os.environ.get("DINO_MODEL_DEPTH", "4"))
X, Y = Key(Kind.DINOJOBS, "team", "x"), Key(Kind.DINOJOBS, "team", "y")
BEGINNINGS = {"new": (0, DEPTH), "x trains": (3, DEPTH - 1), "x is done": (7, DEPTH)}
"""Rounds in which all went well before, and how deep it is gone on: most may befall what trains."""
SAMPLE, LEAST = 40, 20
"""Of so many states, one is followed to its end, and at least so many of all."""
MANY = SAMPLE * LEAST
BOTH, FAILED, ALONE = "x Complete, y Complete", "x Failed, y Failed", "x gone, y waits"
OFTEN = {
    "new": {BOTH, ALONE},
    "x trains": {BOTH, FAILED, ALONE},
    "x is done": {BOTH, "y Complete"},
}
"""Ends that come in very many orders."""
CHANGING = (dict, list, set)
ROUNDS = 40
"""In which both have to end."""
HOOKS = ("watchers", "crash", "ever", "read")
State = tuple[dict[str, Any], dict[str, Any], list[Event]]
"""What is known to the cluster, what to the operator's cache, and what is on its way to it."""


class Fact(NamedTuple):
    """What an object says, as a number, apart from its version."""

    kept: Object | bytes
    uid: str
    version: int
    number: int

    @classmethod
    def of(cls, kept: Object | bytes) -> Fact:
        """kept: an object as the API server or the cache has it."""
        thing = unpacked(kept)
        return cls(kept, thing["metadata"]["uid"], version_of(thing), hash(_plain(thing)))


class Two:
    """Two jobs, their cluster and their operator, as one state that can be taken and put back."""

    def __init__(self) -> None:
        self.facts: dict[int, Fact] = {}
        self.world = Namespace()
        self.world.takes_every_spec = True
        first = job_to("train").policy(maxRetries=1).spec(resources={"gpus": 1, "nodes": 1})
        self.world._store(Kind.DINOJOBS, self.world._newborn(first.obj()))
        self.world.submit_child("y", "evaluate", {"kind": "DinoJob", "name": "x"})
        self.operator = Interrupted(self.world)

    def take(self) -> State:
        world = {key: part for key, part in vars(self.world).items() if key not in HOOKS}
        return _apart(world), _apart(vars(self.operator.cache)), list(self.operator.on_the_way)

    def put(self, state: State) -> None:
        world, cache, on_the_way = state
        vars(self.world).update(_apart(world))
        known = ObjectCache()
        vars(known).update(_apart(cache))
        self.operator.begin(known)
        self.operator.on_the_way[:] = on_the_way

    def seen(self) -> int:
        """A number that is the same for states between which nothing tells a difference."""
        world, cache = self.world, self.operator.cache
        facts: list[object] = [sorted(world.others), world.now, sorted(cache._known)]
        for kind in Kind:
            stored = {each.uid: each for each in map(self._fact, world.things[kind].values())}
            facts.append(sorted(each.number for each in stored.values()))
            for known in map(self._fact, cache._things[kind].values()):
                now = stored.get(known.uid)
                same = now is not None and now.version == known.version
                facts.append((known.uid, same or known.number))
        coming = self.operator.on_the_way
        facts.append([(what, self._fact(each).number) for _, what, each in coming])
        return hash(repr(facts))

    def _fact(self, kept: Object | bytes) -> Fact:
        """What an object says; most of them are the same before and after a move."""
        if id(kept) not in self.facts:
            self.facts[id(kept)] = Fact.of(kept)
        return self.facts[id(kept)]

    def forget_facts(self) -> None:
        """Of the objects that were read so far. Raises AssertionError where one was changed, which
        nobody may do: states share them."""
        for fact in self.facts.values():
            assert Fact.of(fact.kept) == fact, "an object was changed in its place"
        self.facts.clear()

    # ---- moves ----------------------------------------------------------------------------------

    def plan(self, key: Key) -> None:
        self.operator.reconcile(key)

    def killed(self, after: int, moment: str) -> None:
        self.operator.killed(after, moment)
        self.operator.reconcile(X)

    def cluster(self) -> None:
        self.world.collect_garbage()
        self.world.control_jobs()
        self.world.start_pod()

    def drop(self) -> None:
        del self.operator.on_the_way[:1]

    def late(self) -> None:
        """The last event first."""
        if self.operator.on_the_way:
            self.operator.deliver(self.operator.on_the_way[-1])

    def delete_a_job(self) -> None:
        for each in list(self.world.things[Kind.JOBS].values())[:1]:
            self.world.remove(Kind.JOBS, each)

    def delete_x(self) -> None:
        x = self.world.things[Kind.DINOJOBS].get("x")
        if x is not None:
            self.world.remove(Kind.DINOJOBS, x)

    def go_on(self) -> None:
        self.operator.resync()
        for key in (X, Y):
            self.operator.reconcile(key)
        self.cluster()
        self.world.wait(60)

    def goes_well(self) -> None:
        self.go_on()
        self.world.end_pod(0)

    def is_over(self) -> bool:
        """Whether both have ended, or y waits for an x that is gone; no pod is left."""
        jobs = self.world.things[Kind.DINOJOBS]
        left = [each for each in jobs.values() if not ApiObject(each).is_finished]
        alone = "x" not in jobs and all("inherited" not in each.get("status", {}) for each in left)
        return (alone or not left) and self.world.live_pod() is None


def _apart(part: Any) -> Any:
    """A copy of what changes. Objects as they are stored and told never do: they are shared."""
    if isinstance(part, list):
        return [_apart(each) if isinstance(each, CHANGING) else each for each in part]
    made = part.copy()
    if isinstance(part, dict):
        for key, each in part.items():
            if isinstance(each, CHANGING) and "metadata" not in each:
                made[key] = _apart(each)
    return made


def _plain(thing: Object) -> str:
    """An object without its version, which every order of the same writes makes another one."""
    meta = {key: part for key, part in thing["metadata"].items() if key != "resourceVersion"}
    return repr({**thing, "metadata": meta})


MOVES: dict[str, Callable[[Two], None]] = {
    "the plan of x": lambda two: two.plan(X),
    "the plan of y": lambda two: two.plan(Y),
    "killed before the last write": lambda two: two.killed(5, "before"),
    "killed after the first write": lambda two: two.killed(1, "after"),
    "events arrive": lambda two: two.operator.deliver_all(),
    "the last event arrives first": Two.late,
    "an event is lost": Two.drop,
    "the cluster goes on": Two.cluster,
    "a pod succeeds": lambda two: two.world.end_pod(0),
    "a pod fails": lambda two: two.world.end_pod(71),
    "a pod fails for good": lambda two: two.world.end_pod(64),
    "a pod vanishes": lambda two: two.world.lose_pod(),
    "a Job is deleted": Two.delete_a_job,
    "x is deleted": Two.delete_x,
    "the operator starts": lambda two: two.operator.restart(),
}


def begun(rounds: int) -> Two:
    """After so many rounds in which all went well; the pod of the last one is still there."""
    two = Two()
    for _ in range(rounds):
        two.world.end_pod(0)
        two.go_on()
    return two


def every_state(two: Two, depth: int) -> Iterator[None]:
    """`two` in each state of the last of so many moves, in every order; what was met before is not
    gone on from."""
    ring, met = [two.take()], {two.seen()}
    for left in reversed(range(depth)):
        following: list[State] = []
        for state in ring:
            two.forget_facts()
            for move in MOVES.values():
                two.put(state)
                move(two)
                _holds(two)
                number = two.seen()
                if number in met:
                    continue
                met.add(number)
                if left:
                    following.append(two.take())
                else:
                    yield
        ring = following
    print(f"{len(met)} states, {depth} moves deep")


def _holds(two: Two) -> None:
    for pods in two.world.by_name(Kind.PODS).values():
        assert sum(Pod(pod).is_live for pod in pods) <= 1
    two.world.note_ends()


def ended(two: Two) -> str:
    """What became of both, which have to be as they should."""
    jobs, left = two.world.things[Kind.DINOJOBS], two.world.things[Kind.JOBS].values()
    x, y = jobs.get("x"), jobs["y"]
    if x is None:
        mine = objects.uid_of(y)
        assert all(objects.controller_uid(each) == mine for each in left), "x has left a Job"
    if x is None and "inherited" not in y["status"] and not is_true(y, "Failed"):
        waits = Condition.of(y, "Running")
        assert waits is not None
        assert (waits.is_true, waits.reason) == (False, ConditionReason.WAITING_FOR_PARENT)
        assert not left, "y has begun, and nobody knows with what"
        return ALONE
    for each in jobs.values():
        assert ApiObject(each).is_finished
    for each in filter(None, [x]):
        began = "inherited" in y["status"]
        assert began == is_true(each, "Complete"), "y goes on from what x left, or fails with it"
    return ", ".join(f"{each} {jobs[each]['status']['phase']}" for each in sorted(jobs))


@pytest.mark.parametrize("beginning", BEGINNINGS)
def test_every_order_of_events_ends_right(beginning: str) -> None:
    rounds, depth = BEGINNINGS[beginning]
    two = begun(rounds)
    ends: list[State] = []
    for count, _ in enumerate(every_state(two, depth)):  # too many to keep them all
        if count < MANY or count % SAMPLE == 0:
            ends.append(two.take())
    assert len(ends) > LEAST, "so few orders prove nothing"
    became = Counter[str]()
    for state in ends[: MANY : min(SAMPLE, len(ends) // LEAST)] + ends[MANY:]:
        two.put(state)
        two.operator.until_over(two.goes_well, two.is_over, ROUNDS)
        became[ended(two)] += 1
        two.operator.at_rest(two.go_on)
    print(dict(became))
    assert OFTEN[beginning] <= became.keys(), "an end that came in no order"


def test_what_fails_for_good_is_not_gone_on_from() -> None:
    two = begun(BEGINNINGS["x trains"][0])
    MOVES["a pod fails for good"](two)
    for _ in range(5):
        two.go_on()
    assert ended(two) == FAILED


def test_a_parent_that_failed_and_is_gone_fails_nobody() -> None:
    two = begun(BEGINNINGS["x trains"][0])
    for move in (
        "a pod fails for good",
        "the cluster goes on",
        "killed after the first write",
        "the plan of x",
        "x is deleted",
    ):
        MOVES[move](two)
    assert is_true(two.operator.cache.resource(X) or {}, "Failed"), "the cache does not know yet"
    MOVES["the plan of y"](two)
    for _ in range(5):
        two.go_on()
    assert ended(two) == ALONE
