"""Good input for each reader, which tests spoil."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import tarfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image
from safetensors.torch import save

from dino_api.experiment import ExperimentSpec
from dino_api.loading import load
from dino_trainer.tensorrt.engine_metadata import EngineMetadata, OnnxSource
from tests.fuzz.readers import katib_world, packed
from tests.tensorrt import models
from tests.unit.coco_builders import a_document, jpeg
from tests.unit.katib_cases import BACKBONE, LR, MESSAGE, QUERIES
from tests.unit.quantize_graphs import a_graph

ROOT = Path(__file__).parents[2]
SPEC = {
    "results_dir": "/results",
    "model": {"backbone": "resnet_50", "num_queries": 300, "return_interm_indices": [1, 2, 3, 4]},
    "dataset": {
        "train_data_sources": [{"image_dir": "/d/images", "json_file": "/d/annotations.json"}],
        "val_data_sources": [{"image_dir": "/v/images", "json_file": "${results_dir}/a.json"}],
        "augmentation": {"fixed_size": [64, 96], "input_mean": [0.5, 0.4, 0.3]},
    },
    "train": {"num_epochs": 3, "optim": {"lr": 0.0002, "lr_steps": [1]}, "freeze": ["backbone"]},
}
YAML = b"""\
# Anchors, blocks, tags and escapes.
results_dir: "/results\\u0041\\x20"
train:
  num_epochs: 0x10
  optim: {lr: 2e-4, weight_decay: .0001, lr_scheduler: 'MultiStep'}
  seed: !!int "12"
dataset:
  num_classes: 1_0
  train_data_sources: &data [{image_dir: /d/images, json_file: "/d/a.json"}]
  val_data_sources: *data
  augmentation:
    scales: [480, 512,
      544]
model:
  backbone: >-
    resnet_50
  dec_layers: 6
"""
NAMES = ["", "red", "", "blue"]


def _documents(name: str) -> list[Any]:
    return list(yaml.safe_load_all((ROOT / "examples" / name).read_text()))


@cache
def document(reader: str) -> Any:
    """The JSON value that the reader takes."""
    return {
        "spec": lambda: SPEC,
        "manifest": lambda: _documents("digits-train.yaml")[0],
        "search": lambda: {"space": [LR, QUERIES, BACKBONE]},
        "coco": lambda: a_document(2),
        "engine": lambda: json.loads(_engine()),
        "message": lambda: {**MESSAGE, "dataset": {"classNames": NAMES, "warnings": ["w"]}},
        "katib": katib_world,
        "notes": lambda: {
            f"dino-operator.io/{name}": text
            for name, text in {
                "retries": "1", "spent-seconds": "5", "spent-until": "2026-01-01T12:00:30Z",
                "micro-batch": "2", "accumulation": "2", "out-of-memory": "true",
                "stopped-for": "Stopped", "stopped-message": "so", "held": "true",
                "parameters": '{"train.optim.lr": 0.001}', "attempt": "1", "trial": "1",
            }.items()
        },
        "answer": lambda: {
            "kind": "Status", "reason": "Invalid", "message": "m", "code": 422,
            "details": {"causes": [{"reason": "r", "field": "f", "message": "m"}]},
        },
    }[reader]()  # fmt: skip


DOCUMENTS = (
    "spec", "manifest", "search", "coco", "engine", "message", "katib", "notes", "answer",
)  # fmt: skip


@cache
def files(reader: str) -> tuple[bytes, ...]:
    """Files that the reader takes."""
    made = {"spec": _specs, "manifest": _manifests, "archive": _archives, "image": _images}
    made |= {"weights": _weights, "checkpoint": _checkpoints, "message": _messages}
    make: Callable[[], tuple[bytes, ...]] = made.get(
        reader, _onnx if reader == "onnx_outline" else lambda: (_text(reader),)
    )
    return make()


FILES = (
    *(name for name in DOCUMENTS if name not in ("katib", "notes")),
    *("archive", "image", "weights", "checkpoint", "onnx_outline"),
)
"""What is read of bytes. Those of an ONNX file its own library refuses: it gets whole graphs."""


def _text(reader: str) -> bytes:
    return json.dumps(document(reader), indent=1).encode()


def _specs() -> tuple[bytes, ...]:
    return YAML, _text("spec")


def _manifests() -> tuple[bytes, ...]:
    names = ("digits-train.yaml", "bccd-automl.yaml")
    return tuple((ROOT / "examples" / name).read_bytes() for name in names)


def _messages() -> tuple[bytes, ...]:
    from dino_api.result import Result

    result = Result.model_validate(document("message"))
    return _text("message"), result.to_termination_message().encode()


def _archives() -> tuple[bytes, ...]:
    names = ["images/1.jpg", f"images/{'long' * 40}.jpg", "images/é.jpg"]
    pictures = [(name, jpeg()) for name in names]
    plain = packed([(tarfile.TarInfo(name), content) for name, content in pictures])
    gnu = io.BytesIO()
    with tarfile.open(fileobj=gnu, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, content in pictures:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return plain, gnu.getvalue(), gzip.compress(plain, 1, mtime=0)


def _images() -> tuple[bytes, ...]:
    picture = Image.fromarray((np.arange(48 * 32 * 3) % 251).astype(np.uint8).reshape(32, 48, 3))
    gray = picture.convert("I").point(lambda value: value * 200).convert("I;16")
    exif = Image.Exif()
    exif[0x0112] = 6
    ways: list[tuple[Image.Image, str, dict[str, Any]]] = [
        (picture, "JPEG", {"exif": exif}),
        (picture, "JPEG", {"progressive": True}),
        (picture, "PNG", {}),
        (picture.quantize(16), "PNG", {"transparency": 3}),
        (gray, "PNG", {}),
        (picture, "GIF", {}),
        (picture, "TIFF", {"compression": "tiff_lzw"}),
        (picture, "TIFF", {}),
        (picture, "BMP", {}),
        (picture, "WEBP", {}),
        (picture, "PPM", {}),
    ]
    made = []
    for one, kind, options in ways:
        buffer = io.BytesIO()
        one.save(buffer, kind, **options)
        made.append(buffer.getvalue())
    return tuple(made)


def _state() -> dict[str, torch.Tensor]:
    return {
        "class_embed.0.bias": torch.arange(4.0),
        "transformer.level_embed": torch.arange(6, dtype=torch.float16).view(2, 3).t(),
        "counts": torch.tensor([1, 2]),
    }


def _saved(content: Any, **how: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, **how)
    return buffer.getvalue()


def _weights() -> tuple[bytes, ...]:
    beside = {"hyper_parameters": {"path": Path("/data")}, "state_dict": _state()}
    arrays = {name: value.numpy() for name, value in _state().items()}
    return (
        _saved({"model": _state()}),
        _saved(beside),
        _saved(beside, _use_new_zipfile_serialization=False),
        pickle.dumps({"model": arrays}, 2),
        save({name: value.contiguous() for name, value in _state().items()}),
    )


def _checkpoints() -> tuple[bytes, ...]:
    spec: ExperimentSpec = load(SPEC)[0]
    about = {"spec": spec.model_dump(mode="json"), "class_names": NAMES, "spec_digest": "a" * 64}
    return _saved({"format": 1, **about, "model": _state(), "step": 3}), *_weights()[:1]


def _onnx() -> tuple[bytes, ...]:
    with TemporaryDirectory() as folder:
        return (a_graph(Path(folder, "model.onnx")).read_bytes(),)


def _engine() -> str:
    return EngineMetadata(
        precision="fp16", tensorrt="10.1", gpu="NVIDIA H200", capability="9.0", memory=1,
        driver=None, cuda=None, onnx=OnnxSource("s3://b/m.onnx", "cd" * 32, "fp32"),
        batch=(1, 2, 4), workspace=1 << 30, props=models.metadata(None).to_props(),
    ).to_json()  # fmt: skip
