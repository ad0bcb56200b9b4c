"""`python -m tests.proof.naive [PLANS]`: a naive operator goes through the fault plans beside ours.

Of the workloads of workloads.py those that `tests/naive_operator.py` can do: one attempt, no data,
no suspension. Both operators run against a real API server; each plan of the naive one is a process
of its own behind a proxy (fault_proxy.py), and is judged as ours is (faults.py). It may write at
rest what changes nothing; ours may not. PLANS: how many, evenly spread; all of them by default.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import kopf
import kubernetes
import yaml
from kubernetes.aio import client as kube
from kubernetes.aio import config

from dino_operator.plan.model import Object
from dino_operator.runtime.client import ApiError, Client
from dino_operator.runtime.metrics import OperatorMetrics
from tests import naive_operator
from tests.api.clients import Kubectl
from tests.bench.control_plane import OF_TESTS, administrator
from tests.patience import LONG, Patience
from tests.proof.fault_proxy import FaultProxy
from tests.proof.faults import (
    PATIENCE,
    PAUSE,
    UNTOLD,
    Fault,
    Reference,
    Run,
    SpoiledRun,
    _versions,
    learn,
    several,
    spoiled,
)
from tests.proof.workloads import WORKLOADS, Workload

PLAIN = ("succeeds", "a user's error", "deleted while it runs", "deleted and created again")
STUCK = 20.0
"""Seconds without any change after which nothing comes any more: retries come every second."""
QUIET = 3
WATCHES = 2
ACCOUNT = "naive-faults"
_FORKED = multiprocessing.get_context("forkserver")


def serve(kubeconfig: str, namespace: str, log: str) -> None:
    """The naive operator, in a process of its own."""
    with open(log, "ab", buffering=0) as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION = kubeconfig
    assert naive_operator.create_job  # its handlers are kopf's default ones
    kopf.configure()
    kopf.run(standalone=True, namespaces=[namespace])


@dataclass(frozen=True)
class Way:
    """How naive operators reach the API server. known: a kubeconfig with a token."""

    known: Object
    folder: Path


@dataclass
class NaiveRun(Run):
    """One workload with one fault, with the naive operator.

    before: watches that were begun before the process that runs now.
    """

    way: Way | None = None
    process: ForkServerProcess | None = None
    looks: int = 0
    before: int = 0
    deleted: bool = False
    proxy: FaultProxy = field(init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        assert self.way is not None
        (cluster,) = (each["cluster"] for each in self.way.known["clusters"])
        self.proxy = FaultProxy(cluster, self.fault, self._kill)

    def __str__(self) -> str:
        return f"naive: {super().__str__()}"

    async def live(self) -> Object:
        """As ours, behind the proxy."""
        assert self.way is not None
        server = await asyncio.to_thread(self.proxy.start)
        known = {**self.way.known, "clusters": [{"name": "c", "cluster": {"server": server}}]}
        known["contexts"] = [{"name": "c", "context": {"cluster": "c", "user": "operator"}}]
        known["current-context"] = "c"
        self.kubeconfig = self.way.folder / self.namespace
        self.kubeconfig.write_text(yaml.safe_dump(known))
        try:
            return await super().live()
        finally:
            self._kill()
            await asyncio.to_thread(self.proxy.stop)

    def _kill(self) -> None:
        if self.process is not None:
            self.process.kill()

    async def _keep_up(self) -> None:
        """Where no process is, a new one starts."""
        if self.process is not None and self.process.is_alive():
            return
        self.before = self.proxy.opened
        words = (str(self.kubeconfig), self.namespace, f"{self.kubeconfig}.log")
        self.process = _FORKED.Process(target=serve, args=words, daemon=True)
        await asyncio.to_thread(self.process.start)

    @property
    def _is_watching(self) -> bool:
        """Whether the process that runs now has listed all: that may take a while."""
        return self.proxy.opened >= self.before + WATCHES

    async def _until_over(self) -> None:
        waiting, still, quiet = Patience(PATIENCE), Patience(STUCK), 0
        last: list[str] = []
        while waiting.lasts() and still.lasts():
            await self._keep_up()
            lists = await self._lists()
            self._judge(lists)
            await self._play_fault()
            await self._kubelet(lists)
            done = await self.workload.act(self, lists) and self._is_over(lists)
            versions = _versions(lists)
            if versions != last or not self._is_watching:
                last, still, quiet = versions, Patience(STUCK), 0
            quiet = quiet + 1 if done and not self.proxy.blind else 0
            if quiet == QUIET:
                return
            await asyncio.sleep(PAUSE)
        self.violations.append(f"it does not end: {self.told(await self._lists())}")

    async def _play_fault(self) -> None:
        """What the proxy cannot do by itself: the deletion in the gap, and the end of the gap."""
        if not self.proxy.blind:
            return
        if self.fault.what == "deleted" and not self.deleted:
            self.deleted = True
            with suppress(ApiError):
                await self._delete_newest()
        self.looks += 1
        if self.looks == UNTOLD:
            await asyncio.to_thread(self.proxy.see_again)

    async def _rests(self) -> None:
        """A new process at rest changes nothing."""
        self._kill()
        assert self.process is not None
        await asyncio.to_thread(self.process.join)
        before = _versions(await self._lists())
        await self._keep_up()
        waiting = Patience(PATIENCE)
        while not self._is_watching:
            assert waiting.lasts(), f"{self}: no process watches"
            await asyncio.sleep(PAUSE)
        await asyncio.sleep(4 * PAUSE)
        after = _versions(await self._lists())
        if before != after:
            self.violations.append("changed at rest")


async def learn_naive(client: Client, workload: Workload, way: Way) -> Reference:
    """Its undisturbed life. Raises AssertionError where that goes wrong by itself."""
    run = NaiveRun(client, workload, way=way)
    told = await run.live()
    assert not run.violations, f"{run}: {run.violations}"
    return Reference(workload, tuple(run.proxy.writes), run.proxy.changes, told)


async def spoiled_naive(client: Client, reference: Reference, fault: Fault, way: Way) -> SpoiledRun:
    """Nothing has gone wrong where it ended as it does undisturbed."""
    run = NaiveRun(client, reference.workload, fault, way=way)
    told = await run.live()
    found = list(dict.fromkeys(run.violations))
    if not found and told != reference.told:
        found = [f"it ended as {told}, undisturbed as {reference.told}"]
    return SpoiledRun(tuple(f"{run}: {each}" for each in found), run.proxy.befell)


def chosen(references: Sequence[Reference], most: int | None) -> list[tuple[Reference, Fault]]:
    """All plans, or so many of them, evenly spread."""
    plans = [(each, fault) for each in references for fault in each.faults()]
    if most is None or most >= len(plans):
        return plans
    return [plans[round(n * len(plans) / most)] for n in range(most)]


@dataclass(frozen=True)
class Row:
    """What became of one operator's plans. violated: plans after which something was wrong."""

    name: str
    plans: int
    befell: int
    violated: int
    by_fault: Counter[str]

    @classmethod
    def of(
        cls, name: str, plans: Sequence[tuple[Reference, Fault]], found: Sequence[SpoiledRun]
    ) -> Row:
        """Of its plans and what came of them."""
        bad = [fault for (_, fault), each in zip(plans, found, strict=True) if each.violations]
        kinds = Counter(fault.what for fault in bad)
        return cls(name, len(plans), sum(each.befell for each in found), len(bad), kinds)

    def __str__(self) -> str:
        kinds = ", ".join(f"{count} {what}" for what, count in self.by_fault.most_common())
        return f"| {self.name} | {self.plans} | {self.befell} | {self.violated} | {kinds} |"


def tell(row: Row, found: Sequence[SpoiledRun]) -> None:
    """The row, and on the other channel what was wrong with each plan."""
    print(row, flush=True)
    print(*(line for each in found for line in each.violations), sep="\n", file=sys.stderr)


async def both(client: Client, way: Way, most: int | None) -> list[Row]:
    """The naive operator and ours, through the plans of their own lives."""
    workloads = [each for each in WORKLOADS if each.name in PLAIN]
    rows = []
    print("| operator | plans | befell | violated | by what |", "|---|--:|--:|--:|---|", sep="\n")
    references = await several(lambda each: learn_naive(client, each, way), workloads)
    plans = chosen(references, most)
    found = await several(lambda plan: spoiled_naive(client, *plan, way), plans)
    rows.append(Row.of("naive kopf operator", plans, found))
    tell(rows[-1], found)
    references = await several(lambda each: learn(client, each), workloads)
    plans = chosen(references, most)
    found = await several(lambda plan: spoiled(client, *plan), plans)
    rows.append(Row.of("this operator", plans, found))
    tell(rows[-1], found)
    return rows


def token_of(kubectl: Kubectl) -> Object:
    """A kubeconfig with the token of an account that may do everything."""
    where = ("-n", "default", "create")
    for words in (
        (*where, "serviceaccount", ACCOUNT),
        (
            *("create", "clusterrolebinding", ACCOUNT, "--clusterrole=cluster-admin"),
            f"--serviceaccount=default:{ACCOUNT}",
        ),
    ):
        made = kubectl(*words)
        assert made.returncode == 0 or "already exists" in made.stderr, made.stderr
    token = kubectl(*where, "token", ACCOUNT, "--duration=8h").stdout.strip()
    known: Object = yaml.safe_load(kubectl.kubeconfig.read_text())
    return {**known, "users": [{"name": "operator", "user": {"token": token}}]}


async def run(kubectl: Kubectl, folder: Path, most: int | None) -> list[Row]:
    """Both rows."""
    settings = kube.Configuration(client_session_kwargs={"trust_env": False})
    await config.load_kube_config(str(kubectl.kubeconfig), client_configuration=settings)
    client = Client(settings, OperatorMetrics(), timeout=LONG)
    try:
        return await both(client, Way(token_of(kubectl), folder), most)
    finally:
        await client.close()
        kubectl("delete", "clusterrolebinding", ACCOUNT, "--ignore-not-found")


def main(arguments: Sequence[str]) -> int:
    """Prints both rows. Returns 1 where ours has a violation."""
    _FORKED.set_forkserver_preload(["__main__"])
    kubectl = administrator(OF_TESTS, "600s")
    with tempfile.TemporaryDirectory() as folder:
        most = int(arguments[0]) if arguments else None
        rows = asyncio.run(run(kubectl, Path(folder), most))
    return int(rows[-1].violated > 0)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
