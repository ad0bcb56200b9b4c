"""Resources as `kubectl dino` gets them from the API server."""

from __future__ import annotations

from typing import Any

from tests.builders import Object, at


def a_job(status: Object | None = None, name: str = "cells", **spec: Any) -> Object:
    return {
        "apiVersion": "dino-operator.io/v1alpha1",
        "kind": "DinoJob",
        "metadata": {
            "name": name,
            "namespace": "team",
            "uid": "u",
            "creationTimestamp": at(0),
        },
        "spec": {
            "action": "train",
            "datasets": {
                "train": [{"uri": "s3://data/train"}],
                "validation": [{"uri": "s3://data/val"}],
            },
            "output": {"uri": f"s3://results/{name}"},
            "experiment": {"train": {"num_epochs": 12}},
            **spec,
        },
        **({"status": status} if status else {}),
    }


def a_search(status: Object | None = None, **spec: Any) -> Object:
    made = {**a_job(status), "kind": "DinoAutoML"}
    return {**made, "spec": {"template": made["spec"], **spec}}
