"""Engines of the small detector, built by the double for a GPU that is the CPU."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnxscript import ir

from dino_api.result import ModelFile
from dino_trainer.data.loader import Batch
from dino_trainer.model_files.naming import ENGINE_METADATA_SUFFIX
from dino_trainer.targets import Targets
from dino_trainer.tensorrt import build, gpu
from dino_trainer.tensorrt.engine_metadata import EngineMetadata, OnnxSource
from dino_trainer.tensorrt.gpu import EngineGpu
from dino_trainer.tensorrt.python_api import Request
from tests.tensorrt import double, models


def a_gpu(name: str = "NVIDIA H200", capability: str = "9.0") -> EngineGpu:
    """A GPU whose memory is the host's, as the double's engines need it."""
    return EngineGpu(torch.device("cpu"), name, capability, 140 << 30, "580.159.03", "13.0")


def install(monkeypatch: pytest.MonkeyPatch, major: int = 11) -> double.World:
    """The double, and its GPU."""
    world = double.install(monkeypatch, major)
    monkeypatch.setattr(gpu, "first_gpu", lambda: a_gpu(world.gpu))
    return world


def describe(world: double.World, batch: tuple[int, int, int]) -> EngineMetadata:
    """What `gen_trt_engine` would write beside the engine."""
    here = a_gpu(world.gpu)
    return EngineMetadata(
        precision="fp32",
        tensorrt=world.version,
        gpu=here.name,
        capability=here.capability,
        memory=here.memory,
        driver=here.driver,
        cuda=here.cuda,
        onnx=OnnxSource("s3://b/dino_model.onnx", "cd" * 32, "fp32"),
        batch=batch,
        workspace=1 << 30,
        props=models.metadata(None).to_props(),
    )


def an_engine(
    folder: Path,
    world: double.World,
    batch: tuple[int, int, int] = (1, 2, 4),
    model: onnx.ModelProto | None = None,
    **changes: object,
) -> Path:
    """dino_model.engine and dino_model.engine.json in `folder`."""
    graph = ir.from_proto(model or models.a_model())
    known = replace(describe(world, batch), **changes)  # type: ignore[arg-type]
    profile = build.profile_of(graph, build.Batches(*batch), "the model")
    silent = (lambda _: True, lambda _: None)
    request = Request(ir.to_proto(graph).SerializeToString(), known.name, profile, 1 << 30)
    built = build.run(request, *silent, False)
    assert built.plan
    path = folder / "dino_model.engine"
    folder.mkdir(parents=True, exist_ok=True)
    path.write_bytes(built.plan)
    path.with_name(f"{path.name}{ENGINE_METADATA_SUFFIX}").write_text(known.to_json())
    return path


def a_file(path: Path) -> ModelFile:
    """How an engine is named to those who open it."""
    return ModelFile(uri=str(path), format="engine")


def a_batch(count: int, size: tuple[int, int] = models.SIZE) -> tuple[Batch, torch.Tensor]:
    """Pictures of noise, and the sizes of their originals."""
    rng = np.random.default_rng(count)
    images = torch.from_numpy(rng.integers(0, 255, (count, 3, *size), dtype=np.uint8))
    nothing = Targets(torch.zeros(0, dtype=torch.int64), torch.zeros(0, 4), (0,) * count)
    sizes = torch.tensor([[64 + n, 96 + n] for n in range(count)])
    return Batch(tuple(range(count)), images, None, nothing), sizes
