"""Memory that does not suffice, and nodes that are emptied: the job goes on, at no cost."""

from __future__ import annotations

import json

import pytest

from tests.e2e.jobs import Lab, Object, small_job, training_pods

pytestmark = [pytest.mark.cluster, pytest.mark.level0]

# Whole batches of these images need some 5.2 GB, halves 3.4 GB, quarters 2.2 GB.
MEMORY, BATCH, SIZE = "4100Mi", 16, [416, 544]


def evict(lab: Lab, pod: str) -> None:
    """By the API, as a descheduler does it."""
    namespace = lab.cluster.namespace
    eviction = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": pod, "namespace": namespace},
    }
    path = f"/api/v1/namespaces/{namespace}/pods/{pod}/eviction"
    lab.kubectl("create", "--raw", path, "-f", "-", given=json.dumps(eviction))


@pytest.mark.alone
def test_eviction_and_a_drained_node_cost_nothing(lab: Lab) -> None:
    """The evicted pod saves a checkpoint, the drained one has just started; another resumes. No
    retry is counted, for none is allowed.
    """
    name = "taken-away"
    lab.apply(small_job(name, epochs=15, runPolicy={"maxRetries": 0}))
    first = lab.saved(name)["reporter"]

    evict(lab, first)
    lab.wait(name, 240, lambda s: s.get("reporter") not in (None, first), "pod after the eviction")
    node = lab.kubectl("get", "nodes", "-o", "jsonpath={.items[0].metadata.name}")
    try:
        selector = f"--pod-selector={training_pods(name)}"
        lab.kubectl("drain", node, selector, "--delete-emptydir-data", "--timeout=15m")
        told = lab.wait(name, 120, lambda s: "PodsUnschedulable" in str(s), "cordoned node")
    finally:
        lab.kubectl("uncordon", node)
    assert "kubectl uncordon" in str(told["conditions"]), "the remedy"

    status = lab.complete(name, seconds=400)
    assert status["progress"]["percent"] == 100
    assert status["attempts"] == 1
    assert "failure" not in status
    assert "Resuming after step" in lab.logs(name)


def test_too_little_memory_halves_the_micro_batch(lab: Lab) -> None:
    """The kernel ends the first attempt; a later one does the same steps in smaller parts."""
    lab.apply(hungry("hungry", MEMORY, BATCH))

    status = lab.complete("hungry", seconds=600)

    assert status["attempts"] >= 2
    assert status["microBatch"] < BATCH
    assert status["microBatch"] * status["accumulation"] == BATCH
    assert f"{BATCH} images a step" in lab.logs("hungry", training_pods("hungry"))
    assert "OOMKilled" in ends(lab, "hungry", "train")
    assert ends(lab, "hungry", "preflight") == ["Completed"]


def test_memory_too_small_for_one_image_ends_with_a_remedy(lab: Lab) -> None:
    """Halving has an end: two attempts with one image at a time, whatever maxRetries allows."""
    lab.apply(hungry("starved", "220Mi", 1, runPolicy={"maxRetries": 10}))

    status = lab.finished("starved", seconds=400)

    assert status["failure"]["reason"] == "OutOfMemory"
    failure = status["failure"]
    assert "twice in a row with one image per forward pass" in failure["message"]
    assert "raise spec.resources.memory" in failure["remedy"]
    assert "dataset.batch_size" not in failure["remedy"], "it is 1 already"
    assert failure["remedy"].endswith("and create a new job.")
    assert status["attempts"] == 2
    assert ends(lab, "starved", "train") == ["OOMKilled", "OOMKilled"]


def hungry(name: str, memory: str, batch: int, **spec: Object) -> Object:
    """One epoch of larger images, without workers: the memory is that of one process."""
    job = small_job(name, epochs=1, resources={"gpus": 0, "memory": memory}, **spec)
    job["spec"]["experiment"]["dataset"].update(batch_size=batch, workers=0)
    job["spec"]["experiment"]["dataset"]["augmentation"]["fixed_size"] = SIZE
    return job


def ends(lab: Lab, name: str, action: str) -> list[str]:
    """The kubelet's words for how the containers of the job's pods ended."""
    pods = [
        pod
        for pod in lab.list("pods", name)
        if pod["metadata"]["labels"]["dino-operator.io/action"] == action
    ]
    states = [one["state"] for pod in pods for one in pod["status"].get("containerStatuses", [])]
    return [state["terminated"]["reason"] for state in states if "terminated" in state]
