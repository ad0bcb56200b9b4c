"""The API server that a bench works on, and what a process that works on it has cost."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import NamedTuple

from tests.api.clients import CRDS, HOME, ROOT, Kubectl
from tests.bench.harness import cannot_run

TICKS = os.sysconf("SC_CLK_TCK")


class ControlPlane(NamedTuple):
    """One that `devcluster/cluster up` starts. option: which. folder: its state, below HOME."""

    option: str
    folder: str


OF_TESTS = ControlPlane("--control-plane-only", "api")
"""That of tests/api."""
PLAYED_JOBS = ControlPlane("--played-jobs", "played")
"""Without a Job controller."""


def find_kubeconfig(wanted: ControlPlane) -> Path:
    """Of the control plane, which is started where it does not run; KUBECONFIG where
    CLUSTER=current."""
    if os.environ.get("CLUSTER") == "current":
        return Path(os.environ.get("KUBECONFIG") or Path.home() / ".kube" / "config")
    command = [str(ROOT / "devcluster" / "cluster"), "up", wanted.option]
    up = subprocess.run(command, capture_output=True, text=True, timeout=1800)
    if up.returncode:
        cannot_run(f"The control plane does not start: {(up.stderr or up.stdout).strip()}")
    return HOME / wanted.folder / "kubeconfig"


def administrator(wanted: ControlPlane, patience: str) -> Kubectl:
    """kubectl, with the CRDs installed. patience: how long they may take, such as 30s."""
    kubectl = Kubectl(str(HOME / "bin" / "kubectl"), find_kubeconfig(wanted))
    applied = kubectl("apply", "--server-side", "--force-conflicts", "-f", str(CRDS))
    assert applied.returncode == 0, applied.stderr
    waited = kubectl(
        "wait", "--for=condition=Established", f"--timeout={patience}", "-f", str(CRDS)
    )
    assert waited.returncode == 0, waited.stderr
    return kubectl


def cpu_seconds(pid: int) -> float:
    """What a process and its threads have used of the processors."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def peak_mib(pid: int) -> float:
    """The largest resident memory of a process until now."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) / 1024
