"""The CustomResourceDefinition of DinoJob."""

from __future__ import annotations

from typing import Any

from dino_api import names
from dino_api.experiment.paths import walk
from dino_api.experiment.spec import OTHER_SECTIONS, ExperimentSpec
from dino_api.generate.cel import add_rules
from dino_api.generate.describe import describe
from dino_api.generate.openapi import structural
from dino_api.resources import DinoJobSpec
from dino_api.status import DinoJobStatus

Schema = dict[str, Any]

CRD_NAME = f"{names.PLURAL}.{names.GROUP}"

# title, type, path, whether only `-o wide` shows it
_COLUMNS = (
    ("Phase", "string", ".status.phase", False),
    ("Progress", "string", ".status.progress.display", False),
    ("mAP50", "number", ".status.metrics.mAP50", False),
    ("GPUs", "integer", ".status.gpus", False),
    ("Attempts", "integer", ".status.attempts", False),
    ("Age", "date", ".metadata.creationTimestamp", False),
    ("mAP", "number", ".status.metrics.mAP", True),
    ("Epoch", "integer", ".status.progress.epoch", True),
    ("Epochs", "integer", ".status.progress.epochs", True),
    ("Failure", "string", ".status.failure.reason", True),
    ("Checkpoint", "string", ".status.checkpoint.uri", True),
)


def crd() -> Schema:
    """The whole object, ready to be written as YAML."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": CRD_NAME},
        "spec": {
            "group": names.GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": names.KIND,
                "listKind": f"{names.KIND}List",
                "plural": names.PLURAL,
                "singular": names.SINGULAR,
                "shortNames": list(names.SHORT_NAMES),
                "categories": [names.CATEGORY],
            },
            "versions": [_version()],
        },
    }


def _version() -> Schema:
    return {
        "name": names.VERSION,
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "additionalPrinterColumns": [_column(*column) for column in _COLUMNS],
        "schema": {"openAPIV3Schema": root_schema()},
    }


def _column(title: str, kind: str, path: str, wide: bool) -> Schema:
    column: Schema = {"name": title, "type": kind, "jsonPath": path}
    return column | ({"priority": 1} if wide else {})


def root_schema() -> Schema:
    """openAPIV3Schema with every rule in it."""
    spec = structural(DinoJobSpec)
    spec["properties"]["experiment"] = _experiment(spec["properties"]["experiment"])
    status = structural(DinoJobStatus)
    conditions = status["properties"]["conditions"]
    conditions |= {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}
    root: Schema = {
        "type": "object",
        "description": "A training of a DINO detector.",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string", "maxLength": 64},
            "kind": {"type": "string", "maxLength": 64},
            "metadata": {"type": "object"},
            "spec": spec,
            "status": status,
        },
    }
    add_rules(root)
    return root


def _experiment(outer: Schema) -> Schema:
    """The experiment's schema: sections that this release reads, keys with their full texts."""
    schema = structural(ExperimentSpec)
    schema["description"] = outer["description"]
    for name in OTHER_SECTIONS:
        del schema["properties"][name]
    for path, field in walk():
        node = _find(schema, path)
        if node is not None and "properties" not in node:
            node["description"] = describe(field, node)
    return schema


def _find(schema: Schema, path: tuple[str, ...]) -> Schema | None:
    node = schema
    for part in path:
        node = node.get("items", node)
        if part not in node.get("properties", {}):
            return None
        node = node["properties"][part]
    return node
