"""Katib's objects, as the operator reads them: seldom, and only where they have a part."""

from __future__ import annotations

import pytest

from dino_operator.plan.model import Object
from dino_operator.plan.observed.katib import Experiment
from dino_operator.runtime.client import KATIB
from dino_operator.runtime.katib import Katib
from tests.builders import a_job
from tests.unit.plan_searches import a_search_for
from tests.unit.test_runtime_searches import DONE


class KatibApi:
    """An API server with Katib, or without it."""

    def __init__(self, *served: str) -> None:
        self.kinds = frozenset(served)
        self.things: dict[str, Object] = {}
        self.asked: list[str] = []

    async def served(self, group: str) -> frozenset[str]:
        assert group == KATIB
        self.asked.append("discovery")
        return self.kinds

    async def get(self, kind: str, namespace: str, name: str) -> Object | None:
        self.asked.append(kind)
        assert name.startswith("dino-")
        return self.things.get(kind)

    async def list_all(
        self, kind: str, namespace: str | None, selector: str
    ) -> tuple[list[Object], int]:
        self.asked.append(kind)
        assert selector.startswith("katib.kubeflow.org/experiment=dino-")
        return [{"kind": "Trial"}], 1


def a_reader(api: KatibApi) -> tuple[Katib, list[float]]:
    clock = [0.0]
    return Katib(api, 15, lambda: clock[0]), clock


async def test_katib_is_read_where_it_may_run_the_search() -> None:
    api = KatibApi("experiments")
    katib, clock = a_reader(api)
    resource = a_search_for(a_job()).obj()
    assert (await katib.read(resource)).experiment is None
    assert api.asked == ["discovery", "experiments"]
    api.things = {"experiments": {"kind": "Experiment"}}
    clock[0] = 1
    assert (await katib.read(resource)).experiment is None, "not read twice at a time"
    seen = await katib.read(resource, fresh=True)
    assert (seen.served, seen.experiment, len(seen.trials)) == (
        True,
        Experiment({"kind": "Experiment"}),
        1,
    )
    api.asked.clear()
    katib.forget(resource)
    await katib.read(resource)
    assert sorted(api.asked) == ["experiments", "suggestions", "trials"]


async def test_katib_may_be_installed_later() -> None:
    api = KatibApi()
    katib, clock = a_reader(api)
    resource = a_search_for(a_job()).obj()
    for seconds in (0, 30, 59):
        clock[0] = seconds
        assert not (await katib.read(resource)).served
    assert api.asked == ["discovery"], "asked once a minute"
    api.kinds = frozenset({"experiments"})
    clock[0] = 70
    assert (await katib.read(resource)).served


@pytest.mark.parametrize(
    "status", [{"engine": "Embedded"}, {"engine": "Katib", "conditions": [DONE]}]
)
async def test_nothing_is_read_where_katib_has_no_part(status: Object) -> None:
    api = KatibApi("experiments")
    katib, _ = a_reader(api)
    resource = {**a_search_for(a_job()).obj(), "status": status}
    assert not (await katib.read(resource)).served
    assert api.asked == []
