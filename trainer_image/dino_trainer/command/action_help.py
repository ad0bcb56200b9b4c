"""What `dino --help` and `dino <action> --help` say of each action: examples, and what it leaves.

Each has a smallest spec that can be run as it stands.
"""

from __future__ import annotations

from typing import NamedTuple

from dino_api.names import Action

TRAIN_EXAMPLES = """\
examples:
  dino train -e spec.yaml
  dino train -e spec.yaml results_dir=/tmp/run train.num_epochs=3 dataset.batch_size=2
  dino train -e spec.yaml train.num_gpus=0            train on the CPU
  dino train -e spec.yaml results_dir=s3://bucket/run results go to S3
  dino preflight -e spec.yaml                         check the data first, all of it
  dino rules                                          everything that is checked

a smallest spec.yaml (every key has TAO's name and default; COCO annotations):
  results_dir: ./results
  dataset:
    train_data_sources: [{image_dir: train/images, json_file: train/annotations.json}]
    val_data_sources: [{image_dir: val/images.tar.gz, json_file: val/annotations.json}]
  model: {pretrained_backbone_path: ./resnet_50.pth}  # dino weights fetch resnet_50
  train: {num_epochs: 12}

image_dir is a folder, an archive (.tar.gz, .tgz, .tar), or either of them on S3 (s3://…).
"""

_TRAIN_RESULTS = """\
results, in <results_dir>/train/:
  dino_model_latest.pth   to resume from: run the same command again
  dino_model_best.pth     the best validation so far
  result.json             metrics, checkpoint, or the failure with its remedy
  status.json             one line an event, in TAO's form
  experiment.yaml         the spec with every default filled in
  manifest.json           sizes and SHA-256 of the files above
A finished run is not run again: the same spec with the same results_dir ends at once, with 0.
Ctrl-C or SIGTERM finishes the step, saves a checkpoint and ends with 143.
"""

_EVALUATE = """\
examples:
  dino evaluate -e spec.yaml                          the latest checkpoint below results_dir
  dino evaluate -e spec.yaml evaluate.checkpoint=results/train/dino_model_best.pth
  dino evaluate -e spec.yaml evaluate.onnx_file=results/export/dino_model.onnx
  dino evaluate -e spec.yaml evaluate.num_gpus=0      on the CPU
  dino preflight -e spec.yaml --for evaluate          check the test data first

a smallest spec.yaml (the file itself says what model it is):
  results_dir: ./results
  dataset:
    test_data_sources: {image_dir: test/images, json_file: test/annotations.json}
  evaluate: {checkpoint: results/train/dino_model_best.pth}
"""

_EVALUATE_RESULTS = """\
results, in <results_dir>/evaluate/:
  report.html             curves, classes, confusions, the worst images with their boxes
  metrics.json            the twelve COCO statistics, and those of every class
  predictions.json        all detections in COCO's form
"""

_INFERENCE = """\
examples:
  dino inference -e spec.yaml                         the latest checkpoint below results_dir
  dino inference -e spec.yaml inference.onnx_file=results/export/dino_model.onnx
  dino inference -e spec.yaml inference.conf_threshold=0.3 inference.num_gpus=0
  dino inference -e spec.yaml inference.num_gpus=4    a process for each GPU, and one result

a smallest spec.yaml (classes.txt: one class name a line, in the order of the category ids):
  results_dir: ./results
  dataset:
    infer_data_sources: {image_dir: [photos, more.tar.gz], classmap: classes.txt}
  inference: {checkpoint: results/train/dino_model_best.pth}
"""

_INFERENCE_RESULTS = """\
results, in <results_dir>/inference/:
  labels/                 a KITTI file for each image; labels.tar.gz where results go to S3
  images_annotated/       the images with boxes drawn; images_annotated.tar.gz there
  predictions.json        all detections in COCO's form
  report.html             counts, and a selection of the drawn images
An image that cannot be read is named and left out; the run fails only where none can be.
"""

_EXPORT = """\
examples:
  dino export -e spec.yaml                            the latest checkpoint below results_dir
  dino export -e spec.yaml export.checkpoint=results/train/dino_model_best.pth
  dino export -e spec.yaml export.batch_size=1        a static batch; -1 leaves it open
  dino export -e spec.yaml export.end_to_end=true     RGB bytes in, boxes, scores and labels out

a smallest spec.yaml (test data is optional: the ONNX file is compared with the checkpoint on it):
  results_dir: ./results
  export: {checkpoint: results/train/dino_model_best.pth}
"""

_EXPORT_RESULTS = """\
results, in <results_dir>/export/:
  dino_model.onnx         published only where it finds the same objects as the checkpoint
  export.json             size, nodes by operator, and the comparison of both
"""

_ENGINE = """\
examples:
  dino gen_trt_engine -e spec.yaml                    the ONNX file that export left
  dino gen_trt_engine -e spec.yaml gen_trt_engine.tensorrt.data_type=FP16
  dino gen_trt_engine -e spec.yaml gen_trt_engine.onnx_file=results/quantize/dino_model_int8.onnx

a smallest spec.yaml:
  results_dir: ./results
  gen_trt_engine: {onnx_file: results/export/dino_model.onnx}

An engine runs on the kind of GPU and the version of TensorRT that it was built with, and needs
both here. INT8 takes ranges from dataset.quant_calibration_data_sources, or from a quantized file.
"""

_ENGINE_RESULTS = """\
results, in <results_dir>/gen_trt_engine/:
  dino_model.engine       published only where it finds the same objects as the ONNX file
  dino_model.engine.json  GPU, versions, precision, latency, and the ONNX file it was built from
  comparison.json         what both find, side by side
  timing.cache            measured tactics: the next build is faster
"""

_QUANTIZE = """\
examples:
  dino quantize -e spec.yaml                          the ONNX file that export left
  dino quantize -e spec.yaml quantize.algorithm=entropy quantize.gate.max_loss=0.01
  dino quantize -e spec.yaml quantize.backend=torchao quantize.mode=weight_only_ptq
                                                      a smaller checkpoint that computes as before
  dino preflight -e spec.yaml --for quantize          check the calibration data first

a smallest spec.yaml (accuracy is compared on the test data, else on the calibration images):
  results_dir: ./results
  dataset:
    quant_calibration_data_sources: {image_dir: val/images, json_file: val/annotations.json}
    test_data_sources: {image_dir: test/images, json_file: test/annotations.json}
  quantize: {model_path: results/export/dino_model.onnx}
"""

_QUANTIZE_RESULTS = """\
results, in <results_dir>/quantize/:
  dino_model_int8.onnx    published only where it loses no more than quantize.gate.max_loss of mAP
  dino_model_int8.pth     in its place with weight_only_ptq; evaluate and inference take it
  report.html             accuracy and latency of both, and which layers were quantized
"""

_DISTILL = """\
examples:
  dino distill -e spec.yaml distill.pretrained_teacher_model_path=teacher.pth
  dino distill -e spec.yaml train.num_epochs=3 train.num_gpus=0

a smallest spec.yaml (model describes the student; the teacher's file says what it is):
  results_dir: ./results
  model: {backbone: resnet_18, pretrained_backbone_path: ./resnet_18.pth, enc_layers: 3}
  dataset:
    train_data_sources: [{image_dir: train/images, json_file: train/annotations.json}]
    val_data_sources: [{image_dir: val/images, json_file: val/annotations.json}]
  train: {num_epochs: 12}
  distill:
    pretrained_teacher_model_path: teacher/train/dino_model_best.pth
    bindings: [{student_module_name: pred_logits, teacher_module_name: pred_logits, criterion: KL}]
"""


class ActionText(NamedTuple):
    """What the help says about an action."""

    summary: str
    description: str
    examples: str
    results: str


HELP: dict[Action, ActionText] = {
    Action.TRAIN: ActionText(
        "train a detector and score it on validation images",
        "Train a DINO detector on COCO data and score it after each validation.",
        TRAIN_EXAMPLES,
        _TRAIN_RESULTS,
    ),
    Action.EVALUATE: ActionText(
        "score a checkpoint, an ONNX file or an engine on test images",
        "Find objects in the test images and score them as COCO does.",
        _EVALUATE,
        _EVALUATE_RESULTS,
    ),
    Action.INFERENCE: ActionText(
        "find objects in images that have no annotations",
        "Find objects in images; write labels and draw boxes.",
        _INFERENCE,
        _INFERENCE_RESULTS,
    ),
    Action.EXPORT: ActionText(
        "write a checkpoint as an ONNX file",
        "Write a checkpoint as an ONNX file, and prove that it finds the same objects.",
        _EXPORT,
        _EXPORT_RESULTS,
    ),
    Action.GEN_TRT_ENGINE: ActionText(
        "build a TensorRT engine of an ONNX file",
        "Build a TensorRT engine of an ONNX file for the GPU of this machine.",
        _ENGINE,
        _ENGINE_RESULTS,
    ),
    Action.QUANTIZE: ActionText(
        "make an INT8 file of an ONNX file",
        "Quantize an ONNX file to INT8 with calibration images, and measure what is lost.",
        _QUANTIZE,
        _QUANTIZE_RESULTS,
    ),
    Action.DISTILL: ActionText(
        "train a detector with a larger one as its teacher",
        "Train a DINO detector that also learns from what a trained one finds.",
        _DISTILL,
        _TRAIN_RESULTS.replace("/train/", "/distill/"),
    ),
}

ALWAYS = """\
also there, as of every action: result.json (or the failure with its remedy), status.json,
experiment.yaml (the spec with every default filled in), manifest.json (sizes and SHA-256).
The same spec, results_dir and model file end at once, with 0; another model file is taken anew.
"""
