"""Real Helm, from the dev cluster's folder or PATH."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "dino-operator"
KUBE_VERSION = "1.34.0"
Objects = list[dict[str, Any]]
Helm = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    """Run `helm` with some arguments; building it first where the machine has none."""
    home = Path(
        os.environ.get("DINO_DEVCLUSTER_HOME") or Path.home() / ".cache" / "dino-devcluster"
    )
    own = home / "bin" / "helm"
    program = str(own) if own.exists() else shutil.which("helm")
    if program is None:
        subprocess.run([ROOT / "devcluster" / "cluster", "build"], check=True)
        program = str(own)
    cache = tmp_path_factory.mktemp("helm")
    env = {**os.environ, "HELM_CACHE_HOME": str(cache), "KUBECONFIG": str(cache / "none")}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [program, *arguments], capture_output=True, text=True, env=env, check=False
        )

    return run


MONITORING = tuple(
    f"monitoring.coreos.com/v1/{kind}" for kind in ("ServiceMonitor", "PrometheusRule")
)
"""What a cluster with the Prometheus operator serves."""
EVERYTHING = (
    "argocd.healthConfigMap=true",
    "metrics.service.enabled=true",
    "metrics.serviceMonitor.enabled=true",
    "metrics.prometheusRule.enabled=true",
    "metrics.dashboard.enabled=true",
    "podDisruptionBudget.enabled=true",
    "networkPolicy.enabled=true",
    "networkPolicy.trainer.namespaces={vision}",
)
"""Values that make every object that the chart knows."""


@pytest.fixture(scope="session")
def render(helm: Helm) -> Callable[..., Objects]:
    """The chart's objects with some `--set` values, on a cluster that serves everything."""

    @cache
    def text(*values: str) -> str:
        words = [word for value in values for word in ("--set", value)]
        words += [word for each in MONITORING for word in ("--api-versions", each)]
        base = ("template", "dino-operator", str(CHART), "--kube-version", KUBE_VERSION)
        done = helm(*base, "--namespace", "dino-system", *words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return lambda *values: [one for one in yaml.safe_load_all(text(*values)) if one]
