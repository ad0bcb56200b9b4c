"""Keys that the real API server drops, and the operator that refuses what is left."""

from __future__ import annotations

from typing import Any

import pytest

from dino_operator.plan.annotations import LAST_APPLIED
from tests.api.operator_cluster import Cluster, a_manifest
from tests.api.operator_process import Process, eventually

STRICTLY = "Argo CD with the sync option ServerSideApply=true"
TRAIN = {"train": {"num_epoch": 1}}


def a_search(name: str, **spec: Any) -> dict[str, Any]:
    """A DinoAutoML on CPU."""
    template = {key: a_manifest()["spec"][key] for key in ("datasets", "output", "resources")}
    return {
        "apiVersion": "dino-operator.io/v1alpha1",
        "kind": "DinoAutoML",
        "metadata": {"name": name},
        "spec": {"template": template, **spec},
    }


DROPPED: dict[str, tuple[dict[str, Any], str]] = {
    "a misspelt key": (
        a_manifest("misspelt", experiment=TRAIN),
        "spec.experiment.train.num_epoch: is unknown, and the API server dropped it. "
        "Did you mean spec.experiment.train.num_epochs?",
    ),
    "a policy without a value": (
        a_manifest("empty", automlPolicy=None),
        "spec.automlPolicy: has no value, and means Auto where it is left out. "
        "Give it a value, or remove the key.",
    ),
    "a misspelt key of a search": (
        a_search("search-misspelt", maxTrial=3),
        "spec.maxTrial: is unknown, and the API server dropped it. Did you mean spec.maxTrials?",
    ),
    "no pruning": (
        a_search("search-empty", pruning=None),
        "spec.pruning: has no value, and means median where it is left out. "
        "Give it a value, or remove the key.",
    ),
}


@pytest.mark.parametrize(("manifest", "said"), DROPPED.values(), ids=DROPPED.keys())
def test_what_the_api_server_dropped_is_not_begun(
    cluster: Cluster, operator: Process, manifest: dict[str, Any], said: str
) -> None:
    """As Argo CD syncs: applied by the client, without strict field validation."""
    kind, name = manifest["kind"].lower(), manifest["metadata"]["name"]
    taken = cluster.kubectl.apply(manifest, "--validate=ignore")
    assert taken.returncode == 0, taken.stderr

    def failure() -> str:
        path = (
            "jsonpath={.status.failure.reason}: {.status.failure.message} {.status.failure.remedy}"
        )
        return str(cluster.kubectl("get", kind, name, "-o", path).stdout)

    eventually(lambda: failure().startswith("InvalidSpec"), "refused")
    assert said in failure()
    assert STRICTLY in failure()
    assert cluster.jobs_of(name) == []
    assert cluster.kubectl("get", "daml,dinojobs", "-o", "name").stdout.count(name) == 1


def test_strict_clients_are_refused_at_once(cluster: Cluster) -> None:
    manifest = a_manifest("strict", experiment=TRAIN)
    for words in (("--server-side=false",), ("--server-side",)):
        said = cluster.kubectl.apply(manifest, *words)
        assert said.returncode
        assert "num_epoch" in said.stderr


def test_a_job_that_runs_goes_on_whatever_is_applied_to_it(
    cluster: Cluster, operator: Process
) -> None:
    cluster.dinojobs.create(a_manifest("runs"))
    pod = cluster.run(cluster.job("runs-train-1")["metadata"]["name"])
    later = a_manifest("runs", runPolicy={"maxRetry": 5})
    applied = cluster.kubectl.apply(later, "--validate=ignore")
    assert applied.returncode == 0, applied.stderr
    noted = cluster.dinojobs.get("runs")["metadata"]["annotations"]
    assert "maxRetry" in noted[LAST_APPLIED]
    cluster.finish(pod, message={"schema": 1, "action": "train", "metrics": {"mAP50": 0.5}})
    cluster.phase("runs", "Complete")
