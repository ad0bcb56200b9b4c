"""A search in a job's place, jobs that are stopped, and heirs: before a real API server."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.api.operator_cluster import RESULT, Cluster, Object, Operating, a_manifest
from tests.api.operator_process import Process, eventually

BEST = RESULT["checkpoint"]["uri"]
WORDS = {
    "schema": 1,
    "action": "train",
    "checkpoint": {"uri": BEST},
    "curve": [{"epoch": 1, "mAP50": 0.25}],
    "failure": {"reason": "Preempted", "message": "stopped on request"},
}

REPORTED = {
    "schema": 1,
    "action": "report",
    "artifacts": [{"name": "report.html", "uri": "s3://bucket/out/report.html"}],
}


@pytest.fixture(scope="module")
def served(operating: Operating) -> Iterator[tuple[Cluster, Process]]:
    """An operator whose searches have one trial."""
    with operating("--automl-trials", "1", "--automl-parallel-trials", "1") as both:
        yield both


@pytest.fixture(autouse=True)
def _operator(operator: Process) -> None:
    """Every test has one."""


def search(cluster: Cluster, name: str) -> Object:
    """The DinoAutoML of that name; empty where there is none."""
    got = cluster.kubectl("get", "dinoautoml", name, "-o", "json", "--ignore-not-found")
    return json.loads(got.stdout or "{}")


def inherited(cluster: Cluster, name: str) -> Object:
    """What the job took over, once it did."""

    def found() -> Object:
        return dict(cluster.status(name).get("inherited", {}))

    return eventually(found, f"an inheritance of {name}")


def stop(cluster: Cluster, name: str) -> None:
    cluster.dinojobs.patch(name, {"spec": {"runPolicy": {"stop": True}}})


def test_a_job_without_a_policy_is_searched_for_and_ends_with_its_search(cluster: Cluster) -> None:
    manifest = a_manifest("seek")
    del manifest["spec"]["automlPolicy"]
    cluster.dinojobs.create(manifest)
    made = eventually(lambda: search(cluster, "seek"), "a search")
    assert made["metadata"]["ownerReferences"][0]["name"] == "seek"
    assert (made["spec"]["maxTrials"], made["spec"]["parallelTrials"]) == (1, 1)
    cluster.eventually_condition("seek", "AutoMLRouted", "Routed")
    cluster.finish(cluster.run("seek-trial-0-train-1"), message=RESULT)
    cluster.finish(cluster.run("seek-report-1"), message=REPORTED)
    done = cluster.phase("seek", "Complete")["status"]
    assert done["artifacts"] == REPORTED["artifacts"]
    assert done["checkpoint"]["uri"] == BEST
    assert done["metrics"]["mAP50"] == 0.75
    assert done["progress"]["display"] == "1/1 trials"
    assert done["automl"] == "seek"
    assert not cluster.jobs_of("seek"), "no Job of its own"


def hold(cluster: Cluster, name: str, on: bool) -> None:
    cluster.dinojobs.patch(name, {"spec": {"runPolicy": {"suspend": on}}})


def test_a_searched_job_is_suspended_resumed_and_stopped_with_its_search(cluster: Cluster) -> None:
    manifest = a_manifest("hold", runPolicy={"suspend": True})
    del manifest["spec"]["automlPolicy"]
    cluster.dinojobs.create(manifest)
    eventually(lambda: search(cluster, "hold").get("spec", {}).get("suspend"), "suspended with it")
    cluster.phase("hold", "Suspended")
    trial = f"{search(cluster, 'hold')['metadata']['name']}-trial-0"
    hold(cluster, "hold", False)
    cluster.job(f"{trial}-preflight-1")
    assert not search(cluster, "hold")["spec"]["suspend"], "resumed with it"
    hold(cluster, "hold", True)

    def is_held() -> bool:
        return bool(cluster.dinojobs.get(trial)["spec"].get("runPolicy", {}).get("suspend"))

    eventually(is_held, "its trial suspended with it")
    cluster.phase("hold", "Suspended")
    stop(cluster, "hold")
    cluster.phase("hold", "Failed")
    assert cluster.condition("hold", "Failed")["reason"] == "Stopped"
    assert search(cluster, "hold")["spec"]["suspend"] is True


def test_a_stopped_job_keeps_what_it_had_reached(cluster: Cluster) -> None:
    cluster.dinojobs.create(a_manifest("enough"))
    pod = cluster.run("enough-train-1")
    cluster.phase("enough", "Running")
    cluster.bind(pod)
    stop(cluster, "enough")
    cluster.reason("enough", "Stopping")
    cluster.finish(pod, 143, WORDS)
    status = cluster.phase("enough", "Failed")["status"]
    assert status["failure"]["reason"] == "Stopped"
    assert status["checkpoint"]["uri"] == BEST
    assert status["metrics"]["mAP50"] == 0.25
    left = ["enough-preflight-1"]
    eventually(
        lambda: [each["metadata"]["name"] for each in cluster.jobs_of("enough")] == left, "no Job"
    )
    assert cluster.events("enough") == ["Failed"]


def test_an_heir_waits_for_its_parent_and_starts_from_its_checkpoint(cluster: Cluster) -> None:
    model = {"model": {"num_queries": 100}}
    cluster.dinojobs.create(a_manifest("heir", parent={"name": "base"}))
    other = a_manifest("odd", parent={"name": "base"}, experiment={"model": {"num_queries": 50}})
    cluster.dinojobs.create(other)
    cluster.reason("heir", "WaitingForParent")
    cluster.dinojobs.create(a_manifest("base", experiment=model))
    cluster.finish(cluster.run("base-train-1"), message=RESULT)
    left = {"uri": BEST, "format": "checkpoint"}
    taken = {"model": left, "experiment": model, "numClasses": 4}
    assert inherited(cluster, "heir") == taken
    cluster.run("heir-train-1")
    config = cluster.job("heir-train-1")["spec"]["template"]["spec"]["volumes"][0]["configMap"]
    spec = cluster.core.read_namespaced_config_map(config["name"], cluster.namespace)
    assert f"pretrained_model_path: {BEST}" in spec.data["spec.yaml"]
    refused = cluster.phase("odd", "Failed")["status"]["failure"]
    assert refused["reason"] == "InvalidSpec"
    assert "model.num_queries: must be 100" in refused["message"]
    assert not cluster.jobs_of("odd")


def test_what_follows_a_search_is_admitted_and_goes_on_from_its_winner(cluster: Cluster) -> None:
    """Each reads its own data and the model that the one before it left; an engine fails alone."""
    here = {part: [{"uri": f"s3://bucket/{part}"}] for part in ("train", "validation", "test")}
    experiment = {"export": {"opset_version": 18}, "quantize": {"algorithm": "minmax"}}
    template = {
        "datasets": {**here, "calibration": here["train"]},
        "output": {"uri": "s3://bucket/follow"},
        "resources": {"gpus": 0, "processes": 2},
        "numClasses": 4,
        "experiment": experiment,
    }
    then = [{"action": each} for each in ("evaluate", "export", "quantize", "gen_trt_engine")]
    made = {
        "apiVersion": "dino-operator.io/v1alpha1",
        "kind": "DinoAutoML",
        "metadata": {"name": "follow"},
        "spec": {"template": template, "engine": "Embedded", "maxTrials": 1, "then": then},
    }
    made["spec"]["parallelTrials"] = 1
    applied = cluster.kubectl("apply", "-f", "-", stdin=json.dumps(made))
    assert applied.returncode == 0, applied.stderr
    cluster.finish(cluster.run("follow-trial-0-train-1"), message=RESULT)
    cluster.finish(cluster.run("follow-report-1"), message=REPORTED)
    keys = {"evaluate": "checkpoint", "export": "checkpoint", "quantize": "model_path"}
    model = {"uri": BEST, "format": "checkpoint"}
    for index, (action, key) in enumerate(keys.items(), start=1):
        job = f"follow-then-{index}-{action}-1"
        pod = cluster.run(job)
        volume = cluster.job(job)["spec"]["template"]["spec"]["volumes"][0]["configMap"]["name"]
        told = cluster.core.read_namespaced_config_map(volume, cluster.namespace).data["spec.yaml"]
        assert f"{key}: {model['uri']}" in told
        if action != "evaluate":
            model = {"uri": f"s3://bucket/{action}.onnx", "format": "onnx"}
        cluster.finish(pod, message={"schema": 1, "action": action, "model": model})
    cluster.finish(cluster.run("follow-then-4-gen-trt-engine-1"), 79)
    ended = ("Complete", "Failed")

    def over() -> Object:
        status: Object = search(cluster, "follow").get("status", {})
        return status if status.get("phase") in ended else {}

    status = eventually(over, "the end")
    assert status["phase"] == "Complete", "the winner stands"
    assert [each["phase"] for each in status["then"]] == ["Complete"] * 3 + ["Failed"]
