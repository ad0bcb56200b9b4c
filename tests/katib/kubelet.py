"""In the kubelet's place for the pods of searches: they run and end as a test says.

Pods of DinoJobs and of reports end well at once. A trial's pod follows the script of its search.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import kubernetes

from dino_api.names import Label
from dino_operator.plan.observed.objects import CONTAINER
from tests.katib.double import Double

Object = dict[str, Any]
COLLECTOR = "metrics-logger-and-collector"
PAUSE = 0.25


@dataclass(frozen=True)
class Ending:
    """How a trial's pod ends. log: what the trainer printed. message: its last words."""

    code: int = 0
    log: str = ""
    message: Object | None = None


Script = Callable[[int, str], "Ending | None"]
"""Of a trial, by its place in its search and its name; None lets it run on."""


def scored(mAP50: float, name: str = "t") -> Ending:
    """A trial that trained well."""
    told = {
        "schema": 1,
        "action": "train",
        "metrics": {"mAP": mAP50 / 2, "mAP50": mAP50},
        "checkpoint": {"uri": f"s3://bucket/{name}/train/dino_model_best.pth", "epoch": 2},
        "curve": [{"epoch": 1, "mAP50": mAP50 / 2}, {"epoch": 2, "mAP50": mAP50}],
    }
    return Ending(log=f"epoch 1\nValidation mAP50: {mAP50}\n", message=told)


@dataclass
class Kubelet:
    """Polls the pods of a namespace in a thread of its own.

    scripts: by the name of the search. bare: searches whose pods get no collector, as in a
    namespace without Katib's label. base: the mAP50 of DinoJobs that train.
    """

    core: kubernetes.client.CoreV1Api
    namespace: str
    double: Double
    scripts: dict[str, Script] = field(default_factory=dict)
    bare: set[str] = field(default_factory=set)
    base: float = 0.4
    now: Callable[[], str] = field(default=lambda: "")

    def __post_init__(self) -> None:
        self._places: dict[str, list[str]] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> Kubelet:
        """Begins."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """Ends."""
        self._stop.set()
        self._thread.join(timeout=20)

    def _run(self) -> None:
        while not self._stop.wait(PAUSE):
            answer = self.core.list_namespaced_pod(self.namespace, _preload_content=False)
            for pod in json.loads(answer.data)["items"]:
                if pod["status"].get("phase") in ("Pending", "Running"):
                    self._serve(pod)

    def _serve(self, pod: Object) -> None:
        labels = pod["metadata"].get("labels", {})
        search = labels.get(Label.AUTOML.value)
        if search is None or labels.get(Label.ACTION.value) == "report":
            self._report(pod, "Succeeded", terminated=self._ended(0, self._message(labels)))
            return
        name = labels["batch.kubernetes.io/job-name"]
        places = self._places.setdefault(search, [])
        if name not in places:
            places.append(name)
        ending = self.scripts[search](places.index(name), name)
        if ending is None:
            if pod["status"]["phase"] == "Pending":
                self._report(pod, "Running", running={"startedAt": self.now()})
            return
        self.double.logs[name] = ending.log
        phase = "Failed" if ending.code else "Succeeded"
        self._report(pod, phase, terminated=self._ended(ending.code, ending.message))

    def _message(self, labels: dict[str, str]) -> Object:
        action = labels.get(Label.ACTION.value)
        if action == "train":
            return scored(self.base).message or {}
        uri = f"s3://bucket/{action}.html"
        found = {"numClasses": 4, "images": 10} if action == "preflight" else None
        told = {"schema": 1, "action": action, "artifacts": [{"name": "report.html", "uri": uri}]}
        return {**told, "dataset": found} if found else told

    def _ended(self, code: int, message: Object | None) -> Object:
        times = {"startedAt": self.now(), "finishedAt": self.now()}
        reason = "Error" if code else "Completed"
        told = {"message": json.dumps(message)} if message else {}
        return {"exitCode": code, "reason": reason, **times, **told}

    def _report(self, pod: Object, phase: str, **state: Object) -> None:
        """What a kubelet would report; the collector ends as the trainer does."""
        labels = pod["metadata"].get("labels", {})
        trial = Label.AUTOML.value in labels and labels.get(Label.ACTION.value) == "train"
        names = [CONTAINER]
        if trial and labels[Label.AUTOML.value] not in self.bare:
            names.append(COLLECTOR)
        containers = [
            {
                "name": name,
                "state": state,
                "image": "trainer:1",
                "imageID": "",
                "ready": "running" in state,
                "restartCount": 0,
            }
            for name in names
        ]
        # Without it the scheduler's word stays: there is no node here.
        placed = [{"type": "PodScheduled", "status": "True"}]
        body = {"status": {"phase": phase, "conditions": placed, "containerStatuses": containers}}
        try:
            self.core.patch_namespaced_pod_status(pod["metadata"]["name"], self.namespace, body)
        except kubernetes.client.ApiException as error:
            if error.status != 404:  # it was deleted a moment ago
                raise
