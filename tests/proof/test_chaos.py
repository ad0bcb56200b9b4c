"""The judge of chaos.py notices what must never be."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.proof.chaos import Seen, container, part

Object = dict[str, Any]


class Told:
    """In the cluster's place: it answers what the test says."""

    def __init__(self, pods: list[Object], jobs: list[Object]) -> None:
        self.answers = {"pods": pods, "dinojobs": jobs}

    def kubectl(self, *arguments: str, given: str | None = None) -> str:
        """The list."""
        return json.dumps({"items": self.answers[arguments[1]]})


def a_pod(job: str, phase: str = "Running", action: str = "train") -> Object:
    labels = {"dino-operator.io/job": job, "dino-operator.io/action": action}
    return {"metadata": {"labels": labels}, "status": {"phase": phase}}


def at_epoch(epoch: int | None) -> list[Object]:
    progress = {} if epoch is None else {"progress": {"epoch": epoch}}
    return [{"metadata": {"name": "a"}, "status": progress}]


@pytest.mark.parametrize(
    ("pods", "wrong"),
    [
        ([a_pod("a"), a_pod("a", "Pending")], {"a": "2 training pods at a time"}),
        ([a_pod("a"), a_pod("a", "Failed"), a_pod("b")], {}),
        ([a_pod("a"), a_pod("a", action="preflight")], {}),
    ],
)
def test_two_pods_of_a_training_are_noticed(pods: list[Object], wrong: dict[str, str]) -> None:
    seen = Seen()
    seen.look(Told(pods, []))
    assert seen.wrong == wrong


@pytest.mark.parametrize(
    ("epochs", "lost"), [([1, 5, 2], True), ([1, 5, None, 4, 6], False), ([3, 0, 1], True)]
)
def test_a_checkpoint_that_is_lost_shows_in_the_epochs(
    epochs: list[int | None], lost: bool
) -> None:
    seen = Seen()
    for epoch in epochs:
        seen.look(Told([], at_epoch(epoch)))
    assert bool(seen.wrong) is lost


def test_nothing_is_found_where_no_cluster_runs() -> None:
    assert part("no-such-part")() == []
    assert container("no-such", "program-at-all")() == []
