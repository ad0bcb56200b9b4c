"""What a bundle holds, read from the cluster: objects, events, logs, versions. Never a Secret."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from typing import Any

from dino_api import rfc3339
from dino_api.names import API_VERSION, AUTOML_KIND, KIND, Label
from dino_operator.kubectl.cluster import Cluster
from dino_operator.kubectl.ending import CommandExit
from dino_operator.plan.model import Object

EVENTS_FILE = "events.yaml"
VERSIONS_FILE = "versions.yaml"
OPERATOR = "app.kubernetes.io/name=dino-operator"
_OF = {KIND: Label.JOB_UID, AUTOML_KIND: Label.AUTOML_UID}


@dataclass
class CollectedFiles:
    """files: an object or a text by its place. missing: what could not be read, and why."""

    files: dict[str, Any] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def read(self, what: str, call: Callable[[], Any], otherwise: Any) -> Any:
        """What the call gives; where it is refused that is noted."""
        try:
            return call()
        except CommandExit as end:
            self.missing[what] = str(end)
            return otherwise


def collected(
    cluster: Cluster, resource: Object, operator_namespace: str, tail: int
) -> CollectedFiles:
    """All that says something about a job or a search. tail: the last lines of each log."""
    made = CollectedFiles()
    family = list(_family(cluster, resource, made))
    uids = {each["metadata"]["uid"] for each in family}
    for each in family:
        kind, name = each["kind"], each["metadata"]["name"]
        made.files[f"resources/{kind.lower()}-{name}.yaml"] = {"apiVersion": API_VERSION, **each}
        uids |= set(_children(cluster, each, tail, made))
    events = made.read("events", lambda: cluster.events(), [])
    about = [each for each in events if (each.get("involvedObject") or {}).get("uid") in uids]
    made.files[EVENTS_FILE] = sorted(about, key=_last_seen)
    operators = _operators(cluster, operator_namespace, tail, made)
    made.files[VERSIONS_FILE] = _versions(cluster, family, operators, made)
    return made


def _family(cluster: Cluster, resource: Object, made: CollectedFiles) -> Iterator[Object]:
    """The resource, its parent, the search that runs for it, and the trials of a search."""
    yield resource
    parent = (resource["spec"].get("parent") or {}).get("name")
    if parent:
        kind = resource["spec"]["parent"].get("kind", KIND).lower()
        yield from _named(cluster, f"{kind}/{parent}", made)
    searches = [resource] if resource["kind"] == AUTOML_KIND else []
    if search := (resource.get("status") or {}).get("automl"):
        searches = list(_named(cluster, f"{AUTOML_KIND.lower()}/{search}", made))
        yield from searches
    for each in searches:
        uid = each["metadata"]["uid"]
        jobs = made.read("trials", lambda: cluster.all_of(KIND), [])
        yield from (one for one in jobs if _label(one, Label.AUTOML_UID) == uid)


def _named(cluster: Cluster, name: str, made: CollectedFiles) -> Iterator[Object]:
    resource = made.read(name, lambda: cluster.get(name), None)
    if resource is not None:
        yield resource


def _label(thing: Object, label: Label) -> str | None:
    return (thing["metadata"].get("labels") or {}).get(label.value)


def _children(cluster: Cluster, resource: Object, tail: int, made: CollectedFiles) -> Iterator[str]:
    """Takes up its Jobs, ConfigMaps and pods with their logs. Yields their uids."""
    selector = f"{_OF[resource['kind']].value}={resource['metadata']['uid']}"
    called = resource["metadata"]["name"]
    kinds = {
        "job": ("batch/v1", "Job", cluster.jobs),
        "configmap": ("v1", "ConfigMap", cluster.config_maps),
        "pod": ("v1", "Pod", cluster.pods),
    }
    for word, (api, kind, listed) in kinds.items():
        for each in made.read(f"{word}s of {called}", partial(listed, selector), []):
            name = each["metadata"]["name"]
            made.files[f"{word}s/{name}.yaml"] = {"apiVersion": api, "kind": kind, **each}
            yield each["metadata"]["uid"]
            if kind == "Pod":
                _take_logs(cluster, each, tail, made)


def _take_logs(cluster: Cluster, pod: Object, tail: int, made: CollectedFiles) -> None:
    """Of every container, also of its run before the last."""
    name, status = pod["metadata"]["name"], pod.get("status") or {}
    states = (
        *(status.get("initContainerStatuses") or ()),
        *(status.get("containerStatuses") or ()),
    )
    for each in states:
        for previous in (True, False) if each.get("restartCount") else (False,):
            place = f"logs/{name}/{each['name']}{'.previous' if previous else ''}.log"
            call = partial(cluster.log_text, pod, each["name"], tail, previous)
            if (text := made.read(place, call, None)) is not None:
                made.files[place] = text


def _operators(cluster: Cluster, namespace: str, tail: int, made: CollectedFiles) -> list[Object]:
    """The operator's pods with their logs."""
    pods: list[Object] = made.read(
        "the operator's pods", lambda: cluster.pods_elsewhere(namespace, OPERATOR), []
    )
    for pod in pods:
        place = f"operator/{pod['metadata']['name']}.yaml"
        made.files[place] = {"apiVersion": "v1", "kind": "Pod", **pod}
        _take_logs(cluster, pod, tail, made)
    if not pods:
        why = f"there is none with {OPERATOR} in namespace {namespace}: give --operator-namespace"
        made.missing.setdefault("the operator's pods", why)
    return pods


def _versions(
    cluster: Cluster, family: list[Object], operators: list[Object], made: CollectedFiles
) -> Object:
    images = {
        container["image"]: container.get("imageID", "")
        for pod in operators
        for container in (pod.get("status") or {}).get("containerStatuses") or ()
    }
    trainers = {(each.get("status") or {}).get("image") for each in family}
    return {
        "made": rfc3339.text(datetime.now(UTC)),
        "kubectl-dino": version("dino-operator"),
        "python": platform.python_version(),
        "machine": platform.platform(),
        "kubernetes": made.read("versions", cluster.server_version, "unknown"),
        "operator": [{"image": name, "id": uid} for name, uid in images.items()],
        "trainer": sorted(filter(None, trainers)),
    }


def _last_seen(event: Object) -> str:
    return str(event.get("lastTimestamp") or event.get("eventTime") or "")
