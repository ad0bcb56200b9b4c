"""The DINO detector: our own code, computing the published model's numbers.

Start at ``dino.py`` (the network), ``losses.py`` (training) and ``postprocess.py`` (detections).
May import: torch, torchvision, timm, scipy. Knows nothing of files, storage or Kubernetes, but
for ``weights.py``, which reads checkpoints.
"""

from dino_trainer.model.backbone import check_backbone, list_backbones
from dino_trainer.model.config import DetectorConfig
from dino_trainer.model.dino import Dino, Outputs, Predictions, build_dino
from dino_trainer.model.losses import Criterion, Losses
from dino_trainer.model.postprocess import Detections, postprocess
from dino_trainer.model.pretrained import load_backbone_weights
from dino_trainer.model.weights import LoadReport, load_checkpoint_weights, read_state
from dino_trainer.targets import Targets

__all__ = [
    "Criterion",
    "Detections",
    "DetectorConfig",
    "Dino",
    "LoadReport",
    "Losses",
    "Outputs",
    "Predictions",
    "Targets",
    "build_dino",
    "check_backbone",
    "list_backbones",
    "load_backbone_weights",
    "load_checkpoint_weights",
    "postprocess",
    "read_state",
]
