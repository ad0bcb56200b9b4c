"""What the proxy of unknown operators spoils, and when: without an API server."""

from __future__ import annotations

import base64
import ssl
from typing import cast

import certifi
import pytest
from aiohttp import web

from dino_api.names import PLURAL
from tests.proof.fault_proxy import FaultProxy, _plural
from tests.proof.faults import BACK, Fault, Object, What

JOBS = "/apis/batch/v1/namespaces/team/jobs"
HEAD: Object = {"kind": "JobList", "metadata": {"resourceVersion": "1"}}


def a_proxy(fault: Fault, killed: list[str]) -> FaultProxy:
    """Before an API server that does not exist, and without a thread of its own."""
    known = ssl.create_default_context(cafile=certifi.where()).get_ca_certs(binary_form=True)[0]
    authority = base64.b64encode(ssl.DER_cert_to_PEM_cert(known).encode()).decode()
    cluster = {"server": "https://127.0.0.1:1", "certificate-authority-data": authority}
    made = FaultProxy(cluster, fault, lambda: killed.append("killed"))
    made._loop.close()
    return made


def told(proxy: FaultProxy, number: int, kind: str = "MODIFIED") -> None:
    """A watch event of the one Job there is."""
    meta = {"uid": "u", "resourceVersion": str(number)}
    proxy._note(JOBS, {"type": kind, "object": {"metadata": meta}})


@pytest.mark.parametrize(
    "path, plural",
    [
        (JOBS, "jobs"),
        (f"{JOBS}/x-train-1", "jobs"),
        ("/apis/dino-operator.io/v1alpha1/namespaces/team/dinojobs/x/status", PLURAL),
        ("/api/v1/namespaces/team", "team"),
        ("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", "customresourcedefinitions"),
    ],
)
def test_what_a_request_is_about(path: str, plural: str) -> None:
    assert _plural(path) == plural


@pytest.mark.parametrize("what", ["untold", "deleted", "stale", "kill after"])
def test_a_fault_at_a_change_befalls_at_that_change(what: What) -> None:
    killed: list[str] = []
    proxy = a_proxy(Fault(what, 2), killed)
    told(proxy, 2, "ADDED")
    assert not proxy.befell
    told(proxy, 3)
    assert proxy.befell == (what != "kill after"), "that one is at a write"
    assert proxy.blind == (what in ("untold", "deleted"))
    assert bool(killed) == (what == "stale")
    told(proxy, 4)
    assert len(killed) <= 1


async def test_a_stale_start_lists_what_was_there_two_changes_before() -> None:
    proxy = a_proxy(Fault("stale", 4), [])
    proxy._state[JOBS] = (HEAD, {})
    for number in (2, 3, 4, 5):
        told(proxy, number, "ADDED" if number == 2 else "MODIFIED")

    class Request:
        path = JOBS

    answer = await proxy._list(cast(web.Request, Request()))
    assert isinstance(answer, web.Response)
    version = str(5 - BACK)
    assert f'"resourceVersion": "{version}"' in str(answer.text)
    assert str(answer.text).count(version) == 2, "of the list, and of the Job in it"
    assert proxy._old == {}, "the next list is as things are"
