"""The operators of the benches of scale: ours, and the naive one, each in a namespace of its own.

Their API server has no Job controller (`devcluster/cluster up --played-jobs`), or is that of
KUBECONFIG where CLUSTER=current and it has none. Its audit log tells what each asked for.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import kubernetes
import yaml

from tests.api.clients import HOME, ROOT, Kubectl
from tests.api.operator_cluster import ACCOUNT, operated
from tests.api.operator_process import MODULE, Process
from tests.bench.control_plane import PLAYED_JOBS, cpu_seconds
from tests.patience import LONG

NAIVE = "naive-operator"
QUIET = 3
"""Looks at which nothing has changed."""
EVERYTHING = {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}


@dataclass
class Side:
    """One operator at work. account: its service account's name. process: what runs it."""

    name: str
    namespace: str
    account: str
    kubectl: Kubectl
    process: subprocess.Popen[bytes]
    log: Path
    own: Process | None = None
    """Ours, which may be asked more."""
    beside: Mapping[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    """Processes that it does not work without, by their accounts' names."""

    @property
    def user(self) -> str:
        """Who it is in the audit log."""
        return f"system:serviceaccount:{self.namespace}:{self.account}"

    @property
    def users(self) -> tuple[str, ...]:
        """The same, with those beside it."""
        of_beside = (f"system:serviceaccount:{self.namespace}:{name}" for name in self.beside)
        return (self.user, *of_beside)

    @property
    def pid(self) -> int:
        """Of the process that runs now: ours may have been started anew."""
        running = self.process if self.own is None else self.own.process
        assert running is not None
        return running.pid

    def used(self) -> float:
        """CPU seconds of that process and those beside it until now."""
        return sum(map(cpu_seconds, (self.pid, *(each.pid for each in self.beside.values()))))

    def end(self) -> None:
        """Ends the processes; their objects stay until all has been measured."""
        for process in (self.process, *self.beside.values()):
            process.terminate()
            process.wait(timeout=LONG)


def audit_log() -> Path:
    """Where that API server writes who asked for what."""
    return Path(
        os.environ.get("DINO_TEST_AUDIT_LOG") or HOME / PLAYED_JOBS.folder / "logs" / "audit.log"
    )


@contextmanager
def ours(kubectl: Kubectl, folder: Path) -> Iterator[Side]:
    """This checkout's operator, with the chart's rights and the options' defaults.

    DINO_BENCH_PROFILE names a file into which cProfile writes of the last one what took its time.
    """
    into = os.environ.get("DINO_BENCH_PROFILE")
    program = ("-m", "cProfile", "-o", into, *MODULE) if into else MODULE
    client = kubernetes.config.new_client_from_config(config_file=str(kubectl.kubeconfig))
    folder.mkdir()
    with operated(kubectl, client, folder, program=program) as (cluster, process):
        assert process.process is not None
        own = (cluster.namespace, ACCOUNT, kubectl, process.process, process.log)
        yield Side("ours", *own, process)


@contextmanager
def naive(kubectl: Kubectl, folder: Path) -> Iterator[Side]:
    """`tests/naive_operator.py` by `kopf run`, with every right in its namespace."""
    name = f"naive-{uuid.uuid4().hex[:8]}"
    folder.mkdir()
    kubeconfig = grant(kubectl, name, folder)
    log = folder / "log"
    command = [sys.executable, "-m", "kopf", "run", "-m", "tests.naive_operator"]
    environment = {**os.environ, "KUBECONFIG": str(kubeconfig), "PYTHONPATH": str(ROOT)}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--namespace", name, "--standalone"],
            stdout=output,
            stderr=output,
            env=environment,
            cwd=ROOT,
        )
    side = Side("naive", name, NAIVE, kubectl, process, log)
    try:
        yield side
    finally:
        side.end()
        kubectl("delete", "namespace", name, "--wait=false")
        kubectl("delete", "clusterrolebinding", name, "--ignore-not-found")


def grant(kubectl: Kubectl, namespace: str, folder: Path) -> Path:
    """A namespace with an account that may do everything in it; returns its kubeconfig."""
    about = {"name": NAIVE, "namespace": namespace}
    subject = {"kind": "ServiceAccount", **about}
    rights = "rbac.authorization.k8s.io"
    looks = {
        "apiGroups": ["", "apiextensions.k8s.io"],
        "resources": ["namespaces", "customresourcedefinitions"],
        "verbs": ["list", "watch"],
    }
    things = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": about},
        _role("Role", about, EVERYTHING),
        _binding(
            "RoleBinding", about, {"kind": "Role", "name": NAIVE, "apiGroup": rights}, subject
        ),
        _role("ClusterRole", {"name": NAIVE}, looks),
        _binding(
            "ClusterRoleBinding",
            {"name": namespace},
            {"kind": "ClusterRole", "name": NAIVE, "apiGroup": rights},
            subject,
        ),
    ]
    applied = kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(things))
    assert applied.returncode == 0, applied.stderr
    return kubeconfig_of(kubectl, namespace, NAIVE, folder / "kubeconfig")


def kubeconfig_of(kubectl: Kubectl, namespace: str, account: str, path: Path) -> Path:
    """Writes one with that account's rights."""
    token = kubectl("create", "token", account, f"--namespace={namespace}").stdout.strip()
    known = yaml.safe_load(kubectl.kubeconfig.read_text())
    known["users"] = [{"name": "operator", "user": {"token": token}}]
    for context in known["contexts"]:
        context["context"]["user"] = "operator"
    path.write_text(yaml.safe_dump(known))
    return path


def _role(kind: str, about: dict[str, str], rule: dict[str, list[str]]) -> dict[str, object]:
    version = "rbac.authorization.k8s.io/v1"
    return {"apiVersion": version, "kind": kind, "metadata": about, "rules": [rule]}


def _binding(
    kind: str, about: dict[str, str], role: dict[str, str], subject: dict[str, str]
) -> dict[str, object]:
    version = "rbac.authorization.k8s.io/v1"
    named = {"apiVersion": version, "kind": kind, "metadata": about}
    return {**named, "roleRef": role, "subjects": [subject]}


def rests(process: Process, patience: float) -> float:
    """Waits until our operator has nothing in hand and plans nothing for a while; returns when it
    was first seen so: what watches list at the start comes in pieces."""
    until, last, since, quiet = time.monotonic() + patience, "", 0.0, 0
    while time.monotonic() < until:
        page = process.read("metrics")
        gauges = ("dino_operator_queue_depth", "dino_operator_queue_working")
        idle = all(f"\n{name} 0.0\n" in page for name in gauges)
        plans = "".join(re.findall(r"^dino_operator_reconcile_total.*$", page, re.M))
        quiet = quiet + 1 if idle and plans == last else 0
        since, last = since if quiet else time.monotonic(), plans
        if quiet == QUIET:
            return since
        time.sleep(0.3)
    raise AssertionError(f"after {patience:.0f} s the operator still has something in hand")
