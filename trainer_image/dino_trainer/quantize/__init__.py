"""From an ONNX file in float32 to one whose costly layers compute in INT8.

Start at `quantize_onnx`. Which layers those are, and which must stay as they are, says `layers.py`.
"""

from dino_trainer.quantize.static import QuantizationOptions, QuantizationResult, quantize_onnx

__all__ = ["QuantizationOptions", "QuantizationResult", "quantize_onnx"]
