"""A manifest that is applied again as Argo CD does it, server-side, changes nothing."""

from __future__ import annotations

from typing import Any

import yaml

from dino_api import names
from tests.api.clients import ROOT, DinoJobs, Kubectl
from tests.api.operator_cluster import a_manifest

Object = dict[str, Any]
# Numbers and quantities as people write them, which the API server keeps as it likes.
WRITTEN = """
apiVersion: dino-operator.io/v1alpha1
kind: DinoJob
metadata: {name: written}
spec:
  action: train
  automlPolicy: Disabled
  datasets: {train: [{uri: s3://photos/train}], validation: [{uri: s3://photos/val}]}
  output: {uri: s3://photos/out}
  resources: {gpus: 0, cpu: 1.0, memory: 3072Mi}
  experiment: {train: {num_epochs: 1e1, optim: {lr: 1e-4}}}
"""
EXAMPLES = [path.read_text() for path in sorted((ROOT / "examples").glob("*.yaml"))]
KINDS = f"{names.PLURAL},{names.AUTOML_PLURAL}"


def sync(kubectl: Kubectl, text: str) -> None:
    """What Argo CD does with ServerSideApply=true."""
    how = ("--server-side", "--force-conflicts", "--field-manager=argocd-controller")
    done = kubectl("apply", *how, "-f", "-", stdin=text)
    assert done.returncode == 0, done.stderr


def stored(kubectl: Kubectl) -> list[Object]:
    """All DinoJobs and DinoAutoMLs of the namespace."""
    return list(yaml.safe_load(kubectl("get", KINDS, "-o", "yaml").stdout)["items"])


def test_a_second_sync_writes_nothing(kubectl: Kubectl) -> None:
    """Of every example, and of numbers that the API server writes otherwise."""
    text = "\n---\n".join([WRITTEN, *EXAMPLES])
    sync(kubectl, text)
    before = stored(kubectl)
    assert len(before) > len(EXAMPLES)
    sync(kubectl, text)
    assert stored(kubectl) == before, "the resourceVersions, too"


def test_a_status_between_two_syncs_stays_and_is_no_difference(
    kubectl: Kubectl, dinojobs: DinoJobs
) -> None:
    text = yaml.safe_dump(a_manifest("told"))
    sync(kubectl, text)
    told = dinojobs.patch_status("told", {"phase": "Queued", "attempts": 1})
    sync(kubectl, text)
    after = dinojobs.get("told")
    assert after["status"] == told["status"]
    assert after["metadata"]["resourceVersion"] == told["metadata"]["resourceVersion"]


def test_what_is_stored_says_the_same_as_what_was_applied(kubectl: Kubectl) -> None:
    """Committed to git from the cluster, as people do: the spec and its generation stay."""
    sync(kubectl, yaml.safe_dump(a_manifest("exported")))
    (before,) = stored(kubectl)
    kept = {key: before["metadata"][key] for key in ("name", "namespace")}
    sync(kubectl, yaml.safe_dump({**before, "metadata": kept}))
    (after,) = stored(kubectl)
    assert after["spec"] == before["spec"]
    assert after["metadata"]["generation"] == before["metadata"]["generation"] == 1


def test_a_key_without_a_value_is_refused_as_the_docs_say(kubectl: Kubectl) -> None:
    """Client-side it would be as if it were not there."""
    thing = a_manifest("null", queueName=None)
    assert kubectl.apply(thing, "--dry-run=server").returncode == 0
    text = yaml.safe_dump(thing)
    refused = kubectl("apply", "--server-side", "--dry-run=server", "-f", "-", stdin=text)
    assert "spec.queueName in body must be of type string" in refused.stderr
