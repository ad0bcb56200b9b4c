"""GPUs as the scheduler counts them: advertised on the node, which has none and no driver."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from dino_api.names import GPU_RESOURCE
from tests.e2e.jobs import Lab, Object, small_job

pytestmark = [pytest.mark.cluster, pytest.mark.level0]


@pytest.fixture(scope="module")
def two_gpus(lab: Lab) -> Iterator[None]:
    """The node says that it has two."""
    node = lab.kubectl("get", "nodes", "-o", "jsonpath={.items[0].metadata.name}")
    patch = ("patch", "node", node, "--subresource=status", "--type=merge", "-p")
    lab.kubectl(*patch, json.dumps({"status": {"capacity": {GPU_RESOURCE: "2"}}}))
    yield
    lab.kubectl(*patch, json.dumps({"status": {"capacity": {GPU_RESOURCE: None}}}))


@pytest.fixture(scope="module")
def jobs(lab: Lab, two_gpus: None) -> None:
    """Both at once: most of their time is waiting."""
    for name, gpus in (("two-gpus", 2), ("eight-gpus", 8)):
        # As many CPUs as two GPUs get by default, the node may not have.
        job = small_job(name, resources={"gpus": gpus, "cpu": 1, "memory": "3Gi"})
        # There are 24 images, and a step takes a batch for each GPU.
        job["spec"]["experiment"]["dataset"]["batch_size"] = 2
        lab.apply(job)
    lab.apply(engine_job())


def engine_job() -> Object:
    """Of a file that does not exist: without TensorRT nothing is fetched."""
    job = small_job("engine", resources={"gpus": 1, "memory": "3Gi"})
    spec = job["spec"]
    for key in ("automlPolicy", "datasets", "experiment"):
        del spec[key]
    spec |= {"action": "gen_trt_engine", "parent": {"uri": "s3://dino/nowhere.onnx"}}
    return job


def test_a_job_gets_the_gpus_it_asks_for_and_says_that_no_driver_is_there(
    lab: Lab, jobs: None
) -> None:
    """Training does not go on with the CPU behind the user's back."""
    status = lab.finished("two-gpus", seconds=300)

    assert status["failure"]["reason"] == "NoGPU"
    assert status["failure"]["exitCode"] == 78
    assert status["attempts"] == 1
    assert status["gpus"] == 2
    asked = {
        pod["metadata"]["labels"]["dino-operator.io/action"]: pod["spec"]["containers"][0][
            "resources"
        ].get("limits", {})
        for pod in lab.list("pods", "two-gpus")
    }
    assert asked["train"][GPU_RESOURCE] == "2"
    assert GPU_RESOURCE not in asked["preflight"]


def test_an_engine_without_tensorrt_in_the_image_says_where_to_get_it(lab: Lab, jobs: None) -> None:
    """One GPU is enough for it, and it needs no data."""
    status = lab.finished("engine", seconds=300)

    assert status["failure"]["reason"] == "NoTensorRT"
    assert "tensorrt" in status["failure"]["remedy"].lower()
    assert status["attempts"] == 1


def test_a_job_that_fits_nowhere_says_what_is_missing(lab: Lab, jobs: None) -> None:
    """The scheduler's own words stand in the condition."""

    def told(status: Object) -> bool:
        return f"Insufficient {GPU_RESOURCE}" in str(status.get("conditions"))

    status = lab.wait("eight-gpus", 120, told, "word on the missing GPUs")

    running = next(one for one in status["conditions"] if one["type"] == "Running")
    assert running["status"] == "False"
    assert "Insufficient nvidia.com/gpu" in running["message"]
    assert "spec.resources.gpus" in running["message"], "the remedy"
    lab.delete("eight-gpus")
