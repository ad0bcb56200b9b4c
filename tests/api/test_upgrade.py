"""Objects that an earlier release took and this one would refuse, before a real API server.

They have no datasets.validation. What was taken can be held, released, ended and deleted, and
trains as it did: validated on the training data.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kubernetes.client import ApiException

from tests.api.admission_cases import causes
from tests.api.clients import DinoJobs, Kubectl
from tests.api.older_crds import LATELY, in_force, install, older, ours
from tests.api.operator_cluster import RESULT, Cluster, Object, Operating, a_manifest
from tests.api.operator_process import Process, eventually

pytestmark = pytest.mark.alone
DATA = {"train": [{"uri": "s3://bucket/train"}]}
FINALIZER = {"metadata": {"finalizers": ["example.org/mine"]}}
WRITES: dict[str, Callable[[DinoJobs], Any]] = {
    "labels": lambda them: them.patch("kept", {"metadata": {"labels": {"a": "b"}}}),
    "a finalizer": lambda them: them.patch("kept", FINALIZER),
    "no finalizer": lambda them: them.patch("kept", {"metadata": {"finalizers": None}}),
    "status": lambda them: them.patch_status("kept", {"phase": "Running"}),
    "status again": lambda them: them.patch_status("kept", {"phase": "Queued"}),
}
HELD = {"suspend": True}


def a_search(name: str, **spec: Any) -> Object:
    """A DinoAutoML of the earlier release."""
    template = {"datasets": DATA, "output": {"uri": "s3://bucket/out"}, "resources": {"gpus": 0}}
    told = {"template": template, "engine": "Embedded", "maxTrials": 2, "parallelTrials": 1}
    return {
        "apiVersion": "dino-operator.io/v1alpha1",
        "kind": "DinoAutoML",
        "metadata": {"name": name},
        "spec": {**told, **spec},
    }


def a_job(name: str, **spec: Any) -> Object:
    """A DinoJob of the earlier release."""
    return a_manifest(name, datasets=DATA, **spec)


def searches_of(dinojobs: DinoJobs) -> DinoJobs:
    """DinoAutoMLs of the same namespace."""
    return DinoJobs(dinojobs.api, dinojobs.namespace, "dinoautomls")


def takes(them: DinoJobs, manifest: Object) -> bool:
    """Whether the API server would create it."""
    try:
        them.api.create_namespaced_custom_object(**them._where, body=manifest, dry_run="All")
    except ApiException as error:
        if LATELY in error.body:
            return False
        raise
    return True


def both_in_force(jobs: DinoJobs, crds: list[Object], kubectl: Kubectl, wanted: bool) -> None:
    """Has these CRDs in force; wanted: whether they take objects without validation data."""
    install(kubectl, crds)
    in_force(lambda: takes(jobs, a_job("asked")), wanted)
    in_force(lambda: takes(searches_of(jobs), a_search("asked")), wanted)


@pytest.fixture(scope="module")
def served(cluster_kubectl: Kubectl, operating: Operating) -> Iterator[tuple[Cluster, Process]]:
    """Objects created under the earlier CRDs, then this release's CRDs, then its operator."""
    with operating() as (cluster, operator):
        operator.kill()
        jobs, searches = cluster.dinojobs, searches_of(cluster.dinojobs)
        try:
            both_in_force(jobs, older(), cluster_kubectl, True)
            for made in (a_job("trains"), a_job("held", runPolicy=HELD), a_job("over")):
                jobs.create(made)
            jobs.create(a_job("seek", automlPolicy="Auto"))
            jobs.create(a_job("kept", runPolicy=HELD))
            searches.create(a_search("tune", **HELD))
            searches.create(a_search("kept", **HELD))
        finally:
            both_in_force(jobs, ours(), cluster_kubectl, False)
        yield cluster, operator.start()


@pytest.mark.parametrize("plural", ["dinojobs", "dinoautomls"])
@pytest.mark.parametrize("write", WRITES)
def test_metadata_and_status_can_be_written(cluster: Cluster, plural: str, write: str) -> None:
    jobs = cluster.dinojobs
    WRITES[write](jobs if plural == jobs.plural else searches_of(jobs))


def test_a_job_is_released_and_trains_as_before(cluster: Cluster, operator: Process) -> None:
    cluster.phase("held", "Suspended")
    cluster.dinojobs.patch("held", {"spec": {"runPolicy": {"suspend": False}}})
    cluster.run("held-train-1")
    config = cluster.job("held-train-1")["spec"]["template"]["spec"]["volumes"][0]["configMap"]
    spec = cluster.core.read_namespaced_config_map(config["name"], cluster.namespace)
    assert spec.data["spec.yaml"].count("image_dir: s3://bucket/train/") == 2
    cluster.finish(cluster.pod_of("held-train-1"), message=RESULT)
    assert cluster.phase("held", "Complete")["status"]["attempts"] == 1


def test_a_job_that_trains_is_stopped(cluster: Cluster, operator: Process) -> None:
    pod = cluster.run("trains-train-1")
    cluster.phase("trains", "Running")
    cluster.bind(pod)
    cluster.dinojobs.patch("trains", {"spec": {"runPolicy": {"stop": True}}})
    cluster.reason("trains", "Stopping")
    cluster.finish(pod, 143)
    assert cluster.phase("trains", "Failed")["status"]["failure"]["reason"] == "Stopped"


def test_it_can_be_deleted(cluster: Cluster, operator: Process) -> None:
    cluster.job("over-train-1")
    assert cluster.kubectl("delete", "dinojob", "over").returncode == 0
    eventually(lambda: not cluster.jobs_of("over"), "its Jobs gone")


@pytest.mark.parametrize(
    "change", [{"numClasses": 5}, {"datasets": {"validation": [{"uri": "s3://bucket/val"}]}}]
)
def test_another_field_is_as_immutable_as_ever(cluster: Cluster, change: Object) -> None:
    """And nothing is said of the rule that nobody broke by this edit."""
    with pytest.raises(ApiException) as caught:
        cluster.dinojobs.patch("kept", {"spec": change})
    [(where, message)] = causes(caught.value)
    assert where == f"spec.{next(iter(change))}"
    assert "is immutable: create another DinoJob" in message


@pytest.mark.parametrize("how", ["--server-side=false", "--server-side"])
def test_its_manifest_can_be_applied_again(cluster: Cluster, how: str) -> None:
    text = json.dumps(a_job("kept", runPolicy=HELD))
    done = cluster.kubectl("apply", how, "-f", "-", stdin=text)
    assert done.returncode == 0, done.stderr


def test_a_copy_of_it_is_refused(cluster: Cluster) -> None:
    copied = copy.deepcopy(cluster.dinojobs.get("kept"))
    copied["metadata"] = {"name": "copied"}
    assert not takes(cluster.dinojobs, copied)


def test_a_job_is_searched_for(cluster: Cluster, operator: Process) -> None:
    cluster.run("seek-trial-0-train-1")
    made = searches_of(cluster.dinojobs).get("seek")["spec"]["template"]["datasets"]
    assert made["validation"] == made["train"]
    cluster.phase("seek", "Running")


def test_a_search_is_released_grows_and_makes_its_trials(
    cluster: Cluster, operator: Process
) -> None:
    searches = searches_of(cluster.dinojobs)
    for change in ({"maxTrials": 3}, {"suspend": False}):
        searches.patch("tune", {"spec": change})
    cluster.finish(cluster.run("tune-trial-0-train-1"), message=RESULT)
    cluster.run("tune-trial-1-train-1")
    said = cluster.said("tune", "SearchDoubtful")
    assert 1 <= len(said) <= 3, "once for each generation at most"
    assert all("is the training data" in each for each in said)
    with pytest.raises(ApiException, match="algorithm is immutable"):
        searches.patch("tune", {"spec": {"algorithm": {"seed": 3}}})
