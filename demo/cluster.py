"""The cluster as the demo sees it: kubectl, Helm, and where the object store is."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo.errors import DemoError
from demo.stages import Work
from demo.storage import DemoStorage

ROOT = Path(__file__).parents[1]
CHART = ROOT / "charts" / "dino-operator"
RELEASE, SYSTEM_NAMESPACE, NAMESPACE, SECRET = (
    "dino-operator",
    "dino-system",
    "dino-demo",
    "dino-s3",
)

# What kubectl and the API server say when one of them, or etcd, has too little time; the dev
# cluster's own commands, which know nothing of this package, have the same list.
BUSY = (
    "i/o timeout",
    "handshake timeout",
    "Client.Timeout",
    "return a response in the time allotted",
    "deadline exceeded",
    "connection reset by peer",
    "unexpected EOF",
    "unable to handle the request",
    "etcdserver: ",
    "Too Many Requests",
)
BUSY_SECONDS = 300.0
PATIENCE = "15m"  # for what takes seconds on an idle machine


@dataclass(frozen=True)
class DemoCluster:
    """Programs and their environment for one cluster."""

    kubectl_path: str
    helm_path: str
    kubeconfig: str  # empty: as kubectl finds it
    namespace: str = NAMESPACE  # of jobs and their secret

    @property
    def env(self) -> dict[str, str]:
        return {"KUBECONFIG": self.kubeconfig} if self.kubeconfig else {}

    def kubectl(self, *arguments: str, given: str | None = None) -> str:
        """Run kubectl in the namespace of the jobs. Raises DemoError with what it said.

        A server that is too busy to answer is asked again for BUSY_SECONDS: a command must be one
        that can be repeated.
        """
        ends = time.monotonic() + BUSY_SECONDS
        done = self._run(arguments, given)
        while done.returncode != 0 and is_busy(done.stderr) and time.monotonic() < ends:
            time.sleep(1)
            done = self._run(arguments, given)
        if done.returncode != 0:
            said = (done.stderr.strip().splitlines() or ["no answer"])[-1]
            raise DemoError(
                f"`kubectl {' '.join(arguments)}` failed: {said}", self.typed("get", "events")
            )
        return done.stdout

    def _run(
        self, arguments: tuple[str, ...], given: str | None
    ) -> subprocess.CompletedProcess[str]:
        command = [self.kubectl_path, "-n", self.namespace, *arguments]
        env = {**os.environ, **self.env}
        return subprocess.run(
            command, input=given, capture_output=True, text=True, env=env, check=False
        )

    def apply(self, *objects: Mapping[str, Any]) -> None:
        """`kubectl apply` of some objects."""
        for one in objects:
            self.kubectl("apply", "-f", "-", given=json.dumps(one))

    def typed(self, *arguments: str) -> str:
        """The command as a user would type it."""
        config = f"KUBECONFIG={self.kubeconfig} " if self.kubeconfig else ""
        return f"{config}{self.kubectl_path} -n {self.namespace} {' '.join(arguments)}"

    def logs_command(self, job: str) -> str:
        return self.typed("logs", "-l", f"dino-operator.io/job={job}", "--tail=50")

    def describe_command(self, job: str) -> str:
        return self.typed("describe", "dinojob,pods")

    def operator_pods(self) -> str:
        """The operator's pods and their states in one line."""
        rows = self.kubectl("-n", SYSTEM_NAMESPACE, "get", "pods", "--no-headers").splitlines()
        return "; ".join(" ".join(row.split()[:3]) for row in rows) or "no pod yet"

    def operator_command(self) -> str:
        config = f"KUBECONFIG={self.kubeconfig} " if self.kubeconfig else ""
        return f"{config}{self.kubectl_path} -n {SYSTEM_NAMESPACE} logs deployment/{RELEASE}"


def is_busy(error: str) -> bool:
    """Whether kubectl's complaint is about a server that did not answer in its time."""
    return any(sign in error for sign in BUSY)


def find(program: str, folder: Path | None = None) -> str:
    """A program in `folder`, else in PATH. Raises DemoError where there is none."""
    if folder is not None and (folder / program).exists():
        return str(folder / program)
    found = shutil.which(program)
    if not found:
        raise DemoError(f"{program} is needed and there is none in PATH: install it")
    return found


def install(
    work: Work, cluster: DemoCluster, storage: DemoStorage, operator_image: str, trainer_image: str
) -> None:
    """Install or upgrade the chart by Helm and wait until the operator is ready."""
    values = chart_values(storage, operator_image, trainer_image)
    path = work.log.with_name("values.json")
    path.write_text(json.dumps(values, indent=2))
    command: list[str | Path] = [
        cluster.helm_path,
        "upgrade",
        "--install",
        RELEASE,
        CHART,
        "--namespace",
        SYSTEM_NAMESPACE,
    ]
    try:
        work.run(
            [*command, "--create-namespace", "--values", path, "--wait", "--timeout", PATIENCE],
            cluster.env,
            look=cluster.operator_pods,
        )
    except DemoError as error:
        raise DemoError(str(error), cluster.operator_command()) from error


def chart_values(storage: DemoStorage, operator_image: str, trainer_image: str) -> dict[str, Any]:
    """What the chart has to be told: the images, and how pods reach the object store."""
    return {
        "image": image_values(operator_image),
        "trainer": {"image": image_values(trainer_image)},
        "s3": {
            "endpoint": storage.inside,
            "region": storage.region,
            "pathStyle": storage.path_style,
            "secretName": SECRET,
        },
    }


def image_values(reference: str) -> dict[str, str]:
    """repository and tag (or digest) of an image reference, as the chart takes them."""
    repository, at, digest = reference.partition("@")
    if at:
        return {"repository": repository, "tag": digest}
    repository, _, tag = reference.rpartition(":")
    if not repository or "/" in tag:
        raise DemoError(f"the image {reference} has no tag: write it as name:tag or name@sha256:…")
    return {"repository": repository, "tag": tag}


def prepare_namespace(cluster: DemoCluster, storage: DemoStorage) -> None:
    """The jobs' namespace, and in it the Secret of examples/s3-secret.yaml with the real keys."""
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": cluster.namespace}}
    cluster.apply(namespace)
    cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": SECRET},
            "stringData": {
                "AWS_ACCESS_KEY_ID": storage.access_key,
                "AWS_SECRET_ACCESS_KEY": storage.secret_key,
            },
        }
    )
