"""Rendering of the children: the ConfigMap, the Job of one attempt and its pod, shared objects.

Everything here is created once and never applied again: a Job's template cannot change, and the
ConfigMap's name holds a hash of its content.
"""

from __future__ import annotations

from dataclasses import dataclass

from dino_api import names as api
from dino_api.names import Env
from dino_api.resources import DinoJobSpec, Storage
from dino_operator.plan import names
from dino_operator.plan.model import Object, Settings
from dino_operator.plan.observe import CONTAINER
from dino_operator.plan.specfile import Resolved

USER = 65532
GRACE_SECONDS = 120
TOKEN_SECONDS = 3600
WORK_DIR = "/workspace"
TOKEN_DIR = "/var/run/secrets/dino"
ROLE_BINDING = api.PROGRESS_CLUSTER_ROLE


@dataclass(frozen=True)
class Attempt:
    """Which attempt to render, and what it must remember of those before it."""

    number: int
    retries: int = 0
    spent: int = 0
    seconds_left: int | None = None


def shared(resource: Object) -> list[Object]:
    """The service account of the trainer and its right to write progress, one per namespace."""
    meta = {
        "namespace": resource["metadata"]["namespace"],
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


def config_map(resource: Object, resolved: Resolved) -> Object:
    """The resolved spec."""
    meta = resource["metadata"]
    action = resolved.job.spec.action.value
    name = names.config_name(meta["name"], action, meta["uid"], resolved.content)
    labels = names.labels(resource, 1)
    del labels[api.Label.ATTEMPT.value]
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": _metadata(resource, name, labels),
        "immutable": True,
        "data": {api.SPEC_KEY: resolved.content},
    }


def job(resource: Object, resolved: Resolved, attempt: Attempt, settings: Settings) -> Object:
    """The Job of one attempt. Retries are the operator's business, so that it can say why."""
    action = resolved.job.spec.action.value
    name = names.job_name(resource["metadata"]["name"], action, attempt.number)
    metadata = _metadata(resource, name, names.labels(resource, attempt.number))
    metadata["annotations"] = {
        names.Annotation.RETRIES.value: str(attempt.retries),
        names.Annotation.SPENT.value: str(attempt.spent),
        names.Annotation.DIGEST.value: resolved.digest,
        names.Annotation.IMAGE.value: settings.trainer_image,
    }
    if resolved.warnings:
        metadata["annotations"][names.Annotation.WARNINGS.value] = " ".join(resolved.warnings)
    spec: Object = {
        "backoffLimit": 0,
        "completions": 1,
        "parallelism": 1,
        "podReplacementPolicy": "Failed",
        "podFailurePolicy": {"rules": _failure_rules()},
        "template": _pod(resource, resolved, attempt, settings),
    }
    if attempt.seconds_left is not None:
        spec["activeDeadlineSeconds"] = attempt.seconds_left
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}


def _metadata(resource: Object, name: str, labels: dict[str, str]) -> Object:
    owner = resource["metadata"]
    return {
        "name": name,
        "namespace": owner["namespace"],
        "labels": labels,
        "ownerReferences": [
            {
                "apiVersion": api.API_VERSION,
                "kind": api.KIND,
                "name": owner["name"],
                "uid": owner["uid"],
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ],
    }


def _failure_rules() -> list[Object]:
    """A pod that was taken away is replaced by the Job itself; any other end ends the attempt."""
    return [
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        {"action": "Ignore", "onExitCodes": _exits("In")},
        {"action": "FailJob", "onExitCodes": _exits("NotIn")},
    ]


def _exits(operator: str) -> Object:
    return {"containerName": CONTAINER, "operator": operator, "values": [143]}


def _pod(resource: Object, resolved: Resolved, attempt: Attempt, settings: Settings) -> Object:
    spec = resolved.job.spec
    wished = spec.pod_template.to_dict()
    ours = names.labels(resource, attempt.number)
    metadata: Object = {"labels": {**wished.get("labels", {}), **ours}}
    if wished.get("annotations"):
        metadata["annotations"] = wished["annotations"]
    pod: Object = {
        "restartPolicy": "Never",
        "serviceAccountName": api.TRAINER_SERVICE_ACCOUNT,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(resource, spec, attempt, settings)],
        "volumes": _volumes(config_map(resource, resolved)["metadata"]["name"]),
    }
    for key in ("nodeSelector", "tolerations", "affinity", "imagePullSecrets", "runtimeClassName"):
        if wished.get(key):
            pod[key] = wished[key]
    if spec.priority_class_name:
        pod["priorityClassName"] = spec.priority_class_name
    return {"metadata": metadata, "spec": pod}


def _container(resource: Object, spec: DinoJobSpec, attempt: Attempt, settings: Settings) -> Object:
    ours = _environment(resource, spec, attempt, settings)
    taken = {each["name"] for each in ours}
    wished = [each.to_dict() for each in spec.pod_template.env if each.name not in taken]
    return {
        "name": CONTAINER,
        "image": settings.trainer_image,
        "imagePullPolicy": settings.image_pull_policy,
        "command": ["dino", spec.action.value, "-e", api.SPEC_PATH],
        "env": ours + wished,
        "resources": _resources(spec),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            {"name": "spec", "mountPath": api.SPEC_PATH.rpartition("/")[0], "readOnly": True},
            {"name": "token", "mountPath": TOKEN_DIR, "readOnly": True},
            {"name": "work", "mountPath": WORK_DIR},
            {"name": "tmp", "mountPath": "/tmp"},
            {"name": "shm", "mountPath": "/dev/shm"},
        ],
    }


def _environment(
    resource: Object, spec: DinoJobSpec, attempt: Attempt, settings: Settings
) -> list[Object]:
    meta = resource["metadata"]
    plain = {
        Env.JOB_NAME: meta["name"],
        Env.JOB_NAMESPACE: meta["namespace"],
        Env.JOB_UID: meta["uid"],
        Env.ATTEMPT: str(attempt.number),
        Env.WORK_DIR: WORK_DIR,
        Env.HOME: WORK_DIR,
        Env.TOKEN_DIR: TOKEN_DIR,
    }
    if spec.resources.cpu is not None:
        plain[Env.OMP_NUM_THREADS] = str(_threads(spec.resources.cpu))
    rendered: list[Object] = [{"name": each.value, "value": text} for each, text in plain.items()]
    pod_name = {"fieldRef": {"fieldPath": "metadata.name"}}
    rendered.append({"name": Env.POD_NAME.value, "valueFrom": pod_name})
    return rendered + _storage(spec.storage or Storage(), settings)


def _storage(wished: Storage, settings: Settings) -> list[Object]:
    """The object store's address, and its keys from a secret of the namespace."""
    path_style = settings.s3_path_style if wished.path_style is None else wished.path_style
    plain = {
        Env.S3_ENDPOINT: wished.endpoint or settings.s3_endpoint,
        Env.S3_REGION: wished.region or settings.s3_region,
        Env.S3_PATH_STYLE: "true" if path_style else "false",
    }
    rendered: list[Object] = [
        {"name": each.value, "value": text} for each, text in plain.items() if text
    ]
    secret = wished.secret_name or settings.s3_secret
    for each in (Env.S3_ACCESS_KEY, Env.S3_SECRET_KEY) if secret else ():
        key = {"name": secret, "key": each.value, "optional": False}
        rendered.append({"name": each.value, "valueFrom": {"secretKeyRef": key}})
    return rendered


def _threads(cpu: str) -> int:
    """Whole CPUs of a quantity, at least one: PyTorch would count the node's instead."""
    number = float(cpu.rstrip("mkKMGTPEi"))
    return max(1, int(number / 1000 if cpu.endswith("m") else number))


def _resources(spec: DinoJobSpec) -> Object:
    """Requests equal limits: the pod gets what it asked for and is evicted last."""
    wished = spec.resources
    amounts = {
        name: value
        for name, value in (("cpu", wished.cpu), ("memory", wished.memory))
        if value is not None
    }
    if wished.gpus:
        amounts[api.GPU_RESOURCE] = str(wished.gpus)
    return {"requests": dict(amounts), "limits": dict(amounts)} if amounts else {}


def _volumes(config: str) -> list[Object]:
    token = {"path": "token", "expirationSeconds": TOKEN_SECONDS}
    ca = {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}
    namespace = {"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}
    sources = [
        {"serviceAccountToken": token},
        {"configMap": ca},
        {"downwardAPI": {"items": [namespace]}},
    ]
    return [
        {"name": "spec", "configMap": {"name": config}},
        {"name": "token", "projected": {"sources": sources}},
        {"name": "work", "emptyDir": {}},
        {"name": "tmp", "emptyDir": {}},
        {"name": "shm", "emptyDir": {"medium": "Memory"}},
    ]
