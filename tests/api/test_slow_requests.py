"""The proxy by which one hunts for what holds by luck does slow down what it is asked to."""

from __future__ import annotations

import pytest

from dino_api import rfc3339
from dino_api.names import FIELD_MANAGER
from tests.api.operator_cluster import Object, Operating, a_manifest
from tests.api.slow_requests import VARIABLE


def test_a_late_status_comes_after_the_job_that_it_tells_of(
    operating: Operating, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "status=3,watch=0.5")
    with operating() as (cluster, _):
        cluster.by_hand.add("slow")
        cluster.dinojobs.create(a_manifest("slow"))
        told = written(cluster.phase("slow", "Preparing"))
        made = rfc3339.parse(cluster.job("slow-preflight-1")["metadata"]["creationTimestamp"])
        # Both are whole seconds.
        assert (rfc3339.parse(told) - made).total_seconds() >= 2


def written(thing: Object) -> str:
    """When the operator wrote its status, by the API server's clock."""
    (ours,) = (
        each for each in thing["metadata"]["managedFields"] if each["manager"] == FIELD_MANAGER
    )
    return str(ours["time"])
