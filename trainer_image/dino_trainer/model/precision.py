"""Number formats: which parts of a step are computed in 16 bits.

Weights, optimiser, average, matcher and losses are float32 whatever is chosen. Inside the model,
autocast takes matrix products and convolutions to 16 bits; what must not lose digits (norms,
softmax, reference points) keeps itself in float32.
"""

import torch

from dino_api.experiment import TrainConfig

_HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}
# Gradients of fp16 are scaled up by 2**16 at first, and each step that overflows halves that. After
# so many in a row nothing is scaled any more: it is the training that fails, not the format.
OVERFLOWS = 16


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """A context for forward passes in `train.precision`; it does nothing for fp32."""
    half = _HALF.get(precision)
    return torch.autocast(device.type, dtype=half, enabled=half is not None)


def grad_scaler(precision: str, device: torch.device) -> torch.amp.GradScaler:
    """Keeps small gradients of fp16 from vanishing; it does nothing for other formats."""
    return torch.amp.GradScaler(device.type, enabled=precision == "fp16")


def doubts(config: TrainConfig, device: torch.device) -> str | None:
    """What is wrong with the precision on this device, in a sentence; None where nothing is."""
    if device.type == "cpu":
        slow = config.precision == "fp16"
        return "train.precision fp16 is slower than fp32 on a CPU; bf16 is not." if slow else None
    emulated = not torch.cuda.is_bf16_supported(including_emulation=False)
    if config.precision == "bf16" and emulated:
        return "train.precision bf16 is only emulated by this GPU; fp16 is fast on it."
    return None
