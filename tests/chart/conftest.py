"""Real Helm, from the dev cluster's folder or PATH."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "dino-operator"
sys.path.insert(0, str(ROOT))  # for the demo, which is run as `python -m demo` from there
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


@pytest.fixture(scope="session")
def render(helm: Helm) -> Callable[..., Objects]:
    """The chart's objects with some `--set` values."""

    def run(*values: str) -> Objects:
        sets = [word for value in values for word in ("--set", value)]
        base = ("template", "dino-operator", str(CHART), "--kube-version", KUBE_VERSION)
        done = helm(*base, "--namespace", "dino-system", *sets)
        assert done.returncode == 0, done.stderr
        return [one for one in yaml.safe_load_all(done.stdout) if one]

    return run
