"""A TensorRT engine as a detector. Shapes: b batch, h x w the engine's input."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from dino_api.result import ModelFile
from dino_trainer.data.loader import Batch
from dino_trainer.detectors.exported_graph import detections_of, inputs_of
from dino_trainer.errors import invalid_spec
from dino_trainer.model import Detections
from dino_trainer.model_files.graph_metadata import RAW_INPUT, Variant
from dino_trainer.model_files.info import ModelInfo
from dino_trainer.model_files.naming import ENGINE_METADATA_SUFFIX
from dino_trainer.storage.opening import open_store
from dino_trainer.storage.store import Say, print_line
from dino_trainer.storage.uris import is_remote, split
from dino_trainer.tensorrt import engine_metadata, gpu, python_api
from dino_trainer.tensorrt.python_api import Engine

_TYPES = {
    "FLOAT": torch.float32,
    "HALF": torch.float16,
    "INT64": torch.int64,
    "INT32": torch.int32,
    "UINT8": torch.uint8,
}


class EngineDetector:
    """Runs an engine on buffers of torch.

    Takes any number of images: more than the engine's largest batch in several runs, fewer than the
    smallest by repeating the last one, whose detections are dropped.
    """

    def __init__(
        self, engine: Engine, info: ModelInfo, variant: Variant, device: torch.device
    ) -> None:
        self.engine, self.info, self.variant, self.device = engine, info, variant, device
        profile = engine.tensors[RAW_INPUT].profile
        assert profile is not None
        self.smallest, self.tuned, self.largest = profile.min[0], profile.opt[0], profile.max[0]
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    @torch.inference_mode()
    def __call__(self, batch: Batch, sizes: Tensor) -> list[Detections]:
        """Detects; see `Detector`."""
        outputs = self.run(inputs_of(batch, self.info, self.variant))
        return detections_of(outputs, self.info, self.variant, sizes)

    def run(self, images: Tensor) -> dict[str, Tensor]:
        """Every output for images [b, 3, h, w] of any batch, by name. Waits for nothing."""
        parts = [self._run_once(part) for part in images.split(self.largest)]
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    def _run_once(self, images: Tensor) -> dict[str, Tensor]:
        count = len(images)
        if count < self.smallest:
            last = images[-1:].expand(self.smallest - count, -1, -1, -1)
            images = torch.cat([images, last])
        kind = _TYPES[self.engine.tensors[RAW_INPUT].dtype]
        images = images.to(self.device, kind).contiguous()
        shapes = self.engine.shapes({RAW_INPUT: tuple(images.shape)})
        outputs = {
            name: torch.empty(
                shape, dtype=_TYPES[self.engine.tensors[name].dtype], device=self.device
            )
            for name, shape in shapes.items()
        }
        self._start({RAW_INPUT: images, **outputs})
        return {name: value[:count] for name, value in outputs.items()}

    def wait(self) -> None:
        """Until all runs that were started are done."""
        if self._stream is not None:
            self._stream.synchronize()

    def _start(self, buffers: dict[str, Tensor]) -> None:
        """On a stream of its own, as TensorRT asks for; the current one goes on after it."""
        addresses = {name: value.data_ptr() for name, value in buffers.items()}
        if self._stream is None:
            self.engine.run(addresses, 0)
            return
        current = torch.cuda.current_stream(self.device)
        self._stream.wait_stream(current)
        self.engine.run(addresses, self._stream.cuda_stream)
        current.wait_stream(self._stream)


def open_engine(path: Path, file: ModelFile, say: Say = print_line) -> EngineDetector:
    """The engine at `path`, with what the JSON file beside it says; fetched where `file` is remote.

    Raises:
        TrainerError: NoTensorRT, NoGPU; InvalidSpec for an engine of another GPU or TensorRT
            version, and where either file is missing or cannot be read.
    """
    trt = python_api.load()
    here = gpu.first_gpu()
    known = engine_metadata.read(_described(path, file), file)
    engine_metadata.check_here(known, here, trt.__version__, file.uri)
    engine = Engine(path.read_bytes(), say)
    if engine.name != known.name:
        raise invalid_spec(
            f"{file.uri}{ENGINE_METADATA_SUFFIX} describes another engine: {known.name}, and the "
            f"engine says {engine.name}.",
            "Keep both files of `dino gen_trt_engine` together.",
        )
    return as_detector(engine, known, file, here.device)


def as_detector(
    engine: Engine, known: engine_metadata.EngineMetadata, file: ModelFile, device: torch.device
) -> EngineDetector:
    """A loaded engine of which `known` is known."""
    model = known.model(f"{file.uri}{ENGINE_METADATA_SUFFIX}")
    made = model.info(file)
    own = made.file.model_copy(update={"precision": known.precision})
    low, _, high = known.batch
    info = replace(made, file=own, batch_size=low if low == high else None)
    return EngineDetector(engine, info, model.variant, device)


def _described(path: Path, file: ModelFile) -> Path:
    """The JSON file, beside the engine's local copy."""
    beside = path.with_name(f"{path.name}{ENGINE_METADATA_SUFFIX}")
    if is_remote(file.uri):
        folder, name = split(f"{file.uri}{ENGINE_METADATA_SUFFIX}")
        store = open_store(folder, say=print_line)
        beside.unlink(missing_ok=True)
        if store.exists(name):
            store.download(name, beside)
    return beside
