"""Rendering of the children: the ConfigMap, the Job of one attempt, the Service, shared objects.

Everything here is created once and never applied again: a Job's template cannot change, and the
ConfigMap's name holds a hash of its content.
"""

from __future__ import annotations

from dino_api import failures
from dino_api import names as api
from dino_api.names import FailureReason
from dino_operator.plan.annotations import Annotation
from dino_operator.plan.model import Object, Settings
from dino_operator.plan.observed import queue_labels
from dino_operator.plan.observed.objects import CONTAINER
from dino_operator.plan.observed.resource import DinoJob
from dino_operator.plan.rendered import carried_labels, names, pods
from dino_operator.plan.rendered.pods import Attempt
from dino_operator.plan.rendered.spec_file import ResolvedSpec

ROLE_BINDING = api.PROGRESS_CLUSTER_ROLE
DISRUPTED = {"type": "DisruptionTarget", "status": "True"}
_BY_AGREEMENT = failures.exit_code(FailureReason.PREEMPTED)


def shared(resource: DinoJob) -> list[Object]:
    """The service account of the trainer and its right to write progress, one per namespace."""
    meta = {
        "namespace": resource.namespace,
        "labels": {api.MANAGED_BY_LABEL: api.MANAGED_BY},
    }
    account = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": api.TRAINER_SERVICE_ACCOUNT, **meta},
        "automountServiceAccountToken": False,
    }
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": ROLE_BINDING, **meta},
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": "ClusterRole",
            "name": api.PROGRESS_CLUSTER_ROLE,
        },
        "subjects": [
            {
                "kind": "ServiceAccount",
                "name": api.TRAINER_SERVICE_ACCOUNT,
                "namespace": meta["namespace"],
            }
        ],
    }
    return [account, binding]


def inputs(resource: DinoJob, resolved: ResolvedSpec, preflight: bool) -> list[Object]:
    """What the pods need besides their Job."""
    needed = [*shared(resource), config_map(resource, resolved)]
    if resolved.job.spec.resources.nodes > 1 and not preflight:
        needed.append(service(resource, resolved))
    return needed


def config_map(resource: DinoJob, resolved: ResolvedSpec) -> Object:
    """The resolved spec, for the preflight and for every attempt."""
    name = pods.config_name(resource, resolved)
    labels = names.labels(resource, resolved.job.spec.action.value, 1)
    del labels[api.Label.ATTEMPT.value]
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(resource, name, labels),
        "immutable": True,
        "data": {api.SPEC_KEY: resolved.content},
    }


def service(resource: DinoJob, resolved: ResolvedSpec) -> Object:
    """Gives the pods host names before they are ready: they meet under that of the first."""
    labels = names.labels(resource, resolved.job.spec.action.value, 1)
    del labels[api.Label.ATTEMPT.value]
    chosen = (api.Label.JOB_UID.value, api.Label.ACTION.value)
    name = names.service_name(resource.name, resource.uid)
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(resource, name, labels),
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": {key: labels[key] for key in chosen},
            "ports": [{"name": "rendezvous", "port": api.RENDEZVOUS_PORT}],
        },
    }


def job(resource: DinoJob, resolved: ResolvedSpec, attempt: Attempt, settings: Settings) -> Object:
    """The Job of one attempt. Retries are the operator's business, so that it can say why."""
    stage = pods.stage_of(resolved, attempt)
    name = names.job_name(resource.name, stage, attempt.number)
    meta = metadata(resource, name, names.labels(resource, stage, attempt.number))
    meta.setdefault("annotations", {}).update(_notes(resolved, attempt, settings))
    nodes = 1 if attempt.preflight else resolved.job.spec.resources.nodes
    spec: Object = {
        "backoffLimit": 0,
        "completions": nodes,
        "parallelism": nodes,
        "podReplacementPolicy": "Failed",
        "podFailurePolicy": {"rules": _failure_rules(nodes)},
        "template": pods.template(resource, resolved, attempt, settings),
    }
    if nodes > 1:
        spec["completionMode"] = "Indexed"
    if attempt.seconds_left is not None:
        spec["activeDeadlineSeconds"] = attempt.seconds_left
    kueues = queue_labels.of_job(resource, attempt.preflight)
    meta["labels"].update(kueues)
    if api.KUEUE_QUEUE_LABEL in kueues:
        spec["suspend"] = True
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "spec": spec}


def _notes(resolved: ResolvedSpec, attempt: Attempt, settings: Settings) -> dict[str, str]:
    """What the operator must remember of the attempt."""
    notes = {
        Annotation.RETRIES.value: str(attempt.retries),
        Annotation.SPENT.value: str(attempt.spent),
        Annotation.DIGEST.value: resolved.digest,
        Annotation.IMAGE.value: pods.image_of(resolved, attempt, settings),
    }
    if resolved.warnings:
        notes[Annotation.WARNINGS.value] = " ".join(resolved.warnings)
    if attempt.micro_batch is not None:
        notes |= attempt.micro_batch.notes()
    return notes


def metadata(resource: DinoJob, name: str, labels: dict[str, str]) -> Object:
    """The metadata of a child of this DinoJob."""
    reference = names.owned_by(api.KIND, resource.name, resource.uid)
    meta = {"name": name, "namespace": resource.namespace, "ownerReferences": [reference]}
    return meta | carried_labels.merged(resource, labels)


def _failure_rules(nodes: int) -> list[Object]:
    """A pod that was taken away is replaced by the Job itself; any other end ends the attempt.

    One of several that is taken away ends the attempt for all: they start anew together. Pods that
    ended by agreement, all with that code, are replaced, and so are those of a Job that was
    suspended.
    """
    return [
        {"action": "Ignore" if nodes == 1 else "FailJob", "onPodConditions": [DISRUPTED]},
        {"action": "Ignore", "onExitCodes": _exits("In")},
        {"action": "FailJob", "onExitCodes": _exits("NotIn")},
    ]


def _exits(operator: str) -> Object:
    return {"containerName": CONTAINER, "operator": operator, "values": [_BY_AGREEMENT]}
