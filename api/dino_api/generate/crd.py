"""The CustomResourceDefinitions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dino_api import names
from dino_api.actions import ACTIONS
from dino_api.base import Camel, note_of
from dino_api.experiment.paths import walk
from dino_api.experiment.spec import OTHER_SECTIONS, ExperimentSpec
from dino_api.generate.cel import add_automl_rules, add_job_rules
from dino_api.names import Action
from dino_api.resources.dinoautoml import FOLLOWERS, DinoAutoMLSpec, DinoAutoMLStatus
from dino_api.resources.dinojob import DinoJobSpec
from dino_api.resources.status import DinoJobStatus
from dino_api.rules.resource.dinoautoml import below_template
from dino_api.schema.describe import describe
from dino_api.schema.openapi import structural

Schema = dict[str, Any]

# title, type, path, whether only `-o wide` shows it
_Column = tuple[str, str, str, bool]
# Why it is in that phase: of what has failed, the failure.
_REASON = '.status.conditions[?(@.type=="Running")].reason'


@dataclass(frozen=True)
class CustomResource:
    """One kind of resource.

    training: the fields between spec and its TrainingSpec. actions: what it can run.
    """

    kind: str
    plural: str
    singular: str
    short_names: tuple[str, ...]
    description: str
    spec: type[Camel]
    status: type[Camel]
    training: tuple[str, ...]
    actions: tuple[str, ...]
    columns: tuple[_Column, ...]
    add_rules: Callable[[Schema], None]

    @property
    def crd_name(self) -> str:
        """The name of the CustomResourceDefinition."""
        return f"{self.plural}.{names.GROUP}"

    @property
    def sections(self) -> frozenset[str]:
        """The sections of the experiment that one of its actions reads."""
        return frozenset(
            name for action in self.actions for name in ACTIONS[Action(action)].sections
        )

    def reworded(self, text: str) -> str:
        """The sentence about a DinoJob as it reads for this kind."""
        text = below_template(text) if self.training else text
        return text[0].upper() + text[1:]

    @property
    def file(self) -> str:
        """Where it is written, below the repository's root."""
        return f"crds/{names.GROUP}_{self.plural}.yaml"


JOB = CustomResource(
    names.KIND,
    names.PLURAL,
    names.SINGULAR,
    names.SHORT_NAMES,
    "A job on a DINO detector: its training, or what comes after it.",
    DinoJobSpec,
    DinoJobStatus,
    (),
    tuple(Action),
    (
        ("Action", "string", ".spec.action", False),
        ("Phase", "string", ".status.phase", False),
        ("Reason", "string", _REASON, False),
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
        ("Model", "string", ".status.model.uri", True),
    ),
    add_job_rules,
)
AUTOML = CustomResource(
    names.AUTOML_KIND,
    names.AUTOML_PLURAL,
    names.AUTOML_SINGULAR,
    names.AUTOML_SHORT_NAMES,
    "A search for the hyperparameters of a training.",
    DinoAutoMLSpec,
    DinoAutoMLStatus,
    ("template",),
    FOLLOWERS,
    (
        ("Phase", "string", ".status.phase", False),
        ("Reason", "string", _REASON, False),
        ("Trials", "string", ".status.trials.display", False),
        ("mAP50", "number", ".status.best.mAP50", False),
        ("Best trial", "string", ".status.best.trial", False),
        ("Age", "date", ".metadata.creationTimestamp", False),
        ("Engine", "string", ".status.engine", True),
        ("Failed", "integer", ".status.trials.failed", True),
        ("Failure", "string", ".status.failure.reason", True),
        ("Checkpoint", "string", ".status.best.checkpoint.uri", True),
    ),
    add_automl_rules,
)
KINDS = (JOB, AUTOML)


def crd(kind: CustomResource = JOB) -> Schema:
    """The whole object, ready to be written as YAML."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": kind.crd_name},
        "spec": {
            "group": names.GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": kind.kind,
                "listKind": f"{kind.kind}List",
                "plural": kind.plural,
                "singular": kind.singular,
                "shortNames": list(kind.short_names),
                "categories": [names.CATEGORY],
            },
            "versions": [_version(kind)],
        },
    }


def _version(kind: CustomResource) -> Schema:
    return {
        "name": names.VERSION,
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "additionalPrinterColumns": [_column(*column) for column in kind.columns],
        "schema": {"openAPIV3Schema": root_schema(kind)},
    }


def _column(title: str, kind: str, path: str, wide: bool) -> Schema:
    column: Schema = {"name": title, "type": kind, "jsonPath": path}
    return column | ({"priority": 1} if wide else {})


def root_schema(kind: CustomResource = JOB) -> Schema:
    """openAPIV3Schema with every rule in it."""
    spec = structural(kind.spec)
    training = spec
    for name in kind.training:
        training = training["properties"][name]
    outer = training["properties"]["experiment"]
    training["properties"]["experiment"] = _experiment(outer, kind)
    if kind.training:
        _describe_template(training)
    status = structural(kind.status)
    conditions = status["properties"]["conditions"]
    conditions |= {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}
    root: Schema = {
        "type": "object",
        "description": kind.description,
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string", "maxLength": 64},
            "kind": {"type": "string", "maxLength": 64},
            "metadata": {"type": "object"},
            "spec": spec,
            "status": status,
        },
    }
    kind.add_rules(root)
    return root


# What a field of a DinoJob means in the template of a search.
_IN_TEMPLATE = {
    "datasets.inference": "Not read by a search.",
    "runPolicy": "Retries and time limits of each trial.",
    "runPolicy.suspend": "Use spec.suspend.",
    "runPolicy.stop": "No effect in a template.",
}


def _describe_template(training: Schema) -> None:
    for path, text in _IN_TEMPLATE.items():
        node = _find(training, tuple(path.split(".")))
        assert node is not None, path
        node["description"] = text


def _experiment(outer: Schema, kind: CustomResource) -> Schema:
    """The experiment's schema: sections that its actions read, keys with their full texts."""
    schema = structural(ExperimentSpec)
    schema["description"] = outer["description"]
    for name in {*OTHER_SECTIONS, *Action} - kind.sections:
        schema["properties"].pop(name, None)
    _refused_whole(schema)
    for path, field in walk():
        node = _find(schema, path)
        if node is not None and "properties" not in node:
            by = note_of(field).resource
            node["description"] = kind.reworded(f"use {by}.") if by else describe(field, node)
    _take_nulls(schema)
    return schema


def _take_nulls(node: Schema) -> None:
    """Lets keys and sections be null, which TAO's specs are full of: a null is as if left out.

    Where null is not let in, `kubectl apply --server-side` refuses it, and other ways drop it. CEL
    sees no key there. A choice cannot let it in: the API server takes null as none of an enum. A
    list's entry, and the keys in it, must have values.
    """
    if "enum" not in node:
        node["nullable"] = True
    for inner in node.get("properties", {}).values():
        _take_nulls(inner)


def _refused_whole(schema: Schema) -> None:
    """Sections and lists of them that a rule refuses: whatever is in them, the rule says why."""
    for path, field in walk():
        node = _find(schema, path)
        if node is not None and (note_of(field).resource or path in _EMPTY):
            inner = node.get("items", node)
            if inner.pop("properties", None):
                inner["x-kubernetes-preserve-unknown-fields"] = True


# Lists that must be empty.
_EMPTY = {("quantize", "layers")}


def _find(schema: Schema, path: tuple[str, ...]) -> Schema | None:
    node = schema
    for part in path:
        node = node.get("items", node)
        if part not in node.get("properties", {}):
            return None
        node = node["properties"][part]
    return node
