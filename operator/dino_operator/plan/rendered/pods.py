"""Rendering of the pod of one attempt: where it runs, what it gets, what its container is told."""

from __future__ import annotations

from dataclasses import dataclass

from dino_api import names as api
from dino_api.names import Action, Env, Option, Stage
from dino_api.resources.dinojob import DinoJobSpec, Storage
from dino_operator.plan.model import Object, Settings
from dino_operator.plan.observed.objects import CONTAINER
from dino_operator.plan.observed.resource import DinoJob
from dino_operator.plan.rendered import carried_labels, names, quantities
from dino_operator.plan.rendered.micro_batch import MicroBatch
from dino_operator.plan.rendered.spec_file import ResolvedSpec

USER = 65532
GRACE_SECONDS = 120
TOKEN_SECONDS = 600
"""The shortest that Kubernetes gives. The kubelet renews it at four fifths: where someone deleted
the service account and it was made again, progress goes on by then."""
WORK_DIR = "/workspace"
TOKEN_DIR = "/var/run/secrets/dino"
CACHE_DIR = "/cache"
CA_DIR = "/etc/dino-ca"
GPU_NODES = ("nodeSelector", "affinity", "runtimeClassName")
EVERYWHERE = ("tolerations", "imagePullSecrets")
JOB_UID_LABEL = "batch.kubernetes.io/controller-uid"


@dataclass(frozen=True)
class Attempt:
    """Which attempt to render, and what it must remember of those before it.

    preflight: an attempt to check the data, not at the work. micro_batch: None for the whole batch.
    """

    number: int
    retries: int = 0
    spent: int = 0
    seconds_left: int | None = None
    preflight: bool = False
    micro_batch: MicroBatch | None = None


def stage_of(resolved: ResolvedSpec, attempt: Attempt) -> str:
    """What the attempt does: a word in names, the ACTION label, and the command of `dino`."""
    return Stage.PREFLIGHT.value if attempt.preflight else resolved.job.spec.action.value


def image_of(resolved: ResolvedSpec, attempt: Attempt, settings: Settings) -> str:
    """The trainer's image; where an engine is built or run, the one with TensorRT's libraries."""
    engine = resolved.engine and not attempt.preflight
    return settings.tensorrt_image if engine and settings.tensorrt_image else settings.trainer_image


def config_name(resource: DinoJob, resolved: ResolvedSpec) -> str:
    """The name of the ConfigMap of this spec."""
    action = resolved.job.spec.action.value
    return names.config_name(resource.name, action, resource.uid, resolved.content)


def template(
    resource: DinoJob, resolved: ResolvedSpec, attempt: Attempt, settings: Settings
) -> Object:
    """The pod template of the attempt's Job."""
    spec = resolved.job.spec
    wished = spec.pod_template.to_dict()
    ours = names.labels(resource, stage_of(resolved, attempt), attempt.number)
    labels = {**carried_labels.to_pods(resource), **wished.get("labels", {}), **ours}
    metadata: Object = {"labels": labels}
    notes = {**carried_labels.notes(resource), **wished.get("annotations", {})}
    if notes:
        metadata["annotations"] = notes
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
        "containers": [_container(resource, resolved, attempt, settings)],
        "volumes": _volumes(resource, resolved, attempt, settings),
    }
    if settings.pull_secrets:
        pod["imagePullSecrets"] = [{"name": each} for each in settings.pull_secrets]
    pod |= {key: wished[key] for key in _chosen(spec, attempt) if wished.get(key)}
    if spec.priority_class_name:
        pod["priorityClassName"] = spec.priority_class_name
    if _meets_others(spec, attempt):
        pod["subdomain"] = _service(resource)
    return {"metadata": metadata, "spec": pod}


def _chosen(spec: DinoJobSpec, attempt: Attempt) -> tuple[str, ...]:
    """What of podTemplate holds. A check of data for GPUs need not take up one of their nodes."""
    elsewhere = attempt.preflight and spec.resources.gpus
    return EVERYWHERE if elsewhere else EVERYWHERE + GPU_NODES


def _meets_others(spec: DinoJobSpec, attempt: Attempt) -> bool:
    return spec.resources.nodes > 1 and not attempt.preflight


def _service(resource: DinoJob) -> str:
    return names.service_name(resource.name, resource.uid)


def _container(
    resource: DinoJob, resolved: ResolvedSpec, attempt: Attempt, settings: Settings
) -> Object:
    spec = resolved.job.spec
    environment = _environment(resource, spec, attempt, settings)
    fixed = {each["name"] for each in environment if _is_ours(each["name"])}
    wished = [each.to_dict() for each in spec.pod_template.env if each.name not in fixed]
    given = {each["name"] for each in wished}
    ours = [each for each in environment if each["name"] not in given]
    taken = given.union(each["name"] for each in ours)
    common = [{"name": n, "value": v} for n, v in settings.trainer_env if n not in taken]
    return {
        "name": CONTAINER,
        "image": image_of(resolved, attempt, settings),
        "imagePullPolicy": settings.image_pull_policy,
        "command": _command(resolved, attempt),
        "env": ours + wished + common,
        "resources": _resources(resolved, attempt, settings),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": _mounts(spec, attempt, settings),
    }


def _is_ours(name: str) -> bool:
    """Whether the operator alone sets the variable. The others of its own are what holds where
    nobody says otherwise, such as how many threads a process has."""
    return name.startswith(("DINO_", "AWS_"))


def _resources(resolved: ResolvedSpec, attempt: Attempt, settings: Settings) -> Object:
    spec = resolved.job.spec
    if attempt.preflight:
        return quantities.of_preflight(spec)
    return quantities.of(spec, resolved.workers, settings.cpu_per_process)


def _command(resolved: ResolvedSpec, attempt: Attempt) -> list[str]:
    """A preflight is told for what it checks, unless that is a training. Its report lies with the
    action's results: jobs of several actions may share an output."""
    command = ["dino", stage_of(resolved, attempt), Option.EXPERIMENT.value, api.SPEC_PATH]
    if not attempt.preflight or resolved.action is Action.TRAIN:
        return command
    folder = f"{resolved.job.spec.output.uri.rstrip('/')}/{resolved.action}/{Stage.PREFLIGHT}"
    return [*command, Option.ACTION.value, resolved.action.value, Option.REPORT.value, folder]


def _environment(
    resource: DinoJob, spec: DinoJobSpec, attempt: Attempt, settings: Settings
) -> list[Object]:
    plain = {
        Env.JOB_NAME: resource.name,
        Env.JOB_NAMESPACE: resource.namespace,
        Env.JOB_UID: resource.uid,
        Env.ATTEMPT: str(attempt.number),
        Env.WORK_DIR: WORK_DIR,
        Env.HOME: WORK_DIR,
    }
    if not attempt.preflight:
        plain[Env.TOKEN_DIR] = TOKEN_DIR
    if _cache(spec, settings):
        plain[Env.CACHE_DIR] = CACHE_DIR
    if spec.resources.cpu is not None:
        plain[Env.OMP_NUM_THREADS] = str(_threads(spec, attempt))
    if not (attempt.preflight or spec.resources.gpus):
        plain[Env.GLIBC_TUNABLES] = api.CPU_TUNABLES
    if attempt.micro_batch is not None:
        plain[Env.MICRO_BATCH] = str(attempt.micro_batch.images)
    rendered = [{"name": each.value, "value": text} for each, text in plain.items()]
    rendered.append(_from_field(Env.POD_NAME, "metadata.name"))
    if _meets_others(spec, attempt):
        rendered += _rendezvous(resource, spec, attempt)
    return rendered + _storage(spec.storage or Storage(), settings)


def _threads(spec: DinoJobSpec, attempt: Attempt) -> int:
    """Whole CPUs for each process, at least one: PyTorch would count the node's instead."""
    cpus = int(quantities.amount(spec.resources.cpu or "1"))
    share = 1 if attempt.preflight else spec.resources.gpus or spec.resources.processes
    return max(1, cpus // share)


def _rendezvous(resource: DinoJob, spec: DinoJobSpec, attempt: Attempt) -> list[Object]:
    """The first pod, where those of an attempt meet. Each Job's meeting has its own id."""
    first = names.job_name(resource.name, spec.action.value, attempt.number)
    endpoint = f"{first}-0.{_service(resource)}:{api.RENDEZVOUS_PORT}"
    return [
        {"name": Env.NODES.value, "value": str(spec.resources.nodes)},
        {"name": Env.RDZV_ENDPOINT.value, "value": endpoint},
        _from_field(Env.RDZV_ID, f"metadata.labels['{JOB_UID_LABEL}']"),
    ]


def _from_field(variable: Env, path: str) -> Object:
    return {"name": variable.value, "valueFrom": {"fieldRef": {"fieldPath": path}}}


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
    if settings.ca_config_map:
        rendered.append({"name": Env.S3_CA_BUNDLE.value, "value": f"{CA_DIR}/{api.CA_FILE}"})
    secret = wished.secret_name or settings.s3_secret
    for each in (Env.S3_ACCESS_KEY, Env.S3_SECRET_KEY) if secret else ():
        key = {"name": secret, "key": each.value, "optional": False}
        rendered.append({"name": each.value, "valueFrom": {"secretKeyRef": key}})
    return rendered


def _cache(spec: DinoJobSpec, settings: Settings) -> str:
    """The claim that staged data is kept in; empty where each pod fetches it."""
    return spec.cache.claim_name if spec.cache else settings.cache_claim


def _mounts(spec: DinoJobSpec, attempt: Attempt, settings: Settings) -> list[Object]:
    folder = api.SPEC_PATH.rpartition("/")[0]
    mounts: list[Object] = [
        {"name": "spec", "mountPath": folder, "readOnly": True},
        {"name": "work", "mountPath": WORK_DIR},
        {"name": "tmp", "mountPath": "/tmp"},
        {"name": "shm", "mountPath": api.SHARED_MEMORY},
    ]
    if not attempt.preflight:
        mounts.append({"name": "token", "mountPath": TOKEN_DIR, "readOnly": True})
    if _cache(spec, settings):
        mounts.append({"name": "cache", "mountPath": CACHE_DIR})
    if settings.ca_config_map:
        mounts.append({"name": "ca", "mountPath": CA_DIR, "readOnly": True})
    return mounts


def _volumes(
    resource: DinoJob, resolved: ResolvedSpec, attempt: Attempt, settings: Settings
) -> list[Object]:
    """A preflight gets no token: it has nothing to say to the API server."""
    volumes: list[Object] = [
        {"name": "spec", "configMap": {"name": config_name(resource, resolved)}},
        {"name": "work", "emptyDir": {}},
        {"name": "tmp", "emptyDir": {}},
        {"name": "shm", "emptyDir": {"medium": "Memory"}},
    ]
    if not attempt.preflight:
        volumes.append({"name": "token", "projected": {"sources": _token()}})
    claim = _cache(resolved.job.spec, settings)
    if claim:
        volumes.append({"name": "cache", "persistentVolumeClaim": {"claimName": claim}})
    if settings.ca_config_map:
        volumes.append({"name": "ca", "configMap": {"name": settings.ca_config_map}})
    return volumes


def _token() -> list[Object]:
    ca = {"name": "kube-root-ca.crt", "items": [{"key": api.CA_FILE, "path": api.CA_FILE}]}
    namespace = {"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}
    return [
        {"serviceAccountToken": {"path": api.TOKEN_FILE, "expirationSeconds": TOKEN_SECONDS}},
        {"configMap": ca},
        {"downwardAPI": {"items": [namespace]}},
    ]
