"""The status of a DinoJob: what the operator and the pod report."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from dino_api.base import NAME, SHORT, TEXT, URI, Camel
from dino_api.result import (
    MOST_ARTIFACTS,
    Artifact,
    Checkpoint,
    Dataset,
    Failure,
    Metrics,
    ModelComparison,
    ModelFile,
    Progress,
)


class Condition(Camel):
    """One condition, in Kubernetes' usual form."""

    type: str = Field(
        max_length=NAME, description="What it is about, such as Running, Complete or Failed."
    )
    status: Literal["True", "False", "Unknown"] = Field(description="True, False or Unknown.")
    reason: str = Field(max_length=SHORT, description="One word for why.")
    message: str = Field("", max_length=TEXT, description="The same for people.")
    last_transition_time: str | None = Field(
        None, max_length=NAME, description="When status last changed."
    )
    observed_generation: int | None = Field(
        None, ge=0, description="The generation of the spec that this was true for."
    )


class Inheritance(Camel):
    """What a job took over from its parent, once and for all."""

    model: ModelFile = Field(description="The model that it goes on from.")
    experiment: Annotated[
        dict[str, Any],
        Field(json_schema_extra={"x-kubernetes-preserve-unknown-fields": True}),
    ] = Field(default_factory=dict, description="Keys of the parent's experiment: the structure.")
    num_classes: int | None = Field(None, ge=1, description="Its classes.")


class DinoJobStatus(Camel):
    """What the operator and the pod report."""

    observed_generation: int | None = Field(
        None, ge=0, description="The generation of the spec that the operator last acted on."
    )
    phase: str | None = Field(
        None,
        max_length=NAME,
        description="For printing only: Pending, Preparing, Queued, Running, Suspended, Complete "
        "or Failed. Programs read conditions.",
    )
    attempts: int | None = Field(None, ge=0, description="Attempts so far.")
    gpus: int | None = Field(None, ge=0, description="GPUs that each attempt asks for, in all.")
    gpu_seconds: int | None = Field(
        None, ge=0, description="Of runs that have ended: seconds that all pods ran, times gpus."
    )
    micro_batch: int | None = Field(
        None,
        ge=1,
        description="Images per forward pass, once memory did not suffice for the whole batch.",
    )
    accumulation: int | None = Field(
        None, ge=1, description="Forward passes per optimiser step at that size."
    )
    reporter: str | None = Field(
        None, max_length=253, description="The pod that may write progress."
    )
    start_time: str | None = Field(
        None, max_length=NAME, description="Start of the first pod of the action."
    )
    completion_time: str | None = Field(None, max_length=NAME, description="End of the job.")
    active_seconds: int | None = Field(
        None, ge=0, description="Of activeDeadlineSeconds, used before the present run."
    )
    active_since: str | None = Field(
        None, max_length=NAME, description="Start of the present run, where there is a deadline."
    )
    conditions: list[Condition] = Field(
        default_factory=list,
        max_length=16,
        description="Suspended, AutoMLRouted, ParentReady, DataReady, Running, Complete, Failed.",
    )
    progress: Progress | None = Field(None, description="Where the action is.")
    dataset: Dataset | None = Field(None, description="What the preflight found in the data.")
    metrics: Metrics | None = Field(
        None, description="Metrics of the model, by validation or evaluation."
    )
    checkpoint: Checkpoint | None = Field(None, description="The best checkpoint, of training.")
    model: ModelFile | None = Field(None, description="The model that a later job goes on from.")
    comparison: ModelComparison | None = Field(
        None, description="The model that was made beside the one that it was made from."
    )
    artifacts: list[Artifact] = Field(
        default_factory=list, max_length=MOST_ARTIFACTS, description="Files under the output."
    )
    failure: Failure | None = Field(None, description="Why the latest attempt failed.")
    automl: str | None = Field(
        None, max_length=253, description="The DinoAutoML that searches for this job."
    )
    inherited: Inheritance | None = Field(None, description="What spec.parent brought.")
    spec_digest: str | None = Field(
        None, max_length=128, description="Digest of the resolved experiment spec."
    )
    image: str | None = Field(None, max_length=URI, description="Container image of the trainer.")

    def condition(self, kind: str) -> Condition | None:
        """The condition of that type, or None."""
        return next((each for each in self.conditions if each.type == kind), None)
