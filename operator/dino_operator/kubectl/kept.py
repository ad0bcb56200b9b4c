"""What of a resource stays in a bundle, by its place: a list of what is let through. Pure.

A value at a place that is not listed here is hidden. So whatever a cluster, a webhook or another
tool puts into an object stays away until a line here says that a maintainer needs it.
"""

from __future__ import annotations

import re
from enum import Enum
from functools import cache
from typing import Any

from dino_api.names import (
    AUTOML_KIND,
    KIND,
    SEARCH_KEY,
    SEARCH_PATH,
    SPEC_KEY,
    SPEC_PATH,
    Action,
    Env,
    Option,
    Stage,
)
from dino_api.schema.openapi import structural
from dino_api.search.record import SearchRecord
from dino_operator import options as installation
from dino_operator.plan.annotations import Annotation
from dino_operator.plan.model import Object
from dino_operator.plan.observed import crd_schema


class Place(Enum):
    """What is let through of a place that has no fixed keys."""

    TEXT = "a text or number"
    HIDDEN = "no text"
    LABELS = "values of labels that are known"
    ANNOTATIONS = "values of annotations that are known"
    ENV = "values of variables that are known"
    WORDS = "words of a command that are known"
    OURS = "values of keys that stand somewhere in the API, as in a trial's parameters"
    DOCUMENTS = "files whose schema is known"


Shape = Place | dict[str, Any]
"""What is let through of a mapping's keys, or of each item of a list of mappings."""
TEXT, HIDDEN = Place.TEXT, Place.HIDDEN
_ANY = "*"
"""Every key."""
LABELS = re.compile(
    r"((.+\.)?(dino-operator\.io|kubernetes\.io|k8s\.io|x-k8s\.io)|nvidia\.com)/.+"
    r"|job-name|controller-uid|pod-template-hash|helm\.sh/chart"
)
ANNOTATIONS = frozenset(Annotation) | {
    "batch.kubernetes.io/job-tracking",
    "deployment.kubernetes.io/revision",
}
SECRET_VARIABLES = {Env.S3_ACCESS_KEY.value, Env.S3_SECRET_KEY.value} | {
    each.variable for each in installation.SETTINGS if each.name == "trainer_env"
}
OPERATORS_OWN = {
    "DINO_AUTOML",
    "DINO_AUTOML_PARALLEL_TRIALS",
    "DINO_AUTOML_PROFILE",
    "DINO_AUTOML_TRIALS",
    "DINO_CA_CONFIG_MAP",
    "DINO_KATIB_POLL_SECONDS",
    "DINO_LEASE",
    "DINO_LEASE_SECONDS",
    "DINO_LOG_FORMAT",
    "DINO_LOG_LEVEL",
    "DINO_METRICS_PORT",
    "DINO_PROGRESS_OLD_SECONDS",
    "DINO_RECHECK_SECONDS",
    "DINO_RESYNC_SECONDS",
    "DINO_WATCH_NAMESPACES",
    "DINO_WORKERS",
}
"""Variables of the operator that are no settings of an installation."""
VARIABLES = (
    {*(each.value for each in Env), *(each.variable for each in installation.SETTINGS)}
    | OPERATORS_OWN
) - SECRET_VARIABLES
WORDS = {"dino", "dino-operator", SPEC_PATH, SEARCH_PATH, *Action, *Option, *Stage}
_DATA = {"image_dir", "json_file", "format", "name"}
"""Keys of an entry of train_data_sources and its like, and of a search's parameters."""


def only(words: str = "", **below: Shape) -> dict[str, Shape]:
    """Texts at these keys, and what is let through below others."""
    return {**dict.fromkeys(words.split(), TEXT), **below}


_AMOUNTS: Shape = {_ANY: TEXT}
_NAME = only("name")
_OBJECT = only("apiVersion kind name namespace uid resourceVersion fieldPath")
_CONDITIONS = only("type status reason message lastTransitionTime lastProbeTime lastUpdateTime")
_META = only(
    "name generateName namespace uid resourceVersion creationTimestamp deletionTimestamp"
    " finalizers",
    labels=Place.LABELS,
    annotations=Place.ANNOTATIONS,
    ownerReferences=_OBJECT,
)
_RESOURCES = only(requests=_AMOUNTS, limits=_AMOUNTS, claims=_NAME)
_SECURITY = only(
    "fsGroupChangePolicy procMount",
    seccompProfile=only("type"),
    capabilities=only("add drop"),
    appArmorProfile=only("type"),
)
_CONTAINER = only(
    "name image imagePullPolicy workingDir terminationMessagePath terminationMessagePolicy"
    " restartPolicy",
    command=Place.WORDS,
    args=Place.WORDS,
    env=Place.ENV,
    envFrom=only(configMapRef=_NAME, secretRef=_NAME),
    ports=only("name protocol"),
    resources=_RESOURCES,
    securityContext=_SECURITY,
    volumeMounts=only("name mountPath subPath mountPropagation"),
)
_ITEMS = only("key path")
_SOURCES = only(
    configMap=only("name", items=_ITEMS),
    secret=only("name", items=_ITEMS),
    serviceAccountToken=only("path"),
    downwardAPI=only(items=only("path", fieldRef=only("fieldPath"))),
)
_VOLUMES = only(
    "name",
    configMap=only("name", items=_ITEMS),
    secret=only("secretName", items=_ITEMS),
    emptyDir=only("medium sizeLimit"),
    hostPath=only("path type"),
    persistentVolumeClaim=only("claimName"),
    projected=only(sources=_SOURCES),
    csi=only("driver"),
)
_TERMS = only(matchExpressions=only("key operator values"), matchFields=only("key operator values"))
_NODES = only(
    requiredDuringSchedulingIgnoredDuringExecution=only(nodeSelectorTerms=_TERMS),
    preferredDuringSchedulingIgnoredDuringExecution=only(preference=_TERMS),
)
_POD_SPEC = only(
    "nodeName schedulerName serviceAccountName serviceAccount restartPolicy dnsPolicy"
    " priorityClassName preemptionPolicy runtimeClassName hostname subdomain",
    containers=_CONTAINER,
    initContainers=_CONTAINER,
    ephemeralContainers=_CONTAINER,
    volumes=_VOLUMES,
    imagePullSecrets=_NAME,
    nodeSelector=Place.LABELS,
    affinity=only(nodeAffinity=_NODES),
    tolerations=only("key operator effect value"),
    schedulingGates=_NAME,
    securityContext=_SECURITY,
)
_ENDED = only("reason message startedAt finishedAt containerID")
_STATE = only(waiting=_ENDED, running=_ENDED, terminated=_ENDED)
_CONTAINERS = only("name image imageID containerID", state=_STATE, lastState=_STATE)
_POD_STATUS = only(
    "phase reason message qosClass startTime nominatedNodeName hostIP podIP",
    conditions=_CONDITIONS,
    containerStatuses=_CONTAINERS,
    initContainerStatuses=_CONTAINERS,
    ephemeralContainerStatuses=_CONTAINERS,
)
_RULES = only(
    "action",
    onPodConditions=only("type status"),
    onExitCodes=only("containerName operator"),
)
_JOB_SPEC = only(
    "completionMode podReplacementPolicy managedBy",
    selector=only(matchLabels=Place.LABELS),
    podFailurePolicy=only(rules=_RULES),
    template=only(metadata=_META, spec=_POD_SPEC),
)
_JOB_STATUS = only(
    "startTime completionTime completedIndexes failedIndexes", conditions=_CONDITIONS
)
_KIND = only("apiVersion kind", metadata=_META)
EVENTS = _KIND | only(
    "type reason message action reportingComponent reportingController reportingInstance"
    " firstTimestamp lastTimestamp eventTime",
    involvedObject=_OBJECT,
    related=_OBJECT,
    source=only("component host"),
    series=only("lastObservedTime"),
)
VERSIONS = only("made kubectl-dino python machine kubernetes trainer", operator=only("image id"))
_KINDS: dict[str, Shape] = {
    "Pod": _KIND | only(spec=_POD_SPEC, status=_POD_STATUS),
    "Job": _KIND | only(spec=_JOB_SPEC, status=_JOB_STATUS),
    "ConfigMap": _KIND | {"data": Place.DOCUMENTS},
}
_BY_NAME = {
    "env": Place.ENV,
    "labels": Place.LABELS,
    "annotations": Place.ANNOTATIONS,
    "nodeSelector": Place.LABELS,
}
"""Of spec.podTemplate, where the schema knows no keys."""


@cache
def shape_of(kind: str) -> Shape:
    """What is let through of an object of that kind: of a stranger's its name alone."""
    if kind not in (KIND, AUTOML_KIND):
        return _KINDS.get(kind, _KIND)
    known = crd_schema.of_kind(kind)["properties"]
    return _KIND | {each: _of_schema(known[each]) for each in ("spec", "status")}


@cache
def document(name: str) -> Shape:
    """What is let through of a ConfigMap's file of that name."""
    if name == SEARCH_KEY:
        return _of_schema(structural(SearchRecord))
    spec = crd_schema.of_spec(KIND)["properties"][crd_schema.EXPERIMENT]
    return _of_schema(spec) if name == SPEC_KEY else HIDDEN


@cache
def our_names() -> frozenset[str]:
    """Every key of the API."""
    return frozenset(_DATA).union(*(_names(crd_schema.of_kind(e)) for e in (KIND, AUTOML_KIND)))


def _names(schema: Object) -> set[str]:
    below = schema.get("properties") or {}
    inner = (*below.values(), *([schema["items"]] if "items" in schema else ()))
    return set(below).union(*map(_names, inner))


def _of_schema(schema: Object, name: str = "") -> Shape:
    """Keys that the schema names stay, and below others what stands elsewhere in the API."""
    if "items" in schema and name not in _BY_NAME:
        return _of_schema(schema["items"], name)
    if "properties" in schema and name not in _BY_NAME:
        return {key: _of_schema(each, key) for key, each in schema["properties"].items()}
    if name in _BY_NAME and schema.get("type") in ("object", "array"):
        return _BY_NAME[name]
    return HIDDEN if schema.get("additionalProperties") else _scalar(schema)


def _scalar(schema: Object) -> Shape:
    free = schema.get("x-kubernetes-preserve-unknown-fields") or schema.get("type") == "object"
    return Place.OURS if free else TEXT


def below(shape: Shape, key: str) -> Shape:
    """What is let through below a key of a mapping."""
    if isinstance(shape, dict):
        inner: Shape = shape.get(key) or shape.get(_ANY) or HIDDEN
        return inner
    if shape is Place.OURS:
        return shape if key.rpartition(".")[2] in our_names() else HIDDEN
    stays = {
        Place.LABELS: lambda: bool(LABELS.fullmatch(key)),
        Place.ANNOTATIONS: lambda: key in ANNOTATIONS,
    }.get(shape)
    return TEXT if stays and stays() else HIDDEN
