"""What is asked of the API server while it, or the whole machine, is busy."""

from pathlib import Path

import pytest
from lib import health, up
from lib.health import KubectlError, kubectl
from lib.paths import API_ONLY, program

from demo import cluster

BUSY_ONCE = """#!/bin/sh
[ -e "$0.asked" ] && { echo fine; exit; }
touch "$0.asked"
echo 'Error from server: etcdserver: request timed out' >&2
exit 1
"""
REFUSES = """#!/bin/sh
echo 'Error from server (NotFound): serviceaccounts "default" not found' >&2
exit 1
"""


def give_kubectl(script: str) -> None:
    """Put a shell script where kubectl is called from."""
    path = program("kubectl")
    path.parent.mkdir(parents=True)
    path.write_text(script)
    path.chmod(0o755)


def test_a_server_that_is_too_busy_is_asked_again(state: Path) -> None:
    give_kubectl(BUSY_ONCE)
    assert kubectl(API_ONLY, "get", "pods") == "fine\n"


def test_a_refusal_is_a_sentence(state: Path) -> None:
    give_kubectl(REFUSES)
    with pytest.raises(KubectlError, match=r"`kubectl get pods` failed: .*not found"):
        kubectl(API_ONLY, "get", "pods")
    assert not up.has_service_account(API_ONLY)


def test_the_demo_knows_a_busy_server_by_the_same_words() -> None:
    assert health.BUSY == cluster.BUSY


def test_a_cluster_whose_processes_run_runs_while_it_is_too_busy_to_answer(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(up, "is_running", lambda instance, name: True)
    monkeypatch.setattr(up, "answers", lambda url: lambda: False)
    assert up.runs(API_ONLY)
    assert not up.works(API_ONLY)
