"""The root of the experiment spec."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

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

# Sections that no action of this release reads, with what to say about them.
OTHER_SECTIONS: dict[str, str] = {
    "evaluate": "only `dino evaluate` reads it, which is not built yet",
    "inference": "only `dino inference` reads it, which is not built yet",
    "export": "only `dino export` reads it, which is not built yet",
    "gen_trt_engine": "only `dino gen_trt_engine` reads it, which is not built yet",
    "quantize": "only `dino quantize` reads it, which is not built yet",
    "distill": "only `dino distill` reads it, which is not built yet",
    "wandb": "nothing is sent to Weights & Biases",
}


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
    evaluate: EvaluateConfig | None = Field(None, description="`dino evaluate`.")
    inference: InferenceConfig | None = Field(None, description="`dino inference`.")
    export: ExportConfig | None = Field(None, description="`dino export`.")
    gen_trt_engine: GenTrtEngineConfig | None = Field(None, description="`dino gen_trt_engine`.")
    quantize: QuantizeConfig | None = Field(None, description="`dino quantize`.")
    distill: DistillConfig | None = Field(None, description="`dino distill`.")
    wandb: WandbConfig | None = Field(None, description="Weights & Biases.")
