"""The preflight, several pods and queues before a real API server and Job controller."""

from __future__ import annotations

import json

from tests.api.operator_cluster import CHECKED, RESULT, Cluster, Object, a_manifest
from tests.api.operator_process import Process, eventually

QUEUE = "kueue.x-k8s.io/queue-name"
NO_KUEUE = "QueueUnavailable"
"""Kueue is not installed here, and the operator says so."""
PAIR = {"gpus": 0, "nodes": 2}


def data_ready(cluster: Cluster, name: str) -> Object:
    return cluster.condition(name, "DataReady")


def test_data_is_checked_before_a_gpu_is_asked_for(cluster: Cluster, operator: Process) -> None:
    cluster.by_hand.add("first")
    cluster.dinojobs.create(a_manifest("first", resources={"gpus": 1}))
    pod = cluster.run("first-preflight-1")
    preparing = cluster.phase("first", "Preparing")
    assert data_ready(cluster, "first")["reason"] == "Checking"
    assert "reporter" not in preparing["status"], "a preflight reports nothing"
    spec = cluster.job("first-preflight-1")["spec"]["template"]["spec"]
    assert "limits" not in spec["containers"][0]["resources"]
    assert spec["automountServiceAccountToken"] is False
    assert not [volume for volume in spec["volumes"] if "projected" in volume]
    operator.settled()
    assert len(cluster.jobs_of("first")) == 1, "nothing else while the data is checked"
    cluster.finish(pod, message=CHECKED)
    cluster.phase("first", "Queued")
    found = cluster.dinojobs.get("first")["status"]
    assert data_ready(cluster, "first")["status"] == "True"
    assert found["dataset"]["warnings"] == ["box-flat: 3"]
    assert found["artifacts"][0]["name"] == "preflight/report.html"
    cluster.finish(cluster.run("first-train-1"), message=RESULT)
    done = cluster.phase("first", "Complete")["status"]
    assert done["dataset"]["warnings"] == ["box-flat: 3"]
    assert done["dataset"]["classNames"] == ["", "cell"]
    assert done["artifacts"] == found["artifacts"]


def test_bad_data_ends_it_without_a_gpu(cluster: Cluster, operator: Process) -> None:
    cluster.by_hand.add("bad")
    cluster.dinojobs.create(a_manifest("bad"))
    failure = {"reason": "InvalidDataset", "message": "no category 9", "remedy": "Add it."}
    told = {"schema": 1, "action": "preflight", "failure": failure}
    cluster.finish(cluster.run("bad-preflight-1"), 65, told)
    status = cluster.phase("bad", "Failed")["status"]
    assert status["failure"] == {**failure, "exitCode": 65}
    assert "attempts" not in status
    ready = data_ready(cluster, "bad")
    assert (ready["status"], ready["reason"], ready["message"]) == (
        "False",
        "InvalidDataset",
        "no category 9",
    )
    assert [each["metadata"]["name"] for each in cluster.jobs_of("bad")] == ["bad-preflight-1"]


def test_killed_between_the_check_and_the_training(cluster: Cluster, operator: Process) -> None:
    cluster.by_hand.add("between")
    cluster.dinojobs.create(a_manifest("between"))
    pod = cluster.run("between-preflight-1")
    operator.kill()
    cluster.finish(pod, message=CHECKED)
    operator.start()
    cluster.finish(cluster.run("between-train-1"), message=RESULT)
    assert cluster.phase("between", "Complete")["status"]["attempts"] == 1
    assert len(cluster.jobs_of("between")) == 2


def test_two_pods_are_one_indexed_job(cluster: Cluster, operator: Process) -> None:
    cluster.dinojobs.create(a_manifest("pair.x", resources=PAIR))
    name = eventually(lambda: train_job(cluster, "pair.x"), "a Job that trains")
    second = cluster.run(name, index=1)
    cluster.phase("pair.x", "Queued")
    operator.settled()
    assert cluster.status("pair.x")["phase"] == "Queued", "one of two runs"
    first = cluster.run(name)
    assert cluster.phase("pair.x", "Running")["status"]["reporter"] == first
    job = cluster.job(name)
    assert (job["spec"]["completionMode"], job["spec"]["completions"]) == ("Indexed", 2)
    pod = cluster.core.read_namespaced_pod(first, cluster.namespace)
    assert pod.spec.hostname == f"{name}-0"
    service = cluster.core.read_namespaced_service(pod.spec.subdomain, cluster.namespace)
    assert service.spec.cluster_ip == "None"
    assert service.spec.selector.items() <= pod.metadata.labels.items()
    assert service.metadata.owner_references[0].kind == "DinoJob"
    cluster.bind(first)
    cluster.finish(second, 75)
    # A pod that the Job controller asks to go after its end is gone before anybody reads why.
    eventually(lambda: cluster.is_asked_to_go(first), f"pod {first} asked to go")
    cluster.finish(first, 71)
    waiting = cluster.reason("pair.x", "Retrying")["status"]
    assert waiting["failure"]["reason"] == "DeviceOutOfMemory", "not that a peer was lost"


def train_job(cluster: Cluster, name: str) -> str:
    """The name of the Job that trains, once the data was checked."""
    cluster.pass_preflights()
    names = [each["metadata"]["name"] for each in cluster.jobs_of(name)]
    return next((each for each in names if "-train-" in each), "")


def test_a_queue_is_waited_for_and_never_fought(cluster: Cluster, operator: Process) -> None:
    """The test does what Kueue would: it alone sets `suspend` of a Job in a queue."""
    cluster.dinojobs.create(a_manifest("line", queueName="gpus"))
    job = cluster.job("line-train-1")
    assert job["metadata"]["labels"][QUEUE] == "gpus"
    waiting = cluster.reason("line", NO_KUEUE)
    assert waiting["status"]["phase"] == "Queued"
    operator.settled()
    assert cluster.job("line-train-1")["spec"]["suspend"] is True
    set_suspend(cluster, "line-train-1", False)
    first = cluster.run("line-train-1")
    cluster.phase("line", "Running")
    cluster.bind(first)
    set_suspend(cluster, "line-train-1", True)
    cluster.reason("line", NO_KUEUE)
    cluster.finish(first, 143)
    operator.settled()
    assert cluster.job("line-train-1")["spec"]["suspend"] is True, "taken back, and not undone"
    assert cluster.dinojobs.get("line")["status"]["attempts"] == 1
    old = cluster.job("line-train-1")["metadata"]["uid"]
    cluster.dinojobs.patch("line", {"spec": {"runPolicy": {"suspend": True}}})
    cluster.phase("line", "Suspended")
    eventually(lambda: len(cluster.jobs_of("line")) == 1, "the Job gone, and its place free")
    cluster.dinojobs.patch("line", {"spec": {"runPolicy": {"suspend": False}}})
    cluster.reason("line", NO_KUEUE)
    again = cluster.job("line-train-1")
    assert again["metadata"]["uid"] != old
    assert again["spec"]["suspend"] is True
    set_suspend(cluster, "line-train-1", False)
    cluster.finish(cluster.run("line-train-1"), message=RESULT)
    assert cluster.phase("line", "Complete")["status"]["attempts"] == 1
    assert "AttemptFailed" not in cluster.events("line")


def set_suspend(cluster: Cluster, job: str, suspend: bool) -> None:
    patch = json.dumps({"spec": {"suspend": suspend}})
    done = cluster.kubectl("patch", "job", job, "--type=merge", "-p", patch)
    assert done.returncode == 0, done.stderr


def test_out_of_memory_halves_the_images_at_a_time(cluster: Cluster, operator: Process) -> None:
    experiment = {"dataset": {"batch_size": 4}}
    cluster.dinojobs.create(a_manifest("small", experiment=experiment))
    cluster.finish(cluster.run("small-train-1"), 137, reason="OOMKilled")
    waiting = cluster.reason("small", "Retrying")["status"]
    assert (waiting["microBatch"], waiting["accumulation"]) == (2, 2)
    container = cluster.job("small-train-2")["spec"]["template"]["spec"]["containers"][0]
    assert {"name": "DINO_MICRO_BATCH", "value": "2"} in container["env"]
