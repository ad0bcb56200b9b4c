"""`kubectl dino logs`: over attempts and nodes to the end, also where a connection breaks."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest
from urllib3.exceptions import ProtocolError

from dino_api.names import Label
from dino_operator.kubectl import logs
from dino_operator.kubectl.cluster import Cluster
from dino_operator.kubectl.ending import CommandExit
from tests import statuses
from tests.builders import Object, at
from tests.patience import LONG
from tests.unit.kubectl_resources import a_job


def test_logs_say_which_pod_speaks() -> None:
    labels = {Label.ACTION.value: "train", Label.ATTEMPT.value: "2"}
    pods = [
        {"metadata": {"name": name, "creationTimestamp": at(when), "labels": labels}}
        for name, when in (("b", 5), ("c", 1), ("a", 5))
    ]
    assert [each["metadata"]["name"] for each in logs.in_order(pods)] == ["c", "a", "b"]
    assert (
        logs.headline({**pods[0], "spec": {"nodeName": "n1"}}) == "==> b (train, attempt 2, n1) <=="
    )
    assert logs.selector_of(a_job(), "train") == (
        "dino-operator.io/job=cells,dino-operator.io/job-uid=u,dino-operator.io/action=train"
    )
    assert "kubectl dino status daml/tune" in logs.no_log_message(a_job({"automl": "tune"}))


class Attempts:
    """A cluster in which a second attempt follows the first, and the job ends then."""

    def __init__(self, *_: Any) -> None:
        self.first_was_read = threading.Event()

    def get(self, name: str) -> Object:
        return a_job(statuses.COMPLETE if self.first_was_read.is_set() else statuses.RUNNING)

    def pods(self, selector: str) -> list[Object]:
        begun = 2 if self.first_was_read.is_set() else 1
        return [
            {
                "metadata": {"name": f"cells-train-{n}", "creationTimestamp": at(n)},
                "status": {"phase": "Running" if n <= begun else "Pending"},
            }
            for n in (1, 2)
        ]

    def log(self, pod: str, container: str, follow: bool, since: int | None = None) -> Any:
        assert follow
        yield f"{container} of {pod}"
        self.first_was_read.set()


def follow(monkeypatch: pytest.MonkeyPatch, cluster: Attempts) -> None:
    """`kubectl dino logs cells -f` on that cluster, to its end."""
    from dino_operator.kubectl import main

    monkeypatch.setattr(logs, "Cluster", lambda options: cluster)
    # It looks again once all pods that it reads have ended: else one that is slow to say so speaks
    # beside the next.
    monkeypatch.setattr(logs, "_LOOK_SECONDS", LONG)
    clock = SimpleNamespace(monotonic=time.monotonic, sleep=lambda _: None)
    monkeypatch.setattr(logs, "time", clock)
    assert main(["logs", "cells", "-f"]) == 0


def test_logs_are_followed_from_attempt_to_attempt_until_the_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    follow(monkeypatch, Attempts())
    lines = capsys.readouterr().out.splitlines()
    assert lines[1::2] == ["trainer of cells-train-1", "trainer of cells-train-2"]
    assert "cells-train-2" in lines[2]


class Nodes(Attempts):
    """Two pods of one attempt that speak in turns: the second ends when the first goes on."""

    def __init__(self, *_: Any) -> None:
        super().__init__()
        self.first_was_read.set()
        self.second_spoke = threading.Event()

    def log(self, pod: str, container: str, follow: bool, since: int | None = None) -> Any:
        if pod == "cells-train-1":
            yield "first waits"
            assert self.second_spoke.wait(LONG)
            yield "first goes on"
        else:
            yield "second"
            self.second_spoke.set()
            raise CommandExit(66, "the pod is gone")


def test_nodes_are_followed_at_once_and_each_line_says_whose_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    follow(monkeypatch, Nodes())
    said = capsys.readouterr()
    lines = said.out.splitlines()
    assert lines[:2] == [
        "==> cells-train-1 (?, attempt ?, no node) <==",
        "==> cells-train-2 (?, attempt ?, no node) <==",
    ]
    assert {"[cells-train-1] first waits", "[cells-train-2] second"} <= set(lines)
    assert lines[-1] == "[cells-train-1] first goes on"
    assert said.err == "cells-train-2: the pod is gone\n"


class Broken(Nodes):
    """The connection to the one pod breaks, once or for good."""

    breaks = 1

    def __init__(self, *_: Any) -> None:
        super().__init__()
        self.asked: list[int | None] = []

    def pods(self, selector: str) -> list[Object]:
        return super().pods(selector)[:1]

    def log(self, pod: str, container: str, follow: bool, since: int | None = None) -> Any:
        self.asked.append(since)
        yield f"time {len(self.asked)}"
        if len(self.asked) <= self.breaks:
            raise CommandExit(69, "The API server cannot be reached.")


def test_a_pod_whose_connection_breaks_is_followed_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It ends when the job has ended, and asks again from a little before what it heard last."""
    cluster = Broken()
    follow(monkeypatch, cluster)
    said = capsys.readouterr()
    assert said.out.splitlines()[1:] == ["time 1", "time 2"]
    assert said.err == "cells-train-1: The API server cannot be reached. It is followed again.\n"
    first, again = cluster.asked
    assert first is None
    assert again is not None
    assert again >= 2


class OutOfReach(Broken):
    """Out of reach for good, although the job has ended."""

    def log(self, pod: str, container: str, follow: bool, since: int | None = None) -> Any:
        self.asked.append(since)
        raise CommandExit(69, "The API server cannot be reached.")


def test_a_pod_that_stays_out_of_reach_is_not_followed_for_ever(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster = OutOfReach()
    follow(monkeypatch, cluster)
    assert len(cluster.asked) == logs._BREAKS + 1
    assert len(capsys.readouterr().err.splitlines()) == 2


class BrokenAnswer:
    """An API server's answer that breaks off."""

    def stream(self) -> Any:
        yield b"one\ntw"
        raise ProtocolError("Connection broken")

    @property
    def data(self) -> bytes:
        raise ProtocolError("Connection broken")


def test_a_log_that_breaks_off_ends_in_a_sentence() -> None:
    cluster = Cluster.__new__(Cluster)
    cluster.namespace = "team"
    cluster._core = SimpleNamespace(read_namespaced_pod_log=lambda *_, **__: BrokenAnswer())
    lines = cluster.log("cells-train-1", "trainer", follow=True)
    assert next(lines) == "one"
    with pytest.raises(CommandExit, match="cannot be reached: Connection broken") as ended:
        next(lines)
    assert ended.value.status == 69
    pod = {"metadata": {"name": "cells-train-1", "namespace": "team"}}
    with pytest.raises(CommandExit, match="cannot be reached"):
        cluster.log_text(pod, "trainer", 10, False)


@pytest.mark.parametrize("word", ["dinojob/cells", "dinojob.dino-operator.io/cells", "dj/cells"])
def test_logs_take_the_names_that_kubectl_prints(
    word: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from dino_operator.kubectl import main

    asked: list[str] = []
    monkeypatch.setattr(logs, "Cluster", Nodes)
    monkeypatch.setattr(Nodes, "get", lambda self, name: asked.append(name) or a_job())
    monkeypatch.setattr(Nodes, "pods", lambda *_: [])
    assert main(["logs", word]) == 66
    assert asked == ["dinojob/cells"]
    assert main(["logs", "daml/cells"]) == 64
    assert "is a search" in capsys.readouterr().err
