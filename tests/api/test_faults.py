"""The operator's writes and what it sees, spoiled moment by moment, before a real API server.

`make proof` goes through every plan, this one through some of each workload (`DINO_FAULT_PLANS`).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from kubernetes.aio import client as kube
from kubernetes.aio import config

from dino_operator.runtime.client import Client
from dino_operator.runtime.metrics import OperatorMetrics
from tests.api.clients import Kubectl
from tests.patience import LONG
from tests.proof.faults import Fault, Reference, learn, several, spoiled
from tests.proof.workloads import WORKLOADS

PLANS = os.environ.get("DINO_FAULT_PLANS", "44")
"""How many of them, spread evenly over workloads and moments; or `all`."""
ONLY = os.environ.get("DINO_FAULT_WORKLOAD", "")
BEFALL = 0.9
"""At least so large a share of the plans: a life that is a little shorter may lack a moment."""
Plan = tuple[Reference, Fault]


async def _client(kubeconfig: Path) -> Client:
    settings = kube.Configuration(client_session_kwargs={"trust_env": False})
    await config.load_kube_config(str(kubeconfig), client_configuration=settings)
    return Client(settings, OperatorMetrics(), timeout=LONG)


def _chosen(references: Sequence[Reference]) -> list[Plan]:
    """All plans; or some, evenly spread, so that each workload has its share."""
    plans = [(each, fault) for each in references for fault in each.faults()]
    if PLANS == "all":
        return plans
    step = max(1.0, len(plans) / int(PLANS))
    return [plans[round(n * step)] for n in range(min(int(PLANS), len(plans)))]


async def test_whatever_moment_is_spoiled_it_ends_as_undisturbed(
    kubeconfig: Path, cluster_kubectl: Kubectl
) -> None:
    client = await _client(kubeconfig)
    workloads = [each for each in WORKLOADS if ONLY in each.name]
    try:
        references = await several(lambda each: learn(client, each), workloads)
        for each in references:
            print(f"{each.workload.name}: {len(each.writes)} writes, {each.changes} changes")
        plans = _chosen(references)
        found = await several(lambda plan: spoiled(client, *plan), plans)
    finally:
        await client.close()
    befell = sum(each.befell for each in found)
    print(f"{befell} of {len(plans)} plans over {len(references)} workloads befell")
    violations = [each for outcome in found for each in outcome.violations]
    assert not violations, "\n".join(violations)
    assert befell >= BEFALL * len(plans), "what does not befall proves nothing"
