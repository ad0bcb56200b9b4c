"""What a training pod may write, asked of a real API server with the pod's own kind of token."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import kubernetes
import pytest
import yaml
from kubernetes.client import ApiException

from dino_api import names
from dino_api.resources.status import DinoJobStatus
from dino_api.result import Progress
from dino_trainer.report.cluster import PushError, Target, push
from tests.api.clients import CHART, ROOT, DinoJobs, Kubectl, helm
from tests.api.operator_process import eventually

FORBIDDEN, UNPROCESSABLE = 403, 422
POLICY_KINDS = ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")
CURVE = [{"epoch": 1, "mAP50": 0.25}]
PROGRESS = {"progress": {"epoch": 1, "epochs": 4, "percent": 25, "curve": CURVE}}
As = Callable[[str], DinoJobs]

# A valid value for each status field that is not a training pod's to write.
OTHER_FIELDS: dict[str, Any] = {
    "observedGeneration": 7,
    "phase": "Complete",
    "attempts": 9,
    "gpus": 8,
    "gpuSeconds": 3,
    "microBatch": 1,
    "accumulation": 2,
    "reporter": "another-pod",
    "startTime": "2030-01-01T00:00:00Z",
    "activeSeconds": 1,
    "activeSince": "2030-01-01T00:00:00Z",
    "completionTime": "2030-01-01T00:00:00Z",
    "conditions": [
        {
            "type": "Complete",
            "status": "True",
            "reason": "Completed",
            "message": "",
            "lastTransitionTime": "2030-01-01T00:00:00Z",
        }
    ],
    "dataset": {"numClasses": 3},
    "metrics": {"mAP50": 0.99},
    "checkpoint": {"uri": "s3://elsewhere/best.pth"},
    "artifacts": [{"name": "x", "uri": "s3://elsewhere/x"}],
    "failure": {"reason": "Crashed", "message": "no"},
    "automl": "another-search",
    "model": {"uri": "s3://elsewhere/best.pth", "format": "checkpoint"},
    "comparison": {
        "reference": {"format": "checkpoint", "mAP": 0.5},
        "candidate": {"format": "onnx", "mAP": 0.5},
    },
    "inherited": {"model": {"uri": "s3://elsewhere/best.pth", "format": "checkpoint"}},
    "specDigest": "0" * 64,
    "image": "registry.example/other:1",
}


@pytest.fixture(scope="module")
def policy(cluster_kubectl: Kubectl) -> None:
    """The chart's policy and the trainer's role, installed and in force."""
    words = ("template", "dino-operator", str(CHART), "--kube-version", "1.34.0")
    rendered = helm(cluster_kubectl.kubeconfig, "default", *words)
    assert rendered.returncode == 0, rendered.stderr
    wanted = [
        one
        for one in yaml.safe_load_all(rendered.stdout)
        if one
        and (
            one["kind"] in POLICY_KINDS
            or (one["kind"], one["metadata"]["name"])
            == ("ClusterRole", names.PROGRESS_CLUSTER_ROLE)
        )
    ]
    assert len(wanted) == 3
    done = cluster_kubectl(
        "apply", "--server-side", "--force-conflicts", "-f", "-", stdin=yaml.safe_dump_all(wanted)
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture
def manifest() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((ROOT / "examples" / "digits-train.yaml").read_text())
    return document


@pytest.fixture
def job(kubectl: Kubectl, dinojobs: DinoJobs, manifest: dict[str, Any], policy: None) -> str:
    """A DinoJob that runs in the pod `reporter`, with the service account as the operator binds it.

    Returns its name, once the policy is in force.
    """
    name = manifest["metadata"]["name"]
    dinojobs.create(manifest)
    bind(kubectl, kubectl.namespace)
    make_pod(kubectl, "reporter")
    dinojobs.patch_status(name, {"reporter": "reporter", "phase": "Running"})
    wait_until_refused(lambda: as_pod(kubectl, dinojobs, None).patch_status(name, PROGRESS))
    return name


def bind(kubectl: Kubectl, account_namespace: str) -> None:
    """The service account dino-trainer there, and its binding here."""
    account = names.TRAINER_SERVICE_ACCOUNT
    kubectl("create", "serviceaccount", account, f"--namespace={account_namespace}")
    done = kubectl(
        "create",
        "rolebinding",
        f"trainer-{uuid.uuid4().hex[:6]}",
        f"--clusterrole={names.PROGRESS_CLUSTER_ROLE}",
        f"--serviceaccount={account_namespace}:{account}",
    )
    assert done.returncode == 0, done.stderr


def make_pod(kubectl: Kubectl, name: str) -> None:
    """A pod object; nothing runs it here."""
    container = {"name": "trainer", "image": "none.example/none:1"}
    spec = {"serviceAccountName": names.TRAINER_SERVICE_ACCOUNT, "containers": [container]}
    meta = {"name": name}
    done = kubectl.apply({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec})
    assert done.returncode == 0, done.stderr


def token(kubectl: Kubectl, pod: str | None, *scope: str) -> str:
    """A service account token as kubelet would project it into that pod; None: bound to no pod."""
    bound = ["--bound-object-kind=Pod", f"--bound-object-name={pod}"] if pod else []
    done = kubectl("create", "token", names.TRAINER_SERVICE_ACCOUNT, *bound, *scope)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def client_with(kubectl: Kubectl, bearer: str) -> kubernetes.client.ApiClient:
    """A client that is nobody but the token's owner."""
    admin = kubernetes.client.Configuration()
    kubernetes.config.load_kube_config(
        config_file=str(kubectl.kubeconfig), client_configuration=admin
    )
    own = kubernetes.client.Configuration()
    own.host, own.ssl_ca_cert = admin.host, admin.ssl_ca_cert
    own.api_key = {"authorization": f"Bearer {bearer}"}
    return kubernetes.client.ApiClient(own)


def as_pod(kubectl: Kubectl, jobs: DinoJobs, pod: str | None) -> DinoJobs:
    """The calls of `jobs` with a pod's token."""
    client = client_with(kubectl, token(kubectl, pod))
    return DinoJobs(kubernetes.client.CustomObjectsApi(client), jobs.namespace)


def refused(call: Callable[[], object], status: int, *words: str) -> None:
    """The call fails with that status and a message that holds the words."""
    with pytest.raises(ApiException) as error:
        call()
    assert error.value.status == status, error.value.body
    for word in words:
        assert word in error.value.body


def wait_until_refused(call: Callable[[], object]) -> None:
    """A policy, and a right, come into force a moment after they were applied."""

    def is_refused() -> bool:
        try:
            call()
        except ApiException as error:
            known = error.status in {FORBIDDEN, UNPROCESSABLE}
            return known and "dino-trainer-progress" in error.body
        return False

    eventually(is_refused, "the policy in force")


def test_every_status_field_is_considered() -> None:
    fields = {field.alias or name for name, field in DinoJobStatus.model_fields.items()}
    assert fields == {*OTHER_FIELDS, "progress"}


def test_the_reporter_writes_progress(kubectl: Kubectl, dinojobs: DinoJobs, job: str) -> None:
    as_pod(kubectl, dinojobs, "reporter").patch_status(job, PROGRESS)
    written = dinojobs.get(job)["status"]
    assert (written["progress"]["epoch"], written["progress"]["curve"]) == (1, CURVE)
    assert written["phase"] == "Running"


def test_so_does_the_trainers_own_code(
    kubectl: Kubectl, dinojobs: DinoJobs, job: str, tmp_path: Path
) -> None:
    target = target_of(kubectl, dinojobs, job, tmp_path)
    push(target, Progress(epoch=2, epochs=4, loss=3.5))
    push(target, Progress(epoch=3, epochs=4, loss=2.5))
    found = dinojobs.get(job)
    assert found["status"]["progress"]["loss"] == 2.5
    managers = {one["manager"] for one in found["metadata"]["managedFields"]}
    assert names.PROGRESS_FIELD_MANAGER in managers


def target_of(kubectl: Kubectl, jobs: DinoJobs, job: str, folder: Path) -> Target:
    """What the trainer finds in its pod."""
    client = client_with(kubectl, bearer := token(kubectl, "reporter"))
    (folder / "token").write_text(bearer)
    shutil.copyfile(client.configuration.ssl_ca_cert, folder / "ca.crt")
    host, port = client.configuration.host.removeprefix("https://").split(":")
    return Target(host, int(port), folder, jobs.namespace, job)


def test_no_other_status_field(kubectl: Kubectl, dinojobs: DinoJobs, job: str) -> None:
    pod = as_pod(kubectl, dinojobs, "reporter")
    for field, value in OTHER_FIELDS.items():
        change = {**PROGRESS, field: value}
        refused(partial(pod.patch_status, job, change), FORBIDDEN, f"not status.{field}")


def test_removing_a_field_is_a_change_too(kubectl: Kubectl, dinojobs: DinoJobs, job: str) -> None:
    pod = as_pod(kubectl, dinojobs, "reporter")
    refused(lambda: pod.patch_status(job, {"phase": None}), FORBIDDEN, "not status.phase")


def test_no_other_pod(kubectl: Kubectl, dinojobs: DinoJobs, job: str) -> None:
    make_pod(kubectl, "stranger")
    pod = as_pod(kubectl, dinojobs, "stranger")
    refused(lambda: pod.patch_status(job, PROGRESS), FORBIDDEN, "(reporter)", "pod stranger")


def test_no_token_outside_a_pod(kubectl: Kubectl, dinojobs: DinoJobs, job: str) -> None:
    someone = as_pod(kubectl, dinojobs, None)
    refused(lambda: someone.patch_status(job, PROGRESS), FORBIDDEN, "bound to no pod")


def test_no_other_job(
    kubectl: Kubectl, dinojobs: DinoJobs, job: str, manifest: dict[str, Any]
) -> None:
    manifest["metadata"]["name"] = "second"
    dinojobs.create(manifest)
    pod = as_pod(kubectl, dinojobs, "reporter")
    refused(lambda: pod.patch_status("second", PROGRESS), FORBIDDEN, "(none yet)")
    dinojobs.patch_status("second", {"reporter": "its-own-pod"})
    refused(lambda: pod.patch_status("second", PROGRESS), FORBIDDEN, "(its-own-pod)")


def test_no_namesake_made_later(
    kubectl: Kubectl, dinojobs: DinoJobs, job: str, manifest: dict[str, Any], tmp_path: Path
) -> None:
    """What saves the namesake is the reporter's name: metadata, and with it a uid, is dropped from
    writes to a status."""
    old = target_of(kubectl, dinojobs, job, tmp_path)
    assert kubectl("delete", "dinojob", job).returncode == 0
    dinojobs.create(manifest)
    with pytest.raises(PushError, match="none yet"):
        push(old, Progress(epoch=9))
    dinojobs.patch_status(job, {"reporter": "the-new-pod"})
    with pytest.raises(PushError, match="the-new-pod"):
        push(old, Progress(epoch=9))
    assert "progress" not in dinojobs.get(job)["status"]


def test_metadata_and_spec_stay_as_they_are(kubectl: Kubectl, dinojobs: DinoJobs, job: str) -> None:
    """The API server itself sees to that for every write to a status."""
    before = dinojobs.get(job)
    change = {"metadata": {"labels": {"a": "b"}}, "spec": {"numClasses": 3}, "status": PROGRESS}
    pod = as_pod(kubectl, dinojobs, "reporter")
    pod.api.patch_namespaced_custom_object_status(
        **pod._where, name=job, body=change, _content_type="application/merge-patch+json"
    )
    after = dinojobs.get(job)
    assert after["spec"] == before["spec"]
    assert after["metadata"].get("labels") == before["metadata"].get("labels")
    assert after["status"]["progress"]["epoch"] == 1


def test_no_service_account_of_another_namespace(
    kubectl: Kubectl, cluster_kubectl: Kubectl, dinojobs: DinoJobs, job: str
) -> None:
    elsewhere = f"{kubectl.namespace}-b"
    assert cluster_kubectl("create", "namespace", elsewhere).returncode == 0
    try:
        bind(kubectl, elsewhere)
        bearer = token(cluster_kubectl, None, f"--namespace={elsewhere}")
        api = kubernetes.client.CustomObjectsApi(client_with(kubectl, bearer))
        jobs = DinoJobs(api, dinojobs.namespace)
        # A binding comes into force a moment after it was made; without it all is refused.
        wait_until_refused(lambda: jobs.patch_status(job, PROGRESS))
        refused(lambda: jobs.patch_status(job, PROGRESS), FORBIDDEN, "own namespace")
    finally:
        cluster_kubectl("delete", "namespace", elsewhere, "--wait=false")


def test_nothing_but_status(kubectl: Kubectl, dinojobs: DinoJobs, job: str) -> None:
    pod = as_pod(kubectl, dinojobs, "reporter")
    refused(lambda: pod.get(job), FORBIDDEN)
    refused(lambda: pod.patch(job, {"spec": {"runPolicy": {"suspend": True}}}), FORBIDDEN)
    core = kubernetes.client.CoreV1Api(pod.api.api_client)
    refused(lambda: core.list_namespaced_secret(kubectl.namespace), FORBIDDEN)
    refused(lambda: core.list_namespaced_pod(kubectl.namespace), FORBIDDEN)


def test_nothing_that_other_jobs_go_by(kubectl: Kubectl, dinojobs: DinoJobs, job: str) -> None:
    """Their specs, their Jobs, the status of a search: not even those that are not there."""
    pod = as_pod(kubectl, dinojobs, "reporter")
    core = kubernetes.client.CoreV1Api(pod.api.api_client)
    batch = kubernetes.client.BatchV1Api(pod.api.api_client)
    one = ("of-another", kubectl.namespace)
    refused(lambda: core.read_namespaced_config_map(*one), FORBIDDEN)
    refused(lambda: core.patch_namespaced_config_map(*one, {"data": {"spec.yaml": ""}}), FORBIDDEN)
    refused(lambda: batch.patch_namespaced_job(*one, {"spec": {"suspend": True}}), FORBIDDEN)
    refused(lambda: batch.delete_namespaced_job(*one), FORBIDDEN)
    search = (*names.API_VERSION.split("/"), kubectl.namespace, "dinoautomls", "tune")
    change = {"status": {"phase": "Complete"}}
    write = pod.api.patch_namespaced_custom_object_status
    refused(lambda: write(*search, change), FORBIDDEN)


def test_the_policy_concerns_nobody_else(dinojobs: DinoJobs, job: str) -> None:
    dinojobs.patch_status(job, {"phase": "Complete", **PROGRESS})
    assert dinojobs.get(job)["status"]["phase"] == "Complete"


def test_the_policys_expressions_are_sound(cluster_kubectl: Kubectl, job: str) -> None:
    """The API server checks them against the CRD and writes down what it doubts."""

    def checked() -> dict[str, Any] | None:
        policy = ("validatingadmissionpolicy", "dino-trainer-progress")
        done = cluster_kubectl("get", *policy, "-oyaml")
        status = (yaml.safe_load(done.stdout) or {}).get("status", {})
        return status if "typeChecking" in status else None

    status = eventually(checked, "its expressions checked")
    assert status is not None
    assert not status["typeChecking"].get("expressionWarnings"), status
