"""One detector three ways: PyTorch, ONNX Runtime, and ONNX Runtime in INT8.

The recipe of examples/bccd-train.yaml is trained on the photographs (minutes), exported, quantized,
and each of the three is evaluated on the whole test split by `dino evaluate`. Then all three find
objects in one photograph at a time, in turns. Everything goes through the command.

At last the default model, a ResNet-50 at 640x640 with random weights: how long it takes as an ONNX
file and in PyTorch, with our sampling kernel and with torch's grid_sample.

DINO_BENCH_MODEL names the results folder of an earlier such training and saves its minutes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any
from unittest import mock

import onnxruntime
import torch
import yaml

from dino_api.experiment import DataSource, ExperimentSpec
from dino_api.names import BEST_CHECKPOINT, ONNX_FILE, QUANTIZED_FILE, Env
from dino_api.result import ModelFile
from dino_trainer.data.coco import CocoDataset, load_coco
from dino_trainer.data.loader import eval_loader
from dino_trainer.data.stage import stage
from dino_trainer.detectors.onnx_detector import open_onnx
from dino_trainer.detectors.torch_detector import TorchDetector, open_checkpoint
from dino_trainer.export.onnx_model import GraphForm, export_onnx
from dino_trainer.gates.compare import random_batch
from dino_trainer.model import build_dino
from dino_trainer.model_files.info import Detector, ModelInfo, config_for
from tests.bench.harness import Bench, cannot_run, machine
from tests.bench.photographs import data_folder

RECIPE = Path(__file__).parents[2] / "examples" / "bccd-train.yaml"
ROUNDS, WARMUP, ASLEEP = 40, 5, 0.1
LARGE, LARGE_ROUNDS, LARGE_CLASSES = (640, 640), 7, 91
KINDS = ("checkpoint", "onnx", "int8")
INT8_NODES = ("QLinear", "QGemm", "MatMulInteger", "QuantizeLinear", "DequantizeLinear")


def main() -> None:
    """Print the accuracies, then the latencies."""
    data = data_folder()
    if data is None:
        cannot_run("Set DINO_BENCH_DATA to a COCO folder with train, val and test.")
    with tempfile.TemporaryDirectory() as folder:
        lab = TrainedFiles(Path(folder), data)
        scores = lab.scores()
        for bench in (*accuracies(scores), *latencies(lab), large(Path(folder))):
            bench.emit()


class TrainedFiles:
    """The models under one folder, made by the command."""

    def __init__(self, folder: Path, data: Path) -> None:
        self.folder, self.data = folder, data
        trained = os.environ.get("DINO_BENCH_MODEL")
        self.train = Path(trained or folder / "train") / "train" / BEST_CHECKPOINT
        if not trained:
            self._train()
        export = self._dino("export", {"export": {"checkpoint": str(self.train)}})
        onnx = export / ONNX_FILE
        sources = {"quant_calibration_data_sources": self._split("train")}
        # What it loses is reported here, not judged.
        section = {"model_path": str(onnx), "device": "cpu", "gate": {"max_loss": 1.0}}
        quantized = self._dino("quantize", {"quantize": section}, **sources)
        int8 = quantized / QUANTIZED_FILE
        self.files = dict(zip(KINDS, (self.train, onnx, int8), strict=True))

    def scores(self) -> dict[str, dict[str, float]]:
        """COCO's statistics of each model on the test split."""
        found = {}
        for kind, path in self.files.items():
            key = "checkpoint" if kind == "checkpoint" else "onnx_file"
            section = {key: str(path), "results_dir": str(self.folder / f"evaluate-{kind}")}
            self._dino("evaluate", {"evaluate": section})
            result = json.loads((self.folder / f"evaluate-{kind}" / "result.json").read_text())
            found[kind] = result["metrics"]
        return found

    def test_data(self) -> CocoDataset:
        """The test split."""
        source = DataSource(**self._split("test")[0])
        return load_coco(stage([source], self.folder / "data", lambda _: None))

    def _train(self) -> None:
        experiment = yaml.safe_load(RECIPE.read_text())["spec"]["experiment"]
        dataset = {
            **experiment.pop("dataset"),
            "train_data_sources": self._split("train"),
            "val_data_sources": self._split("val"),
        }
        results = str(self.train.parents[1])
        experiment["train"]["num_gpus"] = 0
        self._run("train", {**experiment, "dataset": dataset, "results_dir": results})

    def _dino(self, action: str, sections: dict[str, Any], **sources: Any) -> Path:
        """Run an action that is given the test split; where it wrote its results."""
        section = {"results_dir": str(self.folder / action), **sections[action]}
        dataset = {"test_data_sources": self._split("test"), "workers": 1, **sources}
        self._run(action, {action: section, "dataset": dataset})
        return Path(section["results_dir"])

    def _run(self, action: str, spec: dict[str, Any]) -> None:
        path = self.folder / f"{action}.yaml"
        path.write_text(yaml.safe_dump(spec))
        command = [sys.executable, "-m", "dino_trainer", action, "-e", str(path)]
        place = {"DINO_WORK_DIR": str(self.folder / "work")}
        done = subprocess.run(
            command, env={**os.environ, **place}, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"dino {action}: {done.stderr[-2000:]}")

    def _split(self, name: str) -> list[dict[str, str]]:
        split = self.data / name
        return [
            {
                "image_dir": str(split / "images.tar.gz"),
                "json_file": str(split / "annotations.json"),
            }
        ]


def accuracies(scores: dict[str, dict[str, float]]) -> tuple[Bench, Bench]:
    """The mAP of both files beside that of the checkpoint that they were made from."""
    whole = {f"{kind} {name}": scores[kind][name] for kind in KINDS for name in ("mAP", "mAP50")}
    data = "the whole test split of BCCD, every statistic by dino evaluate"
    return (
        Bench(
            "onnx_map",
            scores["onnx"]["mAP"],
            scores["checkpoint"]["mAP"],
            "mAP",
            machine(),
            better="more",
            target="within 0.0005",
            note=f"The exported file beside its checkpoint: {data}.",
            parts=whole,
        ),
        Bench(
            "int8_map",
            scores["int8"]["mAP"],
            scores["checkpoint"]["mAP"],
            "mAP",
            machine(),
            better="more",
            target="loses <= 0.005",
            note=f"The quantized file beside the checkpoint: {data}.",
            parts=whole,
        ),
    )


def latencies(lab: TrainedFiles) -> tuple[Bench, Bench]:
    """One photograph at a time, from its pixels in memory to its boxes."""
    spec = ExperimentSpec()
    models: dict[str, Detector] = {
        "checkpoint": open_checkpoint(
            lab.files["checkpoint"], described(lab.files["checkpoint"]), spec, torch.device("cpu")
        ),
        "onnx": open_onnx(lab.files["onnx"], described(lab.files["onnx"])),
        "int8": open_onnx(lab.files["int8"], described(lab.files["int8"])),
    }
    times = in_turns({kind: once(model, lab.test_data()) for kind, model in models.items()})
    milliseconds = {kind: 1000 * median(rounds) for kind, rounds in times.items()}
    best = {f"best {kind}": round(1000 * min(rounds), 2) for kind, rounds in times.items()}
    parts = {**{kind: round(ms, 2) for kind, ms in milliseconds.items()}, **best, "rounds": ROUNDS}
    size = models["onnx"].info.input_size
    rest = milliseconds["int8"] * share_in_float(lab.files["int8"], torch.rand(1, 3, *size))
    bound = {
        "int8, ms in float32": round(rest, 2),
        "ratio if INT8 took no time": round(milliseconds["onnx"] / rest, 2),
    }
    words = f"Batch 1, (height, width) {size}, median; preparation and selection included."
    return (
        Bench(
            "onnx_latency",
            milliseconds["onnx"],
            milliseconds["checkpoint"],
            "ms",
            machine(),
            target=">= 1.3x",
            note=f"The exported file in ONNX Runtime; peer: PyTorch, eager. {words}",
            parts=parts,
        ),
        Bench(
            "int8_latency",
            milliseconds["int8"],
            milliseconds["onnx"],
            "ms",
            machine(),
            target=">= 1.8x with VNNI",
            note=f"The quantized file in ONNX Runtime; peer: the same in float32. {words}",
            parts={**parts, **bound},
        ),
    )


def share_in_float(path: Path, images: torch.Tensor) -> float:
    """The part of a quantized file's time that goes to nodes in float32, by the runtime's profile.

    images: float[1, 3, h, w].
    """
    options = onnxruntime.SessionOptions()
    options.enable_profiling = True
    options.profile_file_prefix = str(path.with_suffix(".profile"))
    providers = ["CPUExecutionProvider"]
    session = onnxruntime.InferenceSession(str(path), options, providers=providers)
    for _ in range(ROUNDS):
        session.run(None, {session.get_inputs()[0].name: images.numpy()})
    events = json.loads(Path(session.end_profiling()).read_text())
    took = [
        (event["args"]["op_name"], event["dur"])
        for event in events
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time")
    ]
    in_float = sum(duration for kind, duration in took if not kind.startswith(INT8_NODES))
    return float(in_float / sum(duration for _, duration in took))


def large(folder: Path) -> Bench:
    """The same for the default model: what its weights are does not matter for the time."""
    spec, path = ExperimentSpec(), folder / "large.onnx"
    torch.manual_seed(0)
    model = build_dino(spec.model, LARGE_CLASSES).eval()
    names = tuple(f"class {index}" for index in range(LARGE_CLASSES))
    file = ModelFile(uri="random", format="checkpoint")
    info = ModelInfo(file, spec, names, LARGE, None, spec.model.num_select)
    form = GraphForm(size=LARGE, opset=17, batch=None, end_to_end=False)
    export_onnx(model, info, path, form)
    pixels, sizes = random_batch(1, LARGE, 0), torch.tensor([LARGE])
    torch_model, onnx_model = TorchDetector(model, info), open_onnx(path, described(path))

    def by_grid() -> object:
        with mock.patch.dict(os.environ, {Env.SAMPLING: "grid_sample"}):
            return torch_model(pixels, sizes)

    runs = {
        "checkpoint": lambda: torch_model(pixels, sizes),
        "checkpoint with grid_sample": by_grid,
        "onnx": lambda: onnx_model(pixels, sizes),
    }
    # Seconds each: other work on the machine disturbs them less in time of the processor.
    times = in_turns(runs, LARGE_ROUNDS, 1, time.process_time)
    parts = {kind: round(1000 * median(rounds), 1) for kind, rounds in times.items()}
    return Bench(
        "onnx_latency_resnet50",
        parts["onnx"],
        parts["checkpoint with grid_sample"],
        "ms",
        machine(),
        target=">= 1.3x",
        note="A ResNet-50 DINO of random weights, batch 1, (height, width) "
        f"{LARGE}, in ONNX Runtime; peer: PyTorch, eager, with grid_sample. Median of the "
        "processor's time. The checkpoint of the parts samples with our compiled kernel.",
        parts={
            **parts,
            "onnx over the compiled kernel": round(parts["checkpoint"] / parts["onnx"], 2),
        },
    )


def described(path: Path) -> ModelFile:
    """The file, as the command would describe it."""
    format = "checkpoint" if path.suffix == ".pth" else "onnx"
    return ModelFile(uri=str(path), format=format, bytes=path.stat().st_size)


def once(model: Detector, data: CocoDataset) -> Callable[[], object]:
    """One image through one model."""
    config = config_for(model.info, ExperimentSpec(), None)
    batch = next(iter(eval_loader(data, config, [[0]], False)))
    sizes = torch.tensor([[data.images[0].height, data.images[0].width]])
    return lambda: model(batch.to(model.device), sizes)


def in_turns(
    runs: dict[str, Callable[[], object]],
    rounds: int = ROUNDS,
    warmup: int = WARMUP,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Seconds of each round of each, all of them in every round.

    Threads of a runtime go on spinning for a while after a run: before each measured run they are
    given time to fall asleep, and the run's own are woken by one that is not measured.
    """
    times: dict[str, list[float]] = {kind: [] for kind in runs}
    for turn in range(warmup + rounds):
        for kind, run in runs.items():
            time.sleep(ASLEEP)
            run()
            start = clock()
            run()
            if turn >= warmup:
                times[kind].append(clock() - start)
    return times


if __name__ == "__main__":
    main()
