"""Kueue's Workloads, as the operator reads them: seldom, and only of Jobs that wait."""

from __future__ import annotations

import pytest

from dino_operator.plan.model import Object
from dino_operator.plan.observed.job import Job
from dino_operator.plan.observed.workload import Workload
from dino_operator.runtime.client import KUEUE_VERSIONS, ApiError
from dino_operator.runtime.kueue import Kueue
from tests.builders import ChildBuilder, a_child, a_job
from tests.statuses import COMPLETE

WORKLOAD = {"kind": "Workload"}


class KueueApi:
    """An API server that serves Workloads in these versions."""

    def __init__(self, *versions: str, refuses: int = 0) -> None:
        self.versions, self.refuses = versions, refuses
        self.asked: list[str] = []

    async def served(self, group: str) -> frozenset[str]:
        self.asked.append(group)
        return frozenset({"workloads"}) if group in self.versions else frozenset()

    async def list_in(self, group: str, plural: str, space: str, selector: str) -> list[Object]:
        assert (plural, space) == ("workloads", "team")
        assert selector == "kueue.x-k8s.io/job-uid=job-of-uid-x"
        self.asked.append(f"{group}/{plural}")
        if self.refuses:
            raise ApiError(self.refuses, "Refused", "no")
        return [WORKLOAD]


def a_reader(api: KueueApi) -> tuple[Kueue, list[float]]:
    clock = [0.0]
    return Kueue(api, 30, lambda: clock[0]), clock


RESOURCE = a_job().obj()
WAITS = [Job(a_child(a_job()).waiting("lab").obj())]
NEW, OLD = KUEUE_VERSIONS


@pytest.mark.parametrize("versions", [(NEW, OLD), (OLD,)])
async def test_a_job_that_waits_is_read_in_the_newest_version(versions: tuple[str, ...]) -> None:
    api = KueueApi(*versions)
    kueue, clock = a_reader(api)
    seen = await kueue.read(RESOURCE, WAITS)
    assert (seen.kueue, seen.workload) == ("read", Workload(WORKLOAD))
    assert api.asked[-1] == f"{versions[0]}/workloads"
    asked = len(api.asked)
    clock[0] = 14
    await kueue.read(RESOURCE, WAITS)
    assert len(api.asked) == asked, "not read twice at a time"
    await kueue.read(RESOURCE, WAITS, fresh=True)
    clock[0] = 31
    await kueue.read(RESOURCE, WAITS)
    assert len(api.asked) == asked + 2


@pytest.mark.parametrize(
    "job",
    [
        a_child(a_job()).queued("lab"),
        a_child(a_job()).held(),
        a_child(a_job()).waiting("lab").complete(),
        a_child(a_job("y")).waiting("lab"),
    ],
)
async def test_nothing_is_read_of_a_job_that_nobody_else_holds(job: ChildBuilder) -> None:
    api = KueueApi(NEW)
    kueue, _ = a_reader(api)
    assert (await kueue.read(RESOURCE, [Job(job.obj())])).kueue == "unasked"
    assert (await kueue.read(a_job().status(COMPLETE).obj(), WAITS)).kueue == "unasked"
    assert not api.asked


async def test_kueue_may_be_installed_later() -> None:
    api = KueueApi()
    kueue, clock = a_reader(api)
    for seconds in (0, 30, 59):
        clock[0] = seconds
        assert (await kueue.read(RESOURCE, WAITS)).kueue == "missing"
    assert len(api.asked) == 2, "asked once a minute, for both versions"
    api.versions = (NEW,)
    clock[0] = 75
    assert (await kueue.read(RESOURCE, WAITS)).kueue == "read"


async def test_without_the_right_to_read_it_goes_on() -> None:
    kueue, _ = a_reader(KueueApi(NEW, refuses=403))
    assert (await kueue.read(RESOURCE, WAITS)).kueue == "forbidden"
    kueue, _ = a_reader(KueueApi(NEW, refuses=500))
    with pytest.raises(ApiError):
        await kueue.read(RESOURCE, WAITS)
