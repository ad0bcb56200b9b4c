"""What to do about too little memory, once: of the host (or its limit) and of the GPU.

The catalogue has the words that suit every action. The operator's plan, which knows the action, the
limit and whether another attempt follows, makes its own of the same parts.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from dino_api.names import FailureReason

REASONS = (FailureReason.OUT_OF_MEMORY, FailureReason.DEVICE_OUT_OF_MEMORY)
MORE: Mapping[str, str] = MappingProxyType(
    {
        FailureReason.OUT_OF_MEMORY: "raise spec.resources.memory",
        FailureReason.DEVICE_OUT_OF_MEMORY: "take GPUs with more memory",
    }
)
"""What gives more, by reason."""
IMAGES = "dataset.batch_size"
"""What lowers the number of images at once."""
NETWORK = "the image size, model.num_queries or model.num_feature_levels"
"""What needs less, of every detector; `LESS` is what needs less, whatever the action."""
LESS: Mapping[str, str] = MappingProxyType(
    {
        FailureReason.OUT_OF_MEMORY: f"{IMAGES}, dataset.workers, {NETWORK}",
        FailureReason.DEVICE_OUT_OF_MEMORY: f"{IMAGES}, {NETWORK}",
    }
)


def remedy(more: str, less: str, then: str = "") -> str:
    """One sentence. more: as in MORE. less: keys to lower, if any. then: what follows."""
    parts = (f"{more[:1].upper()}{more[1:]}", f"or lower {less}" if less else "", then)
    return f"{', '.join(filter(None, parts))}."


def of_any(reason: FailureReason) -> str:
    """The catalogue's remedy."""
    return remedy(MORE[reason], LESS[reason])
