"""Real trainings through `kubectl apply`, S3 and the kubelet."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

from tests.e2e.jobs import Lab, Object, is_true, sha256, small_job, step_of, training_pods

pytestmark = [pytest.mark.cluster, pytest.mark.level0]


def once_job() -> Object:
    """It is validated on what it trains on, which is allowed and odd."""
    job = small_job("once")
    job["spec"]["datasets"]["validation"] = job["spec"]["datasets"]["train"]
    return job


@pytest.fixture(scope="module")
def checked(lab: Lab) -> Object:
    """The status of a training as soon as its data was found good."""
    lab.apply(once_job())
    return lab.wait("once", 120, lambda s: is_true(s, "DataReady"), "checked data")


@pytest.fixture(scope="module")
def once(lab: Lab, checked: Object) -> Object:
    """The status of that training at its end, for which `kubectl wait` waits."""
    lab.kubectl("wait", "--for=condition=Complete", "dinojob/once", "--timeout=30m")
    return lab.status("once")


def test_warnings_and_the_report_are_there_before_training(
    lab: Lab, checked: Object, once: Object, tmp_path: Path
) -> None:
    """Findings stand in the status while the training still runs."""
    assert checked["dataset"]["images"] == 24
    assert checked["dataset"]["numClasses"] == 11, "0 is never used"
    assert any("validation" in text for text in checked["dataset"]["warnings"])
    base = "s3://dino/test-results/once/preflight"
    report = json.loads(lab.fetch(f"{base}/report.json", tmp_path / "report.json"))
    assert [one["id"] for one in report["findings"]]
    page = lab.fetch(f"{base}/report.html", tmp_path / "report.html").decode()
    assert "<html" in page
    assert "data:image/" in page, "the grid of samples is part of the page"
    names = {one["name"] for one in once["artifacts"]}
    assert {"preflight/report.html", "preflight/report.json"} <= names


def test_a_finished_job_is_not_trained_twice(lab: Lab, once: Object) -> None:
    """The same spec and output report the same result at once."""
    lab.delete("once", "--wait=true")

    lab.apply(once_job())
    second = lab.complete("once", seconds=300)

    assert second["checkpoint"] == once["checkpoint"]
    assert second["metrics"] == once["metrics"]


def student_job() -> Object:
    """One epoch beside the teacher that `once` is: half of its queries and inner width."""
    job = small_job("student", epochs=1, action="distill", parent={"name": "once"})
    del job["spec"]["automlPolicy"]
    model = job["spec"]["experiment"]["model"]
    model.update(num_queries=10, num_select=10, dim_feedforward=32, distillation_loss_coef=1.0)
    return job


def test_a_student_learns_from_a_job_that_was_trained(
    lab: Lab, once: Object, tmp_path: Path
) -> None:
    """A smaller detector comes out, whose checkpoint is what the status says."""
    lab.apply(student_job())
    status = lab.complete("student", seconds=400)

    assert is_true(status, "ParentReady")
    assert status["inherited"]["model"] == once["model"]
    assert 0 <= status["metrics"]["mAP"] <= status["metrics"]["mAP50"]
    assert status["model"]["uri"] == status["checkpoint"]["uri"]
    content = lab.fetch(status["checkpoint"]["uri"], tmp_path / "student.pth")
    assert sha256(content) == status["checkpoint"]["sha256"]
    student = torch.load(tmp_path / "student.pth", map_location="cpu", weights_only=True)
    assert student["spec"]["model"]["num_queries"] == 10
    assert student["model"]["query_embed.weight"].shape == (10, 64)
    inner = "decoder.layers.0.feed_forward.linear1.weight"
    assert student["model"][inner].shape == (32, 64)
    assert f"The teacher is {once['model']['uri']}" in lab.logs("student")


def test_suspend_stops_the_pod_after_a_checkpoint_and_resume_goes_on(lab: Lab) -> None:
    """The GPU is free while suspended; the epochs that were done are not done again."""
    lab.apply(small_job("pause", epochs=20))
    lab.training("pause")

    lab.kubectl("patch", "dinojob", "pause", "--type=merge", "-p", suspend(True))
    lab.wait("pause", 120, lambda s: is_true(s, "Suspended"), "suspension")
    lab.wait("pause", 120, lambda _: not lab.live_pods("pause"), "end of the pod")
    before = step_of(lab.status("pause"))
    lab.kubectl("patch", "dinojob", "pause", "--type=merge", "-p", suspend(False))

    resumed = lab.running("pause")
    assert not is_true(resumed, "Suspended")
    assert step_of(resumed) >= before, "it does not begin again"
    done = lab.complete("pause", seconds=400)
    assert step_of(done) == 120 > before
    assert done["attempts"] == 1, "a suspension is not a failed attempt"
    went_on = re.search(r"Resuming after step (\d+)", lab.logs("pause", training_pods("pause")))
    assert went_on
    assert int(went_on[1]) >= before > 0


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
