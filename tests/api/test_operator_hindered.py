"""Namespaces that refuse pods, and pods that do not start: what a DinoJob says, and then does."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.api.operator_cluster import Cluster, Object, a_manifest, condition_of
from tests.api.operator_process import Process, eventually
from tests.builders import stamp

pytestmark = pytest.mark.usefixtures("operator")
QUIET: Object = {"maxRetries": 0}


@contextmanager
def there(cluster: Cluster, manifest: Object) -> Iterator[None]:
    """An object while the block runs."""
    applied = cluster.kubectl("apply", "-f", "-", stdin=json.dumps(manifest))
    assert applied.returncode == 0, applied.stderr
    try:
        if manifest["kind"] == "ResourceQuota":  # until then pods are refused in other words
            eventually(lambda: is_counted(cluster, manifest), "the quota is counted")
        yield
    finally:
        kind = manifest["kind"].lower()
        cluster.kubectl("delete", kind, manifest["metadata"]["name"], "--wait=true")


def is_counted(cluster: Cluster, quota: Object) -> bool:
    name = quota["metadata"]["name"]
    return bool(cluster.core.read_namespaced_resource_quota(name, cluster.namespace).status.hard)


def a_quota(**hard: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "few"},
        "spec": {"hard": hard},
    }


def a_range(**bounds: Object) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "LimitRange",
        "metadata": {"name": "small"},
        "spec": {"limits": [{"type": "Container", **bounds}]},
    }


def refused(cluster: Cluster, name: str, reason: str) -> str:
    """What the DinoJob says once it has that reason: in its condition, one event, kubectl get."""
    said = str(condition_of(cluster.reason(name, reason), "Running")["message"])
    assert said.startswith("no pod is created: ")
    assert said.endswith("The Job is tried again by itself.")
    assert "Remedy: " in said
    assert cluster.said(name, "Refused") == [said]
    shown = cluster.kubectl("get", "dinojob", name).stdout
    assert reason in shown.splitlines()[1].split()
    return said


def gone(cluster: Cluster, name: str) -> None:
    cluster.kubectl("delete", "dinojob", name, "--wait=true")


def test_a_quota_is_said_and_the_job_goes_on_by_itself(cluster: Cluster) -> None:
    cluster.by_hand.add("crowded")
    with there(cluster, a_quota(pods="0")):
        cluster.dinojobs.create(a_manifest("crowded"))
        said = refused(cluster, "crowded", "QuotaExceeded")
        assert cluster.status("crowded")["phase"] == "Preparing"
        assert (
            'pods "crowded-preflight-1" is forbidden: exceeded quota: few, requested: pods=1, '
            "limited: pods=0. Remedy: free some of the quota (kubectl describe resourcequota), "
            "have it raised, or ask for less by spec.resources in a new job."
        ) in said
        version = cluster.dinojobs.get("crowded")["metadata"]["resourceVersion"]
        tries = len(cluster.said("crowded-preflight-1", "FailedCreate"))

        def tried_again() -> bool:
            return len(cluster.said("crowded-preflight-1", "FailedCreate")) > tries

        eventually(tried_again, "another try of the Job controller")
        again = cluster.dinojobs.get("crowded")["metadata"]["resourceVersion"]
        assert again == version, "nothing is written while nothing changes"
    cluster.by_hand.clear()
    cluster.run("crowded-train-1")
    cluster.phase("crowded", "Running")
    gone(cluster, "crowded")


def test_a_default_limit_below_what_is_usually_requested_is_met(cluster: Cluster) -> None:
    small = a_range(default={"cpu": "200m"}, defaultRequest={"cpu": "50m"})
    with there(cluster, small):
        cluster.dinojobs.create(a_manifest("humble"))
        pod = cluster.pod_of("humble-train-1")
        found = cluster.core.read_namespaced_pod(pod, cluster.namespace)
        resources = found.spec.containers[0].resources
        assert resources.requests["cpu"] == "200m"
        assert resources.limits["cpu"] == "200m"
    gone(cluster, "humble")


REFUSED: dict[str, tuple[Object, Object | None, str, str]] = {
    "a maximum of a LimitRange": (
        {"resources": {"gpus": 0, "memory": "4Gi"}},
        a_range(max={"memory": "2Gi"}),
        "maximum memory usage per Container is 2Gi, but limit is 4Gi",
        "keep spec.resources of a new job within the namespace's LimitRange",
    ),
    "a priority class": (
        {"priorityClassName": "no-such"},
        None,
        "no PriorityClass with name no-such was found",
        "create the PriorityClass, or name another one in spec.priorityClassName",
    ),
    "a runtime class": (
        {"podTemplate": {"runtimeClassName": "no-such"}},
        None,
        'RuntimeClass "no-such" not found',
        "create the RuntimeClass, or name another one in spec.podTemplate.runtimeClassName",
    ),
}


@pytest.mark.parametrize("sentence", REFUSED)
def test_a_pod_that_the_api_server_refuses(cluster: Cluster, sentence: str) -> None:
    spec, other, words, remedy = REFUSED[sentence]
    name = f"no-{uuid.uuid4().hex[:6]}"
    with there(cluster, other or a_quota(services="9")):
        cluster.dinojobs.create(a_manifest(name, **spec))
        said = refused(cluster, name, "PodsRefused")
    assert words in said
    assert remedy in said
    gone(cluster, name)


def test_pod_security_is_said(cluster: Cluster) -> None:
    """Of what spec.podTemplate, or something that changes pods, puts into them."""
    label = "pod-security.kubernetes.io/enforce"
    unconfined = {"container.apparmor.security.beta.kubernetes.io/trainer": "unconfined"}
    cluster.kubectl("label", "namespace", cluster.namespace, f"{label}=restricted")
    try:
        cluster.dinojobs.create(a_manifest("loose", podTemplate={"annotations": unconfined}))
        said = refused(cluster, "loose", "PolicyDenied")
        assert 'violates PodSecurity "restricted:latest": ' in said
        assert "or have the namespace's Pod Security level lowered" in said
        cluster.dinojobs.create(a_manifest("strict"))
        assert cluster.pod_of("strict-train-1"), "the operator's own pods are within the strictest"
    finally:
        cluster.kubectl("label", "namespace", cluster.namespace, f"{label}-")
    gone(cluster, "loose")
    gone(cluster, "strict")


def _policy(namespace: str) -> tuple[Object, Object]:
    """Pods need a label `team`."""
    name = f"team-{namespace}"
    here = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}
    group = "admissionregistration.k8s.io/v1"
    policy = {
        "apiVersion": group,
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": name},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {"resourceRules": [{**rule, "operations": ["CREATE"]}]},
            "validations": [
                {"expression": "'team' in object.metadata.labels", "message": "pods need a team"}
            ],
        },
    }
    binding = {
        "apiVersion": group,
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": name},
        "spec": {
            "policyName": name,
            "validationActions": ["Deny"],
            "matchResources": {"namespaceSelector": here},
        },
    }
    return policy, binding


def test_a_policy_on_pods_is_said_and_can_be_met(cluster: Cluster) -> None:
    policy, binding = _policy(cluster.namespace)
    unlabelled = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "probe"}}
    unlabelled["spec"] = {"containers": [{"name": "a", "image": "a"}]}

    def holds() -> bool:
        command = ("apply", "--dry-run=server", "-f", "-")
        return cluster.kubectl(*command, stdin=json.dumps(unlabelled)).returncode != 0

    with there(cluster, policy), there(cluster, binding):
        eventually(holds, "the policy in force")
        cluster.dinojobs.create(a_manifest("teamless"))
        said = refused(cluster, "teamless", "PolicyDenied")
        assert "pods need a team" in said
        assert "meet the policy by labels and annotations of spec.podTemplate" in said
        cluster.dinojobs.create(a_manifest("team", podTemplate={"labels": {"team": "vision"}}))
        assert cluster.pod_of("team-train-1")
    gone(cluster, "teamless")
    gone(cluster, "team")


def play(cluster: Cluster, pod: str, phase: str, **status: Any) -> None:
    """What a kubelet would report of a pod with other containers in it."""
    body = {"status": {"phase": phase, **status}}
    cluster.core.patch_namespaced_pod_status(pod, cluster.namespace, body)


def a_status(name: str, **state: Object) -> Object:
    return {
        "name": name,
        "state": state,
        "image": "other:1",
        "imageID": "",
        "ready": False,
        "restartCount": 0,
    }


def test_an_init_container_that_fails_is_named(cluster: Cluster) -> None:
    cluster.dinojobs.create(a_manifest("injected", runPolicy=QUIET))
    pod = cluster.pod_of("injected-train-1")
    ended = {
        "exitCode": 3,
        "reason": "Error",
        "message": "no role for dino",
        "startedAt": stamp(),
        "finishedAt": stamp(),
    }
    waits = {"reason": "PodInitializing"}
    play(
        cluster,
        pod,
        "Failed",
        initContainerStatuses=[a_status("vault-init", terminated=ended)],
        containerStatuses=[a_status("trainer", waiting=waits)],
    )
    failed = cluster.phase("injected", "Failed")["status"]["failure"]
    assert failed["reason"] == "ContainerFailed"
    assert failed["message"] == (
        f"init container vault-init ended with exit code 3: no role for dino; pod {pod} failed "
        "with it"
    )
    assert "spec.podTemplate.annotations" in failed["remedy"]
    shown = cluster.kubectl("get", "dinojob", "injected").stdout.splitlines()[1].split()
    assert shown[2:4] == ["Failed", "ContainerFailed"]


def test_what_the_kubelet_lacks_is_read_from_its_events(cluster: Cluster) -> None:
    cluster.dinojobs.create(a_manifest("mounting"))
    pod = cluster.pod_of("mounting-train-1")
    cluster.bind(pod)
    found = cluster.core.read_namespaced_pod(pod, cluster.namespace)
    message = 'MountVolume.SetUp failed for volume "spec" : configmap "mounting-train" not found'
    event = {
        "metadata": {"name": f"{pod}.1"},
        "involvedObject": {
            "kind": "Pod",
            "namespace": cluster.namespace,
            "name": pod,
            "uid": found.metadata.uid,
            "apiVersion": "v1",
        },
        "reason": "FailedMount",
        "message": message,
        "type": "Warning",
        "lastTimestamp": stamp(),
    }
    cluster.core.create_namespaced_event(cluster.namespace, event)
    placed = {"type": "PodScheduled", "status": "True", "reason": "", "lastTransitionTime": stamp()}

    def told() -> str:
        """The real scheduler, which has no node, may say so after the pod was bound."""
        waits = [a_status("trainer", waiting={"reason": "ContainerCreating"})]
        play(cluster, pod, "Pending", conditions=[placed], containerStatuses=waits)
        found = cluster.condition("mounting", "Running")
        return str(found["message"]) if found.get("reason") == "PodNotStarted" else ""

    said = eventually(told, "told in the words of the pod's event")
    assert said.startswith(f"pod {pod}: {message}. Remedy: ")
    assert cluster.said("mounting", "PodProblem") == [said]


def test_the_rights_suffice(operator: Process) -> None:
    """Last: nothing that was read above was refused."""
    assert "are not looked at" not in operator.log.read_text()
    assert "cannot be read" not in operator.log.read_text()
