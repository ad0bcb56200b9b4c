"""Many searches at once on a real control plane without nodes: what the operator asks of it.

The pods are played (search_load_player.py); the operator, its rights, the API server, the Job
controller and the garbage collector are real. Afterwards everything is read back and checked: no
trial too many or too few, each draw the same when it is drawn again (search_load_checks.py).
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import kubernetes
from prometheus_client.parser import text_string_to_metric_families

from dino_api import names
from tests.api.operator_cluster import Cluster, operated
from tests.api.operator_process import Process
from tests.bench.control_plane import OF_TESTS, administrator, cpu_seconds, peak_mib
from tests.bench.harness import Bench, machine
from tests.bench.search_load_checks import Ran, faults
from tests.bench.search_load_player import TAINT, Api, Player, connect

Object = dict[str, Any]
SEARCHES = int(os.environ.get("DINO_BENCH_SEARCHES", "200"))
TRIALS, PARALLEL = 10, 2
LIMIT = 1800.0  # seconds until all must have ended
LOOK = 1.0  # seconds between two looks at the operator's metrics
REQUESTS, RECONCILES = "dino_operator_apiserver_requests", "dino_operator_reconcile"

LR = {"path": "train.optim.lr", "min": 1e-5, "max": 5e-4, "scale": "log"}
DROPOUT = {"path": "model.dropout_ratio", "min": 0.0, "max": 0.3}
QUERIES = {"path": "model.num_queries", "min": 100, "max": 900, "step": 50}
SPACES: tuple[list[Object], ...] = ([], [LR, DROPOUT], [LR, QUERIES], [LR, DROPOUT, QUERIES])


def a_search(index: int, node: str) -> Object:
    """The search of that number: two algorithms, four spaces, pruned or not. node: where to."""
    here = {"key": TAINT, "operator": "Equal", "value": node, "effect": "NoSchedule"}
    pruning = {"name": "median", "startEpoch": 1, "minTrials": 2}
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.AUTOML_KIND,
        "metadata": {"name": f"load-{index}"},
        "spec": {
            "template": {
                "datasets": {
                    "train": [{"uri": "s3://bench/data"}],
                    "validation": [{"uri": "s3://bench/data"}],
                },
                "experiment": {"train": {"num_epochs": 4}},
                "output": {"uri": f"s3://bench/load-{index}"},
                "resources": {"gpus": 0},
                "podTemplate": {"tolerations": [here]},
            },
            "engine": "Embedded",
            "algorithm": {
                "name": ("tpe", "random")[index % 2],
                "seed": index,
                "startupTrials": 4,
            },
            "search": SPACES[index % len(SPACES)],
            "pruning": pruning if index % 3 else {"name": "none"},
            "maxTrials": TRIALS,
            "parallelTrials": PARALLEL,
            "maxFailedTrials": TRIALS,
        },
    }


@dataclass
class Numbers:
    """What the operator counts of itself, at one time. by_verb: requests by verb and HTTP code."""

    by_verb: Counter[str] = field(default_factory=Counter)
    reconciles: Counter[str] = field(default_factory=Counter)
    depth: float = 0.0
    oldest: float = 0.0
    ended: int = 0

    @classmethod
    def read(cls, text: str) -> Numbers:
        """From the exposition format."""
        made = cls()
        for family in text_string_to_metric_families(text):
            for one in family.samples:
                labels = one.labels
                if one.name == f"{REQUESTS}_total":
                    made.by_verb[f"{labels['verb']} {labels['code']}"] += int(one.value)
                elif one.name == f"{RECONCILES}_total":
                    made.reconciles[f"{labels['kind']} {labels['result']}"] += int(one.value)
                elif one.name == "dino_operator_queue_depth":
                    made.depth = one.value
                elif one.name == "dino_operator_queue_oldest_seconds":
                    made.oldest = one.value
                elif one.name == "dino_automls" and labels["phase"] in ("Complete", "Failed"):
                    made.ended += int(one.value)
        return made


@dataclass
class Run:
    """One run. seconds: from the first create until all had ended."""

    first: Numbers
    seconds: float = 0.0
    last: Numbers = field(default_factory=Numbers)
    deepest: float = 0.0
    longest: float = 0.0

    def note(self, now: Numbers) -> None:
        """Takes in what was seen on the way."""
        self.last = now
        self.deepest, self.longest = max(self.deepest, now.depth), max(self.longest, now.oldest)

    @property
    def requests(self) -> Counter[str]:
        """What was asked during the run, by verb and code."""
        return self.last.by_verb - self.first.by_verb

    @property
    def reconciles(self) -> Counter[str]:
        """Plans carried out during the run, by kind and result."""
        return self.last.reconciles - self.first.reconciles


async def run(cluster: Cluster, process: Process, searches: int) -> tuple[Run, Player]:
    """Creates the searches and plays their pods until they have ended."""
    async with connect(cluster.kubectl.kubeconfig, cluster.namespace) as api:
        player = Player(api)
        helpers = [asyncio.create_task(each) for each in (api.serve_node(), player.play())]
        try:
            await api.node_is_ready()
            made = await follow(api, process.port, searches, helpers)
        finally:
            for task in helpers:
                task.cancel()
            with suppress(aiohttp.ClientError):  # what went wrong before is the news
                await api.remove_node()
    return made, player


async def follow(api: Api, port: int, searches: int, helpers: Sequence[asyncio.Task[None]]) -> Run:
    """Creates the searches and looks at the operator until they have ended."""
    async with aiohttp.ClientSession() as session:

        async def look() -> Numbers:
            async with session.get(f"http://127.0.0.1:{port}/metrics") as answer:
                return Numbers.read(await answer.text())

        made = Run(await look())
        started = time.monotonic()
        tasks = [*helpers, asyncio.create_task(create(api, searches))]
        while made.last.ended < searches:
            await asyncio.sleep(LOOK)
            made.note(await look())
            made.seconds = time.monotonic() - started
            for task in tasks:
                if task.done():
                    task.result()
            assert made.seconds < LIMIT, f"only {made.last.ended} of {searches} searches ended"
    return made


async def create(api: Api, searches: int) -> None:
    """As `kubectl apply` of one long file would."""
    for index in range(searches):
        await api.call("POST", api.ours(names.AUTOML_PLURAL), a_search(index, api.namespace))


def look_again(cluster: Cluster, ran: Ran, searches: int) -> list[str]:
    """What is wrong with what the API server has at the end, and with what ran."""
    space = cluster.namespace
    custom = kubernetes.client.CustomObjectsApi(cluster.client)

    def listed(plural: str) -> list[Object]:
        group, version = names.API_VERSION.split("/")
        return list(custom.list_namespaced_custom_object(group, version, space, plural)["items"])

    automls, dinojobs = listed(names.AUTOML_PLURAL), listed(names.PLURAL)
    found = faults(automls, dinojobs, ran, TRIALS)
    if (len(automls), len(dinojobs)) != (searches, searches * TRIALS):
        found.append(f"there are {len(automls)} searches and {len(dinojobs)} DinoJobs")
    return found


def used(process: Process) -> tuple[float, float]:
    """CPU seconds and the largest resident memory in MiB of the operator until now."""
    assert process.process is not None
    return cpu_seconds(process.process.pid), peak_mib(process.process.pid)


@contextmanager
def control_plane() -> Iterator[tuple[Cluster, Process]]:
    """A namespace and an operator of its own."""
    kubectl = administrator(OF_TESTS, "30s")
    client = kubernetes.config.new_client_from_config(config_file=str(kubectl.kubeconfig))
    with (
        tempfile.TemporaryDirectory() as folder,
        operated(kubectl, client, Path(folder)) as both,
    ):
        yield both


def measure(searches: int) -> tuple[Run, dict[str, Any]]:
    """One run, checked. Returns it and what else is known of it."""
    with control_plane() as (cluster, process):
        cluster.count_requests()
        time.sleep(2)  # the API server takes flow schemas up within a second or so
        seen = {kind: cluster.counted(kind) for kind in ("reads", "writes")}
        before = used(process)[0]
        made, player = asyncio.run(run(cluster, process, searches))
        spent, peak = used(process)
        counted = {kind: cluster.counted(kind) - seen[kind] for kind in seen}
        wrong = look_again(cluster, player.ran, searches) + player.trouble
        log = Path(process.log).read_text()
        wrong += [line for line in log.splitlines() if "a bug in the operator" in line]
        keep = os.environ.get("DINO_BENCH_LOG")
        if keep:
            Path(keep).write_text(log)
    assert not wrong, "\n".join(wrong[:20])
    return made, {
        "operator CPU s": round(spent - before, 1),
        "operator peak MiB": round(peak),
        "reads seen by the API server": counted["reads"],
        "writes seen by the API server": counted["writes"],
        **{f"pods: {how}": count for how, count in sorted(player.ends.items())},
    }


def main() -> None:
    made, more = measure(SEARCHES)
    trials = SEARCHES * TRIALS
    total = sum(made.requests.values())
    sizes = {"searches": SEARCHES, "trials": trials, "parallel": PARALLEL}
    Bench(
        "search_load_requests",
        round(total / trials, 2),
        None,
        "requests",
        machine(),
        parts={**sizes, **dict(sorted(made.requests.items())), **more},
        note="The operator's requests per trial, those for its search, preflight and report "
        "included; on a control plane without kubelets, with every pod played. Every trial and "
        "every draw was checked afterwards.",
    ).emit()
    Bench(
        "search_load_time",
        round(made.seconds, 1),
        None,
        "s",
        machine(),
        parts={
            **sizes,
            "trials per second": round(trials / made.seconds, 2),
            "deepest queue": int(made.deepest),
            "longest wait s": round(made.longest, 2),
            **{f"plans: {how}": count for how, count in sorted(made.reconciles.items())},
        },
        note="From the first create until the last search was complete; API server, controllers, "
        "played pods and operator share the machine.",
    ).emit()


if __name__ == "__main__":
    main()
