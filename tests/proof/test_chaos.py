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


OUTPUT = "s3://dino/test-results/a"
LATEST = f"{OUTPUT}/train/dino_model_latest.pth"


def at_epoch(epoch: int | None) -> list[Object]:
    told = {} if epoch is None else {"progress": {"epoch": epoch, "step": 6 * epoch + 1}}
    return [{"metadata": {"name": "a"}, "spec": {"output": {"uri": OUTPUT}}, "status": told}]


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
    seen.look(Told(pods, []), {})
    assert seen.wrong == wrong


@pytest.mark.parametrize(
    ("looks", "lost"),
    [
        ([(1, "a"), (2, "b"), (9, "c"), (3, "c")], False),  # "c" may be of epoch 1 to 9
        ([(8, "a"), (9, "b"), (10, "c"), (7, "c")], False),
        ([(8, "a"), (9, "b"), (10, "c"), (6, "c")], True),
        ([(8, "a"), (9, "b"), (10, "c"), (None, "c"), (7, "c")], False),
        ([(8, "a"), (9, "b"), (10, "c"), (0, "c")], True),
        ([(8, "a"), (9, ""), (10, "a"), (0, "a")], False),  # one upload, of nobody knows which
    ],
)
def test_a_checkpoint_that_is_lost_shows_in_the_epochs(
    looks: list[tuple[int | None, str]], lost: bool
) -> None:
    seen = Seen()
    for epoch, etag in looks:
        seen.look(Told([], at_epoch(epoch)), {LATEST: etag})
    assert bool(seen.wrong) is lost


def test_nothing_is_found_where_no_cluster_runs() -> None:
    assert part("no-such-part")() == []
    assert container("no-such", "program-at-all")() == []
