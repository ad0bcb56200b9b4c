"""The clients of these tests: kubectl, and DinoJobs of one namespace."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kubernetes
import yaml

from tests.patience import LONG

ROOT = Path(__file__).resolve().parents[2]
CRDS = ROOT / "crds"
HOME = Path(
    os.environ.get("DINO_DEVCLUSTER_HOME") or Path.home() / ".cache" / "dino-devcluster"
).expanduser()


CHART = ROOT / "charts" / "dino-operator"


def helm(kubeconfig: Path, namespace: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs helm, that of the dev cluster before PATH's; never raises for its exit status."""
    own = HOME / "bin" / "helm"
    program = str(own) if own.exists() else shutil.which("helm")
    assert program, "helm is neither in the dev cluster's folder nor on the PATH"
    env = {**os.environ, "KUBECONFIG": str(kubeconfig)}
    command = [program, *arguments, "--namespace", namespace]
    return subprocess.run(
        command, capture_output=True, text=True, env=env, timeout=LONG, check=False
    )


@dataclass(frozen=True)
class Kubectl:
    """kubectl against the test's API server."""

    program: str
    kubeconfig: Path
    namespace: str = ""

    def __call__(
        self, *arguments: str, stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Runs it; never raises for its exit status."""
        scope = [f"--namespace={self.namespace}"] if self.namespace else []
        command = [self.program, f"--kubeconfig={self.kubeconfig}", *scope, *arguments]
        return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=LONG)

    def apply(self, manifest: Any, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`kubectl apply` of one object, client-side as people do it."""
        text = manifest if isinstance(manifest, str) else yaml.safe_dump(manifest)
        return self("apply", "--server-side=false", "-f", "-", *arguments, stdin=text)


@dataclass(frozen=True)
class DinoJobs:
    """The calls that tests make; a refusal raises kubernetes.client.ApiException."""

    api: kubernetes.client.CustomObjectsApi
    namespace: str
    plural: str = "dinojobs"

    @property
    def _where(self) -> dict[str, str]:
        return {
            "group": "dino-operator.io",
            "version": "v1alpha1",
            "plural": self.plural,
            "namespace": self.namespace,
        }

    def create(self, manifest: dict[str, Any]) -> dict[str, Any]:
        """Strict: unknown fields are refused and not dropped."""
        return self.api.create_namespaced_custom_object(
            **self._where, body=manifest, field_validation="Strict"
        )

    def get(self, name: str) -> dict[str, Any]:
        """The object as the API server has it."""
        return self.api.get_namespaced_custom_object(**self._where, name=name)

    def patch(self, name: str, changes: dict[str, Any]) -> dict[str, Any]:
        """A JSON merge patch: null removes."""
        return self.api.patch_namespaced_custom_object(
            **self._where,
            name=name,
            body=changes,
            field_validation="Strict",
            _content_type="application/merge-patch+json",
        )

    def patch_status(self, name: str, status: dict[str, Any]) -> dict[str, Any]:
        """A JSON merge patch of the status subresource."""
        return self.api.patch_namespaced_custom_object_status(
            **self._where,
            name=name,
            body={"status": status},
            _content_type="application/merge-patch+json",
        )
