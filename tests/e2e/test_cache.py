"""A PersistentVolumeClaim that jobs name: the same data is fetched once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.jobs import Lab, Object, small_job

pytestmark = [pytest.mark.cluster, pytest.mark.level0]

CLAIM = "staged-data"
FOLDER = "/var/tmp/dino-test-cache"
MODE = "ReadWriteMany"
FETCHES = "Downloading s3://dino/small/"


def volume(namespace: str) -> Object:
    """A folder of the node for that namespace's claim: the dev cluster provisions nothing."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"{namespace}-{CLAIM}"},
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": [MODE],
            "storageClassName": "",
            "claimRef": {"namespace": namespace, "name": CLAIM},
            "hostPath": {"path": FOLDER, "type": "DirectoryOrCreate"},
        },
    }


def claim(namespace: str) -> Object:
    """As a user makes it."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": CLAIM},
        "spec": {
            "accessModes": [MODE],
            "storageClassName": "",
            "volumeName": f"{namespace}-{CLAIM}",
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }


def emptying(image: str) -> Object:
    """A pod of root that takes away what is in the cache and lets every user write there."""
    container = {
        "name": "main",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["sh", "-c", "rm -rf /cache/* && chmod 1777 /cache"],
        "securityContext": {"runAsUser": 0},
        "volumeMounts": [{"name": "cache", "mountPath": "/cache"}],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "empty-cache"},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "containers": [container],
            "volumes": [{"name": "cache", "persistentVolumeClaim": {"claimName": CLAIM}}],
        },
    }


def empty(lab: Lab) -> None:
    """Run the pod above with an image that the node has."""
    image = "jsonpath={.items[0].spec.template.spec.containers[0].image}"
    operator = lab.cluster.kubectl("-n", "dino-system", "get", "deployments", "-o", image)
    long = ("--timeout=15m",)  # the default of 30 s is little for a pod's start
    lab.kubectl("delete", "pod", "empty-cache", "--ignore-not-found")
    lab.apply(emptying(operator))
    lab.kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", *long, "pod/empty-cache")
    lab.kubectl("delete", "pod", "empty-cache")


@pytest.fixture
def cache(lab: Lab) -> Iterator[None]:
    """The claim, its volume empty."""
    namespace = lab.cluster.namespace
    remove_claim(lab)
    lab.apply(volume(namespace))
    lab.apply(claim(namespace))
    empty(lab)
    yield
    empty(lab)
    remove_claim(lab)


def remove_claim(lab: Lab) -> None:
    """The claim goes once no job uses it any more."""
    lab.kubectl("delete", "dinojob", "fetches", "shares", "--ignore-not-found")
    gone = ("--ignore-not-found", "--timeout=15m")
    lab.kubectl("delete", "pvc", CLAIM, *gone)
    lab.kubectl("delete", "pv", f"{lab.cluster.namespace}-{CLAIM}", *gone)


def test_two_jobs_with_the_same_data_fetch_it_once(lab: Lab, cache: None) -> None:
    """Only the first job's preflight stages anything; its training and the second job read it."""
    for name in ("fetches", "shares"):
        lab.apply(small_job(name, epochs=1, cache={"claimName": CLAIM}))
        lab.complete(name, seconds=240)

    preflight = "dino-operator.io/job=fetches,dino-operator.io/action=preflight"
    assert lab.logs("fetches", preflight).count(FETCHES) == 4, "annotations and images, twice"
    assert FETCHES not in lab.logs(
        "fetches", "dino-operator.io/job=fetches,dino-operator.io/action=train"
    )
    assert FETCHES not in lab.logs("shares")
