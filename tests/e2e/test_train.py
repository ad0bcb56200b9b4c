"""Real trainings through `kubectl apply`, S3 and the kubelet."""

from __future__ import annotations

import json

import pytest

from tests.e2e.jobs import Lab, is_true, small_job

pytestmark = [pytest.mark.cluster, pytest.mark.level0]


def test_a_finished_job_can_be_waited_for_and_is_not_trained_twice(lab: Lab) -> None:
    """`kubectl wait` works, and the same spec and output report the same result at once."""
    lab.apply(small_job("once"))
    lab.kubectl("wait", "--for=condition=Complete", "dinojob/once", "--timeout=300s")
    first = lab.status("once")
    lab.delete("once", "--wait=true")

    lab.apply(small_job("once"))
    second = lab.complete("once", seconds=180)

    assert second["checkpoint"] == first["checkpoint"]
    assert second["metrics"] == first["metrics"]


def test_suspend_stops_the_pod_after_a_checkpoint_and_resume_goes_on(lab: Lab) -> None:
    """The GPU is free while suspended; the epochs that were done are not done again."""
    lab.apply(small_job("pause", epochs=30))
    lab.training("pause")

    lab.kubectl("patch", "dinojob", "pause", "--type=merge", "-p", suspend(True))
    lab.wait("pause", 120, lambda s: is_true(s, "Suspended"), "suspension")
    lab.wait("pause", 120, lambda _: not lab.live_pods("pause"), "end of the pod")
    before = lab.status("pause")["progress"]["step"]
    lab.kubectl("patch", "dinojob", "pause", "--type=merge", "-p", suspend(False))

    resumed = lab.wait(
        "pause", 180, lambda s: is_true(s, "Running") and s["progress"]["step"] > before, "resume"
    )
    assert not is_true(resumed, "Suspended")
    done = lab.complete("pause", seconds=400)
    assert done["attempts"] == 1, "a suspension is not a failed attempt"
    logs = lab.logs("pause")
    assert "resum" in logs.lower()


def test_a_deadline_ends_the_job_with_a_remedy(lab: Lab) -> None:
    """The Job controller ends the pod; nothing is retried."""
    lab.apply(small_job("late", epochs=1000, runPolicy={"activeDeadlineSeconds": 25}))

    status = lab.finished("late", seconds=200)

    assert status["failure"]["reason"] == "DeadlineExceeded"
    assert "activeDeadlineSeconds" in status["failure"]["remedy"]
    lab.wait("late", 150, lambda _: not lab.live_pods("late"), "end of the pod")


def test_delete_takes_everything_along(lab: Lab) -> None:
    """No Job, pod or ConfigMap of the DinoJob stays."""
    lab.apply(small_job("gone", epochs=1000))
    lab.training("gone")

    lab.delete("gone", "--cascade=foreground", "--wait=true")

    for kind in ("jobs", "pods", "configmaps"):
        assert lab.list(kind, "gone") == []


def suspend(value: bool) -> str:
    """The merge patch that a user would type."""
    return json.dumps({"spec": {"runPolicy": {"suspend": value}}})
