"""Quotas, policies, webhooks and missing rights of a real API server, before the operator.

Each is first met without a status having been written, then goes, and the job goes on by itself.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import kubernetes
import pytest
from kubernetes.client.exceptions import ApiException

from tests.api.clients import DinoJobs
from tests.api.operator_cluster import ACCOUNT, Cluster, Object, a_manifest
from tests.api.operator_process import Process, eventually

CLOSED = "https://127.0.0.1:9/"
NEEDED = "a label team is needed"
A_WHILE = 6.0
"""Some four tries of the operator, whose waits double."""


def labelled(name: str, labels: Object, **spec: Any) -> Object:
    made = a_manifest(name, **spec)
    made["metadata"]["labels"] = labels
    return made


def a_search(name: str) -> Object:
    job = a_manifest(name)
    template = {key: job["spec"][key] for key in ("datasets", "output", "resources")}
    spec = {"template": template, "engine": "Embedded", "maxTrials": 2, "parallelTrials": 1}
    return {**job, "kind": "DinoAutoML", "spec": spec}


def probe(name: str = "probe") -> Object:
    """A Job that is only asked for."""
    container = {"name": "c", "image": "i"}
    pod = {"spec": {"restartPolicy": "Never", "containers": [container]}}
    return {"metadata": {"name": name}, "spec": {"template": pod}}


def answer(cluster: Cluster, body: Object | None = None) -> ApiException | None:
    """What the API server says to a Job, which is not kept; None where it takes it."""
    try:
        cluster.batch.create_namespaced_job(cluster.namespace, body or probe(), dry_run="All")
    except ApiException as error:
        return error
    return None


def is_taken(cluster: Cluster) -> None:
    """What was deleted is not in force any more."""
    eventually(lambda: answer(cluster) is None, "a Job is taken again")


def causes(error: ApiException) -> list[Object]:
    return list(json.loads(error.body)["details"].get("causes") or [])


@contextmanager
def quota(cluster: Cluster, *kinds: str) -> Iterator[None]:
    """No more of these."""
    core, hard = cluster.core, {f"count/{kind}": "0" for kind in kinds}
    body = {"metadata": {"name": "few"}, "spec": {"hard": hard}}
    core.create_namespaced_resource_quota(cluster.namespace, body)

    def counted() -> bool:
        found = core.read_namespaced_resource_quota("few", cluster.namespace)
        return bool(found.status.hard)

    try:
        eventually(counted, "the quota is counted")
        yield
    finally:
        core.delete_namespaced_resource_quota("few", cluster.namespace)


@contextmanager
def policy(
    cluster: Cluster,
    *resources: str,
    rule: str = "'team' in object.metadata.?labels.orValue({})",
    reason: str = "Invalid",
    operation: str = "CREATE",
) -> Iterator[str]:
    """A ValidatingAdmissionPolicy in force in this namespace; its name."""
    admission = kubernetes.client.AdmissionregistrationV1Api(cluster.client)
    name = f"{cluster.namespace}-{reason.lower()}-{operation.lower()}"
    here = {"matchLabels": {"kubernetes.io/metadata.name": cluster.namespace}}
    rules = [
        {
            "apiGroups": ["*"],
            "apiVersions": ["*"],
            "operations": [operation],
            "resources": list(resources),
        }
    ]
    spec = {
        "failurePolicy": "Fail",
        "matchConstraints": {"resourceRules": rules, "namespaceSelector": here},
        "validations": [{"expression": rule, "message": NEEDED, "reason": reason}],
    }
    meta = {"metadata": {"name": name}}
    bound = {**meta, "spec": {"policyName": name, "validationActions": ["Deny"]}}
    admission.create_validating_admission_policy({**meta, "spec": spec})
    admission.create_validating_admission_policy_binding(bound)
    try:
        yield name
    finally:
        admission.delete_validating_admission_policy_binding(name)
        admission.delete_validating_admission_policy(name)
        is_taken(cluster)


@contextmanager
def webhook(cluster: Cluster, *resources: str) -> Iterator[None]:
    """A webhook that nobody answers for, and that must be asked."""
    admission = kubernetes.client.AdmissionregistrationV1Api(cluster.client)
    name = f"away.{cluster.namespace}.example.com"
    rule = {
        "apiGroups": ["*"],
        "apiVersions": ["*"],
        "operations": ["CREATE"],
        "resources": list(resources),
    }
    hook = {
        "name": name,
        "clientConfig": {"url": CLOSED},
        "rules": [rule],
        "failurePolicy": "Fail",
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "timeoutSeconds": 2,
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": cluster.namespace}},
    }
    made = {"metadata": {"name": name}, "webhooks": [hook]}
    admission.create_validating_webhook_configuration(made)
    try:
        eventually(lambda: answer(cluster), "the webhook is asked")
        yield
    finally:
        admission.delete_validating_webhook_configuration(name)
        is_taken(cluster)


def running(thing: Object) -> Object:
    found = thing.get("status", {}).get("conditions", [])
    return next((each for each in found if each["type"] == "Running"), {})


def waits(objects: DinoJobs, name: str, reason: str) -> Object:
    """The object once it says why it waits."""
    last: Object = {}

    def said() -> bool:
        last.update(objects.get(name))
        return bool(running(last).get("reason") == reason)

    eventually(said, lambda: f"{name} {reason}: {last.get('status')}")
    return dict(last)


def is_quiet(objects: DinoJobs, cluster: Cluster, name: str) -> None:
    """Nothing is written while nothing changes, and there is one event."""
    before = objects.get(name)["metadata"]["resourceVersion"]
    time.sleep(A_WHILE)
    assert objects.get(name)["metadata"]["resourceVersion"] == before
    assert cluster.events(name).count("Refused") == 1


@pytest.fixture
def searches(cluster: Cluster) -> DinoJobs:
    return DinoJobs(cluster.dinojobs.api, cluster.namespace, "dinoautomls")


def test_a_quota_on_the_name_by_which_nodes_meet(cluster: Cluster, operator: Process) -> None:
    with quota(cluster, "services"):
        cluster.dinojobs.create(a_manifest("pair", resources={"gpus": 0, "nodes": 2}))
        found = cluster.reason("pair", "QuotaExceeded")
        assert "refuses Service" in running(found)["message"]
    cluster.job("pair-train-1")


@pytest.mark.parametrize("kind", ["jobs.batch", "configmaps"])
def test_a_full_quota_is_waited_for(cluster: Cluster, operator: Process, kind: str) -> None:
    name = f"quota-{kind.partition('.')[0]}"
    with quota(cluster, kind):
        cluster.dinojobs.create(a_manifest(name))
        found = waits(cluster.dinojobs, name, "QuotaExceeded")
        assert found["status"]["phase"] == "Pending"
        said = running(found)["message"]
        assert "exceeded quota: few, requested: count/" + kind in said
        assert "kubectl describe resourcequota few" in said
        is_quiet(cluster.dinojobs, cluster, name)
    cluster.job(f"{name}-preflight-1")
    assert cluster.said(name, "Refused") == [said[:1000]]


def test_a_quota_on_searches_and_on_trials(
    cluster: Cluster, operator: Process, searches: DinoJobs
) -> None:
    with quota(cluster, "dinoautomls.dino-operator.io", "services"):
        searched = a_manifest("routed")
        del searched["spec"]["automlPolicy"]
        cluster.dinojobs.create(searched)
        waits(cluster.dinojobs, "routed", "QuotaExceeded")
        is_quiet(cluster.dinojobs, cluster, "routed")
    eventually(lambda: _exists(searches, "routed"), "its search is made")
    with quota(cluster, "dinojobs.dino-operator.io"):
        searches.create(a_search("trials"))
        found = waits(searches, "trials", "QuotaExceeded")
        assert found["status"]["phase"] == "Pending"
        assert "refuses DinoJob trials-trial-0" in running(found)["message"]
        is_quiet(searches, cluster, "trials")
    cluster.job("trials-trial-0-preflight-1")


def _exists(objects: DinoJobs, name: str) -> bool:
    try:
        return bool(objects.get(name))
    except ApiException:
        return False


def test_what_exists_is_not_missed_where_a_quota_is_full(
    cluster: Cluster, operator: Process
) -> None:
    """The API server answers 403 for the quota before it looks whether the name is taken."""
    cluster.dinojobs.create(a_manifest("before"))
    cluster.job("before-preflight-1")
    operator.kill()
    with quota(cluster, "serviceaccounts", "rolebindings.rbac.authorization.k8s.io"):
        made = {"metadata": {"name": "dino-trainer"}}
        with pytest.raises(ApiException) as refused:
            cluster.core.create_namespaced_service_account(cluster.namespace, made)
        assert refused.value.status == 403
        operator.start()
        cluster.dinojobs.create(a_manifest("after"))
        cluster.job("after-preflight-1")
    assert cluster.events("after") == []


@pytest.mark.parametrize("reason, status", [("Invalid", 422), ("Forbidden", 403)])
def test_a_policy_is_waited_for_and_met_by_a_label(
    cluster: Cluster, operator: Process, reason: str, status: int
) -> None:
    name = f"policy-{reason.lower()}"
    with policy(cluster, "jobs", reason=reason) as called:
        error = eventually(lambda: answer(cluster), "the policy is in force")
        assert error.status == status
        assert [sorted(each) for each in causes(error)] == [["message"]], "no field, no reason"
        cluster.dinojobs.create(a_manifest(name))
        found = waits(cluster.dinojobs, name, "PolicyDenied")
        said = running(found)["message"]
        assert f"ValidatingAdmissionPolicy {called} (binding {called})" in said
        assert NEEDED in said
        is_quiet(cluster.dinojobs, cluster, name)
        cluster.dinojobs.patch(name, {"metadata": {"labels": {"team": "vision"}}})
        job = cluster.job(f"{name}-preflight-1")
    assert job["metadata"]["labels"]["team"] == "vision"
    assert "Failed" not in cluster.events(name)


def test_labels_of_the_metadata_meet_policies_on_every_child(
    cluster: Cluster, operator: Process
) -> None:
    labels = {"team": "vision", "app.kubernetes.io/instance": "argo", "app": "web"}
    with policy(cluster, "jobs", "configmaps", "services", "pods"):
        error = eventually(lambda: answer(cluster), "the policy is in force")
        assert error.status == 422
        cluster.dinojobs.create(labelled("met", labels, resources={"gpus": 0, "nodes": 2}))
        pod = cluster.core.read_namespaced_pod(cluster.pod_of("met-train-1"), cluster.namespace)
    assert pod.metadata.labels["team"] == "vision"
    assert "app" not in pod.metadata.labels, "a Service of the application may select by it"
    job = cluster.job("met-train-1")["metadata"]["labels"]
    assert (job["team"], job["app"]) == ("vision", "web")
    assert "app.kubernetes.io/instance" not in job, "Argo CD would take the Job for its own"
    assert cluster.events("met") == []


def test_a_webhook_that_is_away_keeps_no_status_from_being_written(
    cluster: Cluster, operator: Process
) -> None:
    """Nor do events, which it is asked about as well."""
    with webhook(cluster, "jobs", "events"):
        error = answer(cluster)
        assert error is not None
        assert error.status == 500
        cluster.dinojobs.create(a_manifest("away"))
        found = waits(cluster.dinojobs, "away", "WebhookUnavailable")
        assert found["status"]["phase"] == "Pending"
        said = running(found)["message"]
        assert "connect: connection refused" in said
        assert f"the pods behind the webhook away.{cluster.namespace}.example.com" in said
        before = found["metadata"]["resourceVersion"]
        time.sleep(A_WHILE)
        assert cluster.dinojobs.get("away")["metadata"]["resourceVersion"] == before
    cluster.job("away-preflight-1")
    eventually(lambda: cluster.events("away") == ["Refused"], "the event comes late")


def test_a_right_that_the_operator_lacks(cluster: Cluster, operator: Process) -> None:
    rights = kubernetes.client.RbacAuthorizationV1Api(cluster.client)
    role = rights.read_namespaced_role("dino-operator", cluster.namespace)
    fewer = [
        each
        if "batch" not in each.api_groups
        else {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["get", "list", "watch"]}
        for each in role.rules
    ]
    account = f"system:serviceaccount:{cluster.namespace}:{ACCOUNT}"
    asked = ("auth", "can-i", "create", "jobs.batch", f"--as={account}")
    rights.patch_namespaced_role("dino-operator", cluster.namespace, {"rules": fewer})
    try:
        eventually(lambda: cluster.kubectl(*asked).stdout.strip() == "no", "the right gone")
        cluster.dinojobs.create(a_manifest("unable"))
        said = running(waits(cluster.dinojobs, "unable", "NotPermitted"))["message"]
        assert 'cannot create resource "jobs"' in said
        is_quiet(cluster.dinojobs, cluster, "unable")
    finally:
        rights.patch_namespaced_role("dino-operator", cluster.namespace, {"rules": role.rules})
    cluster.job("unable-preflight-1")


def test_a_change_that_a_policy_denies_is_said_of_the_running_job(
    cluster: Cluster, operator: Process
) -> None:
    cluster.dinojobs.create(a_manifest("held"))
    cluster.run("held-train-1")
    cluster.phase("held", "Running")
    same = "object.spec.?suspend.orValue(false) == oldObject.spec.?suspend.orValue(false)"
    with policy(cluster, "jobs", rule=same, operation="UPDATE", reason="Forbidden"):

        def denied() -> bool:
            try:
                change = {"spec": {"suspend": True}}
                cluster.batch.patch_namespaced_job(
                    "held-train-1", cluster.namespace, change, dry_run="All"
                )
            except ApiException:
                return True
            return False

        eventually(denied, "the policy is in force")
        cluster.dinojobs.patch("held", {"spec": {"runPolicy": {"suspend": True}}})
        found = waits(cluster.dinojobs, "held", "PolicyDenied")
        assert found["status"]["phase"] == "Running"
        assert running(found)["status"] == "True"
        assert "refuses a change of Job held-train-1" in running(found)["message"]
        is_quiet(cluster.dinojobs, cluster, "held")
    eventually(lambda: cluster.job("held-train-1")["spec"]["suspend"], "it is held in the end")


def test_an_impossible_spec_still_ends_it(cluster: Cluster, operator: Process) -> None:
    impossible = {"tolerations": [{"key": "a b", "operator": "Exists"}]}
    wrong = probe()
    wrong["spec"]["template"]["spec"].update(impossible)
    error = answer(cluster, wrong)
    assert error is not None
    assert [(each["reason"], each["field"]) for each in causes(error)] == [
        ("FieldValueInvalid", "spec.template.spec.tolerations[0].key")
    ]
    cluster.dinojobs.create(a_manifest("odd", podTemplate=impossible))
    failure = cluster.phase("odd", "Failed")["status"]["failure"]
    assert failure["reason"] == "InvalidSpec"
    assert "tolerations[0].key: Invalid value" in failure["message"]
    assert failure["remedy"].startswith("Correct the named key")
