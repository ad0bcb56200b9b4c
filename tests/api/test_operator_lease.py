"""Two operators and one Lease before a real API server: one works at a time, and one always does.

Times are printed; what is asserted of them holds on a slow machine, too. Each operator speaks by a
proxy that writes down what it sends, so that what a paused one sends later is seen.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import pytest

from tests.api.operator_cluster import Cluster, Object, Operating, a_manifest
from tests.api.operator_process import Process, eventually
from tests.api.recorded_requests import Record, recorded

SECONDS = 15
"""Of a Lease that is to run out; its holder ends itself where it is stopped for 12 of them."""
LONG_SECONDS = 60
"""Of one that is not."""
FAILOVER = 2.0 * SECONDS
JOBS = 6


@dataclass
class Pair:
    """Two operators of one namespace: the first leads at the start of a test."""

    cluster: Cluster
    first: Process
    second: Process
    of_first: Record
    of_second: Record

    def spec(self) -> Object:
        """Of the Lease."""
        return dict(lease(self.cluster)["spec"])

    def create(self, *names: str) -> None:
        """DinoJobs."""
        for name in names:
            self.cluster.dinojobs.create(a_manifest(name))

    def second_leads(self, since: float, what: str) -> float:
        """Waits for it; says and returns how long after that moment it was."""
        eventually(lambda: self.second.leads, "the second leads", FAILOVER)
        took = time.monotonic() - since
        print(f"{what}: the other leads after {took:.1f} s")
        return took

    def all_are_trained_once(self, *names: str) -> None:
        """Each DinoJob has the two Jobs that it needs, and none twice."""
        for name in names:
            self.cluster.job(f"{name}-train-1")
        for name in names:
            found = sorted(each["metadata"]["name"] for each in self.cluster.jobs_of(name))
            assert found == [f"{name}-preflight-1", f"{name}-train-1"]


def lease(cluster: Cluster) -> Object:
    """As the API server has it."""
    found = cluster.kubectl("get", "lease", "dino-operator", "-o", "json")
    assert found.returncode == 0, found.stderr
    return dict(json.loads(found.stdout))


@pytest.fixture
def pair(operating: Operating, request: pytest.FixtureRequest) -> Iterator[Pair]:
    """Both, with a Lease of so many seconds that was given back."""
    seconds = getattr(request, "param", SECONDS)
    with operating() as (cluster, alone), ExitStack() as stack:
        alone.stop()
        manifest: dict[str, Any] = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": "dino-operator"},
            "spec": {"leaseTransitions": 0, "leaseDurationSeconds": 1},
        }
        applied = cluster.kubectl("create", "-f", "-", stdin=json.dumps(manifest))
        assert applied.returncode == 0, applied.stderr
        words = ("--lease", f"{cluster.namespace}/dino-operator", "--lease-seconds", str(seconds))
        records, both = [], []
        for name in ("first", "second"):
            record = stack.enter_context(recorded(alone.kubeconfig, name))
            log = alone.log.with_name(f"log-{name}")
            one = replace(
                alone, kubeconfig=record.kubeconfig, log=log, arguments=words, process=None
            )
            stack.callback(one.kill)
            one.start()
            if not both:
                eventually(lambda one=one: one.leads, "the first leads")  # type: ignore[misc]
            records.append(record)
            both.append(one)
        assert not both[1].leads
        yield Pair(cluster, *both, *records)


def test_the_leader_is_killed_while_it_makes_jobs(pair: Pair) -> None:
    names = [f"job-{number}" for number in range(JOBS)]
    pair.create(*names[:3])
    eventually(pair.of_first.work, "a write of the first")
    assert pair.of_second.writes == [], "it stands by"
    pair.first.kill()
    killed = time.monotonic()
    pair.create(*names[3:])
    pair.second_leads(killed, "killed")
    assert pair.of_second.writes[0].at - pair.of_first.renewed >= SECONDS, "it stood by"
    pair.all_are_trained_once(*names)
    assert pair.spec()["leaseTransitions"] == 2
    assert pair.of_first.writes[-1].at < pair.of_second.writes[0].at


def test_a_leader_that_was_paused_writes_nothing_more(pair: Pair) -> None:
    """It is stopped in mid-work, past its Lease, and goes on once the other has done the work."""
    names = [f"job-{number}" for number in range(JOBS)]
    pair.create(*names)
    eventually(pair.of_first.work, "a write of the first")
    pair.first.signal(signal.SIGSTOP)
    paused = time.monotonic()
    pair.second_leads(paused, "paused")
    pair.all_are_trained_once(*names)
    before = list(pair.of_first.writes)
    for name in names:  # it would have something to do
        pair.cluster.dinojobs.patch(name, {"spec": {"runPolicy": {"suspend": True}}})
    eventually(lambda: _are(pair, names, "Suspended"), "the other suspends all")
    pair.first.signal(signal.SIGCONT)
    assert pair.first.ended() == 1
    assert pair.of_first.writes == before
    assert pair.of_first.work()[-1].at < pair.of_second.writes[0].at
    assert "ending at once" in pair.first.log.read_text()
    assert pair.second.leads


def _are(pair: Pair, names: list[str], phase: str) -> bool:
    return all(pair.cluster.status(name).get("phase") == phase for name in names)


@pytest.mark.parametrize("pair", [LONG_SECONDS], indirect=True)
def test_a_leader_that_is_told_to_end_gives_the_lease_back(pair: Pair) -> None:
    """By waiting, the other would have it a minute later."""
    names = [f"job-{number}" for number in range(JOBS)]
    pair.create(*names)
    eventually(pair.of_first.work, "a write of the first")
    told = time.monotonic()
    assert pair.first.stop() == 0
    given_back = _time(pair.spec()["renewTime"])
    pair.second_leads(told, "told to end")
    took = (_time(pair.spec()["acquireTime"]) - given_back).total_seconds()
    assert took < LONG_SECONDS, f"{took} s"
    pair.all_are_trained_once(*names)
    assert pair.of_first.writes[-1].is_of_the_lease, "nothing is written after it"


@pytest.mark.parametrize("pair", [LONG_SECONDS], indirect=True)
def test_one_that_stands_by_ends_when_told(pair: Pair) -> None:
    assert pair.second.stop() == 0
    assert pair.of_second.writes == []
    assert pair.first.leads


@pytest.mark.parametrize("pair", [LONG_SECONDS], indirect=True)
def test_a_lease_that_was_deleted_is_made_again_by_its_holder(pair: Pair) -> None:
    """And goes with the operator's account, as when the chart is uninstalled."""
    holder = pair.spec()["holderIdentity"]
    gone = pair.cluster.kubectl("delete", "lease", "dino-operator", "--wait=true")
    assert gone.returncode == 0, gone.stderr

    def there() -> bool:
        return pair.cluster.kubectl("get", "lease", "dino-operator").returncode == 0

    eventually(there, "the Lease again")
    made = lease(pair.cluster)
    assert made["spec"]["holderIdentity"] == holder
    (owner,) = made["metadata"]["ownerReferences"]
    account = pair.cluster.core.read_namespaced_service_account(
        "dino-operator", pair.cluster.namespace
    )
    assert (owner["kind"], owner["uid"]) == ("ServiceAccount", account.metadata.uid)
    assert pair.first.leads
    assert pair.of_second.writes == []


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
