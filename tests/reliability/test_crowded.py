"""Pods into which others put containers: the kubelet leaves less of the trainer's last words.

The containers are ephemeral ones that never start: the kubelet counts them as any others.
"""

from __future__ import annotations

import json
import time

import pytest

from tests.e2e.jobs import Lab, Object, small_job, training_pods
from tests.patience import Patience

pytestmark = [pytest.mark.cluster, pytest.mark.level0]

ROOM = 12288
"""Bytes of all messages of a pod."""


def crowd(lab: Lab, others: dict[str, int], seconds: float = 300) -> dict[str, str]:
    """Puts so many containers beside the trainer of each job as soon as its pod is there; returns
    the pods' names by job.
    """
    waiting = Patience(seconds)
    crowded: dict[str, str] = {}
    while len(crowded) < len(others):
        assert waiting.lasts(), f"training pods of {set(others) - set(crowded)}"
        for job in others.keys() - crowded.keys():
            for pod in pods_of(lab, job):
                crowded[job] = pod["metadata"]["name"]
                add(lab, crowded[job], others[job])
        time.sleep(0.5)
    return crowded


def add(lab: Lab, pod: str, others: int) -> None:
    """So many containers, of an image that is nowhere."""
    never = {"image": "localhost/none:none", "imagePullPolicy": "Never"}
    added = [{"name": f"agent-{number}", **never} for number in range(others)]
    body = json.dumps({"spec": {"ephemeralContainers": added}})
    lab.kubectl("patch", "pod", pod, "--subresource=ephemeralcontainers", "-p", body)


def pods_of(lab: Lab, job: str) -> list[Object]:
    found: list[Object] = json.loads(
        lab.kubectl("get", "pods", "-l", training_pods(job), "-o", "json")
    )["items"]
    return found


def last_words(lab: Lab, pod: str) -> str:
    """The trainer's termination message, as the kubelet has left it."""
    states = lab.get("pod", pod)["status"]["containerStatuses"]
    message: str = states[0]["state"]["terminated"]["message"]
    return message


def test_metrics_and_checkpoint_reach_the_status_of_a_crowded_pod(lab: Lab) -> None:
    """Of four and eight containers by the message alone; of 32, which leave 384 bytes, by a Job
    that reads the result.
    """
    others = {"crowded-4": 3, "crowded-8": 7, "crowded-32": 31}
    for name in others:
        lab.apply(small_job(name, epochs=2, resources={"gpus": 0, "memory": "1536Mi"}))
    pods = crowd(lab, others)

    for name, count in others.items():
        status = lab.complete(name, seconds=600)
        assert status["metrics"]["mAP50"] >= 0
        assert len(status["metrics"]) == 12
        assert status["checkpoint"]["uri"].endswith(f"{name}/train/dino_model_best.pth")
        assert status["checkpoint"]["sha256"] == status["model"]["sha256"]
        assert status["progress"]["display"] == "100%"
        assert status["attempts"] == 1
        assert len(last_words(lab, pods[name]).encode()) <= ROOM // (count + 1)
        readers = [
            each["metadata"]["name"]
            for each in lab.list("jobs", name)
            if each["metadata"]["labels"]["dino-operator.io/action"] == "result"
        ]
        assert readers == ([f"{name}-result-1"] if name == "crowded-32" else [])


def test_a_result_that_is_published_again_shows_all_of_its_progress(lab: Lab) -> None:
    """The pod finds its result in the output, and ends before it could report."""
    name = "again"
    lab.apply(small_job(name))
    first = lab.complete(name, seconds=400)
    lab.delete(name, "--cascade=foreground", "--timeout=15m")
    lab.apply(small_job(name))
    again = lab.complete(name, seconds=400)
    assert "Nothing to do" in lab.logs(name, training_pods(name))
    assert again["metrics"] == first["metrics"]
    columns = lab.kubectl("get", "dinojob", name)
    assert "100%" in columns, columns
