"""DinoAutoML: a search for the hyperparameters of one training, and its status."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field

from dino_api.base import NAME, NO_NULL, NOT_BLANK, SHORT, URI, Camel
from dino_api.names import METRIC
from dino_api.resources.dinojob import TrainingSpec
from dino_api.resources.status import Condition
from dino_api.result import Artifact, Checkpoint, Dataset, Failure

MOST_TRIALS = 500

Value = bool | int | float | str
"""A drawn value: a flag, a number or a name."""
Assignment = dict[str, Value]
"""Dotted path of the experiment spec -> drawn value."""


def _single(value: object) -> object:
    """Refuses what is no single value in one sentence; pydantic has one for each type of them."""
    if not isinstance(value, bool | int | float | str):
        raise ValueError("must be a number, true or false, or text")
    return value


Choice = Annotated[Value, BeforeValidator(_single)]
Choices = Annotated[list[Choice], Field(min_length=1, max_length=64)]


TrialState = Literal["Pending", "Running", "Succeeded", "Pruned", "Failed", "Stopped"]


class When(Camel):
    """A parameter is drawn only where another has one of these values."""

    path: str = Field(max_length=SHORT, description="Path of another parameter of the search.")
    values: Choices = Field(description="The values of it with which this one counts.")


class SearchParameter(Camel):
    """One dimension of the search: a range, or choices."""

    path: str = Field(
        max_length=SHORT,
        description="Dotted path in the experiment spec, such as train.optim.lr.",
    )
    min: float | None = Field(None, description="Lowest value of the range.")
    max: float | None = Field(None, description="Highest value of the range.")
    step: float | None = Field(
        None, gt=0, description="Distance of two values of a linear range. Absent: any value."
    )
    scale: Literal["linear", "log"] = Field(
        "linear", description="log draws each power of ten as often as the next."
    )
    choices: Choices | None = Field(None, description="The values themselves, without min and max.")
    when: When | None = Field(None, description="When it counts. Absent: always.")


class Algorithm(Camel):
    """How trials are drawn."""

    name: Literal["tpe", "random", "cmaes", "grid"] = Field(
        "tpe",
        description="tpe (default) learns from finished trials; random; cmaes for ranges only; "
        "grid tries every combination.",
    )
    seed: int = Field(0, ge=0, le=2**31 - 1, description="The same seed draws the same trials.")
    startup_trials: int = Field(
        8, ge=1, le=MOST_TRIALS, description="tpe: trials drawn at random before it learns."
    )


class Pruning(Camel):
    """Which trials are stopped early; the embedded search engine only."""

    name: Literal["median", "successiveHalving", "none"] = Field(
        "median",
        json_schema_extra=NO_NULL,
        description="median stops a trial that is worse than half of the others at the same "
        "epoch; successiveHalving keeps the best share at each rung.",
    )
    start_epoch: int | None = Field(
        None,
        ge=1,
        le=100000,
        description="No trial is stopped before this epoch; the first rung. Absent: a third of "
        "train.num_epochs.",
    )
    min_trials: int = Field(
        3, ge=1, le=MOST_TRIALS, description="median: trials to compare with that there must be."
    )
    reduction_factor: int = Field(
        3, ge=2, le=16, description="successiveHalving: one of so many trials passes each rung."
    )

    def starting(self, epochs: int) -> Pruning:
        """The pruning with its first epoch, of so many: the very first ones say little."""
        start = self.start_epoch or max(1, -(-epochs // 3))
        return self.model_copy(update={"start_epoch": start})


class Objective(Camel):
    """What the search makes as large as it can."""

    metric: Literal["mAP50"] = Field("mAP50", description=f"{METRIC}, the only one.")
    goal: float | None = Field(
        None,
        gt=0,
        le=1,
        description="The search ends once a trial reaches it. Absent: it does not.",
    )


FollowerAction = Literal["train", "evaluate", "export", "gen_trt_engine", "quantize"]
FOLLOWERS: tuple[str, ...] = get_args(FollowerAction)
"""What can run on the winner of a search; the training itself is among it."""


class Follower(Camel):
    """A job that runs on the winner once the search has ended."""

    action: FollowerAction = Field(
        description="train goes on from the winner's checkpoint with its parameters; evaluate and "
        "export take that checkpoint; quantize and gen_trt_engine the ONNX file of the latest "
        "export or quantize before them. Each reads its own section of template.experiment."
    )
    epochs: int | None = Field(
        None,
        ge=1,
        le=100000,
        description="train: its train.num_epochs. Absent: the template's.",
    )


class SearchReference(Camel):
    """Another DinoAutoML of the namespace."""

    name: str = Field(
        max_length=253,
        json_schema_extra=NOT_BLANK,
        description="Its name; its search must have ended.",
    )


class DinoAutoMLSpec(Camel):
    """What to search. Immutable except suspend and the numbers of trials."""

    template: TrainingSpec = Field(description="The training that is tuned.")
    profile: Literal["smoke"] | None = Field(
        None,
        description="smoke: data, classes and numbers of the installation's smoke profile, as a "
        "whole. Used without being named where template has neither datasets nor numClasses.",
    )
    engine: Literal["Auto", "Katib", "Embedded"] = Field(
        "Auto",
        json_schema_extra=NO_NULL,
        description="Katib makes an Experiment; Embedded runs trials as DinoJobs. Auto (default): "
        "Katib where it is installed and can do what is asked, else Embedded.",
    )
    algorithm: Algorithm = Field(default_factory=Algorithm, description="How trials are drawn.")
    search: list[SearchParameter] = Field(
        default_factory=list,
        max_length=32,
        description="What is searched. Absent: train.optim.lr, train.optim.lr_backbone, "
        "train.optim.weight_decay, model.num_queries and model.dropout_ratio, in ranges that suit "
        "DINO; of these, what template.experiment does not set.",
    )
    objective: Objective = Field(default_factory=Objective, description="What is maximised.")
    pruning: Pruning | None = Field(
        None, description="Which trials are stopped early. Absent: median, or none on Katib."
    )
    max_trials: int = Field(
        20, ge=1, le=MOST_TRIALS, description="Trials in all, the one with the defaults included."
    )
    parallel_trials: int = Field(2, ge=1, le=100, description="Trials that run at the same time.")
    max_failed_trials: int = Field(
        3, ge=0, le=MOST_TRIALS, description="The search fails when more trials than this failed."
    )
    warm_start_from: list[SearchReference] = Field(
        default_factory=list,
        max_length=8,
        description="Searches whose finished trials are known from the start; Embedded only.",
    )
    then: list[Follower] = Field(
        default_factory=list, max_length=8, description="Jobs that run on the winner, in order."
    )
    suspend: bool = Field(
        False, description="True stops running trials after a checkpoint; false goes on from there."
    )


# Atomic: applied key by key, the API server makes null of a map that becomes empty, and refuses it.
Parameters = Annotated[
    dict[str, Any],
    Field(
        json_schema_extra={
            "x-kubernetes-preserve-unknown-fields": True,
            "x-kubernetes-map-type": "atomic",
        }
    ),
]


class TrialCounts(Camel):
    """Trials by state."""

    total: int = Field(ge=0, description="Trials that were started.")
    running: int = Field(0, ge=0, description="Waiting or running now.")
    succeeded: int = Field(0, ge=0, description="Trained to the end.")
    pruned: int = Field(0, ge=0, description="Stopped early for being worse than others.")
    failed: int = Field(0, ge=0, description="Ended without a result.")
    stopped: int = Field(0, ge=0, description="Stopped because the search had ended.")
    display: str = Field(max_length=NAME, description="Ended and planned trials: 3/20.")


class TrialRecord(Camel):
    """One trial."""

    number: int = Field(ge=0, description="0 is the one with the defaults.")
    name: str = Field(max_length=253, description="Its DinoJob, or Katib's Trial.")
    state: TrialState = Field(description="Pending, Running, Succeeded, Pruned, Failed or Stopped.")
    parameters: Parameters = Field(
        default_factory=dict, description="What was drawn; empty for the defaults."
    )
    mAP50: float | None = Field(None, description="Its best validation mAP50.")
    epoch: int | None = Field(None, ge=0, description="Epochs that it trained.")
    reason: str | None = Field(None, max_length=NAME, description="Why it failed.")
    message: str | None = Field(None, max_length=SHORT, description="The same for people.")
    start_time: str | None = Field(None, max_length=NAME, description="When its pod started.")
    completion_time: str | None = Field(None, max_length=NAME, description="When it ended.")
    gpu_seconds: int | None = Field(None, ge=0, description="GPUs times seconds.")
    curve: list[float] = Field(
        default_factory=list, max_length=200, description="mAP50 of each validation."
    )


class BestTrial(Camel):
    """The best trial so far."""

    trial: str = Field(max_length=253, description="Its name.")
    number: int = Field(ge=0, description="Its number.")
    parameters: Parameters = Field(default_factory=dict, description="What was drawn.")
    mAP50: float = Field(description="Its best validation mAP50.")
    checkpoint: Checkpoint | None = Field(None, description="Its best checkpoint.")
    specification: Parameters = Field(
        default_factory=dict, description="Its experiment spec: what to write to train it again."
    )


class KnownTrial(Camel):
    """A finished trial of an earlier search."""

    parameters: Parameters = Field(description="What was drawn.")
    mAP50: float = Field(description="Its best validation mAP50.")


class ThenStatus(Camel):
    """A job on the winner."""

    action: str = Field(max_length=NAME, description="What it does.")
    name: str = Field(max_length=253, description="Its DinoJob.")
    phase: str = Field(max_length=NAME, description="The phase of that DinoJob.")


class DinoAutoMLStatus(Camel):
    """How the search is going."""

    observed_generation: int | None = Field(
        None, ge=0, description="The generation of the spec that the operator last acted on."
    )
    phase: str | None = Field(
        None,
        max_length=NAME,
        description="For printing only: Pending, Preparing, Running, Suspended, Complete or "
        "Failed. Programs read conditions.",
    )
    engine: Literal["Katib", "Embedded"] | None = Field(None, description="What runs the trials.")
    experiment: str | None = Field(None, max_length=NAME, description="Katib's Experiment.")
    conditions: list[Condition] = Field(
        default_factory=list,
        max_length=16,
        description="EngineReady, ProfileApplied, DataReady, Suspended, Running, Complete, Failed.",
    )
    start_time: str | None = Field(None, max_length=NAME, description="Start of the first trial.")
    completion_time: str | None = Field(None, max_length=NAME, description="End of the search.")
    search: list[SearchParameter] = Field(
        default_factory=list, max_length=32, description="What is searched, defaults written out."
    )
    trials: TrialCounts | None = Field(None, description="Trials by state.")
    history: list[TrialRecord] = Field(
        default_factory=list, max_length=MOST_TRIALS, description="Every trial by number."
    )
    best: BestTrial | None = Field(
        None, description="The best trial so far; the winner at the end."
    )
    known: list[KnownTrial] = Field(
        default_factory=list, max_length=MOST_TRIALS, description="What warmStartFrom brought."
    )
    then: list[ThenStatus] = Field(
        default_factory=list, max_length=8, description="The jobs on the winner."
    )
    dataset: Dataset | None = Field(None, description="What the preflight found in the data.")
    artifacts: list[Artifact] = Field(default_factory=list, max_length=8, description="The report.")
    failure: Failure | None = Field(None, description="Why the search failed.")


class SmokeProfile(Camel):
    """The installation's smoke profile (Helm values automl.profile): used as a whole or not."""

    train_uri: str = Field("", max_length=URI, description="Folder of the training data.")
    validation_uri: str = Field("", max_length=URI, description="Folder of the validation data.")
    num_classes: int = Field(5, ge=1, description="Largest category id plus one.")
    max_trials: int = Field(10, ge=1, description="Trials.")
    epochs: int = Field(10, ge=1, description="train.num_epochs.")
    checkpoint_interval: int = Field(10, ge=1, description="train.checkpoint_interval.")
    validation_interval: int = Field(1, ge=1, description="train.validation_interval.")
    gpus: int = Field(1, ge=0, description="resources.gpus.")
