"""An Experiment that is refused: the plan is made again with the words of the refusal."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from dino_operator.plan.model import Settings
from dino_operator.runtime.cache import ObjectCache
from dino_operator.runtime.client import ApiError
from dino_operator.runtime.keys import Key, Kind
from dino_operator.runtime.metrics import OperatorMetrics
from dino_operator.runtime.reconcile import Reconciler
from dino_operator.runtime.writes import RequestRefused
from tests.builders import Object, later
from tests.unit.katib_cases import a_search
from tests.unit.test_katib_plan import a_baseline

KEY = Key(Kind.DINOAUTOMLS, "team", "tune")
SAID = 'admission webhook "validator.experiment.katib.kubeflow.org" denied the request'


class RefusingApi:
    """An API server with Katib, whose webhook answers with that status."""

    def __init__(self, status: int) -> None:
        self.code = status
        self.tried = 0
        self.resource = a_search()
        self.resource["metadata"] |= {"resourceVersion": "1", "generation": 1}
        self.resource["status"] = {"engine": "Katib"}
        self.baseline = a_baseline()
        self.baseline["metadata"]["resourceVersion"] = "2"

    async def served(self, group: str) -> frozenset[str]:
        return frozenset({"experiments"})

    async def get(self, kind: str, namespace: str, name: str) -> Object | None:
        return self.resource if kind == "dinoautomls" else None

    async def list_all(self, *_: Any) -> tuple[list[Object], int]:
        return [], 9

    async def children(self, kind: Kind, key: Key) -> tuple[list[Object], int]:
        return ([self.baseline] if kind is Kind.DINOJOBS else []), 9

    async def create(self, thing: Object) -> Object:
        if thing["kind"] == "Experiment":
            self.tried += 1
            raise ApiError(self.code, "", SAID)
        return thing

    async def patch(self, *_: Any) -> Object:
        raise AssertionError("nothing is patched")

    async def delete(self, *_: Any) -> None:
        raise AssertionError("nothing is deleted")

    async def apply_status(self, resource: Object, status: Object) -> Object:
        version = str(int(resource["metadata"]["resourceVersion"]) + 1)
        meta = {**resource["metadata"], "resourceVersion": version}
        self.resource = {**resource, "metadata": meta, "status": status}
        return self.resource


async def reconciled(status: int) -> RefusingApi:
    api, cache = RefusingApi(status), ObjectCache()
    cache.put(Kind.DINOAUTOMLS, api.resource)
    cache.put(Kind.DINOJOBS, api.baseline)
    reconciler = Reconciler(
        cache, api, Settings("trainer:1"), OperatorMetrics(), lambda: later(100)
    )
    with suppress(RequestRefused):  # it is tried again later
        await reconciler.reconcile(KEY)
    return api


async def test_a_refusal_ends_the_search_with_its_words() -> None:
    api = await reconciled(400)
    assert api.tried == 1
    assert api.resource["status"]["failure"]["reason"] == "KatibFailed"
    assert SAID in api.resource["status"]["failure"]["message"]


async def test_a_webhook_that_does_not_answer_is_waited_for() -> None:
    api = await reconciled(500)
    status = api.resource["status"]
    assert "failure" not in status
    (running,) = [each for each in status["conditions"] if each["type"] == "Running"]
    assert SAID in running["message"]


async def test_an_overloaded_api_server_is_waited_for() -> None:
    api = await reconciled(503)
    assert "failure" not in api.resource["status"]
