"""The Lease between several operators: one API server in memory, clocks that the tests turn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from kubernetes.aio import client as kube

from dino_operator import main
from dino_operator.plan.model import Object, Settings
from dino_operator.runtime import lease as leases
from dino_operator.runtime.client import ApiError, Client
from dino_operator.runtime.lease import Lease, Terms
from dino_operator.runtime.loop import Operator, Options
from dino_operator.runtime.metrics import OperatorMetrics
from tests.patience import Patience

SECONDS = 10


class Ended(BaseException):
    """What `os._exit` is in these tests: nothing catches it."""


class ApiServer:
    """One Lease, with versions. away: it does not answer. deaf: it does, and the answer is lost."""

    def __init__(self) -> None:
        self.lease: Object | None = None
        self.version = 0
        self.away = self.deaf = False
        self.account: Object = {}

    async def get(self, kind: str, namespace: str, name: str) -> Object | None:
        assert (kind, namespace, name) == ("leases", "dino-system", "dino-operator")
        if self.away:
            raise ApiError(0, "Unreachable", "nobody")
        return self.lease

    async def request(
        self, verb: str, where: str, *, body: Any = None, query: dict[str, str] | None = None
    ) -> Object:
        if self.away:
            raise ApiError(0, "Unreachable", "nobody")
        if where == leases.REVIEWS:
            return {"status": {"userInfo": self.account}}
        if verb == "POST" and self.lease is not None:
            raise ApiError(409, "AlreadyExists", "")
        if verb == "PUT" and self.lease is None:
            raise ApiError(404, "NotFound", "")
        known = self.lease
        if verb == "PUT" and known and body["metadata"].get("resourceVersion") != _version(known):
            raise ApiError(409, "Conflict", "")
        self.write(body)
        if self.deaf:
            raise ApiError(0, "Unreachable", "the answer was lost")
        assert self.lease is not None
        return self.lease

    def write(self, body: Object) -> None:
        """Whoever does it, the version is another one."""
        self.version += 1
        meta = {**body["metadata"], "resourceVersion": str(self.version)}
        self.lease = {**body, "metadata": meta}

    @property
    def spec(self) -> Object:
        """Of the Lease."""
        assert self.lease is not None
        return dict(self.lease["spec"])


def _version(lease: Object) -> str:
    return str(lease["metadata"]["resourceVersion"])


class Candidate(Lease):
    """A Lease as one process sees it, with a clock of its own that the test turns."""

    def __init__(self, api: ApiServer, name: str) -> None:
        self.now, self.ended = 0.0, ""
        terms = Terms("dino-system", "dino-operator", name, SECONDS)
        super().__init__(api, terms, lambda: self.now, self._note)

    def _note(self, why: str) -> None:
        self.ended = why
        raise Ended(why)

    async def tries(self) -> bool:
        """One look, and an attempt where the Lease is free."""
        return await self._try()

    async def renews(self) -> bool:
        """One renewal."""
        return await self._renew()


@pytest.fixture
def api() -> ApiServer:
    """An API server on which an operator ran, and gave the Lease back."""
    made = ApiServer()
    made.write({"metadata": {}, "spec": {"leaseTransitions": 4, "leaseDurationSeconds": 1}})
    return made


async def test_what_was_given_back_is_taken_at_once_and_by_one(api: ApiServer) -> None:
    one, two = Candidate(api, "one"), Candidate(api, "two")
    assert await one.tries()
    assert not await two.tries()
    assert (one.leads, two.leads, two.holder) == (True, False, "one")
    assert api.spec["leaseTransitions"] == 5
    await one.release()
    assert not one.leads
    assert await two.tries()


async def test_of_two_at_the_same_moment_one_gets_it(api: ApiServer) -> None:
    """Both have read that it is free: the version that they read decides."""
    one, two = Candidate(api, "one"), Candidate(api, "two")
    found = await api.get("leases", "dino-system", "dino-operator")
    for each in (one, two):
        each._look(found)
    assert [await each._take() for each in (one, two)] == [True, False]
    assert not two.leads


async def test_a_silent_holder_stops_before_the_other_begins(api: ApiServer) -> None:
    one, two = Candidate(api, "one"), Candidate(api, "two")
    assert await one.tries()
    stopped_at = 0.0
    for tenth in range(200):
        one.now = two.now = tenth / 10
        stopped_at = one.now if one.leads else stopped_at
        if await two.tries():
            break
    assert stopped_at < SECONDS <= two.now
    assert not one.leads
    with pytest.raises(Ended):
        one.check()


async def test_a_holder_that_renews_keeps_it(api: ApiServer) -> None:
    one, two = Candidate(api, "one"), Candidate(api, "two")
    assert await one.tries()
    since = api.spec["acquireTime"]
    for second in range(0, 60, 2):
        one.now = two.now = float(second)
        assert await one.renews()
        assert not await two.tries()
    assert (api.spec["acquireTime"], api.spec["leaseTransitions"]) == (since, 5)


async def test_a_hold_counts_from_the_question_and_not_from_the_answer(api: ApiServer) -> None:
    one = Candidate(api, "one")
    plain = api.request

    async def slow(*args: Any, **named: Any) -> Object:
        one.now += 3
        return await plain(*args, **named)

    api.request = slow  # type: ignore[method-assign]
    assert await one.tries()
    assert one._until == one._terms.hold < SECONDS


async def test_clocks_of_two_machines_may_tell_any_time(api: ApiServer) -> None:
    """Only how long nothing changed counts, and what the Lease says of times is for people."""
    one, two = Candidate(api, "one"), Candidate(api, "two")
    one.now, two.now = 1e6, 5.0
    assert await one.tries()
    api.write({**(api.lease or {}), "spec": {**api.spec, "renewTime": "1970-01-01T00:00:00.0Z"}})
    assert not await two.tries()
    two.now += SECONDS - 0.1
    assert not await two.tries()
    two.now += 0.1
    assert await two.tries()


async def test_a_longer_promise_of_the_holder_is_kept(api: ApiServer) -> None:
    one, two = Candidate(api, "one"), Candidate(api, "two")
    assert await one.tries()
    api.write({**(api.lease or {}), "spec": {**api.spec, "leaseDurationSeconds": 60}})
    assert not await two.tries()
    two.now = 59
    assert not await two.tries()
    two.now = 60
    assert await two.tries()


@pytest.mark.parametrize("how", ["deleted", "emptied"])
async def test_a_lease_that_somebody_takes_away_is_no_free_one(api: ApiServer, how: str) -> None:
    """`kubectl delete lease`, or `helm upgrade --force` of an empty one: its holder still works."""
    one, two = Candidate(api, "one"), Candidate(api, "two")
    assert await one.tries()
    if how == "deleted":
        api.lease = None
    else:
        api.write({"metadata": {}, "spec": {}})
    assert not await two.tries()
    two.now = SECONDS - 1
    assert not await two.tries()
    one.now = 2
    assert await one.renews()
    assert api.spec["holderIdentity"] == "one"
    assert not await two.tries()


async def test_the_first_of_all_waits_too_and_then_makes_it() -> None:
    """That nobody renews a Lease that is not there has to be seen."""
    api = ApiServer()
    api.account = {"username": "system:serviceaccount:dino-system:dino-operator", "uid": "u"}
    one = Candidate(api, "one")
    assert not await one.tries()
    one.now = SECONDS
    assert await one.tries()
    assert api.lease is not None
    owner = {"apiVersion": "v1", "kind": "ServiceAccount", "name": "dino-operator", "uid": "u"}
    assert api.lease["metadata"]["ownerReferences"] == [owner]


@pytest.mark.parametrize(
    "account",
    [
        {},
        {"username": "ann", "uid": "u"},
        {"username": "system:serviceaccount:elsewhere:dino-operator", "uid": "u"},
    ],
)
async def test_a_lease_of_nobodys_account_has_no_owner(account: Object) -> None:
    """An owner in another namespace would have the garbage collector delete it."""
    api = ApiServer()
    api.account = account
    one = Candidate(api, "one")
    one.now = -SECONDS
    assert not await one.tries()
    one.now = 0
    assert await one.tries()
    assert api.lease is not None
    assert "ownerReferences" not in api.lease["metadata"]


async def test_whose_answer_was_lost_has_it_once_it_has_looked(api: ApiServer) -> None:
    one = Candidate(api, "one")
    api.deaf = True
    assert not await one.tries()
    assert not one.leads
    api.deaf = False
    assert await one.tries()
    assert api.spec["leaseTransitions"] == 5


async def test_a_renewal_whose_answer_was_lost_is_made_again(api: ApiServer) -> None:
    one = Candidate(api, "one")
    assert await one.tries()
    api.deaf, one.now = True, 2
    assert not await one.renews()
    api.deaf = False
    assert await one.renews()
    assert one._until == 2 + one._terms.hold


async def test_without_an_answer_it_ends_in_time(api: ApiServer) -> None:
    one = Candidate(api, "one")
    assert await one.tries()
    api.away = True
    one.now = 7.9
    assert not await one.renews()
    one.now = 8
    with pytest.raises(Ended, match="not renewed in time"):
        await one.renews()


async def test_who_sees_another_holder_ends_at_once(api: ApiServer) -> None:
    one = Candidate(api, "one")
    assert await one.tries()
    api.write({**(api.lease or {}), "spec": {**api.spec, "holderIdentity": "two"}})
    with pytest.raises(Ended, match="is held by two"):
        await one.renews()


async def test_the_hold_ends_the_process_also_where_nothing_is_written(api: ApiServer) -> None:
    one = Candidate(api, "one")
    assert await one.tries()
    one.now = 9
    with pytest.raises(Ended):
        await one._end_in_time()


async def test_it_is_given_back_also_where_a_renewal_was_under_way(api: ApiServer) -> None:
    one = Candidate(api, "one")
    assert await one.tries()
    api.write(api.lease or {})
    await one.release()
    assert "holderIdentity" not in api.spec


async def test_what_another_holds_is_not_given_back(api: ApiServer) -> None:
    one = Candidate(api, "one")
    assert await one.tries()
    api.write({**(api.lease or {}), "spec": {**api.spec, "holderIdentity": "two"}})
    await one.release()
    assert api.spec["holderIdentity"] == "two"


async def test_one_that_may_not_read_it_says_so(api: ApiServer) -> None:
    async def forbid(*_: str) -> Object | None:
        raise ApiError(403, "Forbidden", "no")

    api.get = forbid  # type: ignore[method-assign]
    with pytest.raises(ApiError):
        await Candidate(api, "one").acquire()


@asynccontextmanager
async def listening(slow: float = 0) -> AsyncIterator[tuple[str, list[str]]]:
    """An HTTP server's address, and the verbs that came to their end there."""
    done: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        await asyncio.sleep(slow)
        done.append(request.method)
        return web.json_response({"metadata": {"name": "x"}})

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", done
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("verb", ["POST", "PUT", "PATCH", "DELETE"])
async def test_a_write_after_the_hold_is_never_sent(verb: str) -> None:
    """Neither by a new connection nor by one that is there; reads are."""

    def lost() -> None:
        raise Ended

    async with listening() as (server, done):
        client = Client(kube.Configuration(host=server), OperatorMetrics(), before_write=lost)
        for _ in range(2):
            with pytest.raises(Ended):
                await client.request(verb, "/apis/batch/v1/namespaces/n/jobs", body={})
            await client.request("GET", "/apis/batch/v1/namespaces/n/jobs")
        await client.close()
    assert done == ["GET", "GET"]


async def test_it_is_asked_right_before_the_first_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    """What ran out while the connection was made, or while others had the event loop, counts."""
    over: list[bool] = []

    def check() -> None:
        if over:
            raise RuntimeError("over")

    connect = aiohttp.TCPConnector.connect

    async def slow(*given: Any, **named: Any) -> Any:
        connection = await connect(*given, **named)
        asyncio.get_running_loop().call_soon(over.append, True)
        return connection

    monkeypatch.setattr(aiohttp.TCPConnector, "connect", slow)
    async with listening() as (server, done):
        client = Client(kube.Configuration(host=server), OperatorMetrics(), before_write=check)
        with pytest.raises(ApiError):
            await client.request("POST", "/x", body={})
        await client.close()
    assert (over, done) == ([True], [])


async def test_an_operator_that_is_stopped_waits_for_its_writes() -> None:
    """Their plans are cut; whoever works next must not meet what is still under way."""
    async with listening(slow=0.2) as (server, done):
        client = Client(kube.Configuration(host=server), OperatorMetrics())
        operator = Operator(client, Settings("t"), Options(), OperatorMetrics())
        plan = asyncio.create_task(client.request("POST", "/x", body={}))
        operator._tasks.append(plan)  # type: ignore[arg-type]
        await asyncio.sleep(0.1)
        await operator.stop()
        assert plan.cancelled()
        assert done == ["POST"]
        await client.close()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--lease", "dino-operator"], "is not NAMESPACE/NAME of a Lease"),
        (["--lease", "a/b/c"], "is not NAMESPACE/NAME of a Lease"),
        (["--lease-seconds", "2"], "give 5 or more"),
        (["--lease-seconds", "x"], "is not a whole number"),
    ],
)
def test_wrong_options_are_named(
    given: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main.parser({}).parse_args(given)
    assert said in capsys.readouterr().err


def test_without_the_option_there_is_no_lease() -> None:
    assert main.parser({}).parse_args([]).lease is None
    chosen = main.parser({"DINO_LEASE": "dino-system/dino-operator"}).parse_args([])
    assert (chosen.lease, chosen.lease_seconds) == (("dino-system", "dino-operator"), 10)


async def test_renewals_outlive_what_kopf_clears_away(
    api: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At its end kopf cancels each task that began while it ran; and it runs again where what the
    API server serves has changed."""
    # By its own clock no time passes: on a busy machine a hold of a second would run out.
    lease = Lease(api, Terms("dino-system", "dino-operator", "me", seconds=1), lambda: 0.0)

    class Stopped:
        async def stop(self) -> None: ...

    async def rounds(*_: object) -> None:
        for _ in range(2):
            before = asyncio.all_tasks()
            await asyncio.sleep(0.05)
            for task in asyncio.all_tasks() - before:
                task.cancel()
        version, waiting = api.version, Patience(60)
        while api.version == version:
            assert waiting.lasts(), "nobody renews it"
            await asyncio.sleep(0.05)
        assert lease.leads

    monkeypatch.setattr(main, "watch", rounds)
    await main.lead(lease, Stopped(), ())  # type: ignore[arg-type]
    assert not lease.leads
