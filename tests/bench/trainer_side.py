"""Kubeflow Trainer beside the benches' other operators: its manager and JobSet's, as they come.

Both run on this machine with the settings and options of their own manifests. What differs is what
a node would give them: ports, the namespace of their leases, certificates, and webhooks that the
API server reaches by an address in place of a Service.
"""

from __future__ import annotations

import base64
import os
import shutil
import socket
import subprocess
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.api.clients import Kubectl
from tests.api.job_webhook import HERE, certificate
from tests.api.operator_process import eventually
from tests.bench.job_player import JobKind
from tests.bench.operator_sides import Side, kubeconfig_of
from tests.bench.search_load_player import Object

VARIABLE = "DINO_BENCH_TRAINER"
"""Names the folder of both checkouts, each with its manager built in it."""
GROUP = "trainer.kubeflow.org/v1alpha1"
TRAIN_JOB = JobKind(GROUP, "trainjobs", "jobset.sigs.k8s.io/jobset-name")
RUNTIME = "torch-distributed"
OPTIONS = ("--zap-log-level=2",)
"""As both Deployments have it."""


@dataclass(frozen=True)
class Program:
    """What a checkout has of one of the two. settings: a file, crds and webhooks: folders for
    kustomize. certificates: the setting that has it make its own."""

    name: str
    settings: str
    crds: str
    webhooks: str
    certificates: str


TRAINER = Program(
    "trainer",
    "manifests/base/manager/controller_manager_config.yaml",
    "manifests/base/crds",
    "manifests/base/webhook",
    "certManagement",
)
JOBSET = Program(
    "jobset",
    "config/components/manager/controller_manager_config.yaml",
    "config/components/crd",
    "config/components/webhook",
    "internalCertManagement",
)
RUNTIMES = "manifests/base/runtimes/torch_distributed.yaml"


def lacking(folder: str | None) -> str:
    """What the bench needs and does not have, as a sentence; empty where it has all."""
    if not folder:
        return f"Kubeflow Trainer is not built: {VARIABLE} names no folder (tests/bench/README.md)."
    needed = [f"{TRAINER.name}/{RUNTIMES}"]
    for program in (TRAINER, JOBSET):
        parts = ("manager", program.settings, program.crds, program.webhooks)
        needed += [f"{program.name}/{part}" for part in parts]
    lost = [path for path in needed if not (Path(folder) / path).exists()]
    return f"{VARIABLE} lacks {', '.join(lost)} (tests/bench/README.md)." if lost else ""


def versions(folder: Path) -> str:
    """What both checkouts call themselves."""
    chart = yaml.safe_load((folder / "jobset/charts/jobset/Chart.yaml").read_text())
    return f"{(folder / 'trainer/VERSION').read_text().strip()} with JobSet v{chart['version']}"


def a_train_job(name: str) -> Object:
    """One node with one GPU: one Job, by way of a JobSet."""
    return {
        "apiVersion": GROUP,
        "kind": "TrainJob",
        "metadata": {"name": name},
        "spec": {
            "runtimeRef": {"name": RUNTIME},
            "trainer": {
                "image": "trainer:1",
                "command": ["dino", "gen_trt_engine"],
                "numNodes": 1,
                "resourcesPerNode": {"limits": {"nvidia.com/gpu": 1}},
            },
        },
    }


@dataclass(frozen=True)
class Listening:
    """Where one manager listens on this machine, and where its leases are."""

    health: int
    webhooks: int
    namespace: str


def settings(shipped: Mapping[str, Any], program: Program, at: Listening) -> Object:
    """Those that are shipped, but for what a machine without a node cannot give.

    Nobody reads the metrics here, so that they have no port.
    """

    def changed(key: str, **values: Any) -> Object:
        return {key: {**(shipped.get(key) or {}), **values}}

    return {
        **shipped,
        **changed("health", healthProbeBindAddress=f"{HERE}:{at.health}"),
        **changed("metrics", bindAddress="0"),
        **changed("webhook", host=HERE, port=at.webhooks),
        **changed("leaderElection", resourceNamespace=at.namespace),
        **changed(program.certificates, enable=False),
    }


def reached_here(manifests: str, name: str, port: int, authority: bytes) -> list[Object]:
    """The webhook configurations among some manifests, calling this machine in place of a Service.

    Args:
        manifests: YAML of any objects; others are left out.
        name: what each configuration's name begins with, so that it meets no other.
        port: of the webhooks' server.
        authority: PEM of who signed its certificate.
    """
    bundle = base64.b64encode(authority).decode()
    configurations = []
    for thing in yaml.safe_load_all(manifests):
        if thing["kind"].endswith("WebhookConfiguration"):
            thing["metadata"] = {"name": f"{name}-{thing['metadata']['name']}"}
            for each in thing["webhooks"]:
                path = each["clientConfig"]["service"]["path"]
                url = f"https://{HERE}:{port}{path}"
                each["clientConfig"] = {"url": url, "caBundle": bundle}
            configurations.append(thing)
    return configurations


@contextmanager
def installed(kubectl: Kubectl, build: Path) -> Iterator[None]:
    """The CRDs of both for a while: with them goes all that was made of them."""
    folders = [str(build / each.name / each.crds) for each in (TRAINER, JOBSET)]
    crds = "---\n".join(_asked(kubectl, "kustomize", folder) for folder in folders)
    applying = ("apply", "--server-side", "--force-conflicts", "-f", "-")
    try:
        _asked(kubectl, *applying, stdin=crds)
        established = ("--for=condition=Established", "--timeout=300s")
        _asked(kubectl, "wait", *established, "-f", "-", stdin=crds)
        yield
    finally:
        # Waited for: a CRD that still goes would be taken for one that is there.
        kubectl("delete", "--ignore-not-found", "--timeout=300s", "-f", "-", stdin=crds)


@dataclass(frozen=True)
class Manager:
    """One of the two, as it is started. folder: its settings, certificate and log."""

    program: Program
    build: Path
    folder: Path
    at: Listening

    @property
    def account(self) -> str:
        """Its service account's name."""
        return self.program.name

    @contextmanager
    def running(self, kubectl: Kubectl) -> Iterator[subprocess.Popen[bytes]]:
        """The process, which is ready and whose webhooks are called."""
        self.folder.mkdir(parents=True)
        shipped = yaml.safe_load((self.build / self.program.settings).read_text())
        config = self.folder / "config.yaml"
        config.write_text(yaml.safe_dump(settings(shipped, self.program, self.at)))
        made = self._certificate()
        key = self.folder / "kubeconfig"
        kubeconfig = kubeconfig_of(kubectl, self.at.namespace, self.account, key)
        environment = {**os.environ, "KUBECONFIG": str(kubeconfig), "TMPDIR": str(self.folder)}
        command = [str(self.build / "manager"), f"--config={config}", *OPTIONS]
        with (self.folder / "log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        try:
            eventually(lambda: self._is_ready(process), self._last_words)
            with self._webhooks(kubectl, made):
                yield process
        finally:
            process.terminate()
            process.wait()

    def _certificate(self) -> bytes:
        """Puts one where the webhooks' server looks for it, below TMPDIR; returns its PEM."""
        where = self.folder / "k8s-webhook-server" / "serving-certs"
        where.mkdir(parents=True)
        made = certificate(where)
        shutil.copy(made, where / "tls.crt")
        shutil.copy(where / "key.pem", where / "tls.key")
        return made.read_bytes()

    def _is_ready(self, process: subprocess.Popen[bytes]) -> bool:
        assert process.poll() is None, self._last_words()
        page = f"http://{HERE}:{self.at.health}/readyz"
        try:
            with urllib.request.urlopen(page, timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False

    def _last_words(self) -> str:
        text = (self.folder / "log").read_text(errors="replace")
        return f"{self.program.name} ready:\n{text[-3000:]}"

    @contextmanager
    def _webhooks(self, kubectl: Kubectl, authority: bytes) -> Iterator[None]:
        shipped = _asked(kubectl, "kustomize", str(self.build / self.program.webhooks))
        made = reached_here(shipped, self.at.namespace, self.at.webhooks, authority)
        text = yaml.safe_dump_all(made)
        try:
            _asked(kubectl, "apply", "-f", "-", stdin=text)
            yield
        finally:
            kubectl("delete", "--ignore-not-found", "-f", "-", stdin=text)


@dataclass
class TrainerSide(Side):
    """Both managers at work."""

    ending: ExitStack | None = None

    def end(self) -> None:
        """Ends both and takes their webhooks away, which nobody could answer."""
        if self.ending is not None:
            self.ending.close()


@dataclass(frozen=True)
class Trainer:
    """Opens a side of what is built in that folder."""

    build: Path

    @contextmanager
    def __call__(self, kubectl: Kubectl, folder: Path) -> Iterator[Side]:
        """As `operator_sides.naive`, but that the managers serve all namespaces."""
        name = f"trainer-{uuid.uuid4().hex[:8]}"
        try:
            _asked(kubectl, "apply", "-f", "-", stdin=yaml.safe_dump_all(accounts(name)))
            with ExitStack() as stack:
                yield self._started(kubectl, name, folder, stack)
        finally:
            kubectl("delete", "namespace", name, "--wait=false")
            kubectl("delete", "clusterrolebinding", name, "--ignore-not-found")

    def _started(
        self, kubectl: Kubectl, namespace: str, folder: Path, stack: ExitStack
    ) -> TrainerSide:
        """Both managers, which the stack ends, and the runtime that TrainJobs name."""
        processes = {}
        ports = free_ports(4)
        for program in (JOBSET, TRAINER):
            at = Listening(ports.pop(), ports.pop(), namespace)
            manager = Manager(program, self.build / program.name, folder / program.name, at)
            processes[program.name] = stack.enter_context(manager.running(kubectl))
        _asked(kubectl, "apply", "-f", str(self.build / TRAINER.name / RUNTIMES))
        return TrainerSide(
            "trainer",
            namespace,
            TRAINER.name,
            kubectl,
            processes[TRAINER.name],
            folder / TRAINER.name / "log",
            beside={JOBSET.name: processes[JOBSET.name]},
            ending=stack,
        )


def accounts(namespace: str) -> list[Object]:
    """A namespace with an account for each of both, which may do everything everywhere."""
    rights = "rbac.authorization.k8s.io"
    both = [{"name": each.name, "namespace": namespace} for each in (TRAINER, JOBSET)]
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}},
        *({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": each} for each in both),
        {
            "apiVersion": f"{rights}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": namespace},
            "roleRef": {"apiGroup": rights, "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"kind": "ServiceAccount", **each} for each in both],
        },
    ]


def free_ports(count: int) -> list[int]:
    """So many that nobody listens on now, all different."""
    with ExitStack() as stack:
        opened = [stack.enter_context(socket.create_server((HERE, 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in opened]


def _asked(kubectl: Kubectl, *arguments: str, stdin: str | None = None) -> str:
    """What kubectl answers; fails with what it complains of."""
    done = kubectl(*arguments, stdin=stdin)
    assert done.returncode == 0, f"kubectl {arguments[0]}: {done.stderr.strip()}"
    return done.stdout
