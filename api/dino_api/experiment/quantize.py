"""`quantize.*`: an INT8 file of an ONNX file, or of a checkpoint."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from dino_api.base import NAME, SHORT, Float, Int, Section, key
from dino_api.experiment.actions import Text, model_key, results_key


class GateConfig(Section):
    """What the made model may lose against the one that it was made from."""

    maxLoss: Float = key(
        0.005,
        "Largest loss of mAP, 0 to 1: a job that loses more fails with reason GateFailed and keeps "
        "its report.",
        ge=0,
        le=1,
    )


class QuantizerConfig(Section):
    """Number format of a layer's weights or activations."""

    dtype: Literal["", "int8", "fp8_e4m3fn", "fp8_e5m2", "native"] = key("", "Number format.")
    observer_or_fake_quant: str = key("", "How ranges are observed.", size=SHORT)
    quant_axis: Int | None = key(None, "Axis of per-channel scales.")
    observer_or_fake_quant_kwargs: dict[str, Any] | None = key(dict, "Options of the observer.")


class QuantizeLayer(Section):
    """Which layers are quantized, and how."""

    module_name: str = key("", "Pattern over module names, then over class names.", size=SHORT)
    weights: QuantizerConfig | None = key(None, "Format of the weights.")
    activations: QuantizerConfig | None = key(None, "Format of the activations.")


class QuantizeConfig(Section):
    """`dino quantize`."""

    model_path: str = model_key(
        "The ONNX file, or with torchao the checkpoint. Empty: that of export, or of train."
    )
    results_dir: str = results_key("quantize")
    backend: Literal["onnxruntime", "modelopt.pytorch", "torchao", "modelopt.onnx"] = key(
        "onnxruntime",
        "The quantizer: onnxruntime of ONNX files, torchao of checkpoints. Only these are built.",
    )
    backend_kwargs: dict[str, Any] | None = key(
        dict, "Options of the library.", dead="the quantizer's options are set by the keys here"
    )
    mode: Literal["static_ptq", "weight_only_ptq"] = key(
        "static_ptq",
        "static_ptq computes in INT8 (onnxruntime); weight_only_ptq only stores weights in it, for "
        "a smaller file (torchao).",
    )
    algorithm: Literal["minmax", "max", "entropy", "awq_clip", "awq_lite", "awq_full", "rtn_dq"] = (
        key(
            "minmax",
            "How ranges of activations are found: minmax takes the extremes, entropy cuts rare "
            "ones off. Only these are built.",
        )
    )
    device: str = key(
        "cuda",
        "What the file will run on. cpu: activations are UINT8, fastest in ONNX Runtime on x86, "
        "right on every CPU; TensorRT does not take them. Any other: INT8, symmetric, for GPUs.",
        size=NAME,
        pattern=r"^(cuda|cpu|trt|cuda:[0-9]+)$",
    )
    layers: list[QuantizeLayer] = key(
        list, "Formats by layer. Only the empty list is built.", size=1000
    )
    skip_names: list[Text] = key(
        list,
        "Patterns (* and ?) over names of nodes (onnxruntime) or layers (torchao) that stay in "
        "floating point, besides those known to be sensitive.",
        size=1000,
    )
    gate: GateConfig = Field(
        default_factory=GateConfig, description="How much accuracy may be lost."
    )
