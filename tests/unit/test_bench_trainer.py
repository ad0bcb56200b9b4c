"""The bench beside Kubeflow Trainer runs it as it is shipped, and says what it lacks."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.bench import operator_requests as requests
from tests.bench import operator_trainer
from tests.bench.job_player import DINO_JOB, JobKind, JobPlayer
from tests.bench.operator_scale import Lived
from tests.bench.search_load_player import Api, Object
from tests.bench.trainer_side import (
    JOBSET,
    RUNTIMES,
    TRAIN_JOB,
    TRAINER,
    VARIABLE,
    Listening,
    Program,
    a_train_job,
    free_ports,
    lacking,
    reached_here,
    settings,
    versions,
)
from tests.patience import LONG

AT = Listening(health=1111, webhooks=2222, namespace="bench")
SHIPPED = {
    "kind": "Configuration",
    "health": {"healthProbeBindAddress": ":8081", "readinessEndpointName": "readyz"},
    "leaderElection": {"leaderElect": True},
    "controller": {"groupKindConcurrency": {"TrainJob.trainer.kubeflow.org": 5}},
    "clientConnection": {"qps": 50, "burst": 100},
}
WEBHOOKS = """
apiVersion: v1
kind: Service
metadata: {name: webhook-service, namespace: system}
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingWebhookConfiguration
metadata: {name: defaults}
webhooks:
- name: mpod.kb.io
  clientConfig: {service: {name: webhook-service, namespace: system, path: /mutate--v1-pod}}
  objectSelector: {matchExpressions: [{key: jobset, operator: Exists}]}
"""


@pytest.fixture
def build(tmp_path: Path) -> Path:
    """A folder with all that the bench looks for, the managers included."""
    paths = [f"{TRAINER.name}/{RUNTIMES}"]
    for program in (TRAINER, JOBSET):
        for part in ("manager", program.settings, f"{program.crds}/x", f"{program.webhooks}/x"):
            paths.append(f"{program.name}/{part}")
    for path in paths:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    return tmp_path


def test_what_is_not_there_is_named(build: Path) -> None:
    assert lacking(str(build)) == ""
    (build / "jobset" / "manager").unlink()
    (build / "trainer" / RUNTIMES).unlink()
    assert lacking(str(build)) == (
        f"{VARIABLE} lacks trainer/{RUNTIMES}, jobset/manager (tests/bench/README.md)."
    )


@pytest.mark.parametrize("given", [None, ""])
def test_nothing_is_started_without_a_folder(
    given: str | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    if given is not None:
        monkeypatch.setenv(VARIABLE, given)
    with pytest.raises(SystemExit) as ended:
        operator_trainer.main()
    assert ended.value.code == 0
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 1
    assert f"{VARIABLE} names no folder" in said[0]


@pytest.mark.parametrize("program", [TRAINER, JOBSET], ids=lambda each: each.name)
def test_limits_and_concurrency_are_those_that_are_shipped(program: Program) -> None:
    made = settings(SHIPPED, program, AT)
    for key in ("kind", "controller", "clientConnection"):
        assert made[key] == SHIPPED[key]
    assert made["leaderElection"] == {"leaderElect": True, "resourceNamespace": "bench"}
    assert made["health"] == {
        "healthProbeBindAddress": "127.0.0.1:1111",
        "readinessEndpointName": "readyz",
    }
    assert made["webhook"] == {"host": "127.0.0.1", "port": 2222}
    assert made[program.certificates] == {"enable": False}
    assert set(made) - set(SHIPPED) == {"metrics", "webhook", program.certificates}


def test_webhooks_are_called_on_this_machine_for_the_same_objects() -> None:
    shipped = list(yaml.safe_load_all(WEBHOOKS))[1]
    (made,) = reached_here(WEBHOOKS, "bench", 2222, b"PEM")
    assert made["metadata"] == {"name": "bench-defaults"}
    (one,) = made["webhooks"]
    assert one["clientConfig"] == {
        "url": "https://127.0.0.1:2222/mutate--v1-pod",
        "caBundle": base64.b64encode(b"PEM").decode(),
    }
    assert one["objectSelector"] == shipped["webhooks"][0]["objectSelector"]


def test_both_versions_are_told(tmp_path: Path) -> None:
    chart = tmp_path / "jobset" / "charts" / "jobset" / "Chart.yaml"
    chart.parent.mkdir(parents=True)
    chart.write_text("version: 0.12.0\n")
    (tmp_path / "trainer").mkdir()
    (tmp_path / "trainer" / "VERSION").write_text("v2.3.0\n")
    assert versions(tmp_path) == "v2.3.0 with JobSet v0.12.0"


def test_ports_differ() -> None:
    assert len(set(free_ports(4))) == 4


class PlayedApi(Api):
    """Tells of one Job for ever, and keeps what is asked."""

    def __init__(self, job: Object) -> None:
        self.namespace, self.job = "team", job
        self.watched: list[tuple[str, str]] = []
        self.asked: list[tuple[str, str, Any]] = []

    async def call(self, verb: str, path: str, body: Any = None, content: str = "") -> Object:
        self.asked.append((verb, path, body))
        return {}

    async def watch(self, path: str, selector: str = "") -> AsyncIterator[tuple[str, Object]]:
        self.watched.append((path, selector))
        yield "ADDED", self.job
        await asyncio.Event().wait()


def a_played_job(kind: JobKind) -> Object:
    """A Job that has that kind's label and no other."""
    labels = {kind.selector.partition("=")[0]: "x"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": []}}
    meta = {"name": "x-node-0", "uid": "1", "labels": labels}
    return {"metadata": meta, "spec": {"template": template}}


def played(kind: JobKind) -> PlayedApi:
    """What the player has asked once its Job has ended."""
    api = PlayedApi(a_played_job(kind))

    def is_over() -> bool:
        return any("completionTime" in str(body) for _, _, body in api.asked)

    async def play() -> None:
        playing = asyncio.create_task(JobPlayer(api, kind=kind).play())
        async with asyncio.timeout(LONG):
            while not is_over():
                await asyncio.sleep(0)
        playing.cancel()
        with suppress(asyncio.CancelledError):
            await playing

    asyncio.run(play())
    return api


@pytest.mark.parametrize("kind", [DINO_JOB, TRAIN_JOB], ids=lambda each: each.plural)
def test_jobs_of_both_are_played_alike(kind: JobKind) -> None:
    api = played(kind)
    assert api.watched == [("/apis/batch/v1/namespaces/team/jobs", kind.selector)]
    assert [(verb, path.rpartition("team/")[2]) for verb, path, _ in api.asked] == [
        ("POST", "pods"),
        ("PATCH", "jobs/x-node-0/status"),
        ("PATCH", "pods/x-node-0-0/status"),
        ("PATCH", "pods/x-node-0-0/status"),
        ("PATCH", "jobs/x-node-0/status"),
    ]


def test_ends_of_train_jobs_are_seen() -> None:
    ended = {"conditions": [{"type": "Complete", "status": "True"}]}
    api = PlayedApi({"metadata": {"name": "x"}, "status": ended})
    player = JobPlayer(api, kind=TRAIN_JOB)

    async def follow() -> None:
        following = asyncio.create_task(player.follow())
        async with asyncio.timeout(LONG):
            while not player.ended:
                await asyncio.sleep(0)
        following.cancel()

    asyncio.run(follow())
    assert set(player.ended) == {"x"}
    assert api.watched[0][0] == "/apis/trainer.kubeflow.org/v1alpha1/namespaces/team/trainjobs"


def test_a_train_job_is_one_node() -> None:
    assert a_train_job("x")["spec"]["trainer"]["numNodes"] == 1


def lived(per_second: float, writes: int) -> Lived:
    """Ten jobs at that rate with so many writes each, the first of which makes the Job."""
    asked = [requests.Asked("create", "jobs", "x", 201)]
    asked += [requests.Asked("patch", "status", "x", 200)] * (writes - 1)
    return Lived(10, 10 / per_second, 0.1, {f"scale-{n}": list(asked) for n in range(10)})


def test_the_results_are_of_the_largest_size() -> None:
    small = {"ours": [lived(9, 5)], "trainer": [lived(1, 5)]}
    large = {"ours": [lived(8, 5)], "trainer": [lived(4, 10)]}
    speed, writes = operator_trainer.results({10: small, 20: large}, "v2 with JobSet v1", 0.5)
    assert speed.name == "operator_jobs_per_second_trainer"
    assert (speed.ours, speed.peer, speed.ratio) == (8, 4, 2)
    assert speed.parts["10 jobs: per second"] == [9, 1]
    assert (writes.ours, writes.peer, writes.ratio) == (5, 10, 2)
    assert writes.parts["trainer: patch status"] == 9
    assert writes.parts["requests to the first Job"] == [1, 1]
