"""Killing things at bad moments: each job ends right, with one pod at a time."""

from __future__ import annotations

import pytest

from demo.cluster import RELEASE, SYSTEM_NAMESPACE
from tests.e2e.jobs import Lab, census, small_job, training_pods

pytestmark = [pytest.mark.cluster, pytest.mark.level0]


def kill_operator(lab: Lab) -> None:
    """Force-delete its pod, as a crash or a lost node would."""
    lab.kubectl(
        "-n",
        SYSTEM_NAMESPACE,
        "delete",
        "pods",
        "-l",
        f"app.kubernetes.io/name={RELEASE}",
        "--force",
        "--grace-period=0",
    )


def test_the_operator_is_killed_during_training_and_starts_again(lab: Lab) -> None:
    """The training never notices; the operator finds it and writes the end."""
    name = "kill-operator"
    with census(lab, name) as pods:
        lab.apply(small_job(name, epochs=15))
        reporter = lab.training(name)["reporter"]

        kill_operator(lab)
        status = lab.complete(name, seconds=400)

    assert pods.most == 1
    assert pods.seen == {reporter}
    assert status["attempts"] == 1


def test_the_pod_is_killed_and_training_resumes(lab: Lab) -> None:
    """Whatever the kill looks like, the next pod goes on from the checkpoint."""
    name = "kill-pod"
    with census(lab, name) as pods:
        lab.apply(small_job(name, epochs=15))
        first = lab.saved(name)["reporter"]

        lab.kubectl("delete", "pod", first, "--force", "--grace-period=0")
        status = lab.complete(name, seconds=500)

    assert len(pods.seen) == 2
    assert "Resuming after step" in lab.logs(name, training_pods(name))
    assert status["progress"]["percent"] == 100


def test_recreated_under_the_same_name_while_the_old_job_still_runs(lab: Lab) -> None:
    """The successor waits until the old pod has ended; both are never alive together."""
    name = "phoenix"
    with census(lab, name) as pods:
        lab.apply(small_job(name, epochs=200))
        lab.training(name)
        lab.delete(name, "--wait=false", "--cascade=background")
        successor = small_job(name, epochs=2)
        successor["spec"]["output"]["uri"] = f"s3://dino/test-results/{name}-2"
        lab.apply(successor)
        status = lab.complete(name, seconds=400)

    assert pods.most == 1
    assert len(pods.seen) == 2
    assert status["checkpoint"]["uri"].startswith(f"s3://dino/test-results/{name}-2/")
