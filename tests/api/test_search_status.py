"""The status of a search as the operator applies it: what changes from one apply to the next."""

from __future__ import annotations

import json
from typing import Any

import kubernetes

from dino_api.names import FIELD_MANAGER
from tests.api.clients import DinoJobs, Kubectl

SEARCH: dict[str, Any] = {
    "apiVersion": "dino-operator.io/v1alpha1",
    "kind": "DinoAutoML",
    "metadata": {"name": "cells"},
    "spec": {
        "template": {
            "datasets": {
                "train": [{"uri": "s3://bucket/train"}],
                "validation": [{"uri": "s3://bucket/val"}],
            },
            "output": {"uri": "s3://bucket/results"},
        },
    },
}


def applied(kubectl: Kubectl, status: dict[str, Any]) -> dict[str, Any]:
    """The status after the operator's apply."""
    told = {**SEARCH, "status": status}
    words = ("apply", "--server-side", "--subresource=status", f"--field-manager={FIELD_MANAGER}")
    done = kubectl(*words, "-o", "json", "-f", "-", stdin=json.dumps(told))
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)["status"]
    return found


def test_the_baseline_may_become_the_best_after_a_drawn_trial(
    kubectl: Kubectl, api_client: kubernetes.client.ApiClient, namespace: str
) -> None:
    custom = kubernetes.client.CustomObjectsApi(api_client)
    DinoJobs(custom, namespace, "dinoautomls").create(SEARCH)
    experiment = {"train": {"optim": {"lr": 1e-4}}}
    drawn = {"parameters": {"train.optim.lr": 1e-4}, "specification": experiment}
    best = {"trial": "cells-trial-1", "number": 1, "mAP50": 0.5, **drawn}
    assert applied(kubectl, {"best": best})["best"] == best
    baseline = {"parameters": {}, "specification": {}}
    best = {"trial": "cells-trial-0", "number": 0, "mAP50": 0.6, **baseline}
    assert applied(kubectl, {"best": best})["best"] == best
