"""CLUSTER=current: the user's own cluster instead of the dev cluster."""

from __future__ import annotations

import json
import os
import shutil
import subprocess

from lib.paths import program
from lib.say import ClusterError, say


def chosen() -> bool:
    """Whether the user asked for their own cluster. Raises ClusterError for other values."""
    value = os.environ.get("CLUSTER", "")
    if value not in {"", "dev", "current"}:
        raise ClusterError(
            f"CLUSTER={value} is not known: use CLUSTER=current for the cluster that kubectl "
            "points at, or leave it out for the dev cluster."
        )
    return value == "current"


def kubectl() -> str:
    """The user's kubectl, else the one that was built here."""
    if found := shutil.which("kubectl"):
        return found
    if program("kubectl").exists():
        return str(program("kubectl"))
    raise ClusterError("CLUSTER=current needs kubectl and there is none in PATH: install it.")


def check() -> None:
    """Say which cluster is used, or raise ClusterError when it does not answer."""
    command = [kubectl(), "version", "-o", "json", "--request-timeout=30s"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    version = json.loads(done.stdout or "{}").get("serverVersion", {}).get("gitVersion")
    if done.returncode != 0 or not version:
        last = (done.stderr.strip().splitlines() or ["no answer"])[-1]
        raise ClusterError(
            f"CLUSTER=current is set but kubectl reaches no cluster ({last}): "
            "set KUBECONFIG, or leave CLUSTER out to use the dev cluster."
        )
    say(f"Using your cluster: Kubernetes {version}, {_context()}.")


def _context() -> str:
    command = [kubectl(), "config", "current-context"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return f"context {done.stdout.strip()}" if done.returncode == 0 else "in-cluster credentials"


def refuse(what: str) -> None:
    """Raise ClusterError for a command that makes no sense on somebody else's cluster."""
    if chosen():
        raise ClusterError(
            f"`cluster {what}` works on the dev cluster, and CLUSTER=current names your own: "
            "leave CLUSTER out."
        )
