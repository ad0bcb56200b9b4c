"""A real API server and Job controller, with the test in the kubelet's place.

There is no kubelet: the real Job controller makes pods, and the test says what becomes of them.
The operator has the chart's rights and nothing else, so what it may not do fails here.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import kubernetes
import yaml
from kubernetes.client.exceptions import NotFoundException

from dino_api.names import Label
from dino_operator.plan.observed.api_object import ApiObject
from dino_operator.plan.observed.objects import CONTAINER
from dino_operator.plan.observed.pod import Pod
from tests.api.clients import CHART, DinoJobs, Kubectl, helm
from tests.api.operator_process import MODULE, PATIENCE, Process, eventually
from tests.api.slow_requests import slowed, wanted
from tests.builders import SOUND, stamp

Object = dict[str, Any]
ACCOUNT = "dino-operator"
JOB, ACTION = Label.JOB.value, Label.ACTION.value
WRITES = ["create", "update", "patch", "delete", "deletecollection"]
READS = ["get", "list", "watch"]
RESULT = {
    "schema": 1,
    "action": "train",
    "metrics": {"mAP": 0.5, "mAP50": 0.75},
    "checkpoint": {"uri": "s3://bucket/out/train/dino_model_best.pth", "epoch": 3},
    "dataset": {"numClasses": 4, "images": 10, "annotations": 20, "classNames": ["", "cell"]},
}
CHECKED = {
    "schema": 1,
    "action": "preflight",
    "dataset": {"numClasses": 4, "images": 10, "annotations": 20, "warnings": ["box-flat: 3"]},
    "artifacts": [{"name": "report.html", "uri": "s3://bucket/out/preflight/report.html"}],
}


def a_manifest(name: str = "x", **spec: Any) -> Object:
    """A DinoJob on CPU that trains, unless it says otherwise, and that nothing is odd about."""
    sound = {key: SOUND[key] for key in ("train", *(() if "parent" in spec else ("model",)))}
    own = {"experiment": sound} if spec.get("action", "train") == "train" else {}
    return {
        "apiVersion": "dino-operator.io/v1alpha1",
        "kind": "DinoJob",
        "metadata": {"name": name},
        "spec": {
            "action": "train",
            "automlPolicy": "Disabled",
            "datasets": {
                "train": [{"uri": "s3://bucket/train"}],
                "validation": [{"uri": "s3://bucket/val"}],
            },
            "output": {"uri": "s3://bucket/out"},
            "resources": {"gpus": 0},
            **own,
            **spec,
        },
    }


def condition_of(thing: Object, kind: str) -> Object:
    """A condition of a DinoJob or DinoAutoML; empty where it has none."""
    found = thing.get("status", {}).get("conditions", [])
    return next((each for each in found if each["type"] == kind), {})


@dataclass
class Cluster:
    """One namespace, with the rights of the chart for the operator in it."""

    kubectl: Kubectl
    dinojobs: DinoJobs
    client: kubernetes.client.ApiClient
    folder: Path

    def __post_init__(self) -> None:
        self.namespace = self.dinojobs.namespace
        self.batch = kubernetes.client.BatchV1Api(self.client)
        self.core = kubernetes.client.CoreV1Api(self.client)
        self.by_hand: set[str] = set()

    def grant(self) -> Path:
        """Applies the chart's account and rights; returns a kubeconfig that has no others."""
        words = ["template", ACCOUNT, str(CHART)]
        words += ["--set", f"watchNamespaces={{{self.namespace}}}"]
        for name in ("serviceaccount", "rbac", "progress-role"):
            words += ["--show-only", f"templates/{name}.yaml"]
        rendered = helm(self.kubectl.kubeconfig, self.namespace, *words)
        assert rendered.returncode == 0, rendered.stderr
        apply = Kubectl(self.kubectl.program, self.kubectl.kubeconfig)
        how = ("--server-side", "--force-conflicts")
        applied = apply("apply", *how, "-f", "-", stdin=rendered.stdout)
        assert applied.returncode == 0, applied.stderr
        return self._kubeconfig()

    def _kubeconfig(self) -> Path:
        token = self.kubectl("create", "token", ACCOUNT).stdout.strip()
        known = yaml.safe_load(self.kubectl.kubeconfig.read_text())
        known["users"] = [{"name": "operator", "user": {"token": token}}]
        for context in known["contexts"]:
            context["context"]["user"] = "operator"
        path = self.folder / "kubeconfig"
        path.write_text(yaml.safe_dump(known))
        return path

    def count_requests(self) -> None:
        """Has the API server count the operator's requests, by flow schemas of their own."""
        account = {"namespace": self.namespace, "name": ACCOUNT}
        for kind, verbs in (("reads", READS), ("writes", WRITES)):
            everything = {"apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"]}
            rule = {
                "subjects": [{"kind": "ServiceAccount", "serviceAccount": account}],
                "resourceRules": [{**everything, "verbs": verbs, "clusterScope": True}],
            }
            schema = {
                "apiVersion": "flowcontrol.apiserver.k8s.io/v1",
                "kind": "FlowSchema",
                "metadata": {"name": f"{self.namespace}-{kind}"},
                "spec": {
                    "matchingPrecedence": 100,
                    "priorityLevelConfiguration": {"name": "workload-high"},
                    "rules": [rule],
                },
            }
            applied = self.kubectl("apply", "-f", "-", stdin=json.dumps(schema))
            assert applied.returncode == 0, applied.stderr
            # Said of it once the API server sorts requests by it.
            ready = ("--for=condition=Dangling=False", "--timeout=300s")
            waited = self.kubectl("wait", "flowschema", schema["metadata"]["name"], *ready)
            assert waited.returncode == 0, waited.stderr

    def stop_counting(self) -> None:
        """Removes the flow schemas."""
        for kind in ("reads", "writes"):
            self.kubectl("delete", "flowschema", f"{self.namespace}-{kind}", "--ignore-not-found")

    def counted(self, kind: str) -> int:
        """Requests of the operator that the API server has seen; kind: reads or writes."""
        name = "apiserver_flowcontrol_dispatched_requests_total"
        pattern = name + r'\{flow_schema="' + self.namespace + "-" + kind + r'".*\} ([\d.e+]+)'
        text = self.kubectl("get", "--raw", "/metrics").stdout
        return sum(int(float(count)) for count in re.findall(pattern, text))

    def jobs(self) -> list[Object]:
        """The Jobs, as dicts."""
        return self._list(self.batch.list_namespaced_job)

    def pods(self) -> list[Object]:
        """The pods, as dicts."""
        return self._list(self.core.list_namespaced_pod)

    def events(self, name: str) -> list[str]:
        """The reasons of the operator's events about that DinoJob, in order."""
        found = self._list(self.core.list_namespaced_event)
        ours = [each for each in found if each["source"].get("component") == "dino-operator"]
        ours.sort(key=lambda each: int(each["metadata"]["resourceVersion"]))
        return [each["reason"] for each in ours if each["involvedObject"]["name"] == name]

    def said(self, name: str, reason: str) -> list[str]:
        """The messages of the events of that reason about the object of that name."""
        found = self._list(self.core.list_namespaced_event)
        about = [each for each in found if each["involvedObject"]["name"] == name]
        return [str(each["message"]) for each in about if each["reason"] == reason]

    def _list(self, listing: Callable[..., Any]) -> list[Object]:
        answer = listing(self.namespace, _preload_content=False)
        return list(json.loads(answer.data)["items"])

    def job(self, name: str) -> Object:
        """The Job of that name, once it exists. Also sees to it that only one is active."""

        def find() -> Object | None:
            self.pass_preflights()
            return self._find(self.watched_jobs(), name)

        return eventually(find, f"a Job {name}")

    def pass_preflights(self) -> None:
        """Data is good, and at once, unless a test does that part `by_hand`."""
        for pod in self.pods():
            labels = pod["metadata"].get("labels", {})
            waits = pod["status"].get("phase") == "Pending"
            if waits and labels.get(ACTION) == "preflight" and labels[JOB] not in self.by_hand:
                with suppress(NotFoundException):  # deleted since it was listed
                    self.finish(pod["metadata"]["name"], message=CHECKED)

    def jobs_of(self, name: str) -> list[Object]:
        """The Jobs of that DinoJob."""
        found = self.watched_jobs()
        return [each for each in found if each["metadata"].get("labels", {}).get(JOB) == name]

    def watched_jobs(self) -> list[Object]:
        """The Jobs; fails where two of one DinoJob's name are unfinished."""
        jobs = self.jobs()
        active: dict[str, list[str]] = {}
        for each in jobs:
            name = each["metadata"].get("labels", {}).get(JOB)
            if name and not ApiObject(each).is_finished:
                active.setdefault(name, []).append(each["metadata"]["name"])
        assert all(len(names) == 1 for names in active.values()), active
        return jobs

    @staticmethod
    def _find(things: list[Object], name: str) -> Object | None:
        return next((each for each in things if each["metadata"]["name"] == name), None)

    def pod_of(self, job: str, other_than: str = "", index: int = 0) -> str:
        """The name of a live pod of that Job, once the Job controller has made it."""

        def find() -> str:
            self.pass_preflights()
            for pod in self.pods():
                of = pod["metadata"].get("labels", {}).get("batch.kubernetes.io/job-name")
                live = pod["status"].get("phase") in ("Pending", "Running")
                name = str(pod["metadata"]["name"])
                if of == job and live and name != other_than and Pod(pod).index == index:
                    return name
            return ""

        return eventually(find, f"a pod of Job {job}")

    def pod_of_any(self, name: str, other_than: str) -> str:
        """A live pod of any Job of that DinoJob, other than that one."""

        def find() -> str:
            for pod in self.pods():
                live = pod["status"].get("phase") in ("Pending", "Running")
                own = pod["metadata"].get("labels", {}).get(JOB) == name
                if own and live and pod["metadata"]["name"] != other_than:
                    return str(pod["metadata"]["name"])
            return ""

        return eventually(find, f"another pod of {name}")

    def run(self, job: str, index: int = 0) -> str:
        """Has the Job's pod run; returns its name."""
        pod = self.pod_of(job, index=index)
        self.set_pod(pod, "Running", running={"startedAt": stamp()})
        return pod

    def finish(self, pod: str, code: int = 0, message: Any = None, reason: str = "") -> None:
        """Ends the pod with that exit code and termination message."""
        ended = {
            "exitCode": code,
            "reason": reason or ("Error" if code else "Completed"),
            "startedAt": stamp(),
            "finishedAt": stamp(),
        }
        if message is not None:
            ended["message"] = message if isinstance(message, str) else json.dumps(message)
        self.set_pod(pod, "Failed" if code else "Succeeded", terminated=ended)

    def set_pod(self, pod: str, phase: str, **state: Object) -> None:
        """What a kubelet would report."""
        container = {
            "name": CONTAINER,
            "state": state,
            "image": "trainer:1",
            "imageID": "",
            "ready": "running" in state,
            "restartCount": 0,
        }
        body = {"status": {"phase": phase, "containerStatuses": [container]}}
        if phase == "Pending":
            scheduled = {"type": "PodScheduled", "status": "True", "lastTransitionTime": stamp()}
            body["status"]["conditions"] = [scheduled]
        self.core.patch_namespaced_pod_status(pod, self.namespace, body)

    def is_asked_to_go(self, pod: str) -> bool:
        """Whether the pod was deleted, and waits for its kubelet."""
        found = self.core.read_namespaced_pod(pod, self.namespace)
        return found.metadata.deletion_timestamp is not None

    def bind(self, pod: str, node: str = "") -> None:
        """Puts the pod on a node without a kubelet: then deleting it does not end it.

        Without a name, on a node of its own that does not exist: the pod garbage collector takes
        pods of a node that it has known to be missing for 40 seconds.
        """
        where = node or f"nowhere-{uuid.uuid4().hex[:8]}"
        target = kubernetes.client.V1ObjectReference(kind="Node", name=where)
        meta = kubernetes.client.V1ObjectMeta(name=pod)
        body = kubernetes.client.V1Binding(metadata=meta, target=target)
        self.core.create_namespaced_pod_binding(pod, self.namespace, body, _preload_content=False)

    def phase(self, name: str, phase: str, patience: float = PATIENCE) -> Object:
        """The DinoJob once it is in that phase."""

        def reached() -> Object | None:
            self.pass_preflights()
            self.watched_jobs()
            found = self.dinojobs.get(name)
            return found if found.get("status", {}).get("phase") == phase else None

        return eventually(reached, f"DinoJob {name} {phase}", patience)

    def status(self, name: str) -> Object:
        """The DinoJob's status; empty before its first."""
        return dict(self.dinojobs.get(name).get("status", {}))

    def condition(self, name: str, kind: str) -> Object:
        """A condition of the DinoJob; empty where it has none."""
        return condition_of(self.dinojobs.get(name), kind)

    def reason(self, name: str, reason: str) -> Object:
        """The DinoJob once its Running condition has that reason, as it was then."""

        def said() -> Object | None:
            self.pass_preflights()
            found = self.dinojobs.get(name)
            return found if condition_of(found, "Running").get("reason") == reason else None

        return eventually(said, f"DinoJob {name} {reason}")

    def eventually_status(self, name: str, key: str, value: Any) -> None:
        """Waits until the status has that value.

        A status is written after everything else that a plan does: whoever has seen a Job changed,
        or a pod made, has not yet seen what is told of it.
        """
        last: Object = {}

        def told() -> bool:
            last.update(found=self.status(name).get(key))
            return bool(last["found"] == value)

        eventually(told, lambda: f"status.{key} {value} of {name}, but {last['found']}")

    def eventually_condition(self, name: str, kind: str, reason: str = "") -> Object:
        """A condition of the DinoJob, once it is there; reason: once it has that reason."""

        def said() -> Object | None:
            found = self.condition(name, kind)
            return found if found and reason in ("", found["reason"]) else None

        return eventually(said, f"{kind} {reason} of {name}")


class Operating(Protocol):
    """`operated` as the fixture of this name gives it: the cluster and the folder are known."""

    def __call__(
        self, *arguments: str, program: tuple[str, ...] = MODULE
    ) -> AbstractContextManager[tuple[Cluster, Process]]: ...


@contextmanager
def operated(
    kubectl: Kubectl,
    client: kubernetes.client.ApiClient,
    folder: Path,
    *arguments: str,
    program: tuple[str, ...] = MODULE,
) -> Iterator[tuple[Cluster, Process]]:
    """A namespace of its own and an operator with these arguments that serves it; both go."""
    name = f"operated-{uuid.uuid4().hex[:8]}"
    created = kubectl("create", "namespace", name)
    assert created.returncode == 0, created.stderr
    here = Kubectl(kubectl.program, kubectl.kubeconfig, name)
    dinojobs = DinoJobs(kubernetes.client.CustomObjectsApi(client), name)
    cluster = Cluster(here, dinojobs, client, folder)
    with slowed(cluster.grant()) as kubeconfig:
        late = wanted().watch
        process = Process(kubeconfig, name, folder / "log", arguments, program, late)
        try:
            yield cluster, process.start()
        finally:
            process.kill()
            cluster.stop_counting()
            kubectl("delete", "namespace", name, "--wait=false")
