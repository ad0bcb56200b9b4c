"""Children that the API server refuses: a status at once, one event, and on by itself after it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from dino_api.names import AUTOML_KIND, KIND
from dino_operator.plan.model import Condition, Delete, Object, Patch
from dino_operator.runtime.client import ApiError, _decode
from dino_operator.runtime.katib import Katib
from dino_operator.runtime.keys import Key, Kind
from dino_operator.runtime.writes import RequestRefused
from tests.unit.refusals import INVALID, TERMINATING, WAITED_FOR, RefusingAnswer
from tests.unit.search_builders import a_search
from tests.unit.test_runtime_reconcile import KEY, Bench

SEARCH = Key(Kind.DINOAUTOMLS, "team", "x")
OF_A_DINOJOB = ("ServiceAccount", "RoleBinding", "ConfigMap", "Service", "Job", AUTOML_KIND)
every_answer = pytest.mark.parametrize("answer", WAITED_FOR.values(), ids=WAITED_FOR)


class Refusing(Bench):
    """A world that refuses to make things of some kinds, or to change or delete any."""

    def __init__(
        self, *kinds: str, answer: RefusingAnswer = WAITED_FOR["quota"], key: Key = KEY
    ) -> None:
        super().__init__()
        self.kinds, self.answer, self.key = set(kinds), answer, key
        self.posted: list[str] = []
        self.tried = 0
        self._create, self._patch = self.world.create, self.world.patch
        for name in ("create", "patch"):
            setattr(self.world, name, getattr(self, name))

    async def create(self, thing: Object) -> Object:
        if thing["kind"] == "Event":
            self.posted.append(thing["reason"])
        if thing["kind"] in self.kinds:
            self.tried += 1
            raise self.answer.error(thing["kind"], thing["metadata"]["name"])
        return await self._create(thing)

    async def patch(self, namespace: str, patch: Patch) -> Object:
        if "patch" in self.kinds:
            raise self.answer.error(patch.kind, patch.name)
        return await self._patch(namespace, patch)

    async def pursue(self, times: int = 1) -> None:
        for _ in range(times):
            self.see()
            with suppress(RequestRefused):
                await self.reconciler.reconcile(self.key)

    @property
    def status(self) -> Object:
        found = self.world.things[self.key.kind]["x"]
        return dict(found.get("status") or {})

    def running(self) -> Condition:
        return Condition.of({"status": self.status}, "Running") or Condition(False)


def submit(bench: Refusing, kind: str) -> None:
    """A job that needs a child of that kind."""
    if kind == AUTOML_KIND:
        bench.world.submit_searched()
    else:
        bench.world.submit(nodes=2)


async def reached(bench: Refusing, kind: str) -> None:
    """The job as far as it comes before it needs that: a Service is for pods that train."""
    submit(bench, kind)
    if kind == "Service":
        await bench.work()
        bench.world.control_jobs()
        bench.world.start_pod()
        await bench.work()
        bench.world.end_pod(0)
        bench.world.control_jobs()


@pytest.mark.parametrize("kind", OF_A_DINOJOB)
@every_answer
async def test_every_kind_of_child_and_every_kind_of_refusal(
    answer: RefusingAnswer, kind: str
) -> None:
    bench = Refusing(kind, answer=answer)
    await reached(bench, kind)
    bench.see()
    with pytest.raises(RequestRefused):  # so that the queue has it tried again, later and later
        await bench.reconciler.reconcile(KEY)
    assert bench.running().reason == answer.judged
    assert f"refuses {kind} " in bench.running().message
    writes, tried = bench.world.writes, bench.tried
    await bench.pursue(6)
    assert bench.tried == tried + 6, "it is tried again"
    once = 1 if answer.judged == "APIServerUnavailable" else 0
    assert bench.world.writes == writes + once, "and nothing is written but the event of what lasts"
    assert bench.posted.count("Refused") == 1
    bench.kinds.clear()
    await bench.pursue(2)
    assert bench.running().reason in ("Queued", "Checking"), "it goes on by itself"


class Late(Refusing):
    """One whose webhook's certificate is over: each answer has the time in it."""

    async def create(self, thing: Object) -> Object:
        said = (
            'failed calling webhook "x.io": tls: failed to verify certificate: x509: certificate '
            f"has expired or is not yet valid: current time 2026-01-01T12:00:{self.tried:02}Z is "
            "after 2025-12-31T00:00:00Z"
        )
        self.answer = RefusingAnswer(500, "InternalError", said, judged="WebhookUnavailable")
        return await super().create(thing)


async def test_an_answer_that_tells_the_time_is_written_once() -> None:
    bench = Late("Job")
    submit(bench, "Job")
    await bench.pursue()
    assert bench.running().reason == "WebhookUnavailable"
    writes = bench.world.writes
    await bench.pursue(6)
    assert bench.tried == 7
    assert bench.world.writes == writes


async def test_what_is_refused_after_the_end_is_left_to_the_next_resync() -> None:
    bench = Refusing(answer=WAITED_FOR["policy, Forbidden"])
    await failed(bench)
    bench.kinds = {"patch"}
    bench.world.edit(ttlSecondsAfterFinished=60)
    bench.see()
    assert await bench.reconciler.reconcile(KEY) is None


DATA_READY = {
    "type": "DataReady",
    "status": "True",
    "reason": "DataChecked",
    "message": "",
    "lastTransitionTime": "2026-01-01T12:00:00Z",
}


def suspend_search(bench: Refusing, on: bool) -> None:
    search = copy.deepcopy(bench.world.things[Kind.DINOAUTOMLS]["x"])
    search["spec"]["suspend"] = on
    bench.world._store(Kind.DINOAUTOMLS, search)


async def test_a_trial_that_is_refused_holds_up_no_other() -> None:
    """A search that is resumed: its held trial goes on, though the next one cannot be made."""
    bench = Refusing(key=SEARCH, answer=WAITED_FOR["quota"])
    bench.world._store(Kind.DINOAUTOMLS, a_search(engine="Embedded"))
    await bench.pursue(2)
    suspend_search(bench, True)
    await bench.pursue(2)
    trial = copy.deepcopy(bench.world.things[Kind.DINOJOBS]["x-trial-0"])
    trial["status"] = {"phase": "Suspended", "conditions": [{**DATA_READY}]}
    bench.world._store(Kind.DINOJOBS, trial)
    assert trial["spec"]["runPolicy"]["suspend"] is True
    made, bench.kinds = dict(bench.world.things[Kind.DINOJOBS]), {KIND}
    suspend_search(bench, False)
    await bench.pursue(2)
    assert bench.tried, "the next trial was asked for"
    assert bench.world.things[Kind.DINOJOBS].keys() == made.keys()
    assert bench.world.things[Kind.DINOJOBS]["x-trial-0"]["spec"]["runPolicy"]["suspend"] is False


class Guarded(Refusing):
    """A world that lets nobody change the objects of some names."""

    names: frozenset[str] = frozenset()

    async def patch(self, namespace: str, patch: Patch) -> Object:
        if patch.name in self.names:
            raise self.answer.error(patch.kind, patch.name)
        return await super().patch(namespace, patch)


async def test_a_trial_that_nobody_may_change_keeps_no_other_from_being_held() -> None:
    bench = Guarded(key=SEARCH, answer=WAITED_FOR["policy, Forbidden"])
    bench.world._store(Kind.DINOAUTOMLS, a_search(engine="Embedded"))
    await bench.pursue(2)
    trial = copy.deepcopy(bench.world.things[Kind.DINOJOBS]["x-trial-0"])
    trial["status"] = {"phase": "Running", "conditions": [{**DATA_READY}]}
    bench.world._store(Kind.DINOJOBS, trial)
    await bench.pursue(3)
    trials = bench.world.things[Kind.DINOJOBS]
    assert len(trials) >= 2
    bench.names = frozenset({"x-trial-0"})
    suspend_search(bench, True)
    await bench.pursue(2)
    held = {name: job["spec"]["runPolicy"].get("suspend", False) for name, job in trials.items()}
    assert held == {name: name != "x-trial-0" for name in trials}
    assert "refuses a change of DinoJob x-trial-0" in bench.running().message


async def test_an_impossible_job_ends_at_its_first_try() -> None:
    bench = Refusing("Job", answer=INVALID)
    submit(bench, "Job")
    bench.see()
    await bench.reconciler.reconcile(KEY)
    assert bench.status["failure"]["reason"] == "InvalidSpec"
    await bench.pursue(3)
    assert bench.tried == 1


@every_answer
async def test_every_trial_of_a_search(answer: RefusingAnswer) -> None:
    bench = Refusing(KIND, answer=answer, key=SEARCH)
    bench.world._store(Kind.DINOAUTOMLS, a_search())
    await bench.pursue()
    assert bench.status["phase"] == "Pending"
    assert bench.running().reason == answer.judged
    writes = bench.world.writes
    await bench.pursue(2)
    assert bench.world.writes == writes
    bench.kinds.clear()
    await bench.pursue()
    assert "x-trial-0" in bench.world.things[Kind.DINOJOBS]


async def test_a_shared_object_that_exists_is_not_missed() -> None:
    """A quota that is full, and a policy, answer before anybody sees that the name is taken."""
    bench = Refusing("ServiceAccount", "RoleBinding")
    for kind, name in (
        ("ServiceAccount", "dino-trainer"),
        ("RoleBinding", "dino-trainer-progress"),
    ):
        bench.world.others.add((kind, name))
    submit(bench, "Job")
    await bench.pursue()
    assert bench.world.created_jobs == ["x-preflight-1"]
    assert not bench.posted


async def test_without_the_right_to_look_it_is_taken_as_missing() -> None:
    bench = Refusing("ServiceAccount")
    bench.world.others.add(("ServiceAccount", "dino-trainer"))
    get = bench.world.get

    async def forbidden(kind: str, namespace: str, name: str) -> Object | None:
        if kind == "serviceaccounts":
            raise WAITED_FOR["no right"].error(kind, name)
        return await get(kind, namespace, name)

    bench.world.get = forbidden  # type: ignore[method-assign]
    submit(bench, "Job")
    await bench.pursue()
    assert bench.running().reason == "QuotaExceeded"


async def test_a_change_that_is_refused() -> None:
    bench = Refusing(answer=WAITED_FOR["policy, Forbidden"])
    await bench.check_data()
    bench.world.control_jobs()
    bench.world.start_pod()
    await bench.pursue()
    bench.world.edit(suspend=True)
    bench.kinds.add("patch")
    await bench.pursue()
    assert bench.status["phase"] == "Running"
    assert (bench.running().is_true, bench.running().reason) == (True, "PolicyDenied")
    assert "refuses a change of Job x-train-1" in bench.running().message
    writes = bench.world.writes
    await bench.pursue(3)
    assert bench.world.writes == writes
    assert bench.posted == ["Refused"]
    bench.kinds.clear()
    await bench.pursue()
    assert bench.world.things[Kind.JOBS]["x-train-1"]["spec"]["suspend"] is True
    assert bench.running().reason == "Suspending"


async def test_a_deletion_that_is_refused() -> None:
    bench = Refusing()
    bench.world.submit(queue="gpus")
    await bench.work()
    await bench.go_through()

    async def delete(namespace: str, what: Delete) -> None:
        raise WAITED_FOR["no right"].error(what.kind, what.name)

    bench.world.delete = delete  # type: ignore[method-assign]
    bench.world.edit(suspend=True)
    await bench.pursue()
    assert bench.running().reason == "NotPermitted"
    assert "does not delete Job x-train-1" in bench.running().message


async def test_a_namespace_that_goes_is_left_in_peace() -> None:
    bench = Refusing("ServiceAccount", "Event", answer=TERMINATING)
    submit(bench, "Job")
    bench.see()
    assert await bench.reconciler.reconcile(KEY) is None
    assert bench.world.writes == 0
    assert not bench.posted


async def test_a_job_that_went_meanwhile_is_forgotten() -> None:
    bench = Refusing("ServiceAccount", answer=WAITED_FOR["gone"])
    submit(bench, "Job")
    bench.see()
    refresh = bench.reconciler.refresh

    async def late(key: Key) -> None:
        await refresh(key)
        if bench.world.dinojob is not None:
            bench.world.remove(Kind.DINOJOBS, bench.world.things[Kind.DINOJOBS]["x"])

    bench.reconciler.refresh = late  # type: ignore[method-assign]
    with pytest.raises(RequestRefused):
        await bench.reconciler.reconcile(KEY)
    bench.reconciler.refresh = refresh  # type: ignore[method-assign]
    assert await bench.reconciler.reconcile(KEY) is None, "nothing is left to do"


async def test_katibs_objects_that_may_not_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    async def read(_: Katib, resource: Object, fresh: bool = False) -> Any:
        raise WAITED_FOR["no right"].error("experiments")

    monkeypatch.setattr(Katib, "read", read)
    bench = Refusing(key=SEARCH)
    bench.world._store(Kind.DINOAUTOMLS, a_search(engine="Auto"))
    await bench.pursue()
    assert bench.running().reason == "NotPermitted"
    assert "does not show Experiment" in bench.running().message
    assert "engine" not in bench.status


# ---- events -------------------------------------------------------------------------------------

FINAL = {
    "a quota": WAITED_FOR["quota"],
    "a policy": WAITED_FOR["policy, Forbidden"],
    "no namespace": WAITED_FOR["gone"],
    "a namespace that goes": TERMINATING,
}
PASSING = {key: WAITED_FOR[key] for key in ("etcd", "webhook closed", "unavailable", "no answer")}


async def failed(bench: Refusing) -> None:
    """A job that ends, which is told by an event."""
    bench.world.submit()
    await bench.work()
    bench.world.control_jobs()
    bench.world.start_pod()
    await bench.pursue()
    bench.world.end_pod(64)
    bench.world.control_jobs()
    bench.kinds.add("Event")
    await bench.pursue()


@pytest.mark.parametrize("answer", [*FINAL.values(), *PASSING.values()], ids=[*FINAL, *PASSING])
async def test_an_event_never_keeps_a_status_from_being_written(answer: RefusingAnswer) -> None:
    bench = Refusing(answer=answer)
    await failed(bench)
    assert bench.status["phase"] == "Failed"


@pytest.mark.parametrize("answer", PASSING.values(), ids=PASSING)
async def test_an_event_that_was_not_taken_is_told_later(answer: RefusingAnswer) -> None:
    bench = Refusing(answer=answer)
    await failed(bench)
    bench.see()
    again = await bench.reconciler.reconcile(KEY)
    assert again == bench.reconciler._settings.recheck
    bench.kinds.clear()
    bench.world.wait(60)
    await bench.pursue(3)
    assert [kind for kind, _ in bench.world.others].count("Event") == 1
    assert await bench.reconciler.reconcile(KEY) is None


async def test_an_event_is_not_tried_for_ever() -> None:
    bench = Refusing(answer=WAITED_FOR["etcd"])
    await failed(bench)
    await bench.pursue(20)
    assert bench.tried == 2, "the second time at once, then later and later"
    for _ in range(40):
        bench.world.wait(60)
        await bench.pursue()
    assert bench.tried == 8
    assert not bench.reconciler._events.late(bench.world.things[Kind.DINOJOBS]["x"])


@pytest.mark.parametrize("answer", FINAL.values(), ids=FINAL)
async def test_an_event_that_is_not_taken_is_left_out(answer: RefusingAnswer) -> None:
    bench = Refusing(answer=answer)
    await failed(bench)
    await bench.pursue(3)
    assert bench.tried == 1


# ---- what is read off an answer -----------------------------------------------------------------


def raised(call: Callable[[], object]) -> ApiError:
    with pytest.raises(ApiError) as found:
        call()
    return found.value


def test_the_causes_of_an_answer_are_kept() -> None:
    body = (
        b'{"reason": "Invalid", "message": "m", "details": {"causes": [{"reason": '
        b'"FieldValueInvalid", "message": "bad", "field": "spec.x"}, {"message": "n"}]}}'
    )
    causes = raised(lambda: _decode(422, body)).causes
    assert [(each.reason, each.field, each.message) for each in causes] == [
        ("FieldValueInvalid", "spec.x", "bad"),
        ("", "", "n"),
    ]
    assert raised(lambda: _decode(500, b'{"message": "m", "details": null}')).causes == ()


@pytest.mark.parametrize("body", [b'"Unauthorized"', b"[1]", b"<html>", b"[" * 100_000])
def test_who_answers_before_the_api_server_may_say_anything(body: bytes) -> None:
    """An error keeps its status; of what was to be an object nothing is known."""
    refused = raised(lambda: _decode(403, body))
    assert (refused.status, refused.message) == (403, body[:300].decode())
    assert raised(lambda: _decode(200, body)).status == 0
    for odd in (b'{"details": "none"}', b'{"details": {"causes": {"reason": "r"}}}'):
        assert raised(lambda odd=odd: _decode(422, odd)).causes == ()
