"""Who may speak with whom, as the chart's NetworkPolicies say, and what a drain may take away."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dino_api.names import RENDEZVOUS_PORT
from dino_operator.plan.job.decide import plan
from tests.builders import a_job, around, later
from tests.chart.conftest import Objects
from tests.statuses import CHECKED
from tests.unit.plan_cases import SETTINGS

Render = Callable[..., Objects]
Object = dict[str, Any]
ON = ("networkPolicy.enabled=true", "networkPolicy.trainer.namespaces={vision}")
API, DNS, S3, METRICS, OTHER = 6443, 53, 443, 8080, 5432


def policies(objects: Objects) -> dict[str, Object]:
    return {one["metadata"]["name"]: one for one in objects if one["kind"] == "NetworkPolicy"}


def pod_labels(kind: str, objects: Objects) -> Object:
    (found,) = [one for one in objects if one["kind"] == kind]
    return dict(found["spec"]["template"]["metadata"]["labels"])


def chooses(selector: Object, labels: Object) -> bool:
    """matchLabels alone is used."""
    assert set(selector) == {"matchLabels"}
    return bool(selector["matchLabels"].items() <= labels.items())


def trainers() -> Object:
    """Labels of a training pod, as the plan makes it."""
    made = plan(a_job().status(CHECKED).obj(), around(), later(0), SETTINGS).creates
    return pod_labels("Job", list(made))


def peers(policy: Object, direction: str, port: int) -> list[Any]:
    """With whom that policy lets speak on that TCP port; None: with everybody."""
    key = {"ingress": "from", "egress": "to"}[direction]
    return [
        rule.get(key)
        for rule in policy["spec"][direction]
        if "ports" not in rule or port in [each["port"] for each in rule["ports"]]
    ]


def test_nothing_of_it_is_there_until_asked_for(render: Render) -> None:
    assert not policies(render())
    assert "PodDisruptionBudget" not in {one["kind"] for one in render()}


def test_the_operator_speaks_with_the_api_server_and_dns_and_tells_its_metrics(
    render: Render,
) -> None:
    objects = render(*ON)
    policy = policies(objects)["dino-operator"]
    assert policy["metadata"]["namespace"] == "dino-system"
    assert chooses(policy["spec"]["podSelector"], pod_labels("Deployment", objects))
    assert not chooses(policy["spec"]["podSelector"], trainers())
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert peers(policy, "egress", API) == peers(policy, "egress", DNS) == [None]
    assert not peers(policy, "egress", OTHER)
    ports = [port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]]
    (deployment,) = [one for one in objects if one["kind"] == "Deployment"]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert ports == [container["ports"][0]["name"]] == ["metrics"]


def test_training_pods_meet_each_other_and_reach_storage_dns_and_the_api_server(
    render: Render,
) -> None:
    objects = render(*ON)
    policy = policies(objects)["dino-operator-trainer"]
    assert policy["metadata"]["namespace"] == "vision"
    chosen = policy["spec"]["podSelector"]
    assert chooses(chosen, trainers())
    assert not chooses(chosen, pod_labels("Deployment", objects))
    each_other = [{"podSelector": chosen}]
    for port in (RENDEZVOUS_PORT, 40000):  # NCCL and gloo choose ports of their own
        assert peers(policy, "egress", port) == peers(policy, "ingress", port) == [each_other]
    for port in (DNS, API):
        assert peers(policy, "egress", port) == [each_other, None]
    assert None in peers(policy, "egress", S3)


def test_named_namespaces_get_the_trainers_policy(render: Render) -> None:
    found = [
        one["metadata"]["namespace"]
        for one in render("networkPolicy.enabled=true", "watchNamespaces={red,blue}")
        if one["kind"] == "NetworkPolicy"
    ]
    assert found == ["dino-system", "red", "blue"]


NARROWER: dict[str, tuple[str, str, str, int, Any]] = {
    "the API server's address": (
        "networkPolicy.apiServer.cidrs={10.0.0.1/32}",
        "dino-operator",
        "egress",
        API,
        [{"ipBlock": {"cidr": "10.0.0.1/32"}}],
    ),
    "its port": ("networkPolicy.apiServer.ports={16443}", "dino-operator", "egress", 16443, None),
    "OpenShift's DNS": ("networkPolicy.dnsPorts={5353}", "dino-operator", "egress", 5353, None),
    "who reads metrics": (
        "networkPolicy.metricsFrom[0].namespaceSelector.matchLabels.name=monitoring",
        "dino-operator",
        "ingress",
        METRICS,
        [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}],
    ),
    "MinIO's port": (
        "networkPolicy.trainer.storage.ports={9000}",
        "dino-operator-trainer",
        "egress",
        9000,
        None,
    ),
    "where S3 is": (
        "networkPolicy.trainer.storage.to[0].ipBlock.cidr=10.1.0.0/16",
        "dino-operator-trainer",
        "egress",
        S3,
        [{"ipBlock": {"cidr": "10.1.0.0/16"}}],
    ),
    "MLflow": (
        "networkPolicy.trainer.egress[0].ports[0].port=5432",
        "dino-operator-trainer",
        "egress",
        OTHER,
        None,
    ),
}


@pytest.mark.parametrize("case", NARROWER)
def test_values_narrow_and_widen_it(render: Render, case: str) -> None:
    value, name, direction, port, expected = NARROWER[case]
    policy = policies(render(*ON, value))[name]
    port_or_name: Any = "metrics" if port == METRICS else port
    assert expected in peers(policy, direction, port_or_name)


def test_a_drain_may_take_the_operator_unless_that_is_forbidden(render: Render) -> None:
    def budget(*values: str) -> Object:
        objects = render("podDisruptionBudget.enabled=true", *values)
        (found,) = [one for one in objects if one["kind"] == "PodDisruptionBudget"]
        assert chooses(found["spec"]["selector"], pod_labels("Deployment", objects))
        return dict(found["spec"])

    assert budget()["maxUnavailable"] == 1
    assert budget("podDisruptionBudget.maxUnavailable=0")["maxUnavailable"] == 0
