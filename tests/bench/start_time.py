"""From `kubectl apply` to the first training step, stage by stage, on a real cluster.

Then the same of a search's second trial, from the end of the first one's pod. The image is on the
node and the data in the object store. What the API server shows is timed by this machine as it
arrives, since Kubernetes' own timestamps are whole seconds; what happens inside the pod by the
timestamps of its log, which the node's clock makes.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import kubernetes

from demo.errors import DemoError
from dino_api.names import Action, Label, Stage
from tests.bench.harness import Bench, cannot_run, machine
from tests.e2e.fixtures import open_lab, put_small_data
from tests.e2e.jobs import ENDED, Lab, ended, is_true, search_like, small_job
from tests.patience import Patience

ROUNDS = 3
CONSENT = "DINO_BENCH_CLUSTER"
NAME = "start-time"
LIMIT = 300.0  # seconds to the first step, or to the end of a search of two trials
TRIALS = 2
ONE_BY_ONE = {
    "engine": "Embedded",
    "algorithm": {"name": "random"},
    "search": [{"path": "train.optim.lr", "min": 1e-4, "max": 2e-4}],
    "maxTrials": TRIALS,
    "parallelTrials": 1,
}
STARTED, STAGED, STEP = r"Starting DINO", r"Training \d+ of \d+ steps", r"epoch .*\bstep \d+"

Seen = dict[str, float]  # "train pod", "preflight ended", … -> seconds since the epoch


@dataclass
class Line:
    """A line of a log, and when the container wrote it."""

    at: float
    text: str


def parts_of(seen: Mapping[str, float], log: Sequence[Line]) -> dict[str, float]:
    """Seconds of each stage, in order; together they are the time from apply to first step.

    Args:
        seen: "called", where the time begins, and "applied", the end of kubectl, if it was called;
            then "job", "pod", "scheduled", "ended" of "preflight" and "train", the former only
            where there is a preflight.
        log: of the training pod, from its first line to the first step.
    """
    marks: list[tuple[str, float]] = []
    if "applied" in seen:
        marks.append(("kubectl apply", seen["applied"]))
    if "preflight job" in seen:
        marks += [
            ("operator: preflight Job", seen["preflight job"]),
            ("preflight", seen["preflight ended"]),
        ]
    marks += [
        ("operator: training Job", seen["train job"]),
        ("scheduling", seen["train scheduled"]),
        *_marks_of(log),
    ]
    parts, last = {}, seen["called"]
    for name, at in marks:
        # A Job may be seen before kubectl has returned; a stage takes no less than nothing.
        parts[name] = max(0.0, at - last)
        last = max(last, at)
    return parts


def _marks_of(log: Sequence[Line]) -> list[tuple[str, float]]:
    started, staged, step = (
        next(index for index, line in enumerate(log) if re.match(pattern, line.text))
        for pattern in (STARTED, STAGED, STEP)
    )
    said = log[started + 1 : staged]  # what staging and reading the data say
    between = [("import of torch", said[0].at), ("staging", said[-1].at)] if said else []
    return [
        ("container start, Python", log[0].at),
        ("spec and output", log[started].at),
        *between,
        ("model" if said else "import, staging, model", log[staged].at),
        ("first step", log[step].at),
    ]


def read_log(text: str) -> list[Line]:
    """Lines of `kubectl logs --timestamps`, up to the first step."""
    lines = []
    for row in text.splitlines():
        stamp, _, said = row.partition(" ")
        lines.append(Line(datetime.fromisoformat(stamp).timestamp(), said))
        if re.match(STEP, said):
            break
    return lines


@dataclass
class Watcher:
    """Notes when the Jobs and pods of one DinoJob come to be and what becomes of them."""

    seen: Seen = field(default_factory=dict)
    pods: dict[str, str] = field(default_factory=dict)  # stage -> name

    def note(self, kind: str, event: Mapping[str, Any]) -> None:
        """Take in one event of a watch; only the first time of anything counts."""
        labels = event["object"]["metadata"].get("labels", {})
        stage = labels.get(Label.ACTION)
        if stage not in (Action.TRAIN, Stage.PREFLIGHT):
            return
        self._first(f"{stage} {kind}")
        if kind == "pod":
            self._note_pod(str(stage), event["object"])

    def _note_pod(self, stage: str, pod: Mapping[str, Any]) -> None:
        self.pods.setdefault(stage, pod["metadata"]["name"])
        status = pod.get("status", {})
        conditions = {c["type"]: c["status"] for c in status.get("conditions", [])}
        if conditions.get("PodScheduled") == "True":
            self._first(f"{stage} scheduled")
        if status.get("phase") in ENDED:
            self._first(f"{stage} ended")

    def _first(self, what: str) -> None:
        self.seen.setdefault(what, time.time())


@contextmanager
def watched(lab: Lab, name: str) -> Iterator[Watcher]:
    """A Watcher that follows the DinoJob's children while the block runs."""
    client = kubernetes.config.new_client_from_config(lab.cluster.kubeconfig or None)
    watcher, stop = Watcher(), threading.Event()
    lists = {
        "job": kubernetes.client.BatchV1Api(client).list_namespaced_job,
        "pod": kubernetes.client.CoreV1Api(client).list_namespaced_pod,
    }

    def follow(kind: str) -> None:
        stream = kubernetes.watch.Watch().stream(
            lists[kind],
            lab.cluster.namespace,
            label_selector=f"{Label.JOB}={name}",
            timeout_seconds=int(LIMIT),
        )
        for event in stream:
            if stop.is_set():
                return
            watcher.note(kind, {"object": event["raw_object"]})

    for kind in lists:
        threading.Thread(target=follow, args=(kind,), daemon=True).start()
    time.sleep(1)  # the watches stand
    try:
        yield watcher
    finally:
        stop.set()


def measure(lab: Lab, name: str) -> dict[str, float]:
    """Run one small training to its first step and take it away again."""
    job = small_job(name, epochs=2)
    with watched(lab, name) as watcher:
        called = time.time()
        lab.apply(job)
        watcher.seen.update(called=called, applied=time.time())
        lab.training(name, LIMIT)
        text = lab.kubectl("logs", watcher.pods[Action.TRAIN], "--timestamps")
    lab.delete(name, "--cascade=foreground", "--timeout=120s")
    return parts_of(watcher.seen, read_log(text))


def measure_second_trial(lab: Lab, name: str) -> dict[str, float]:
    """Run a search of two small trials, one after the other, and take it away again."""
    job = small_job(name, epochs=1)
    search = search_like(job, **ONE_BY_ONE)
    first, second = (f"{name}-trial-{number}" for number in range(TRIALS))
    with watched(lab, first) as before, watched(lab, second) as watcher:
        lab.apply(search)
        complete_search(lab, name)
        text = lab.kubectl("logs", watcher.pods[Action.TRAIN], "--timestamps")
    lab.kubectl("delete", "dinoautoml", name, "--cascade=foreground", "--timeout=120s")
    return parts_of({**watcher.seen, "called": before.seen["train ended"]}, read_log(text))


def complete_search(lab: Lab, name: str) -> None:
    """Wait for the search's end; raises AssertionError where it fails or takes too long."""
    patience = Patience(LIMIT)
    while not ended(status := lab.get("dinoautoml", name).get("status", {})):
        assert patience.lasts(), f"{name} has not ended: {json.dumps(status, indent=1)}"
        time.sleep(1)
    assert is_true(status, "Complete"), json.dumps(status, indent=1)


def find_lab(folder: Path) -> Lab:
    """The cluster, with images built and the operator installed from this checkout.

    That replaces the operator there and takes away the tests' jobs and results, so nothing but the
    word of who runs the bench lets it begin; that a cluster exists does not.
    """
    if os.environ.get(CONSENT) != "1":
        cannot_run(
            "It installs this checkout's operator on the cluster and deletes the jobs of the "
            f"tests' namespace: set {CONSENT}=1 where that is wanted."
        )
    try:
        return open_lab(folder)
    except DemoError as error:
        cannot_run(f"The cluster cannot be used: {error}")


def middle(rounds: Sequence[dict[str, float]]) -> dict[str, float]:
    """The parts of the round whose whole is the median."""
    return sorted(rounds, key=lambda one: sum(one.values()))[len(rounds) // 2]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        lab = find_lab(Path(folder))
        put_small_data(lab, Path(folder) / "small")
        rounds = [measure(lab, f"{NAME}-{index}") for index in range(ROUNDS)]
        trials = [measure_second_trial(lab, f"{NAME}-of-{index}") for index in range(ROUNDS)]
    parts = middle(rounds)
    operators = sum(seconds for name, seconds in parts.items() if name.startswith("operator"))
    Bench(
        "start_time",
        sum(parts.values()),
        None,
        "s",
        machine(),
        parts={name: round(seconds, 3) for name, seconds in parts.items()},
        note="From `kubectl apply` to the first training step, image on the node and data in the "
        f"object store; the middle one of {ROUNDS} runs.",
    ).emit()
    Bench(
        "start_time_operator",
        operators,
        None,
        "s",
        machine(),
        target="< 1 s",
        note="The operator's own share of start_time: from what it waits for to the Job it makes.",
    ).emit()
    parts = middle(trials)
    Bench(
        "start_time_second_trial",
        sum(parts.values()),
        None,
        "s",
        machine(),
        target="<= 4 s",
        parts={name: round(seconds, 3) for name, seconds in parts.items()},
        note="From the end of the pod of a search's first trial to the first step of its second, "
        f"the embedded engine's, one trial at a time; the middle one of {ROUNDS} runs.",
    ).emit()


if __name__ == "__main__":
    main()
