"""The operator that one writes first by kopf's documentation: the peer of benches and fault plans.

`@kopf.on.create` makes the Job of a DinoJob, an event handler copies what becomes of it. It knows
of retries, of what exists already and of resources that have gone; it checks no data, reads no
results and makes one attempt. `kopf run -m tests.naive_operator --namespace TEAM`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import kopf
import kubernetes
from kubernetes.client.exceptions import ApiException

from dino_api.names import GROUP, MANAGED_BY, MANAGED_BY_LABEL, PLURAL, VERSION, Label

Object = dict[str, Any]
MERGE = "application/merge-patch+json"
RETRY = 1.0
"""Seconds until a handler is tried again. kopf's own minute would be all that a bench measures."""


@kopf.on.startup()
def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
    """Logs in, by the pod's account or KUBECONFIG."""
    settings.execution.default_backoff = RETRY
    try:
        kubernetes.config.load_incluster_config()
    except kubernetes.config.ConfigException:
        kubernetes.config.load_kube_config()


@kopf.on.create(GROUP, VERSION, PLURAL)
def create_job(
    spec: Mapping[str, Any],
    uid: str,
    name: str,
    namespace: str,
    patch: kopf.Patch,
    logger: kopf.Logger,
    **_: Any,
) -> None:
    """Makes the Job, owned by the DinoJob."""
    job, api = a_job(name, spec), kubernetes.client.BatchV1Api()
    kopf.adopt(job)
    try:
        api.create_namespaced_job(namespace, job)
    except ApiException as error:
        if error.status != 409:
            raise
        present = api.read_namespaced_job(job["metadata"]["name"], namespace)
        if uid not in {each.uid for each in present.metadata.owner_references or ()}:
            raise kopf.TemporaryError("a namesake's Job still exists", delay=RETRY) from error
        logger.info("Job %s exists already.", job["metadata"]["name"])
    patch.status["phase"] = "Queued"


@kopf.on.event("batch", "v1", "jobs", labels={Label.JOB.value: kopf.PRESENT})
def follow_job(event: kopf.RawEvent, body: Mapping[str, Any], **_: Any) -> None:
    """Copies the Job's state to the DinoJob that owns it."""
    told = status_of(body.get("status") or {})
    meta = body["metadata"]
    if event["type"] == "DELETED" or not told:
        return
    where = (GROUP, VERSION, meta["namespace"], PLURAL, meta["labels"][Label.JOB.value])
    api = kubernetes.client.CustomObjectsApi()
    try:
        api.patch_namespaced_custom_object_status(*where, {"status": told}, _content_type=MERGE)
    except ApiException as error:
        if error.status != 404:  # it has been deleted
            raise


def status_of(job: Mapping[str, Any]) -> Object:
    """The DinoJob's status for a Job's; empty before there is a pod."""
    conditions = job.get("conditions") or ()
    for each in conditions:
        kind = each["type"]
        if kind in ("Complete", "Failed") and each["status"] == "True":
            keys = ("type", "status", "message", "lastTransitionTime")
            row = {key: each[key] for key in keys if each.get(key)}
            row["reason"] = each.get("reason") or kind
            ended = job.get("completionTime") or each.get("lastTransitionTime")
            return {"phase": kind, "completionTime": ended, "conditions": [row]}
    return {"phase": "Running", "startTime": job["startTime"]} if job.get("active") else {}


def a_job(name: str, spec: Mapping[str, Any]) -> Object:
    """One pod, one attempt."""
    action = str(spec["action"])
    labels = {
        MANAGED_BY_LABEL: MANAGED_BY,
        Label.JOB.value: name,
        Label.ACTION.value: action,
    }
    container = {
        "name": "trainer",
        "image": "trainer:1",
        "command": ["dino", action],
        "env": [{"name": "DINO_SPEC", "value": json.dumps(dict(spec))}],
    }
    pod = {"restartPolicy": "Never", "containers": [container]}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": f"{name}-{action.replace('_', '-')}-1", "labels": labels},
        "spec": {"backoffLimit": 0, "template": {"metadata": {"labels": labels}, "spec": pod}},
    }
