"""The kubelet of a node that is none: every pod runs for a moment and says how it ended.

Job controller, scheduler and garbage collector are real. A pod pushes its learning curve as the
trainer does, and leaves a termination message that depends on what the trial's parameters are. One
that is deleted ends as after SIGTERM.
"""

from __future__ import annotations

import asyncio
import json
import math
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from kubernetes.aio import client as kube
from kubernetes.aio import config

from dino_api import names
from dino_api.failures import by_reason
from dino_api.names import FailureReason, Label, Stage
from dino_api.result import Checkpoint, Dataset, Failure, Metrics, Progress, Result, Validation
from tests.builders import stamp

Object = dict[str, Any]
OURS = f"{names.MANAGED_BY_LABEL}={names.MANAGED_BY}"
MERGE, APPLY = "application/merge-patch+json", "application/apply-patch+yaml"
TAINT = "dino-operator.io/bench"
HEARTBEAT = 10.0
CONNECTIONS = 24
EPOCHS = 4
START, CHECK, EPOCH, SLOW_EPOCH = 0.2, 0.2, 0.3, 1.0  # seconds
DEFAULTS = {"train.optim.lr": 2e-4, "model.dropout_ratio": 0.0, "model.num_queries": 300}
DIVERGES = 4e-4  # learning rate
SLOW = 0.5  # mAP50 below which epochs take longer, so that there is time to prune


def score(parameters: Mapping[str, Any]) -> float:
    """The mAP50 of a training with those parameters: best a little above the default's rate."""
    drawn = {**DEFAULTS, **parameters}
    rate = math.log10(drawn["train.optim.lr"] / 2.5e-4)
    queries = (drawn["model.num_queries"] - 400) / 1000
    found = 0.8 - 0.35 * rate**2 - 0.5 * drawn["model.dropout_ratio"] - 0.2 * queries**2
    return max(0.01, float(found))


def curve(parameters: Mapping[str, Any]) -> list[Validation]:
    """A validation after each epoch."""
    best = score(parameters)
    values = [best * (1 - 0.5 ** (epoch + 1)) for epoch in range(1, EPOCHS)] + [best]
    return [Validation(epoch=epoch, mAP50=value) for epoch, value in enumerate(values, 1)]


class Api:
    """The few requests of the player, as an administrator."""

    def __init__(self, session: aiohttp.ClientSession, host: str, namespace: str) -> None:
        self._session, self._host, self.namespace = session, host, namespace
        self.requests = 0

    async def call(self, verb: str, path: str, body: Any = None, content: str = "") -> Object:
        """The answer. Raises aiohttp.ClientResponseError."""
        self.requests += 1
        headers = {"Content-Type": content or "application/json"}
        data = None if body is None else json.dumps(body)
        async with self._session.request(
            verb, self._host + path, data=data, headers=headers
        ) as answer:
            if answer.status >= 400:
                said = (await answer.text())[:300]
                raise aiohttp.ClientResponseError(
                    answer.request_info, (), status=answer.status, message=said
                )
            return dict(await answer.json())

    async def pod(self, verb: str, name: str, sub: str, body: Any, content: str = "") -> None:
        """A request about a pod or a subresource of it."""
        where = f"/api/v1/namespaces/{self.namespace}/pods/{name}{sub}"
        await self.call(verb, where, body, content)

    def ours(self, plural: str) -> str:
        """The path of a collection of our own kinds."""
        return self.collection(names.API_VERSION, plural)

    def collection(self, version: str, plural: str) -> str:
        """The path of a collection of a group's kinds. version: with the group."""
        return f"/apis/{version}/namespaces/{self.namespace}/{plural}"

    async def serve_node(self) -> None:
        """Registers the node and tells of its health, until it is cancelled."""
        node = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": self.namespace},
            "spec": {"taints": [{"key": TAINT, "value": self.namespace, "effect": "NoSchedule"}]},
        }
        await self.call("POST", "/api/v1/nodes", node)
        plenty = {"cpu": "100000", "memory": "1000Ti", "pods": "100000"}
        ready = {"type": "Ready", "status": "True", "reason": "Played", "message": ""}
        while True:
            ready = {**ready, "lastHeartbeatTime": stamp()}
            status = {"capacity": plenty, "allocatable": plenty, "conditions": [ready]}
            where = f"/api/v1/nodes/{self.namespace}/status"
            await self.call("PATCH", where, {"status": status}, MERGE)
            await asyncio.sleep(HEARTBEAT)

    async def node_is_ready(self) -> None:
        """Waits until the controllers take pods to the node."""
        taints: list[Object] = [{}]
        while [each.get("key") for each in taints] != [TAINT]:
            await asyncio.sleep(0.5)
            with suppress(aiohttp.ClientResponseError):  # it is being made
                node = await self.call("GET", f"/api/v1/nodes/{self.namespace}")
                taints = node["spec"].get("taints", [])

    async def remove_node(self) -> None:
        """Takes it away again."""
        await self.call("DELETE", f"/api/v1/nodes/{self.namespace}")

    def watch_pods(self) -> AsyncIterator[tuple[str, Object]]:
        """Events of the operator's pods, from the beginning on, for ever."""
        return self.watch(f"/api/v1/namespaces/{self.namespace}/pods", OURS)

    async def watch(self, path: str, selector: str = "") -> AsyncIterator[tuple[str, Object]]:
        """Events of a collection, from the beginning on, for ever."""
        version = "0"
        while True:
            query = {"watch": "1", "labelSelector": selector, "resourceVersion": version}
            async with self._session.get(self._host + path, params=query) as answer:
                answer.raise_for_status()
                async for line in answer.content:
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        version = "0"
                        break
                    version = event["object"]["metadata"]["resourceVersion"]
                    yield event["type"], event["object"]


@asynccontextmanager
async def connect(kubeconfig: Path, namespace: str) -> AsyncIterator[Api]:
    """The API of one namespace."""
    found = kube.Configuration()
    await config.load_kube_config(config_file=str(kubeconfig), client_configuration=found)
    trust = ssl.create_default_context(cafile=found.ssl_ca_cert)
    if found.cert_file:
        trust.load_cert_chain(found.cert_file, found.key_file)
    wires = aiohttp.TCPConnector(limit=CONNECTIONS, ssl=trust)
    token = await found.get_api_key_with_prefix("BearerToken", alias="authorization")
    headers = {"Authorization": token} if token else {}
    endless = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(
        connector=wires, headers=headers, timeout=endless, read_bufsize=2**20
    ) as session:
        yield Api(session, found.host, namespace)


@dataclass
class Player:
    """Plays every pod of the namespace. ends: how many of each stage ended how.

    ran: names of the Jobs whose pods ran, by (DinoJob or search, stage); one name for each pod.
    """

    api: Api
    ends: Counter[str] = field(default_factory=Counter)
    ran: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    trouble: list[str] = field(default_factory=list)
    _going: dict[str, asyncio.Event] = field(default_factory=dict)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def play(self) -> None:
        """Until it is cancelled."""
        async for kind, pod in self.api.watch_pods():
            uid = pod["metadata"]["uid"]
            if uid not in self._going and kind != "DELETED" and _waits(pod):
                self._going[uid] = asyncio.Event()
                task = asyncio.create_task(self._live(pod))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            if uid in self._going and (kind == "DELETED" or _is_asked_to_go(pod)):
                self._going[uid].set()

    async def _live(self, pod: Object) -> None:
        """One pod, from its binding to its last word."""
        try:
            await self._run(pod)
        except aiohttp.ClientResponseError as error:
            if error.status not in (404, 409):  # gone
                self.trouble.append(f"{pod['metadata']['name']}: {error.status} {error.message}")
        except aiohttp.ClientError as error:
            self.trouble.append(f"{pod['metadata']['name']}: {error!r}")

    async def _run(self, pod: Object) -> None:
        name, labels = pod["metadata"]["name"], pod["metadata"]["labels"]
        stage = labels[Label.ACTION.value]
        going = self._going[pod["metadata"]["uid"]]
        await asyncio.sleep(START)
        await self._say(name, "Running", {"running": {"startedAt": stamp()}})
        owner = labels.get(Label.JOB.value) or labels[Label.AUTOML.value]
        self.ran.setdefault((owner, stage), []).append(labels["job-name"])
        if stage == Stage.PREFLIGHT:
            await asyncio.sleep(CHECK)
            told = checked()
        elif stage == Stage.REPORT:
            told = Result(action=Stage.REPORT)
        else:
            told = await self._train(labels[Label.JOB.value], going)
        code = (by_reason(told.failure.reason).exit_code or 1) if told.failure else 0
        self.ends[f"{stage} {told.failure.reason if told.failure else 'succeeded'}"] += 1
        message = told.to_termination_message()
        ended = {"exitCode": code, "startedAt": stamp(), "finishedAt": stamp(), "message": message}
        ended["reason"] = "Error" if code else "Completed"
        await self._say(name, "Failed" if code else "Succeeded", {"terminated": ended})
        if going.is_set():
            await self.api.pod("DELETE", name, "", {"gracePeriodSeconds": 0})

    async def _say(self, name: str, phase: str, state: Object) -> None:
        container = {
            "name": "trainer",
            "state": state,
            "image": "trainer:1",
            "imageID": "",
            "ready": "running" in state,
            "restartCount": 0,
        }
        body = {"status": {"phase": phase, "containerStatuses": [container]}}
        await self.api.pod("PATCH", name, "/status", body, MERGE)

    async def _train(self, name: str, going: asyncio.Event) -> Result:
        """Epoch after epoch, until the end or until it is told to go."""
        job = await self._push(name, Progress(epoch=0, epochs=EPOCHS, percent=0))
        parameters = json.loads(job["metadata"]["annotations"]["dino-operator.io/parameters"])
        points = curve(parameters)
        wait = SLOW_EPOCH if points[-1].mAP50 < SLOW else EPOCH
        seen: list[Validation] = []
        for point in points:
            with suppress(TimeoutError):
                await asyncio.wait_for(going.wait(), wait)
            if going.is_set():
                return trained(name, seen, FailureReason.PREEMPTED)
            if parameters.get("train.optim.lr", 0) > DIVERGES and len(seen) == 1:
                return trained(name, seen, FailureReason.DIVERGED)
            seen.append(point)
            percent = 100 * len(seen) // EPOCHS
            progress = Progress(epoch=point.epoch, epochs=EPOCHS, percent=percent, curve=list(seen))
            await self._push(name, progress)
        return trained(name, seen)

    async def _push(self, name: str, progress: Progress) -> Object:
        """As the trainer's thread does it; the answer has the trial's parameters."""
        body = {
            "apiVersion": names.API_VERSION,
            "kind": names.KIND,
            "metadata": {"name": name, "namespace": self.api.namespace},
            "status": {"progress": progress.to_dict()},
        }
        query = f"fieldManager={names.PROGRESS_FIELD_MANAGER}&force=true"
        where = f"{self.api.ours(names.PLURAL)}/{name}/status?{query}"
        return await self.api.call("PATCH", where, body, APPLY)


def _waits(pod: Object) -> bool:
    """Whether it has a node and nothing was done about it yet."""
    return bool(pod["spec"].get("nodeName")) and pod["status"].get("phase") == "Pending"


def _is_asked_to_go(pod: Object) -> bool:
    return "deletionTimestamp" in pod["metadata"]


def checked() -> Result:
    """What a preflight finds in good data."""
    return Result(
        action=Stage.PREFLIGHT, dataset=Dataset(num_classes=4, images=300, annotations=3000)
    )


def trained(name: str, seen: list[Validation], reason: FailureReason | None = None) -> Result:
    """The last words of a training. seen: its validations. reason: why it did not reach its end."""
    best = max((point.mAP50 for point in seen), default=None)
    uri = f"s3://bench/{name}/train/{names.BEST_CHECKPOINT}"
    failure = Failure(reason=reason.value, message="of the bench") if reason else None
    return Result(
        curve=seen,
        failure=failure,
        metrics=Metrics(mAP50=best) if best is not None and not failure else None,
        checkpoint=Checkpoint(uri=uri, epoch=len(seen)) if seen else None,
    )
