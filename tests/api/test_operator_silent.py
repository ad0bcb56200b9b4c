"""A training whose account, or whose right to write progress, was deleted: before a real API
server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.api.operator_cluster import Cluster, Operating, a_manifest
from tests.api.operator_process import Process, eventually

OLD = 3
SHARED = ("serviceaccount/dino-trainer", "rolebinding/dino-trainer-progress")


@pytest.fixture(scope="module")
def served(operating: Operating) -> Iterator[tuple[Cluster, Process]]:
    """An operator that finds progress old after seconds."""
    with operating("--progress-old-seconds", str(OLD)) as both:
        yield both


def test_what_it_lacks_is_made_again_and_that_is_said(cluster: Cluster, operator: Process) -> None:
    cluster.dinojobs.create(a_manifest("mute"))
    cluster.run("mute-train-1")
    cluster.phase("mute", "Running")
    gone = cluster.kubectl("delete", *SHARED, "--wait=true")
    assert gone.returncode == 0, gone.stderr

    def made_again() -> bool:
        return cluster.kubectl("get", *SHARED).returncode == 0

    eventually(made_again, "account and right")

    def said() -> str:
        message = str(cluster.condition("mute", "Running").get("message", ""))
        return message if "no progress was written since" in message else ""

    message = eventually(said, "what is missing is said")
    assert "ServiceAccount dino-trainer and RoleBinding dino-trainer-progress" in message
    assert cluster.status("mute")["phase"] == "Running"
