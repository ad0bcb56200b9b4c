"""The object store goes away, or gives back something else than was put into it."""

from __future__ import annotations

import json
import re

import pytest

from tests.e2e.jobs import Lab, ended, epoch_of, is_true, small_job, training_pods

pytestmark = [pytest.mark.cluster, pytest.mark.level0]

DAMAGED = re.compile(r"dino_model_latest\.pth differs from what was published")
RESUMED = re.compile(r"Resuming after step (\d+)")


@pytest.mark.alone
def test_the_store_is_away_for_a_while_and_training_goes_on(lab: Lab) -> None:
    """Checkpoints wait for it; nothing fails, and everything is there in the end."""
    name = "store-away"
    scale = ("-n", "dino-s3", "scale", "deployment/s3")
    lab.apply(small_job(name, epochs=24, runPolicy={"maxRetries": 0}))
    lab.saved(name)
    long = ("--timeout=15m",)
    lab.kubectl(*scale, "--replicas=0")
    try:
        lab.kubectl("-n", "dino-s3", "wait", "--for=delete", "pod", "-l", "app=s3", *long)
        before = epoch_of(lab.status(name))
        told = lab.wait(name, 90, lambda s: epoch_of(s) >= before + 2, "epochs without a store")
        assert not ended(told), "the end needs the store"
    finally:
        lab.kubectl(*scale, "--replicas=1")
        lab.kubectl("-n", "dino-s3", "rollout", "status", "deployment/s3", "--timeout=15m")

    status = lab.complete(name, seconds=400)

    assert status["attempts"] == 1
    head = lab.storage.client().head_object(Bucket="dino", Key=key(status["checkpoint"]["uri"]))
    assert head["ContentLength"] == status["checkpoint"]["bytes"]


def test_a_damaged_latest_checkpoint_is_not_resumed_from(lab: Lab) -> None:
    """The one before it is; the epoch between them is done again."""
    name = "damaged"
    lab.apply(small_job(name, epochs=15))
    lab.saved(name, checkpoints=2)
    suspend(lab, name, True)
    lab.wait(name, 120, lambda s: is_true(s, "Suspended"), "suspension")
    lab.wait(name, 120, lambda _: not lab.live_pods(name), "end of the pod")
    latest = f"test-results/{name}/train/dino_model_latest.pth"
    size = lab.storage.client().head_object(Bucket="dino", Key=latest)["ContentLength"]
    lab.storage.client().put_object(Bucket="dino", Key=latest, Body=b"\0" * size)
    suspend(lab, name, False)

    status = lab.complete(name, seconds=400)

    logs = lab.logs(name, training_pods(name))
    assert DAMAGED.search(logs)
    assert RESUMED.search(logs), "from the checkpoint before"
    assert status["progress"]["percent"] == 100
    assert status["attempts"] == 1


def suspend(lab: Lab, name: str, value: bool) -> None:
    """As a user types it."""
    patch = json.dumps({"spec": {"runPolicy": {"suspend": value}}})
    lab.kubectl("patch", "dinojob", name, "--type=merge", "-p", patch)


def key(uri: str) -> str:
    """s3://bucket/some/key -> some/key."""
    return uri.split("/", 3)[3]
