"""The TAO experiment spec as typed models. `dino_api.loading` makes one of a mapping.

Keys are TAO's, in snake_case. A key's range, default and description stand in its Field alone.
"""

from dino_api.experiment.actions import TeacherConfig
from dino_api.experiment.dataset import AugmentationConfig, DatasetConfig, DataSource
from dino_api.experiment.digest import digest
from dino_api.experiment.model import ModelConfig
from dino_api.experiment.spec import ExperimentSpec
from dino_api.experiment.train import CudnnConfig, EmaConfig, OptimConfig, TrainConfig

__all__ = [
    "AugmentationConfig",
    "CudnnConfig",
    "DataSource",
    "DatasetConfig",
    "EmaConfig",
    "ExperimentSpec",
    "ModelConfig",
    "OptimConfig",
    "TeacherConfig",
    "TrainConfig",
    "digest",
]
