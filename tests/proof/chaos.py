"""`python -m tests.proof.chaos [--minutes 30] [--jobs 10]`: SIGKILL at random under real trainings.

On the dev cluster so many trainings and a search are under way. Every few seconds a part of the
cluster, the operator or a trainer is killed, and a moment later `devcluster/cluster up` starts what
the node's owner would start again. When the time is up everything must end well: each job once,
never with two pods at a time, from what lay in the store. Prints what was killed and what came of
it; exits with 1 where something is wrong. It takes the whole dev cluster, and deletes what is there
in the tests' namespace.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from botocore.exceptions import BotoCoreError, ClientError

from demo.errors import DemoError
from demo.images import CLUSTER
from demo.plan import DEV_HOME
from demo.storage import DemoStorage
from dino_api.names import LATEST_CHECKPOINT
from tests.e2e.fixtures import open_lab, put_small_data
from tests.e2e.jobs import ENDED, Lab, Object, ended, is_true, search_like, sha256, small_job
from tests.patience import Patience

RECORDS = DEV_HOME / "node" / "run"
PAUSES = (4.0, 20.0)
"""Seconds between two kills, at least and at most; a node's restart takes most of it."""
DOWN = (0.0, 8.0)
"""Seconds for which what was killed stays away."""
EPOCHS = 20
LAST = 1800.0
"""Seconds in which everything must have ended once nothing is killed any more."""
SEARCH, TRIALS = "chaos-search", 4
LOOK = 2.0


@dataclass(frozen=True)
class Victim:
    """What may be killed. weight: how often, beside the others. pids: its processes, here and now.

    returns: whether the cluster itself starts it again.
    """

    name: str
    weight: int
    pids: Callable[[], list[int]]
    returns: bool = False


def part(name: str) -> Callable[[], list[int]]:
    """A process of the cluster, as the dev cluster has recorded it."""

    def pids() -> list[int]:
        with suppress(OSError, ValueError):
            pid = int((RECORDS / f"{name}.pid").read_text().split()[0])
            if name.encode() in command_line(pid):
                return [pid]
        return []

    return pids


def container(*words: str) -> Callable[[], list[int]]:
    """Processes of this machine with all of these words in their command line, one beside the
    other."""
    wanted = "\0".join(words).encode()

    def pids() -> list[int]:
        numbers = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
        return [pid for pid in numbers if wanted in command_line(pid)]

    return pids


def command_line(pid: int) -> bytes:
    """Empty of a process that has gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


VICTIMS = (
    Victim("trainer", 5, container("/opt/venv/bin/dino", "train"), returns=True),
    Victim("operator", 3, container("-m", "dino_operator.main"), returns=True),
    Victim("kubelet", 2, part("kubelet")),
    Victim("kube-apiserver", 2, part("kube-apiserver")),
    Victim("etcd", 1, part("etcd")),
    Victim("kube-controller-manager", 1, part("kube-controller-manager")),
    Victim("kube-scheduler", 1, part("kube-scheduler")),
    Victim("containerd", 1, part("containerd")),
)


@dataclass
class CheckpointUploads:
    """What is known of one training's checkpoints in the store.

    etag: of the one that was seen last. epochs: told when each was first seen there.
    """

    etag: str = ""
    epochs: list[int] = field(default_factory=list)

    def note(self, etag: str, epoch: int) -> None:
        """What lies there now, empty for nothing, and the epoch that is told."""
        if etag and etag != self.etag:
            self.etag = etag
            self.epochs.append(epoch)

    @property
    def sure(self) -> int:
        """An epoch that the one in the store has at least.

        Uploads go on beside the training, one at a time. The one before the last began after the
        third but last was seen, and so did the last one, with at most one epoch waiting.
        """
        return max(0, self.epochs[-3] - 1) if len(self.epochs) >= 3 else 0


class Kubectl(Protocol):
    """What is asked of a cluster to look at it."""

    def kubectl(self, *arguments: str, given: str | None = None) -> str: ...


@dataclass
class Seen:
    """What was noticed of all jobs while things were killed: what must never be, by job.

    jobs: as they were at the last look.
    """

    jobs: list[Object] = field(default_factory=list)
    wrong: dict[str, str] = field(default_factory=dict)
    uploads: dict[str, CheckpointUploads] = field(default_factory=dict)
    looks: int = 0

    def look(self, lab: Kubectl, stored: Mapping[str, str]) -> None:
        """Judges all DinoJobs and their pods. Raises DemoError: nobody answers.

        stored: ETags of checkpoints by their URI, of now or before.
        """
        pods = json.loads(lab.kubectl("get", "pods", "-o", "json"))["items"]
        self.jobs = json.loads(lab.kubectl("get", "dinojobs", "-o", "json"))["items"]
        self.looks += 1
        labels = [pod["metadata"].get("labels", {}) for pod in pods if is_live(pod)]
        alive = Counter(
            each["dino-operator.io/job"]
            for each in labels
            if each.get("dino-operator.io/action") == "train" and "dino-operator.io/job" in each
        )
        for name, count in alive.items():
            if count > 1:
                self.wrong[name] = f"{count} training pods at a time"
        for job in self.jobs:
            latest = f"{job['spec']['output']['uri'].rstrip('/')}/train/{LATEST_CHECKPOINT}"
            self._progress(job, stored.get(latest, ""))

    @property
    def unfinished(self) -> list[str]:
        """Names of the jobs that had not ended."""
        return [one["metadata"]["name"] for one in self.jobs if not ended(one.get("status", {}))]

    def _progress(self, job: Object, etag: str) -> None:
        """A training that begins again goes on from what was in the store."""
        name, progress = job["metadata"]["name"], job.get("status", {}).get("progress", {})
        uploads = self.uploads.setdefault(name, CheckpointUploads())
        if not progress.get("step"):
            return  # nothing is told of this attempt yet
        epoch = progress["epoch"]
        if epoch < uploads.sure:
            self.wrong[name] = f"at epoch {epoch} after one of {uploads.sure} or more was stored"
        uploads.note(etag, epoch)


def is_live(pod: Object) -> bool:
    """Whether it may still do something."""
    return pod["status"].get("phase") not in ENDED


@dataclass
class Chaos:
    """The cluster, what is killed in it, and what was seen."""

    lab: Lab
    store: Store
    rng: random.Random
    killed: Counter[str] = field(default_factory=Counter)
    seen: Seen = field(default_factory=Seen)
    made: int = 0

    def kill(self) -> None:
        """One victim that is there; then the node's owner comes."""
        there = [(each, pids) for each in VICTIMS if (pids := each.pids())]
        if not there:
            return
        (victim, pids), *_ = self.rng.choices(there, [each.weight for each, _ in there])
        with suppress(ProcessLookupError):
            os.kill(self.rng.choice(pids), signal.SIGKILL)
        self.killed[victim.name] += 1
        print(f"{time.strftime('%T')} killed: {victim.name}", flush=True)
        if not victim.returns:
            time.sleep(self.rng.uniform(*DOWN))
            bring_up()

    def refill(self, jobs: int) -> None:
        """So many trainings are under way, as far as the last look tells."""
        mine = [one for one in self.seen.jobs if one["metadata"]["name"].startswith("chaos-job-")]
        open_ones = self.made - sum(ended(one.get("status", {})) for one in mine)
        with suppress(DemoError):  # the API server is away
            for _ in range(open_ones, jobs):
                self.lab.apply(a_job(f"chaos-job-{self.made + 1}"))
                self.made += 1

    def run(self, minutes: float, jobs: int) -> None:
        """Kills for so many minutes."""
        self.lab.apply(a_search())
        ends = time.monotonic() + 60 * minutes
        while time.monotonic() < ends:
            self.refill(jobs)
            self.kill()
            time.sleep(self.rng.uniform(*PAUSES))

    def finish(self) -> None:
        """Returns once all DinoJobs have ended, and the search."""
        bring_up()
        patience = Patience(LAST)
        while patience.lasts():
            with suppress(DemoError):
                search = self.lab.get("dinoautoml", SEARCH).get("status", {})
                self.seen.look(self.lab, self.store.etags())
                if ended(search) and not self.seen.unfinished:
                    return
            time.sleep(LOOK)
        names = ", ".join(self.seen.unfinished) or SEARCH
        raise AssertionError(f"not ended after {patience.seconds:.0f} s: {names}")

    def judge(self, folder: Path) -> list[str]:
        """What is wrong, a sentence each."""
        wrong = [f"{name}: {what}" for name, what in sorted(self.seen.wrong.items())]
        search = self.lab.get("dinoautoml", SEARCH)["status"]
        if not is_true(search, "Complete") or search["trials"]["succeeded"] != TRIALS:
            wrong.append(f"{SEARCH}: {search.get('conditions')}")
        for job in self.seen.jobs:
            name, status = job["metadata"]["name"], job["status"]
            wrong += [f"{name}: {what}" for what in self._of(name, status, folder)]
        return wrong

    def _of(self, name: str, status: Object, folder: Path) -> Iterator[str]:
        if not is_true(status, "Complete"):
            yield f"ended with {status.get('failure')}"
            return
        told = [each["epoch"] for each in status["progress"].get("curve", ())]
        if len(told) != len(set(told)):
            yield f"epochs were trained twice: {told}"
        if status["progress"]["percent"] != 100:
            yield f"complete at {status['progress']['percent']} %"
        saved = self.lab.fetch(status["checkpoint"]["uri"], folder / "checkpoint.pth")
        if sha256(saved) != status["checkpoint"]["sha256"]:
            yield "its checkpoint is another one"


def a_job(name: str) -> Object:
    """A training that is longer than the pauses. Whatever befalls it is no fault of its own."""
    return small_job(name, epochs=EPOCHS, runPolicy={"maxRetries": 100})


def a_search() -> Object:
    """Trials of the same kind."""
    return search_like(
        a_job(SEARCH),
        engine="Embedded",
        algorithm={"name": "random", "seed": 1},
        search=[{"path": "train.optim.lr", "min": 1e-5, "max": 1e-3, "scale": "log"}],
        maxTrials=TRIALS,
        parallelTrials=2,
        pruning={"name": "none"},
    )


def bring_up() -> None:
    """As the node's owner: what runs stays, what is missing is started."""
    done = subprocess.run([CLUSTER, "up"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        print(f"cluster up: {(done.stderr.strip().splitlines() or ['?'])[-1]}", flush=True)


class Store:
    """Checkpoints in the tests' bucket; what was there before, while it does not answer."""

    def __init__(self, storage: DemoStorage) -> None:
        self._storage, self._etags = storage, dict[str, str]()
        self._client = storage.client(attempts=1, patience=5)

    def etags(self) -> dict[str, str]:
        """By URI."""
        pages = self._client.get_paginator("list_objects_v2")
        with suppress(BotoCoreError, ClientError):
            self._etags = {
                f"s3://{self._storage.bucket}/{one['Key']}": one["ETag"]
                for page in pages.paginate(Bucket=self._storage.bucket, Prefix="test-results/")
                for one in page.get("Contents", ())
                if one["Key"].endswith(f"/{LATEST_CHECKPOINT}")
            }
        return self._etags


@contextmanager
def looking(chaos: Chaos) -> Iterator[None]:
    """Judges what is to be seen, all the time."""
    stop = threading.Event()

    def look() -> None:
        while not stop.wait(LOOK):
            with suppress(DemoError):
                chaos.seen.look(chaos.lab, chaos.store.etags())

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def main(arguments: list[str] | None = None) -> int:
    """Returns 1 where something went wrong, and says what."""
    parser = argparse.ArgumentParser(prog="python -m tests.proof.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30, help="of killing (default 30)")
    parser.add_argument("--jobs", type=int, default=10, help="under way at a time (default 10)")
    parser.add_argument("--seed", type=int, default=1, help="of what is killed when (default 1)")
    given = parser.parse_args(arguments)
    if os.environ.get("CLUSTER", "dev") == "current":
        parser.error("it kills parts of the cluster: that is for the dev cluster alone")
    with tempfile.TemporaryDirectory() as path:
        folder = Path(path)
        lab = open_lab(folder)
        put_small_data(lab, folder / "small")
        chaos = Chaos(lab, Store(lab.storage), random.Random(given.seed))
        with looking(chaos):
            chaos.run(given.minutes, given.jobs)
        chaos.finish()
        wrong = chaos.judge(folder)
    jobs = chaos.seen.jobs
    attempts = sum(job["status"].get("attempts", 0) for job in jobs)
    killed = ", ".join(f"{name} {count}" for name, count in chaos.killed.most_common())
    print(f"{sum(chaos.killed.values())} kills: {killed}")
    print(f"{len(jobs)} DinoJobs in {attempts} attempts; {chaos.seen.looks} looks")
    print(f"{len(wrong)} faults")
    print("\n".join(wrong))
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
