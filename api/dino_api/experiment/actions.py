"""Sections of the other actions, typed so that a TAO spec loads unchanged.

No action of this release reads them: the loader accepts them and warns.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from dino_api.base import NAME, SHORT, URI, Float, Int, NotBool, Section, key
from dino_api.experiment.model import ModelConfig

Text = Annotated[str, Field(max_length=SHORT)]
Width = Annotated[int, Field(ge=1), NotBool]
Pixels = Annotated[int, Field(ge=32), NotBool]
Device = Annotated[int, Field(ge=0, le=1024), NotBool]


class EvaluateConfig(Section):
    """`dino evaluate`."""

    checkpoint: str = key("", "Checkpoint to evaluate.", size=URI)
    trt_engine: str = key("", "TensorRT engine to evaluate instead.", size=URI)
    results_dir: str = key("", "Where results go.", size=URI)
    batch_size: Int = key(-1, "Images at once; -1 takes dataset.batch_size.", ge=-1)
    input_width: Width | None = key(None, "Exact width of the input, in pixels.")
    input_height: Width | None = key(None, "Exact height of the input, in pixels.")
    conf_threshold: Float = key(0.0, "Detections below this score are dropped.", ge=0, le=1)
    num_gpus: Int = key(1, "GPUs.", ge=0)
    num_nodes: Int = key(1, "Nodes.", ge=1)
    gpu_ids: list[Device] = key(lambda: [0], "Device numbers.", size=64)


class InferenceConfig(Section):
    """`dino inference`."""

    checkpoint: str = key("", "Checkpoint to run.", size=URI)
    trt_engine: str = key("", "TensorRT engine to run instead.", size=URI)
    results_dir: str = key("", "Where results go.", size=URI)
    batch_size: Int = key(-1, "Images at once; -1 takes dataset.batch_size.", ge=-1)
    color_map: dict[str, str] | None = key(None, "Colour by class name.")
    conf_threshold: Float = key(0.5, "Detections below this score are dropped.", ge=0, le=1)
    input_width: Pixels | None = key(None, "Exact width of the input, in pixels.")
    input_height: Pixels | None = key(None, "Exact height of the input, in pixels.")
    is_internal: bool = key(False, "TAO's internal folder layout.")
    outline_width: Int = key(3, "Width of drawn boxes, in pixels.", ge=1)
    num_gpus: Int = key(1, "GPUs.", ge=0)
    num_nodes: Int = key(1, "Nodes.", ge=1)
    gpu_ids: list[Device] = key(lambda: [0], "Device numbers.", size=64)


class ExportConfig(Section):
    """`dino export`."""

    checkpoint: str = key("", "Checkpoint to export.", size=URI)
    onnx_file: str = key("", "The ONNX file to write.", size=URI)
    results_dir: str = key("", "Where results go.", size=URI)
    format: Literal["onnx", "xdl"] = key("onnx", "Format of the file.")
    batch_size: Int = key(-1, "Batch of the exported model; -1 leaves it open.", ge=-1)
    input_channel: Literal[1, 3] = key(3, "Channels of the input.")
    input_width: Int = key(640, "Width of the input, in pixels.", ge=32)
    input_height: Int = key(640, "Height of the input, in pixels.", ge=32)
    opset_version: Int = key(17, "ONNX operator set.", ge=1)
    on_cpu: bool = key(False, "Plain operators in place of the TensorRT plugin.")
    serialize_nvdsinfer: bool = key(False, "Also write DeepStream's files.")
    verbose: bool = key(False, "Print the graph.")
    gpu_id: Int = key(0, "Device number.", ge=0)


def _as_list(value: object) -> object:
    """TAO's specs give one folder as text, or ??? for one that must be filled in."""
    return [value] if isinstance(value, str) else value


Folders = Annotated[list[Text], BeforeValidator(_as_list)]


class CalibrationConfig(Section):
    """INT8 calibration of the TensorRT engine."""

    cal_image_dir: Folders = key(list, "Folders of calibration images.", size=100)
    cal_cache_file: str = key("", "Calibration cache.", size=URI)
    cal_batch_size: Int = key(1, "Images at once.", ge=1)
    cal_batches: Int = key(1, "Batches.", ge=1)


class TensorRtConfig(Section):
    """Precision and shapes of the TensorRT engine."""

    data_type: Literal["FP32", "FP16", "INT8"] = key("FP32", "Number format of the engine.")
    workspace_size: Int = key(1024, "Workspace, in MB.", ge=0)
    min_batch_size: Int = key(1, "Smallest batch.", ge=1)
    opt_batch_size: Int = key(1, "Batch that the engine is tuned for.", ge=1)
    max_batch_size: Int = key(1, "Largest batch.", ge=1)
    layers_precision: list[Text] = key(list, "Precision by layer, layer:precision.", size=1000)
    calibration: CalibrationConfig = Field(default_factory=CalibrationConfig)


class GenTrtEngineConfig(Section):
    """`dino gen_trt_engine`."""

    onnx_file: str = key("", "The ONNX file to build from.", size=URI)
    trt_engine: str = key("", "The engine to write.", size=URI)
    timing_cache: str = key("", "Timing cache.", size=URI)
    results_dir: str = key("", "Where results go.", size=URI)
    batch_size: Int = key(-1, "Batch of the engine.", ge=-1)
    gpu_id: Int = key(0, "Device number.", ge=0)
    verbose: bool = key(False, "Print TensorRT's log.")
    tensorrt: TensorRtConfig = Field(default_factory=TensorRtConfig)


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

    model_path: str = key("", "Checkpoint or ONNX file to quantize.", size=URI)
    results_dir: str = key("", "Where results go.", size=URI)
    backend: Literal["modelopt.pytorch", "torchao", "modelopt.onnx"] = key("torchao", "Library.")
    backend_kwargs: dict[str, Any] | None = key(None, "Options of the library.")
    mode: Literal["static_ptq", "weight_only_ptq"] = key("weight_only_ptq", "What is quantized.")
    algorithm: Literal["minmax", "max", "entropy", "awq_clip", "awq_lite", "awq_full", "rtn_dq"] = (
        key("minmax", "How ranges are found.")
    )
    device: str = key("cuda", "Device.", size=NAME, pattern=r"^(cuda|cpu|trt|cuda:[0-9]+)$")
    layers: list[QuantizeLayer] = key(list, "Layers to quantize.", size=1000)
    skip_names: list[Text] = key(list, "Patterns of layers left out.", size=1000)


class DistillBinding(Section):
    """One pair of teacher and student outputs that should agree."""

    student_module_name: str = key("", "Module of the student.", size=SHORT)
    teacher_module_name: str = key("", "Module of the teacher.", size=SHORT)
    criterion: Literal["L1", "L2", "KL"] = key("L2", "How the difference is measured.")
    weight: Float = key(1.0, "Weight of this pair.", ge=0)


class TeacherConfig(ModelConfig):
    """`model.*` of the teacher."""

    backbone: str = key("fan_tiny", "The teacher's image encoder.", size=128)


class DistillConfig(Section):
    """`dino distill`."""

    teacher: TeacherConfig = Field(default_factory=TeacherConfig)
    pretrained_teacher_model_path: str = key("", "The teacher's checkpoint.", size=URI)
    bindings: list[DistillBinding] = key(list, "Pairs of outputs that should agree.", size=100)
    results_dir: str = key("", "Where results go.", size=URI)


class WandbConfig(Section):
    """Weights & Biases, which TAO logs to."""

    enable: bool = key(True, "Log to Weights & Biases.")
    project: str = key("TAO Toolkit", "Project.", size=SHORT)
    entity: str = key("", "Team.", size=SHORT)
    group: str = key("", "Group of runs.", size=SHORT)
    name: str = key("TAO Toolkit training experiment", "Name of the run.", size=SHORT)
    run_id: str = key("", "Run to continue.", size=SHORT)
    tags: list[Text] = key(lambda: ["training", "tao-toolkit"], "Tags.", size=100)
    reinit: bool = key(False, "Allow several runs in one process.")
    save_code: bool = key(False, "Upload the code.")
    sync_tensorboard: bool = key(False, "Copy from TensorBoard.")
