"""Sections of the actions besides training. Keys are TAO's; those of this project say so.

In a DinoJob the resource decides which model is read and where results go; on the command line the
same keys are given here.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from dino_api.base import (
    NAME,
    REPORTED_URI,
    SHORT,
    URI,
    Bool,
    Float,
    Int,
    Note,
    Section,
    key,
)
from dino_api.experiment.dataset import Folders, Side
from dino_api.experiment.model import ModelConfig
from dino_api.experiment.train import VISIBLE_DEVICES, Device

Text = Annotated[str, Field(max_length=SHORT)]

_PARENT, _OUTPUT = "spec.parent", "spec.output.uri"
_GPUS = "spec.resources.gpus"
_SIZE = "the model's own fixed size, else as training validated"


def model_key(text: str) -> Any:
    """A file of a model, which in a DinoJob is the parent's."""
    return key("", text, resource=_PARENT, size=REPORTED_URI)


def results_key(action: str) -> Any:
    """The folder of an action's results."""
    text = f"Where results go. Empty: <results_dir>/{action}."
    return key("", text, resource=_OUTPUT, decides=False, size=URI)


def _batch() -> Any:
    return key(-1, "Images at once; -1 takes dataset.batch_size.", ge=-1, le=4096)


def _side(name: str) -> Any:
    return key(None, f"Exact {name} of the input in pixels. Absent: {_SIZE}.")


def _gpus() -> Any:
    text = "GPUs on each node, a process each; 0 runs on the CPU."
    return key(1, text, resource=_GPUS, decides=False, ge=0, le=64)


def _nodes() -> Any:
    text = "Machines that share the images."
    return key(1, text, resource="spec.resources.nodes", decides=False, ge=1, le=1024)


def _processes() -> Any:
    text = "Processes on each node where num_gpus is 0."
    return key(1, text, resource="spec.resources.processes", decides=False, ge=1, le=64)


def _devices() -> Any:
    return key(lambda: [0], "Device numbers.", dead=VISIBLE_DEVICES, resource=_GPUS, size=64)


def _device() -> Any:
    return key(0, "Device number.", dead=VISIBLE_DEVICES, resource=_GPUS, ge=0, le=1024)


class EvaluateConfig(Section):
    """`dino evaluate`."""

    checkpoint: str = model_key("Checkpoint to evaluate. Empty: the latest of train.")
    onnx_file: str = model_key("ONNX file to evaluate instead.")
    trt_engine: str = model_key("TensorRT engine to evaluate instead.")
    results_dir: str = results_key("evaluate")
    batch_size: Int = _batch()
    input_width: Side | None = _side("width")
    input_height: Side | None = _side("height")
    conf_threshold: Float = key(
        0.0,
        "Detections below this score are dropped before they are scored; above 0 it lowers mAP.",
        ge=0,
        le=1,
    )
    max_detections: Int = key(
        100, "Detections of a class in an image that are scored, by gates too.", ge=100, le=10000
    )
    num_gpus: Int = _gpus()
    num_nodes: Int = _nodes()
    num_processes: Int = _processes()
    gpu_ids: list[Device] = _devices()


class InferenceConfig(Section):
    """`dino inference`."""

    checkpoint: str = model_key("Checkpoint to run. Empty: the latest of train.")
    onnx_file: str = model_key("ONNX file to run instead.")
    trt_engine: str = model_key("TensorRT engine to run instead.")
    results_dir: str = results_key("inference")
    batch_size: Int = _batch()
    color_map: Annotated[dict[str, Text], Field(max_length=1000)] | None = key(
        None,
        "Colour by class name, as #rrggbb or an HTML name. Absent, and for classes that it lacks: "
        "a colour of the class's own, the same in every run.",
    )
    conf_threshold: Float = key(
        0.5, "Detections below this score are neither written nor drawn.", ge=0, le=1
    )
    input_width: Side | None = _side("width")
    input_height: Side | None = _side("height")
    is_internal: Bool = key(
        False, "TAO's internal folder layout.", dead="results lie as in the public layout"
    )
    outline_width: Int = key(3, "Width of drawn boxes, in pixels.", ge=1, le=100)
    num_gpus: Int = _gpus()
    num_nodes: Int = _nodes()
    num_processes: Int = _processes()
    gpu_ids: list[Device] = _devices()


class ExportConfig(Section):
    """`dino export`."""

    checkpoint: str = model_key("Checkpoint to export. Empty: the latest of train.")
    onnx_file: str = key(
        "",
        "The ONNX file to write. Empty: dino_model.onnx in results_dir.",
        resource=_OUTPUT,
        decides=False,
        size=URI,
    )
    results_dir: str = results_key("export")
    format: Literal["onnx", "xdl"] = key("onnx", "Format of the file. Only onnx is built.")
    batch_size: Int = key(
        -1, "Batch of the exported model; -1 leaves it open (dynamic).", ge=-1, le=4096
    )
    input_channel: Literal[1, 3] = key(3, "Channels of the input. Only 3 is built.")
    input_width: Side | None = key(
        None,
        "Width of the input in pixels. Absent: that of the training's fixed_size, or 640.",
    )
    input_height: Side | None = key(
        None,
        "Height of the input in pixels. Absent: that of the training's fixed_size, or 640.",
    )
    opset_version: Int = key(17, "ONNX operator set: 17 or 18.", ge=1, le=100)
    end_to_end: Bool = key(
        False,
        "False: normalised inputs, pred_logits and pred_boxes, as in TAO. True: RGB bytes in, and "
        "boxes in pixels, scores and labels out.",
    )
    on_cpu: Bool = key(
        False,
        "Plain operators in place of TensorRT's plugin.",
        dead="the file has plain operators only, which run on CPU and GPU",
    )
    serialize_nvdsinfer: Bool = key(False, "DeepStream's files. Only false is built.")
    verbose: Bool = key(False, "Print the graph.", dead="export.json describes the graph")
    gpu_id: Int = _device()


class CalibrationConfig(Section):
    """INT8 calibration of the TensorRT engine."""

    cal_image_dir: Folders = key(
        list,
        "Folders or archives of calibration images, in place of "
        "dataset.quant_calibration_data_sources.",
        resource="spec.datasets.calibration",
        size=100,
    )
    cal_cache_file: str = key(
        "", "Calibration cache.", dead="ranges are kept in the ONNX file as Q/DQ nodes", size=URI
    )
    cal_batch_size: Int = key(
        1, "Images at once.", dead="every calibration image is used", ge=1, le=4096
    )
    cal_batches: Int = key(1, "Batches.", dead="every calibration image is used", ge=1, le=1000000)


class TensorRtConfig(Section):
    """Precision and shapes of the TensorRT engine."""

    data_type: Literal["FP32", "FP16", "INT8"] = key(
        "FP32",
        "Number format of the engine. INT8 needs calibration data, unless the ONNX file is "
        "quantized already.",
    )
    workspace_size: Int = key(
        1024, "Memory that building may use for tactics, in MB.", ge=1, le=1048576
    )
    min_batch_size: Int = key(1, "Smallest batch of an ONNX file with open batch.", ge=1, le=4096)
    opt_batch_size: Int = key(1, "Batch that the engine is tuned for.", ge=1, le=4096)
    max_batch_size: Int = key(1, "Largest batch.", ge=1, le=4096)
    layers_precision: list[Text] = key(
        list, "Precision by layer. Only the empty list is built.", size=1000
    )
    calibration: CalibrationConfig = Field(
        default_factory=CalibrationConfig, description="INT8 calibration."
    )


class GenTrtEngineConfig(Section):
    """`dino gen_trt_engine`."""

    onnx_file: str = model_key("The ONNX file to build from. Empty: that of export.")
    trt_engine: str = key(
        "",
        "The engine to write. Empty: dino_model.engine in results_dir.",
        resource=_OUTPUT,
        decides=False,
        size=URI,
    )
    timing_cache: str = key(
        "",
        "File of measured tactics, read if it exists and written: later builds are faster. Empty: "
        "timing.cache in results_dir.",
        resource=_OUTPUT,
        decides=False,
        size=URI,
    )
    results_dir: str = results_key("gen_trt_engine")
    batch_size: Int = key(
        -1,
        "Batch of the engine.",
        dead="the ONNX file says it, or else min_, opt_ and max_batch_size",
        ge=-1,
        le=4096,
    )
    gpu_id: Int = _device()
    verbose: Bool = key(False, "True prints TensorRT's whole log.", decides=False)
    tensorrt: TensorRtConfig = Field(
        default_factory=TensorRtConfig, description="Precision and shapes."
    )


class DistillBinding(Section):
    """One pair of student and teacher outputs that should agree."""

    student_module_name: str = key(
        "",
        "pred_logits, pred_boxes, or the dotted name of a module of the student.",
        size=SHORT,
    )
    teacher_module_name: str = key("", "The same of the teacher.", size=SHORT)
    criterion: Literal["L1", "L2", "KL"] = key("L2", "How the difference is measured.")
    weight: Float = key(1.0, "Weight of this pair.", ge=0, le=1000)


class TeacherConfig(ModelConfig):
    """`model.*` of the teacher."""

    backbone: str = key("fan_tiny", "The teacher's image encoder.", size=128)


class DistillConfig(Section):
    """`dino distill`."""

    teacher: TeacherConfig = Field(
        default_factory=TeacherConfig,
        description="Structure of a teacher whose checkpoint does not say it.",
        json_schema_extra={"note": Note(resource=_PARENT)},  # type: ignore[dict-item]
    )
    pretrained_teacher_model_path: str = model_key("The teacher's checkpoint.")
    bindings: list[DistillBinding] = key(
        list,
        "Pairs of outputs that should agree. None: pred_logits, pred_boxes, and of features "
        "input_proj and encoder where student and teacher have the same levels.",
        size=100,
    )
    results_dir: str = results_key("distill")


class WandbConfig(Section):
    """Weights & Biases, which TAO logs to."""

    enable: Bool = key(True, "Log to Weights & Biases.")
    project: str = key("TAO Toolkit", "Project.", size=SHORT)
    entity: str = key("", "Team.", size=SHORT)
    group: str = key("", "Group of runs.", size=SHORT)
    name: str = key("TAO Toolkit training experiment", "Name of the run.", size=SHORT)
    run_id: str = key("", "Run to continue.", size=SHORT)
    tags: list[Text] = key(lambda: ["training", "tao-toolkit"], "Tags.", size=100)
    reinit: Bool = key(False, "Allow several runs in one process.")
    save_code: Bool = key(False, "Upload the code.")
    sync_tensorboard: Bool = key(False, "Copy from TensorBoard.")


class GateConfig(Section):
    """What the made model may lose against the one that it was made from."""

    max_loss: Float = key(
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
