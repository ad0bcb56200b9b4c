"""Gates of export, quantize and gen_trt_engine score as `dino evaluate` does by the same spec.

An image of 300 boxes is judged whole where `evaluate.max_detections` says so: a file that loses the
boxes beyond the hundredth must not pass for one that loses none.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dino_api.experiment import ExperimentSpec, digest
from dino_api.loading import load
from dino_api.names import Action
from dino_api.result import ModelComparison, ModelFile, Result
from dino_trainer.actions import export, gen_trt_engine, quantize
from dino_trainer.data.coco import CocoDataset
from dino_trainer.errors import TrainerError
from dino_trainer.gates.compare import ComparisonSettings, compare
from dino_trainer.gates.scoring import Scoring
from dino_trainer.model import Detections
from dino_trainer.model_files.info import ModelInfo
from dino_trainer.run import RunContext
from tests.tensorrt import engines, models
from tests.unit.quantize_graphs import a_graph
from tests.unit.test_export_action import a_checkpoint
from tests.unit.training_builders import Recorder, a_context, a_dataset, load_folder, source

MANY = 300
NAMES = ("", "red", "", "blue")


def dense(folder: Path) -> Path:
    """Ten images, of which the first has 300 boxes of class 1, in rows of 30, and no other."""
    a_dataset(folder, 10, seed=3)
    path = folder / "annotations.json"
    document = json.loads(path.read_text())
    boxes = [[3 * (n % 30), 6 * (n // 30), 3, 6] for n in range(MANY)]
    document["annotations"] = [
        *(one for one in document["annotations"] if one["image_id"] != 1),
        *(
            {"id": 1000 + n, "image_id": 1, "category_id": 1, "bbox": box, "area": 18, "iscrowd": 0}
            for n, box in enumerate(boxes)
        ),
    ]
    path.write_text(json.dumps(document))
    return folder


class Knowing:
    """A detector that finds every box of the data; those after `right` in an image a box aside."""

    device = torch.device("cpu")

    def __init__(self, dataset: CocoDataset, right: int, class_id: int = 1) -> None:
        file = ModelFile(uri=f"{right}.onnx", format="onnx", precision="fp32")
        self.info = ModelInfo(file, ExperimentSpec(), NAMES, (64, 96), None, MANY)
        self.dataset, self.right, self.class_id = dataset, right, class_id

    def __call__(self, batch: Any, sizes: Any) -> list[Detections]:
        return [self._found(index) for index in batch.indices]

    def _found(self, index: int) -> Detections:
        image = self.dataset.images[index]
        boxes = image.boxes.astype("f4")
        boxes[:, 2:] += boxes[:, :2]
        lost = (image.labels == self.class_id) & (np.arange(len(boxes)) >= self.right)
        boxes[lost] += 1000
        scores = torch.linspace(0.9, 0.5, len(boxes))
        return Detections(scores, torch.tensor(image.labels), torch.tensor(boxes))


def gap(dataset: CocoDataset, scoring: Scoring, lost_of: int = 1) -> ModelComparison:
    """A detector that finds all beside one that finds 100 of an image's boxes of a class."""
    config = load({"dataset": {"workers": 0, "augmentation": {"fixed_size": [64, 96]}}})[0].dataset
    models = (Knowing(dataset, 10_000), Knowing(dataset, 100, lost_of))
    return compare(*models, ComparisonSettings(dataset, config, scoring))


def test_boxes_beyond_the_hundredth_count_where_it_is_asked_for(tmp_path: Path) -> None:
    dataset = load_folder(dense(tmp_path / "data"))
    coco = gap(dataset, Scoring())
    assert (coco.loss, coco.max_detections) == (0, 100)
    whole = gap(dataset, Scoring(None, MANY))
    assert whole.reference.mAP == pytest.approx(1)
    assert whole.loss > 0.1
    assert whole.max_detections == MANY


def test_classes_that_are_not_scored_count_in_no_gate(tmp_path: Path) -> None:
    dataset = load_folder(dense(tmp_path / "data"))
    assert gap(dataset, Scoring([1], MANY)).loss > 0.3
    assert gap(dataset, Scoring([3], MANY)).loss == 0


def an_export(folder: Path) -> None:
    a_checkpoint(folder)


def a_quantization(folder: Path) -> None:
    at = folder / "results" / "export" / "dino_model.onnx"
    at.parent.mkdir(parents=True)
    a_graph(at)


def an_engine(folder: Path) -> None:
    models.save(models.a_model(), folder / "results/export/dino_model.onnx")


Run = Callable[[ExperimentSpec, RunContext], Result]
GATES: dict[Action, tuple[Run, Callable[[Path], None]]] = {
    Action.EXPORT: (export.run, an_export),
    Action.QUANTIZE: (quantize.run, a_quantization),
    Action.GEN_TRT_ENGINE: (gen_trt_engine.run, an_engine),
}


class GatedAction:
    """One action on an image of 300 boxes."""

    def __init__(self, action: Action, folder: Path) -> None:
        self.action, self.folder = action, folder
        self.run_action, prepare = GATES[action]
        prepare(folder)
        self.data = source(dense(folder / "data"))

    def run(self, *overrides: str) -> tuple[Result, list[str]]:
        """What the action leaves, and its warnings about the data."""
        content = {
            "results_dir": str(self.folder / "results"),
            "dataset": {
                "test_data_sources": [self.data],
                "quant_calibration_data_sources": [self.data],
                "workers": 0,
            },
            "quantize": {"gate": {"max_loss": 1}},
        }
        spec = load(content, overrides, self.action)[0]
        recorder = Recorder()
        result = self.run_action(spec, a_context(spec, recorder, action=self.action))
        said = [line for line in recorder.events if line.startswith("Warning: ")]
        return result, [line for line in said if "boxes of one class" in line]


@pytest.fixture(params=GATES)
def lab(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> GatedAction:
    engines.install(monkeypatch)
    return GatedAction(request.param, tmp_path)


def test_each_gate_scores_by_the_spec(lab: GatedAction) -> None:
    result, warnings = lab.run("evaluate.max_detections=300")
    assert result.comparison.max_detections == 300
    assert warnings == []


@pytest.mark.parametrize("lab", [Action.QUANTIZE, Action.GEN_TRT_ENGINE], indirect=True)
def test_each_gate_says_what_is_not_counted(lab: GatedAction) -> None:
    """An export, which takes a while to make, is left out: it asks the same function."""
    result, warnings = lab.run()
    assert result.comparison.max_detections == 100
    assert [text.partition(", and")[0] for text in warnings] == [
        "Warning: 1 times an image has more than 100 boxes of one class (300 at most)"
    ]
    assert "Raise evaluate.max_detections and model.num_select" in warnings[0]


def test_a_class_that_the_data_lacks_is_refused_as_by_evaluate(lab: GatedAction) -> None:
    with pytest.raises(TrainerError, match=r"eval_class_ids names 2, and the test data has") as why:
        lab.run("dataset.eval_class_ids=[1, 2]")
    assert why.value.reason == "InvalidSpec"


CALIBRATION = "quant_calibration_data_sources"
SCORED = [
    *((action, "test_data_sources") for action in GATES),
    *((action, CALIBRATION) for action in (Action.QUANTIZE, Action.GEN_TRT_ENGINE)),
]


@pytest.mark.parametrize(("lab", "key"), SCORED, indirect=["lab"])
def test_other_classes_than_the_models_are_refused(key: str, lab: GatedAction) -> None:
    """A score of boxes by the wrong names is a number all the same."""
    given = ["dataset.test_data_sources=null"] if key == CALIBRATION else []
    path = lab.folder / "data" / "annotations.json"
    document = json.loads(path.read_text())
    document["categories"] = [{"id": 1, "name": "blue"}, {"id": 3, "name": "red"}]
    path.write_text(json.dumps(document))
    with pytest.raises(TrainerError, match="has other classes than the") as why:
        lab.run(*given)
    assert why.value.reason == "InvalidDataset"
    called = "calibration data" if key == CALIBRATION else "test data"
    assert f"category 1 is 'blue' in the {called} and 'red' in the model" in why.value.message
    assert f"The model has 1 (red), 3 (blue); the {called} 1 (blue), 3 (red)." in why.value.message
    document["categories"].append({"id": 7, "name": "green"})
    path.write_text(json.dumps(document))
    with pytest.raises(TrainerError, match=rf"{called} has 7 \(green\), and .* below 4 only"):
        lab.run(*given)


@pytest.mark.parametrize("action", GATES)
def test_the_key_is_read_by_the_actions_with_a_gate(action: Action) -> None:
    """It alone of the section: the rest has no effect, which is said."""
    mapping = {"evaluate": {"max_detections": 300, "batch_size": 4, "input_width": 64}}
    spec, problems = load(mapping, action=action)
    said = [f"{one.path} {one.rule}" for one in problems]
    assert said == [
        f"evaluate.{key} only `dino evaluate` reads it" for key in ("batch_size", "input_width")
    ]
    plain = load({}, action=action)[0]
    assert digest(spec, action) != digest(plain, action)
    other = load({"evaluate": {"batch_size": 4}}, action=action)[0]
    assert digest(other, action) == digest(plain, action)


def test_training_reads_nothing_of_the_section() -> None:
    _, problems = load({"evaluate": {"max_detections": 300}})
    said = [(one.path, one.rule) for one in problems if one.id == "other-action"]
    assert said == [("evaluate", "only `dino evaluate` reads it")]
