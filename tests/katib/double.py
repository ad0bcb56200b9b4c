"""A double of Katib's three controllers, of its webhooks, and of its metrics collector.

It polls a namespace of a real API server and does to Experiments, Suggestions, Trials and Jobs what
a running Katib was seen to do; `experiment.py` has the decisions and the oddities. What differs: it
polls instead of watching, it draws from a list, there is no Deployment for a Suggestion, and the
collector reads `logs` (by Trial name) instead of a file, as there is no kubelet.
"""

from __future__ import annotations

import asyncio
import random
import string
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kubernetes.aio import client as kube
from kubernetes.aio import config

from dino_operator.runtime.client import ApiError, Client
from dino_operator.runtime.metrics import OperatorMetrics
from tests.builders import stamp
from tests.katib import experiment as katib

Object = dict[str, Any]
BASE = "/apis/kubeflow.org/v1beta1"
MERGE = "application/merge-patch+json"
BACKGROUND = {"propagationPolicy": "Background"}
PAUSE = 0.2
PASSING = (0, 404, 409, 429)
"""Someone was quicker, or the API server is busy: the next round."""


@dataclass
class Double:
    """Katib in one namespace, in a thread of its own.

    draw: the texts of a trial, by parameter. logs: what a trial's log holds, by its name; a name
    that is not in it has no collector, and Katib waits for ever. broken: what the Suggestion of an
    Experiment says when it fails, by the Experiment's random_state.
    """

    kubeconfig: Path
    namespace: str
    draw: Callable[[int, list[Object]], dict[str, str]]
    logs: dict[str, str] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)
    refused: dict[str, list[str]] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def start(self) -> Double:
        """Begins."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """Ends, as when the controller is down."""
        self._stop.set()
        self._thread.join(timeout=20)

    async def _run(self) -> None:
        found = kube.Configuration()
        await config.load_kube_config(str(self.kubeconfig), client_configuration=found)
        self._api = Client(found, OperatorMetrics())
        try:
            while not self._stop.is_set():
                try:
                    await self._round()
                except ApiError as error:
                    if error.status not in PASSING:
                        self.errors.append(str(error))
                await asyncio.sleep(PAUSE)
        finally:
            await self._api.close()

    async def _round(self) -> None:
        trials = await self._list("trials")
        for each in await self._list("experiments"):
            if "deletionTimestamp" in each["metadata"]:
                await self._let_go("experiments", each)
            else:
                mine = [one for one in trials if self._is_of(one, each)]
                await self._experiment(each, mine)
        jobs = {each["metadata"]["name"]: each for each in await self._list("jobs")}
        for each in trials:
            if "deletionTimestamp" in each["metadata"]:
                await self._let_go("trials", each)
            else:
                await self._trial(each, jobs.get(each["metadata"]["name"]))

    @staticmethod
    def _is_of(trial: Object, experiment: Object) -> bool:
        owners = trial["metadata"].get("ownerReferences", [])
        return any(each["uid"] == experiment["metadata"]["uid"] for each in owners)

    async def _experiment(self, thing: Object, trials: list[Object]) -> None:
        name = thing["metadata"]["name"]
        if not thing.get("status"):
            self.refused[name] = katib.refusals(thing)
            if not self.refused[name]:
                await self._set(thing, "Created", "ExperimentCreated", "Experiment is created")
            return
        counted = katib.summary(thing, trials)
        status = {**thing["status"], **counted}
        if not katib.is_completed(thing) and trials:
            kind, reason, said = katib.verdict(thing, counted)
            if kind not in katib.conditions(thing):
                status = katib.told(status, kind, reason, said, stamp())
                status["completionTime"] = None if kind == "Running" else stamp()
        if status != thing["status"]:
            await self._status("experiments", thing, status)
            return  # what was decided is decided on the next round
        if katib.is_completed(thing):
            await self._end_suggestion(name)
            return
        await self._schedule(thing, trials, katib.wanted(thing, counted))

    async def _schedule(self, thing: Object, trials: list[Object], count: int) -> None:
        if count < 0:
            newest = sorted(trials, key=_age, reverse=True)[:-count]
            for each in newest:
                await self._delete("trials", each)
        if count <= 0:
            return
        suggestion = await self._suggestion(thing)
        if suggestion is None:
            return
        if "Failed" in katib.conditions(suggestion):
            await self._set(thing, "Failed", "ExperimentFailed", "Suggestion has failed")
            return
        # A metric that is no number: every further GetSuggestions fails.
        ended = (each for each in trials if "Succeeded" in katib.conditions(each))
        if any(katib.objective(each) in ("", "nan", "unavailable") for each in ended):
            return
        await self._suggest(thing, suggestion, trials, count)

    async def _suggestion(self, thing: Object) -> Object | None:
        """The Suggestion, one step further; None until it draws."""
        meta = thing["metadata"]
        found = await self._api.get("suggestions", self.namespace, meta["name"])
        if found is None:
            made = {
                "apiVersion": "kubeflow.org/v1beta1",
                "kind": "Suggestion",
                "metadata": {
                    "name": meta["name"],
                    "namespace": self.namespace,
                    "labels": meta.get("labels", {}),
                    "ownerReferences": [katib.owner(thing)],
                },
                "spec": {"algorithm": thing["spec"]["algorithm"], "requests": 0},
            }
            await self._api.request("POST", self._where("suggestions"), body=made)
            return None
        seed = thing["spec"]["algorithm"]["algorithmSettings"][0]["value"]
        if seed in self.broken and "Failed" not in katib.conditions(found):
            said = f"Validation failed: {self.broken[seed]}"
            await self._set(found, "Failed", "SuggestionFailed", said)
        elif "DeploymentReady" not in katib.conditions(found):
            await self._set(found, "DeploymentReady", "DeploymentReady", "Deployment is ready")
        else:
            return found
        return None

    async def _suggest(
        self, thing: Object, suggestion: Object, trials: list[Object], count: int
    ) -> None:
        """Draws what is missing, and makes a Trial of each assignment that has none: also of one
        whose Trial was deleted."""
        drawn = list(suggestion["status"].get("suggestions", []))
        existing = {each["metadata"]["name"] for each in trials}
        while len(drawn) < len(trials) + count:
            texts = self.draw(len(drawn), thing["spec"]["parameters"])
            tail = "".join(random.choices(string.ascii_lowercase + string.digits, k=8))
            values = [{"name": path, "value": text} for path, text in texts.items()]
            name = f"{thing['metadata']['name']}-{tail}"
            drawn.append({"name": name, "parameterAssignments": values})
        status = {**suggestion["status"], "suggestions": drawn, "suggestionCount": len(drawn)}
        if status != suggestion["status"]:
            await self._status("suggestions", suggestion, status)
        for each in drawn:
            if each["name"] not in existing:
                made = katib.trial(thing, each["name"], each["parameterAssignments"])
                await self._api.request("POST", self._where("trials"), body=made)

    async def _end_suggestion(self, name: str) -> None:
        found = await self._api.get("suggestions", self.namespace, name)
        if found and not {"Succeeded", "Failed"} & set(katib.conditions(found)):
            await self._set(found, "Succeeded", "Succeeded", "Suggestion is succeeded")

    async def _trial(self, thing: Object, job: Object | None) -> None:
        if not thing.get("status"):
            await self._set(thing, "Created", "TrialCreated", "Trial is created")
        elif set(katib.ENDS) & set(katib.conditions(thing)):
            return
        elif job is None:
            made = {**thing["spec"]["runSpec"]}
            made["metadata"] = {**made["metadata"], "ownerReferences": [katib.owner(thing)]}
            await self._api.create(made)
        else:
            await self._follow(thing, job)

    async def _follow(self, thing: Object, job: Object) -> None:
        """The Job's end is the Trial's; a Job that succeeded without a metric is waited for."""
        true, name = katib.conditions(job), thing["metadata"]["name"]
        if ended := true.get("Failed"):
            reason = f"TrialFailed. Job reason: {ended.get('reason', '')}"
            said = f"Trial has failed. Job message: {ended.get('message', '')}"
            await self._set(thing, "Failed", reason, said, completionTime=stamp())
        elif "Complete" in true and name in self.logs:
            seen = katib.observation(thing, self.logs[name])
            status = {**thing["status"], "observation": seen}
            known = seen["metrics"][0]["latest"] != katib.UNAVAILABLE
            kind = "Succeeded" if known else "MetricsUnavailable"
            said = "Trial has succeeded" if known else "Metrics are not available"
            told = katib.told(status, kind, f"Trial{kind}", said, stamp())
            await self._status("trials", thing, {**told, "completionTime": stamp()})
        elif "Complete" not in true and "Running" not in katib.conditions(thing):
            await self._set(thing, "Running", "TrialRunning", "Trial is running")

    async def _set(self, thing: Object, kind: str, reason: str, said: str, **more: Any) -> None:
        before = thing.get("status") or {"startTime": stamp(), "completionTime": None}
        status = katib.told({**before, **more}, kind, reason, said, stamp())
        await self._status(f"{thing['kind'].lower()}s", thing, status)

    async def _status(self, plural: str, thing: Object, status: Object) -> None:
        """Replaces the status; 409 where someone was quicker."""
        body = {**thing, "status": status}
        await self._api.request("PUT", f"{self._of(plural, thing)}/status", body=body)

    async def _let_go(self, plural: str, thing: Object) -> None:
        if thing["metadata"].get("finalizers"):
            body = {"metadata": {"finalizers": None}}
            where = self._of(plural, thing)
            await self._api.request("PATCH", where, body=body, content=MERGE)

    async def _delete(self, plural: str, thing: Object) -> None:
        await self._api.request("DELETE", self._of(plural, thing), body=BACKGROUND)

    async def _list(self, plural: str) -> list[Object]:
        found = await self._api.request("GET", self._where(plural))
        kind = {"jobs": "Job", "trials": "Trial", "experiments": "Experiment"}[plural]
        return [
            {"apiVersion": found["apiVersion"], "kind": kind, **each} for each in found["items"]
        ]

    def _where(self, plural: str) -> str:
        base = "/apis/batch/v1" if plural == "jobs" else BASE
        return f"{base}/namespaces/{self.namespace}/{plural}"

    def _of(self, plural: str, thing: Object) -> str:
        return f"{self._where(plural)}/{thing['metadata']['name']}"


def _age(thing: Object) -> str:
    return str(thing["metadata"]["creationTimestamp"])
