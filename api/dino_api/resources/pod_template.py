"""The part of a pod that users choose. Curated: what the operator must control is left out."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from dino_api.base import NAME, NOT_BLANK, SHORT, TEXT, Camel

LabelKey = Annotated[str, Field(max_length=317)]
LabelValue = Annotated[str, Field(max_length=NAME)]
AnnotationValue = Annotated[str, Field(max_length=TEXT)]


class Toleration(Camel):
    """Lets the pod run on a node with that taint."""

    key: str | None = Field(None, max_length=317, description="Key of the taint; absent: any.")
    operator: Literal["Exists", "Equal"] | None = Field(
        None, description="Exists or Equal (default)."
    )
    value: str | None = Field(None, max_length=NAME, description="Value of the taint.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        None, description="Effect of the taint; absent: any."
    )
    toleration_seconds: int | None = Field(
        None, ge=0, description="How long a NoExecute taint is borne, in seconds."
    )


class NodeRequirement(Camel):
    """One condition on a node's labels."""

    key: LabelKey = Field(description="Label of the node.")
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"] = Field(
        description="How the label is compared."
    )
    values: list[LabelValue] | None = Field(
        None, max_length=64, description="Values to compare with."
    )


class NodeSelectorTerm(Camel):
    """Conditions that must all hold."""

    match_expressions: list[NodeRequirement] = Field(
        max_length=16, description="Conditions that must all hold."
    )


class NodeSelector(Camel):
    """Terms of which one must hold."""

    node_selector_terms: list[NodeSelectorTerm] = Field(
        min_length=1, max_length=16, description="Terms of which one must hold."
    )


class NodeAffinity(Camel):
    """Nodes that the pod may run on."""

    required_during_scheduling_ignored_during_execution: NodeSelector | None = Field(
        None, description="What a node must have."
    )


class Affinity(Camel):
    """Only node affinity."""

    node_affinity: NodeAffinity | None = Field(None, description="Nodes that the pod may run on.")


class EnvVar(Camel):
    """One environment variable of the trainer."""

    name: str = Field(
        max_length=SHORT,
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
        description="Name. DINO_… and AWS_… are set by the operator and refused.",
    )
    value: str = Field("", max_length=TEXT, description="Value.")


class SecretName(Camel):
    """A secret in the job's namespace."""

    name: str = Field(
        max_length=253, json_schema_extra=NOT_BLANK, description="Name of the secret."
    )


class PodTemplate(Camel):
    """Where and how the trainer's pod runs."""

    node_selector: dict[LabelKey, LabelValue] = Field(
        default_factory=dict, max_length=32, description="Labels that the node must have."
    )
    tolerations: list[Toleration] = Field(
        default_factory=list, max_length=32, description="Taints that the pod tolerates."
    )
    affinity: Affinity | None = Field(None, description="Nodes that the pod may run on.")
    env: list[EnvVar] = Field(
        default_factory=list, max_length=64, description="Environment variables of the trainer."
    )
    image_pull_secrets: list[SecretName] = Field(
        default_factory=list, max_length=16, description="Secrets to pull the container image with."
    )
    runtime_class_name: str | None = Field(
        None, max_length=253, description="RuntimeClass, such as nvidia."
    )
    labels: dict[LabelKey, LabelValue] = Field(
        default_factory=dict,
        max_length=32,
        description="Labels of the pods and all other children.",
    )
    annotations: dict[LabelKey, AnnotationValue] = Field(
        default_factory=dict,
        max_length=32,
        description="Annotations of the pods and all other children.",
    )
