"""Every order of what may befall two jobs, so many steps deep: x trains, y evaluates its model.

Breadth first from several beginnings: every move in every state that was not seen before. The
`Namespace` refuses what must not be asked in any of them; from those that the last move leads to,
the cluster goes on by itself, and both jobs end. DINO_MODEL_DEPTH is how deep; 8 in `make proof`.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterator

import pytest

from dino_operator.plan.model import Object, is_finished
from dino_operator.plan.observed.pod import Pod
from dino_operator.runtime.cache import Cache, version_of
from dino_operator.runtime.keys import Key, Kind
from tests.unit.namespace_world import Namespace
from tests.unit.plan_actions import job_to
from tests.unit.plan_operator import Interrupted

DEPTH = int(os.environ.get("DINO_MODEL_DEPTH", "4"))
X, Y = Key(Kind.DINOJOBS, "team", "x"), Key(Kind.DINOJOBS, "team", "y")
BEGINNINGS = {"new": 0, "x trains": 4, "x is done": 7}
"""Rounds in which all went well before."""
SAMPLE = 40
"""Of so many states, one is followed to its end."""
HOOKS = ("watchers", "crash", "read")
State = bytes


class Two:
    """Two jobs, their cluster and their operator, as one state that can be taken and put back."""

    def __init__(self) -> None:
        self.world = Namespace()
        self.world.takes_every_spec = True
        first = job_to("train").policy(maxRetries=1).spec(resources={"gpus": 1, "nodes": 1})
        self.world._store(Kind.DINOJOBS, self.world._newborn(first.obj()))
        self.world.submit_child("y", "evaluate", {"kind": "DinoJob", "name": "x"})
        self.operator = Interrupted(self.world)

    def take(self) -> State:
        world = {key: part for key, part in vars(self.world).items() if key not in HOOKS}
        cache = {key: part for key, part in vars(self.operator.cache).items() if key != "_naming"}
        known = (cache, {key: dict(of) for key, of in self.operator.cache._naming.items()})
        return pickle.dumps((world, known, self.operator.on_the_way))

    def put(self, state: State) -> None:
        world, (cache, naming), on_the_way = pickle.loads(state)
        vars(self.world).update(world)
        known = Cache()
        vars(known).update(cache)
        known._naming.update(naming)
        self.operator.begin(known)
        self.operator.on_the_way[:] = on_the_way

    def seen(self) -> int:
        """A number that is the same for states between which nothing tells a difference."""
        world, cache = self.world, self.operator.cache
        facts: list[object] = [sorted(world.others), world.now, sorted(cache._known)]
        for kind in Kind:
            facts.append(sorted(map(_plain, world.things[kind].values())))
            stored = {each["metadata"]["uid"]: each for each in world.things[kind].values()}
            for each in cache.resources(kind):
                now = stored.get(each["metadata"]["uid"])
                same = now is not None and version_of(now) == version_of(each)
                facts.append((each["metadata"]["uid"], same or _plain(each)))
        facts.append([(what, _plain(each)) for _, what, each in self.operator.on_the_way])
        return hash(repr(facts))

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

    def delete(self, kind: Kind) -> None:
        for each in list(self.world.things[kind].values())[:1]:
            self.world.remove(kind, each)

    def go_on(self) -> None:
        self.operator.resync()
        for key in (X, Y):
            self.operator.reconcile(key)
        self.cluster()
        self.world.wait(60)


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
    "a pod vanishes": lambda two: two.world.lose_pod(),
    "a Job is deleted": lambda two: two.delete(Kind.JOBS),
    "x is deleted": lambda two: two.delete(Kind.DINOJOBS),
    "the operator starts": lambda two: two.operator.restart(),
}


def begun(rounds: int) -> Two:
    """After so many rounds in which all went well."""
    two = Two()
    for _ in range(rounds):
        two.go_on()
        two.world.end_pod(0)
    return two


def every_state(two: Two) -> Iterator[State]:
    """The last of DEPTH moves, in every order; states that were met before are not gone on from."""
    ring, met = [two.take()], {two.seen()}
    for _ in range(DEPTH):
        following: list[State] = []
        for state in ring:
            for move in MOVES.values():
                two.put(state)
                move(two)
                _holds(two)
                number = two.seen()
                if number not in met:
                    met.add(number)
                    following.append(two.take())
        ring = following
    print(f"{len(met)} states, {DEPTH} moves deep")
    yield from ring


def _holds(two: Two) -> None:
    for pods in two.world.by_name(Kind.PODS).values():
        assert sum(Pod(pod).is_live for pod in pods) <= 1
    two.world.note_ends()


@pytest.mark.parametrize("rounds", BEGINNINGS.values(), ids=BEGINNINGS)
def test_every_order_of_events_ends_right(rounds: int) -> None:
    two = begun(rounds)
    ends = list(every_state(two))
    assert len(ends) > SAMPLE, "so few orders prove nothing"
    for state in ends[::SAMPLE]:
        two.put(state)
        for _ in range(40):
            two.go_on()
            two.world.end_pod(0)
        jobs = two.world.things[Kind.DINOJOBS]
        if "x" in jobs:
            assert all(map(is_finished, jobs.values()))
        else:
            assert not two.world.things[Kind.JOBS] or "y" in jobs
        two.operator.at_rest(two.go_on)
