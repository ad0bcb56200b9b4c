"""An installation without the CRD of searches, which is installed while the operator runs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.api import old_installation
from tests.api.operator_cluster import Cluster, Operating, a_manifest
from tests.api.operator_process import Process, eventually

LEASE = 10
"""Seconds."""


@pytest.fixture
def served(
    operating: Operating, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Cluster, Process]]:
    """Its operator."""
    monkeypatch.setenv(old_installation.FOUND, str(tmp_path / "found"))
    with operating(program=(old_installation.__file__,)) as both:
        yield both


def test_jobs_train_until_the_crd_comes_and_are_searched_for_after_it(
    cluster: Cluster, operator: Process, tmp_path: Path
) -> None:
    manifest = a_manifest("early")
    del manifest["spec"]["automlPolicy"]
    cluster.dinojobs.create(manifest)
    assert cluster.eventually_condition("early", "AutoMLRouted")["reason"] == "AutoMLCRDMissing"
    (tmp_path / "found").touch()
    eventually(lambda: "serves other kinds now" in operator.log.read_text(), "noticed")
    manifest["metadata"]["name"] = "late"
    cluster.by_hand.add("late-trial-0")  # or else it may have passed before it is looked at
    cluster.dinojobs.create(manifest)
    cluster.phase("late", "Preparing")
    assert cluster.condition("late", "AutoMLRouted")["reason"] == "Routed"
    assert cluster.job("late-trial-0-preflight-1"), "its search is watched"
    cluster.job("early-train-1")
    assert operator.runs, "all in one process"


def test_its_lease_is_renewed_after_it_looked_anew_at_what_is_served(
    cluster: Cluster, operator: Process, tmp_path: Path
) -> None:
    operator.stop()
    words = ("--lease", f"{cluster.namespace}/dino-operator", "--lease-seconds", str(LEASE))
    held = replace(operator, arguments=words, log=tmp_path / "log", process=None)
    held.start()
    try:
        eventually(lambda: held.works, "it works without them")
        (tmp_path / "found").touch()
        eventually(lambda: "serves other kinds now" in held.log.read_text(), "noticed")
        time.sleep(1.5 * LEASE)  # without renewals it would have ended by now
        cluster.dinojobs.create(a_manifest("after"))
        cluster.job("after-train-1")
        assert held.runs, "the same process"
        assert held.stop() == 0
    finally:
        held.kill()


def test_it_can_be_told_to_end_while_it_looks_anew_at_what_is_served(
    operator: Process, tmp_path: Path
) -> None:
    (tmp_path / "found").touch()
    eventually(lambda: "serves other kinds now" in operator.log.read_text(), "noticed")
    assert operator.stop() == 0
    assert "Traceback" not in operator.log.read_text()
