"""The root of the experiment spec."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from pydantic import BeforeValidator, Field

from dino_api.base import SHORT, URI, Section, key
from dino_api.experiment.actions import (
    DistillConfig,
    EvaluateConfig,
    ExportConfig,
    GenTrtEngineConfig,
    InferenceConfig,
    QuantizeConfig,
    WandbConfig,
)
from dino_api.experiment.dataset import DatasetConfig
from dino_api.experiment.model import ModelConfig
from dino_api.experiment.train import TrainConfig

# Sections that no action reads, with what to say about them.
OTHER_SECTIONS: dict[str, str] = {"wandb": "nothing is sent to Weights & Biases"}


def readers(actions: Iterable[str]) -> str:
    """The clause "only `dino evaluate` and `dino export` read it"."""
    names = [f"`dino {action}`" for action in actions]
    text = " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
    return f"only {text} {'read' if len(names) > 1 else 'reads'} it"


def _absent(value: object) -> object:
    """An empty section for `evaluate:` without anything below it, and for older checkpoints."""
    return {} if value is None else value


OrAbsent = BeforeValidator(_absent)


class ExperimentSpec(Section):
    """A TAO experiment spec for DINO, with the keys this project adds."""

    model: ModelConfig = Field(
        default_factory=ModelConfig, description="Architecture, matching and loss of the detector."
    )
    dataset: DatasetConfig = Field(
        default_factory=DatasetConfig, description="Data sources, batching and augmentation."
    )
    train: TrainConfig = Field(
        default_factory=TrainConfig, description="Length of training, optimiser, checkpoints."
    )
    results_dir: str = key(
        "",
        "Folder or s3:// URI under which every action has its folder.",
        resource="spec.output.uri",
        decides=False,
        size=URI,
    )
    encryption_key: Annotated[str | None, Field(max_length=SHORT)] = key(
        "",
        "TAO's key for encrypted models.",
        dead="models are never encrypted",
        resource="the encryption of the bucket behind spec.output.uri",
    )
    model_name: Annotated[str | None, Field(max_length=SHORT)] = key(
        "", "TAO's name of the network.", dead="this trainer has one network"
    )
    evaluate: Annotated[EvaluateConfig, OrAbsent] = Field(
        default_factory=EvaluateConfig, description="Scores a model on the test data."
    )
    inference: Annotated[InferenceConfig, OrAbsent] = Field(
        default_factory=InferenceConfig, description="Runs a model on images without annotations."
    )
    export: Annotated[ExportConfig, OrAbsent] = Field(
        default_factory=ExportConfig, description="Writes a checkpoint as an ONNX file."
    )
    gen_trt_engine: Annotated[GenTrtEngineConfig, OrAbsent] = Field(
        default_factory=GenTrtEngineConfig, description="Builds a TensorRT engine of an ONNX file."
    )
    quantize: Annotated[QuantizeConfig, OrAbsent] = Field(
        default_factory=QuantizeConfig, description="Makes an INT8 ONNX file of an ONNX file."
    )
    distill: Annotated[DistillConfig, OrAbsent] = Field(
        default_factory=DistillConfig, description="Trains with a larger model as the teacher."
    )
    wandb: WandbConfig | None = Field(None, description="Weights & Biases.")
