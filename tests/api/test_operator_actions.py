"""What comes after training, before a real API server and Job controller: chains and their ends."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from tests.api.clients import ROOT
from tests.api.operator_cluster import RESULT, Cluster, Object, a_manifest
from tests.api.operator_process import Process, eventually

CHAIN = ROOT / "examples" / "chain.yaml"
TEST = [{"uri": "s3://bucket/test"}]
MODELS: Object = {
    "checkpoint": {"uri": RESULT["checkpoint"]["uri"], "format": "checkpoint", "sha256": "a" * 64},
    "onnx": {"uri": "s3://bucket/export/dino_model.onnx", "format": "onnx", "precision": "fp32"},
    "int8": {
        "uri": "s3://bucket/quantize/dino_model_int8.onnx",
        "format": "onnx",
        "precision": "int8",
    },
}
COMPARED: Object = {
    "reference": {"format": "onnx", "mAP": 0.51, "latencyMs": 80.5, "bytes": 100},
    "candidate": {"format": "onnx", "precision": "int8", "mAP": 0.5, "latencyMs": 40.5},
    "images": 72,
    "matched": 0.97,
    "loss": 0.01,
    "maxLoss": 0.005,
}
REPORT = {"name": "report.html", "uri": "s3://bucket/quantize/report.html", "sha256": "b" * 64}


@pytest.fixture(autouse=True)
def _operator(operator: Process) -> None:
    """Every test has one."""


def a_job_to(action: str, name: str, parent: str | None, **spec: Any) -> Object:
    """A DinoJob of another action on CPU."""
    made = a_manifest(name, action=action, **spec)
    del made["spec"]["automlPolicy"]
    if "datasets" not in spec:
        made["spec"]["datasets"] = {"test": TEST}
    if parent is not None:
        made["spec"]["parent"] = {"name": parent}
    return made


def ready(cluster: Cluster, name: str) -> tuple[str, str]:
    """Status and message of the condition ParentReady, once it is there."""
    found = cluster.eventually_condition(name, "ParentReady")
    return found["status"], found["message"]


def end(cluster: Cluster, job: str, told: Object) -> Object:
    """The Job's pod ends well, with those words; returns the spec that it had read."""
    pod = cluster.run(job)
    volume = cluster.job(job)["spec"]["template"]["spec"]["volumes"][0]
    config = cluster.core.read_namespaced_config_map(volume["configMap"]["name"], cluster.namespace)
    action = job.split("-")[-2]
    cluster.finish(pod, message={"schema": 1, "action": action, **told})
    return dict(yaml.safe_load(config.data["spec.yaml"]))


def test_a_chain_of_five_applied_at_once(cluster: Cluster) -> None:
    applied = cluster.kubectl("apply", "-f", str(CHAIN))
    assert applied.returncode == 0, applied.stderr
    names = [each["metadata"]["name"] for each in yaml.safe_load_all(CHAIN.read_text())]
    assert len(names) == 5
    train, evaluate, export, quantize, last = names
    for name, parent in ((evaluate, train), (export, train), (quantize, export), (last, quantize)):
        said = f"DinoJob {parent} has not ended yet; it is waited for"
        assert ready(cluster, name) == ("False", said)
        assert not cluster.jobs_of(name)
    end(cluster, f"{train}-train-1", {**RESULT, "model": MODELS["checkpoint"]})
    spec = end(cluster, f"{export}-export-1", {"model": MODELS["onnx"]})
    assert spec["export"]["checkpoint"] == MODELS["checkpoint"]["uri"]
    assert spec["model"]["num_queries"] == 100, "the structure of its parent"
    metrics = {"mAP": 0.5, "mAP50": 0.75}
    given = {"model": MODELS["checkpoint"], "metrics": metrics}
    spec = end(cluster, f"{evaluate}-evaluate-1", given)
    assert spec["evaluate"]["checkpoint"] == MODELS["checkpoint"]["uri"]
    made = {"model": MODELS["int8"], "comparison": COMPARED, "artifacts": [REPORT]}
    spec = end(cluster, f"{quantize}-quantize-1", made)
    assert spec["quantize"]["model_path"] == MODELS["onnx"]["uri"]
    done = cluster.phase(quantize, "Complete")["status"]
    assert done["comparison"] == COMPARED
    assert REPORT in done["artifacts"]
    assert ready(cluster, quantize)[0] == "True"
    spec = end(cluster, f"{last}-evaluate-1", {"model": MODELS["int8"], "metrics": metrics})
    assert spec["evaluate"]["onnx_file"] == MODELS["int8"]["uri"]
    assert spec["dataset"]["num_classes"] == 4
    assert cluster.phase(last, "Complete")["status"]["model"] == MODELS["int8"]
    for name in names:
        cluster.phase(name, "Complete")
        assert cluster.events(name) == ["Completed"]


def test_a_model_that_the_action_cannot_take_is_refused_before_its_parent_has_trained(
    cluster: Cluster,
) -> None:
    cluster.dinojobs.create(a_manifest("teacher"))
    engine = a_job_to("gen_trt_engine", "engine", "teacher", resources={"gpus": 1})
    cluster.dinojobs.create(engine)
    failure = cluster.phase("engine", "Failed")["status"]["failure"]
    assert failure["reason"] == "InvalidSpec"
    assert failure["message"] == (
        "gen_trt_engine needs an ONNX file, and DinoJob teacher (train) leaves a checkpoint: put "
        "an export between them"
    )
    assert not cluster.jobs_of("engine")


def test_jobs_that_wait_for_each_other_or_for_nobody_say_so(cluster: Cluster) -> None:
    for name, parent in (("one", "two"), ("two", "three"), ("three", "one"), ("lost", "nobody")):
        cluster.dinojobs.create(a_job_to("evaluate", name, parent))
    said = "one waits for two waits for three waits for one: none of them can start"
    eventually(lambda: said in ready(cluster, "one")[1], "the circle named")
    assert ready(cluster, "lost") == (
        "False",
        "DinoJob nobody does not exist yet; it is waited for",
    )
    assert not cluster.jobs_of("one")


def test_a_gate_that_failed_keeps_its_report_and_stops_what_follows(cluster: Cluster) -> None:
    data = {"calibration": TEST, "test": TEST}
    quantize = a_job_to("quantize", "gate", None, datasets=data)
    quantize["spec"]["parent"] = {"uri": "s3://bucket/model.onnx"}
    cluster.dinojobs.create(quantize)
    cluster.dinojobs.create(a_job_to("evaluate", "after", "gate"))
    failure = {"reason": "GateFailed", "message": "mAP fell by 0.0100", "remedy": "Skip layers."}
    told = {"schema": 1, "action": "quantize", "failure": failure, "comparison": COMPARED}
    pod = cluster.run("gate-quantize-1")
    cluster.finish(pod, 80, {**told, "artifacts": [REPORT]})
    status = cluster.phase("gate", "Failed")["status"]
    assert status["failure"] == {**failure, "exitCode": 80}
    assert status["comparison"] == COMPARED
    names = [each["name"] for each in status["artifacts"]]
    assert names == ["preflight/report.html", "report.html"]
    assert "model" not in status
    assert cluster.condition("gate", "Failed")["reason"] == "GateFailed"
    refused = cluster.phase("after", "Failed")["status"]["failure"]
    assert refused["reason"] == "ParentFailed"
    assert "DinoJob gate failed: GateFailed: mAP fell by 0.0100" in refused["message"]


def test_an_engine_without_data_begins_at_once_under_a_name_with_dashes(cluster: Cluster) -> None:
    manifest = a_job_to("gen_trt_engine", "plan.x", None, datasets=None, resources={"gpus": 1})
    del manifest["spec"]["datasets"]
    manifest["spec"]["parent"] = {"uri": "s3://bucket/model.onnx"}
    cluster.dinojobs.create(manifest)
    (job,) = eventually(lambda: cluster.jobs_of("plan.x"), "a Job")
    name = job["metadata"]["name"]
    assert name.endswith("-gen-trt-engine-1")
    failure = {"reason": "NoTensorRT", "message": "no TensorRT", "remedy": "Another image."}
    told = {"schema": 1, "action": "gen_trt_engine", "failure": failure}
    cluster.finish(cluster.run(name), 79, told)
    assert cluster.phase("plan.x", "Failed")["status"]["failure"]["reason"] == "NoTensorRT"
    assert cluster.condition("plan.x", "DataReady") == {}
