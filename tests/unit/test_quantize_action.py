"""`dino quantize`: from an exported file and images to one in INT8, behind its gate."""

from __future__ import annotations

import json
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import onnx
import pytest

from dino_api.experiment import ExperimentSpec
from dino_api.loading import load
from dino_api.names import Action
from dino_api.result import ModelComparison, ModelFile, Result, ScoredModel
from dino_trainer.actions import quantize
from dino_trainer.detectors.onnx_detector import open_onnx
from dino_trainer.errors import TrainerError
from dino_trainer.gates.compare import ComparisonSettings
from dino_trainer.model_files.info import config_for
from dino_trainer.quantize.calibration import calibration_inputs, spread
from dino_trainer.run import RunContext
from dino_trainer.scoring.detection import detect
from dino_trainer.spec.micro_batch import in_batches_of
from tests.unit.quantize_graphs import a_graph
from tests.unit.training_builders import Recorder, a_context, a_dataset, load_folder, source

MADE = "dino_model_int8.onnx"


class Quantization:
    """An exported file, calibration and test data, and the action on them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.recorder, self.stop = folder, Recorder(), Event()
        self.model = a_graph(folder / "model.onnx")

    def data(self, name: str, images: int) -> dict[str, str]:
        at = self.folder / name
        return source(at if at.exists() else a_dataset(at, images))

    def spec(self, *overrides: str, images: int = 12, test: int = 4) -> ExperimentSpec:
        dataset: dict[str, Any] = {
            "quant_calibration_data_sources": self.data(f"calibration{images}", images),
            "workers": 0,
        }
        if test:
            dataset["test_data_sources"] = [self.data("test", test)]
        content = {
            "results_dir": str(self.folder / "results"),
            "dataset": dataset,
            "quantize": {"model_path": str(self.model)},
        }
        return load(content, overrides, Action.QUANTIZE)[0]

    def run(self, *overrides: str, images: int = 12, test: int = 4) -> Result:
        spec = self.spec(*overrides, images=images, test=test)
        return quantize.run(spec, self.context(spec))

    def context(self, spec: ExperimentSpec) -> RunContext:
        return a_context(spec, self.recorder, self.stop, Action.QUANTIZE)

    @property
    def written(self) -> set[str]:
        return {path.name for path in (self.folder / "results" / "quantize").iterdir()}

    @property
    def note(self) -> dict[str, Any]:
        """What the file says about its quantization."""
        model = onnx.load(self.folder / "results" / "quantize" / MADE)
        props = {one.key: one.value for one in model.metadata_props}
        return dict(json.loads(props["dino.quantization"]))

    @property
    def warnings(self) -> list[str]:
        return [event for event in self.recorder.events if event.startswith("Warning")]


@pytest.fixture
def lab(tmp_path: Path) -> Quantization:
    return Quantization(tmp_path)


def scored(precision: str, score: float, milliseconds: float = 10.0) -> ScoredModel:
    return ScoredModel(format="onnx", precision=precision, mAP=score, mAP50=score,
                  latency_ms=milliseconds, bytes=1)  # fmt: skip


def compared(
    lab: Quantization, monkeypatch: pytest.MonkeyPatch, loss: float, after: float = 5.0
) -> None:
    """What both files find is said to differ by so much."""

    def compare(_: Any, __: Any, settings: ComparisonSettings, *more: Any) -> ModelComparison:
        candidate = scored("int8", 0.5 - loss, after)
        return ModelComparison(reference=scored("fp32", 0.5), candidate=candidate, images=4,
                          matched=0.9, loss=loss, max_loss=settings.max_loss)  # fmt: skip

    monkeypatch.setattr(quantize, "compare_in_run", compare)


def test_the_file_is_published_compared_and_can_be_evaluated(lab: Quantization) -> None:
    result = lab.run()
    assert lab.written == {MADE, "report.html", "manifest.json"}
    assert [artifact.name for artifact in result.artifacts] == [MADE, "report.html"]
    assert (result.model.format, result.model.precision) == ("onnx", "int8")
    assert result.model.sha256 == result.artifacts[0].sha256
    found = result.comparison
    assert (found.reference.precision, found.candidate.precision) == ("fp32", "int8")
    assert (found.images, found.max_loss) == (4, 0.005)
    assert found.candidate.latency_ms > 0
    assert found.candidate.bytes == result.model.bytes
    assert result.note in lab.recorder.events
    assert lab.warnings == [
        "Warning: ranges are taken from 12 images; 50 or more make them depend less on which "
        "images these are."
    ]
    path = lab.folder / "results" / "quantize" / MADE
    detector = open_onnx(path, result.model)
    data = load_folder(lab.folder / "test")
    config = config_for(detector.info, lab.spec(), lab.spec().quantize)
    assert len(detect(detector, data, config).scores) == 4 * 6
    note = lab.note
    assert (note["algorithm"], note["images"], note["layers"]) == ("minmax", 12, 5)
    assert note["activations"] == "int8"
    report = (lab.folder / "results" / "quantize" / "report.html").read_text()
    assert "5 layers compute in INT8" in report
    assert "<li>input_proj.0.0/Conv</li>" in report


def test_too_great_a_loss_keeps_the_report_and_publishes_no_file(
    lab: Quantization, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared(lab, monkeypatch, 0.02)
    with pytest.raises(TrainerError, match=r"mAP is 0\.4800.*0\.5000.*allows a loss of 0\.01") as e:
        lab.run("quantize.gate.max_loss=0.01")
    assert e.value.reason == "GateFailed"
    assert "raise quantize.gate.max_loss above 0.0200" in e.value.remedy
    assert e.value.kept.comparison.loss == 0.02
    assert [artifact.name for artifact in e.value.kept.artifacts] == ["report.html"]
    assert e.value.kept.model is None
    assert lab.written == {"report.html", "manifest.json"}
    assert "is not published" in (lab.folder / "results/quantize/report.html").read_text()


@pytest.mark.parametrize("after, said", [(5.0, "INT8 is 2.00x as fast here."),
                                         (9.0, "INT8 is hardly faster here; measure on the device "
                                               "that it is for.")])  # fmt: skip
def test_a_gain_in_speed_is_said(
    lab: Quantization, monkeypatch: pytest.MonkeyPatch, after: float, said: str
) -> None:
    compared(lab, monkeypatch, 0.0, after=after)
    assert lab.run("quantize.device=cpu").note.endswith(said)


def test_a_loss_within_the_gate_passes_and_no_gain_in_speed_is_said(
    lab: Quantization, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared(lab, monkeypatch, 0.0049, after=12.0)
    note = lab.run().note
    assert note.startswith("FP32 and INT8 on 4 images: mAP 0.5000 and 0.4951, 10.0 and 12.0 ms")
    assert note.endswith(
        "INT8 is not faster here; for CPUs set quantize.device: cpu, and measure on the device "
        "that it is for."
    )
    note = lab.run("quantize.device=cpu", "results_dir=" + str(lab.folder / "cpu")).note
    assert note.endswith("INT8 is not faster here; measure on the device that it is for.")


@pytest.mark.parametrize("images, message", [(3, "has 3 images, and 10 are needed"),
                                             (1, "has 1 image, and")])  # fmt: skip
def test_a_few_images_are_refused_with_their_number(
    lab: Quantization, images: int, message: str
) -> None:
    with pytest.raises(TrainerError, match=message) as error:
        lab.run(images=images)
    assert error.value.reason == "InvalidDataset"
    assert "50 or more as dataset.quant_calibration_data_sources" in error.value.remedy


def test_without_test_data_the_calibration_images_serve_and_it_is_said(lab: Quantization) -> None:
    assert lab.run("quantize.device=cpu", test=0).comparison.images == 12
    assert lab.note["activations"] == "uint8"
    assert "measured on the calibration images. That flatters it" in lab.warnings[-1]


def test_images_are_prepared_as_an_evaluation_prepares_them(lab: Quantization) -> None:
    detector = open_onnx(lab.model, ModelFile(uri="m", format="onnx"))
    data = load_folder(a_dataset(lab.folder / "data", 3))
    config = config_for(detector.info, lab.spec(), lab.spec().quantize)
    seen: list[np.ndarray] = []
    run = detector.run
    detector.run = lambda inputs: seen.append(inputs) or run(inputs)  # type: ignore[method-assign]
    detect(detector, data, in_batches_of(1, config))
    given = list(calibration_inputs(detector, data, config, Event(), lambda *_: None))
    assert len(given) == len(seen) == 3
    assert all(np.array_equal(one, other) for one, other in zip(given, seen, strict=True))


def test_of_many_images_a_part_is_taken_evenly(lab: Quantization) -> None:
    data = load_folder(a_dataset(lab.folder / "data", 8))
    assert [image.id for image in spread(data, 3).images] == [1, 3, 6]
    assert spread(data, 8) is data


def test_a_stop_while_ranges_are_taken(lab: Quantization) -> None:
    lab.recorder.at_step = lambda step: lab.stop.set() if step == 5 else None
    with pytest.raises(TrainerError, match="after 5 of 12 calibration images") as error:
        lab.run()
    assert error.value.reason == "Preempted"
    assert lab.written == set()


def test_a_checkpoint_and_files_of_others_are_refused_by_name(lab: Quantization) -> None:
    with pytest.raises(TrainerError, match=r"model\.pth is no ONNX file but checkpoint"):
        lab.run(f"quantize.model_path={lab.folder / 'model.pth'}")
    bare = onnx.load(lab.model)
    del bare.metadata_props[:]
    onnx.save(bare, lab.folder / "bare.onnx")
    with pytest.raises(TrainerError, match="without the metadata of `dino export`"):
        lab.run(f"quantize.model_path={lab.folder / 'bare.onnx'}")
    half = a_graph(lab.folder / "half.onnx", precision="fp16")
    with pytest.raises(TrainerError, match=r"half\.onnx is in fp16, and fp32 is quantized"):
        lab.run(f"quantize.model_path={half}")
    with pytest.raises(TrainerError, match=r"model\.num_queries is 7, the model's 6"):
        lab.run("model.num_queries=7")
