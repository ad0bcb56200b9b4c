"""Results whose words are cut or lost, before a real Job controller: the test is the kubelet."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from dino_api.result import Dataset
from tests.api.operator_cluster import RESULT, Cluster, a_manifest
from tests.api.operator_process import Process, eventually
from tests.unit.termination import kept
from tests.unit.test_api_message import a_result

FOLDER = "s3://bucket/out/train"
WHERE = f"{FOLDER}/result.json"
READS = f"the work is done; its result is read from {WHERE}"
LVIS = {"numClasses": 1204, "classNames": [f"class-{n}" for n in range(1204)]}


def a_message(**parts: object) -> str:
    return a_result(FOLDER, **parts).to_termination_message()


@pytest.fixture(scope="module")
def unread(served: tuple[Cluster, Process]) -> Iterator[Future[None]]:
    """A job whose result cannot be read. The Job controller waits 10 and 20 s between its pods."""

    def refuse(cluster: Cluster) -> None:
        cluster.dinojobs.create(a_manifest("unread", runPolicy={"ttlSecondsAfterFinished": 3600}))
        cluster.finish(cluster.run("unread-train-1"))
        why = {"reason": "AccessDenied", "message": "The bucket refuses the key."}
        said = {"schema": 1, "action": "result", "failure": why}
        for _ in range(3):
            cluster.finish(cluster.run("unread-result-1"), 77, said)

    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(refuse, served[0])


@pytest.mark.usefixtures("unread")
@pytest.mark.parametrize("containers", [1, 4, 8])
def test_metrics_and_checkpoint_reach_the_status(cluster: Cluster, containers: int) -> None:
    """Also with what seven other containers leave of a message."""
    name = f"crowded-{containers}"
    cluster.dinojobs.create(a_manifest(name))
    names = [f"class {number}" for number in range(200)]
    text = a_message(dataset=Dataset(num_classes=4, class_names=names))
    cluster.finish(cluster.run(f"{name}-train-1"), message=kept(text, containers))
    done = cluster.phase(name, "Complete")["status"]
    whole = a_result(FOLDER).to_dict()
    assert done["checkpoint"] == whole["checkpoint"]
    assert done["model"] == whole["model"]
    assert (done["metrics"]["mAP50"], len(done["metrics"])) == (0.1112, 12)
    assert done["dataset"]["numClasses"] == 4
    assert done["progress"]["display"] == "100%"
    said = cluster.condition(name, "Complete")["message"]
    assert ("as the pod's message was cut" in said) is (containers > 3)


def test_a_job_reads_what_nobody_heard(cluster: Cluster) -> None:
    """The pod is gone before it was looked at. The Job controller makes the reader's pod."""
    cluster.dinojobs.create(a_manifest("unheard"))
    cluster.finish(cluster.run("unheard-train-1"), message="Killed")
    waits = cluster.reason("unheard", "ReadingResult")["status"]
    assert waits["phase"] == "Running"
    assert cluster.condition("unheard", "Running")["message"].startswith(READS)
    assert cluster.condition("unheard", "Running")["status"] == "False"
    reader = cluster.run("unheard-result-1")
    cluster.finish(reader, message=a_message())
    done = cluster.phase("unheard", "Complete")["status"]
    assert done["checkpoint"]["uri"] == f"{FOLDER}/dino_model_best.pth"
    assert done["metrics"]["mAP50"] == 0.1112
    assert done["attempts"] == 1
    assert cluster.condition("unheard", "Complete")["message"] == (
        f"mAP50 0.1112; results are in {FOLDER}"
    )
    pod = next(each for each in cluster.pods() if each["metadata"]["name"] == reader)
    assert pod["spec"]["automountServiceAccountToken"] is False
    assert not any("projected" in each for each in pod["spec"]["volumes"])
    assert cluster.events("unheard") == ["Completed"]


def test_what_lvis_leaves_is_taken(cluster: Cluster) -> None:
    """1,204 class names pass what the CRD allows; a result is never refused for its size."""
    cluster.dinojobs.create(a_manifest("lvis"))
    cluster.finish(cluster.run("lvis-train-1"), message={**RESULT, "dataset": LVIS})
    done = cluster.phase("lvis", "Complete")["status"]
    assert len(done["dataset"]["classNames"]) == 1204


def test_where_it_cannot_be_read_the_job_is_complete_and_says_why(
    cluster: Cluster, unread: Future[None]
) -> None:
    """Last: its reader is tried three times while the other tests of this module run."""
    unread.result()
    done = cluster.phase("unread", "Complete")["status"]
    assert cluster.condition("unread", "Complete")["message"] == (
        f"its result is in {WHERE} and could not be read: AccessDenied: The bucket refuses the key."
    )
    assert done["model"] == {"uri": f"{FOLDER}/dino_model_best.pth", "format": "checkpoint"}
    assert "failure" not in done
    jobs = [each for each in cluster.jobs_of("unread") if "result" in each["metadata"]["name"]]
    assert len(jobs) == 1, "and it is not read again"

    def lives() -> bool:
        jobs = cluster.jobs_of("unread")
        return all(each["spec"].get("ttlSecondsAfterFinished") == 3600 for each in jobs)

    eventually(lives, "all Jobs of it get their time to live")
