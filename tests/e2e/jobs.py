"""DinoJobs on a real cluster as tests see them: apply, watch, wait, read results back from S3."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import kubernetes
import urllib3
import yaml

from demo import job as demo_job
from demo.cluster import DemoCluster
from demo.errors import DemoError
from demo.storage import DemoStorage, download, upload
from tests.patience import Patience

Object = dict[str, Any]
TERMINAL = ("Complete", "Failed")
SMALL_MODEL = {
    "hidden_dim": 64,
    "nheads": 4,
    "enc_layers": 1,
    "dec_layers": 1,
    "dim_feedforward": 64,
    "num_queries": 20,
    "num_select": 20,
}
ENDED = ("Succeeded", "Failed")
RESULTS = "s3://dino/test-results"
# More threads than free cores wait for each other, and the models are small.
ONE_THREAD = {"env": [{"name": "OMP_NUM_THREADS", "value": "1"}]}
CHECKPOINTS = ("dino_model_latest.pth", "dino_model_previous.pth")


@dataclass(frozen=True)
class Lab:
    """A cluster with the operator, an object store, and a namespace for the tests."""

    cluster: DemoCluster
    storage: DemoStorage

    def kubectl(self, *arguments: str, given: str | None = None) -> str:
        """kubectl in the tests' namespace; raises DemoError with what it said."""
        return self.cluster.kubectl(*arguments, given=given)

    def apply(self, manifest: Object) -> None:
        """`kubectl apply -f`, as a user does it."""
        self.kubectl("apply", "-f", "-", given=yaml.safe_dump(manifest))

    def get(self, kind: str, name: str) -> Object:
        """One object."""
        found: Object = json.loads(self.kubectl("get", kind, name, "-o", "json"))
        return found

    def list(self, kind: str, job: str) -> list[Object]:
        """The Jobs or pods of a DinoJob."""
        text = self.kubectl("get", kind, "-l", f"dino-operator.io/job={job}", "-o", "json")
        found: list[Object] = json.loads(text)["items"]
        return found

    def delete(self, name: str, *flags: str) -> None:
        """Delete a DinoJob; its children follow."""
        self.kubectl("delete", "dinojob", name, "--ignore-not-found", *flags)

    def status(self, name: str) -> Object:
        """The DinoJob's status, empty before the operator wrote one."""
        status: Object = self.get("dinojob", name).get("status", {})
        return status

    def wait(self, name: str, seconds: float, until: Callable[[Object], bool], what: str) -> Object:
        """Poll the status until it is so; the failure says how far it came.

        seconds: of an idle machine.
        """
        patience = Patience(seconds)
        status: Object = {}
        while patience.lasts():
            status = self.status(name)
            if until(status):
                return status
            time.sleep(1)
        waited = f"no {what} after {patience.seconds:.0f} s"
        raise AssertionError(f"{name}: {waited}; {self.story(name, status)}")

    def finished(self, name: str, seconds: float) -> Object:
        """The status once the job is Complete or Failed."""
        return self.wait(name, seconds, ended, "end")

    def complete(self, name: str, seconds: float) -> Object:
        """The status once the job is Complete; a failed job fails the test with its reason."""
        status = self.finished(name, seconds)
        assert is_true(status, "Complete"), self.story(name, status)
        return status

    def logs(self, name: str, selector: str = "") -> str:
        """What the job's pods have said, all of it; those that training_pods() selects, or all."""
        chosen = selector or f"dino-operator.io/job={name}"
        return self.kubectl("logs", "-l", chosen, "--tail=-1")

    def running(self, name: str, seconds: float = 300) -> Object:
        """The status while a pod trains, which `reporter` names."""
        status = self.wait(name, seconds, lambda s: works(s) or ended(s), "running pod")
        assert works(status), f"it ended unseen; {self.story(name, status)}"
        return status

    def training(self, name: str, seconds: float = 300) -> Object:
        """The status once the pod has reported a training step, while it still runs."""
        status = self.wait(
            name, seconds, lambda s: (works(s) and step_of(s) > 0) or ended(s), "training step"
        )
        assert works(status), f"it ended unseen; {self.story(name, status)}"
        return status

    def saved(self, name: str, checkpoints: int = 1, seconds: float = 300) -> Object:
        """The status once so many checkpoints to resume from (1 or 2) lie in the store.

        Progress reaches the status every 10 s at most: a short training would be over before it
        is read there.
        """
        files = [f"test-results/{name}/train/{file}" for file in CHECKPOINTS[:checkpoints]]

        def there(status: Object) -> bool:
            return ended(status) or (works(status) and all(map(self.exists, files)))

        status = self.wait(name, seconds, there, f"{checkpoints} checkpoints in the store")
        assert works(status), f"it ended unseen; {self.story(name, status)}"
        return status

    def exists(self, key: str) -> bool:
        """Whether the tests' bucket has an object of this key."""
        found = self.storage.client().list_objects_v2(Bucket=self.storage.bucket, Prefix=key)
        return key in {one["Key"] for one in found.get("Contents", ())}

    def live_pods(self, name: str) -> list[str]:
        """Names of the job's pods that have not ended."""
        pods = self.list("pods", name)
        return [p["metadata"]["name"] for p in pods if p["status"]["phase"] not in ENDED]

    def story(self, name: str, status: Object) -> str:
        """What a reader of a failed test needs: status and the end of the pods' logs."""
        selector = f"dino-operator.io/job={name}"
        try:
            logs = self.kubectl("logs", "-l", selector, "--tail=15", "--prefix")
        except DemoError as error:  # of a pod whose container is still made, or that is gone
            logs = str(error)
        return f"status: {json.dumps(status, indent=1)}\nlogs:\n{logs}"

    def put(self, folder: Path, key: str) -> None:
        """Upload a folder's files below a key of the tests' bucket."""
        upload(self.storage, folder, key)

    def fetch(self, uri: str, path: Path) -> bytes:
        """An object of the store."""
        download(self.storage, uri, path)
        return path.read_bytes()


def is_true(status: Object, kind: str) -> bool:
    """Whether that condition is True."""
    return any(c["type"] == kind and c["status"] == "True" for c in status.get("conditions", []))


def ended(status: Object) -> bool:
    """Complete or Failed."""
    return any(is_true(status, end) for end in TERMINAL)


def works(status: Object) -> bool:
    """Whether the pod of the attempt runs and is known as the one that reports."""
    return is_true(status, "Running") and "reporter" in status


def step_of(status: Object) -> int:
    """The optimiser steps that were reported; 0 before the first report."""
    step: int = status.get("progress", {}).get("step", 0)
    return step


def epoch_of(status: Object) -> int:
    """The finished epochs that were reported; 0 before the first report."""
    epoch: int = status.get("progress", {}).get("epoch", 0)
    return epoch


def training_pods(name: str) -> str:
    """The label selector of the pods that train, without that of the preflight."""
    return f"dino-operator.io/job={name},dino-operator.io/action=train"


def artifact(lab: Lab, status: Object, name: str, folder: Path) -> bytes:
    """An artifact, checked against its digest in the status."""
    listed = next(each for each in status["artifacts"] if each["name"] == name)
    content = lab.fetch(listed["uri"], folder / name.replace("/", "-"))
    assert sha256(content) == listed["sha256"]
    assert len(content) == listed["bytes"]
    return content


def sha256(data: bytes) -> str:
    """In hex."""
    return hashlib.sha256(data).hexdigest()


@dataclass
class Census:
    """The most training pods of one DinoJob that were alive at one time, and the names of all."""

    most: int = 0
    seen: set[str] = field(default_factory=set)


@contextmanager
def census(lab: Lab, name: str) -> Iterator[Census]:
    """Follow the job's training pods by a watch of the API server while the block runs."""
    count = Census()
    client = kubernetes.config.new_client_from_config(lab.cluster.kubeconfig or None)
    watch = kubernetes.watch.Watch()

    def follow() -> None:
        alive: set[str] = set()
        pods = kubernetes.client.CoreV1Api(client).list_namespaced_pod
        chosen = training_pods(name)
        for event in watch.stream(pods, lab.cluster.namespace, label_selector=chosen):
            pod = event["object"]
            if event["type"] == "DELETED" or pod.status.phase in ENDED:
                alive.discard(pod.metadata.name)
            else:
                alive.add(pod.metadata.name)
            count.most = max(count.most, len(alive))
            count.seen.update(alive)

    def follow_until_stopped() -> None:
        # Stopping cuts the connection in the middle of an answer.
        with suppress(urllib3.exceptions.ProtocolError):
            follow()

    threading.Thread(target=follow_until_stopped, daemon=True).start()
    try:
        yield count
        catch_up(lab, name, count)
    finally:
        watch.stop()


def catch_up(lab: Lab, name: str, count: Census) -> None:
    """The watch may tell of a pod later than the status tells of its end."""
    pods = json.loads(lab.kubectl("get", "pods", "-l", training_pods(name), "-o", "json"))["items"]
    there, patience = {pod["metadata"]["name"] for pod in pods}, Patience(60)
    while not there <= count.seen:
        assert patience.lasts(), f"of {there} the watch told {count.seen}"
        time.sleep(0.1)


def small_job(name: str, epochs: int = 2, **spec: Any) -> Object:
    """The demo's training made to take seconds: 24 small pictures, a detector of one layer each."""
    experiment = demo_job.example()["spec"]["experiment"]
    experiment["model"].update(SMALL_MODEL)
    experiment["dataset"]["batch_size"] = 4
    experiment["dataset"]["augmentation"]["fixed_size"] = [96, 128]
    experiment["train"] = {"num_epochs": epochs, "validation_interval": 1}
    return {
        "apiVersion": "dino-operator.io/v1alpha1",
        "kind": "DinoJob",
        "metadata": {"name": name},
        "spec": {
            "action": "train",
            "automlPolicy": "Disabled",
            "datasets": {
                "train": [{"uri": "s3://dino/small/train"}],
                "validation": [{"uri": "s3://dino/small/val"}],
            },
            "output": {"uri": f"{RESULTS}/{name}"},
            "resources": {"gpus": 0, "memory": "3Gi"},
            "podTemplate": ONE_THREAD,
            "experiment": experiment,
            **spec,
        },
    }


def search_like(job: Object, **spec: Any) -> Object:
    """A search of the job's name whose trials are trainings like it. spec: what else it has."""
    own = ("action", "automlPolicy")
    template = {key: value for key, value in job["spec"].items() if key not in own}
    return {
        "apiVersion": "dino-operator.io/v1alpha1",
        "kind": "DinoAutoML",
        "metadata": {"name": job["metadata"]["name"]},
        "spec": {"template": template, **spec},
    }
