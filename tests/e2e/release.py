"""The chart's release on the cluster: what Helm does with it, who leads, what its metrics say."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo.cluster import PATIENCE, RELEASE, SYSTEM_NAMESPACE
from tests.e2e.jobs import Lab
from tests.patience import Patience

Object = dict[str, Any]
OPERATOR = f"app.kubernetes.io/name={RELEASE}"
EVERY_NAMESPACE = ("configmap/kube-root-ca.crt", "serviceaccount/default")
"""What Kubernetes itself makes in each."""
PASSING = ("events", "events.events.k8s.io", "apiservices.apiregistration.k8s.io")
"""Kinds that tell of what was, and that Kubernetes itself makes of CRDs."""
OURS = re.compile("dino-(operator|trainer)")


@dataclass(frozen=True)
class Release:
    """The release that `make demo` and the tests use, in its namespace."""

    lab: Lab

    def helm(self, *arguments: str | Path) -> str:
        """What Helm printed. It waits until pods are ready. Fails with what it complained of."""
        cluster = self.lab.cluster
        command = [cluster.helm_path, *arguments, "--namespace", SYSTEM_NAMESPACE]
        env = {**os.environ, **cluster.env}
        done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def upgrade(self, chart: Path, values: Path, *sets: str) -> None:
        """Install or upgrade by a chart and these values alone."""
        words = [word for each in sets for word in ("--set", each)]
        self.helm(
            *("upgrade", "--install", RELEASE, chart, "--values", values, *words),
            *("--reset-values", "--wait", "--timeout", PATIENCE),
        )

    def uninstall(self) -> None:
        """Take it away and wait until its objects are gone."""
        self.helm("uninstall", RELEASE, "--wait", "--timeout", PATIENCE)

    def values(self) -> Object:
        """The values that it was installed with."""
        values: Object = json.loads(self.helm("get", "values", RELEASE, "--output", "json"))
        return values

    def pods(self) -> dict[str, Object]:
        """Its pods that have not ended, by name."""
        return {
            pod["metadata"]["name"]: pod
            for pod in self._read("get", "pods", "-l", OPERATOR)["items"]
            if "deletionTimestamp" not in pod["metadata"]
        }

    def leader(self) -> str:
        """The pod that the Lease names; empty where it names none."""
        spec = self._read("get", "lease", RELEASE, "--ignore-not-found").get("spec") or {}
        holder: str = spec.get("holderIdentity") or ""
        return next((name for name in self.pods() if holder.startswith(name)), "")

    def another_leads(self, than: str, seconds: float = 60) -> str:
        """The pod that leads once it is another one."""
        patience = Patience(seconds)
        while patience.lasts():
            leader = self.leader()
            if leader not in ("", than):
                return leader
            time.sleep(0.5)
        raise AssertionError(f"nobody but {than!r} leads after {patience.seconds:.0f} s")

    def metrics(self, pod: str) -> str:
        """What Prometheus would read from it, through the API server."""
        path = f"/api/v1/namespaces/{SYSTEM_NAMESPACE}/pods/{pod}:8080/proxy/metrics"
        return self.lab.kubectl("get", "--raw", path)

    def remains(self) -> set[str]:
        """Objects of the release's namespace, and those of the whole cluster with its name.

        As `kind.group/name`. Without what Kubernetes makes itself.
        """
        inside = self._names("--namespaced=true", "--namespace", SYSTEM_NAMESPACE)
        around = {name for name in self._names("--namespaced=false") if OURS.search(name)}
        return inside - set(EVERY_NAMESPACE) | around

    def _names(self, scope: str, *where: str) -> set[str]:
        resources = self.lab.kubectl("api-resources", "--verbs=list", scope, "-o", "name").split()
        kinds = ",".join(sorted(set(resources) - set(PASSING)))
        return set(self.lab.kubectl("get", kinds, *where, "-o", "name").split())

    def _read(self, *arguments: str) -> Object:
        text = self.lab.kubectl("-n", SYSTEM_NAMESPACE, *arguments, "-o", "json")
        found: Object = json.loads(text or "{}")
        return found
