"""`dino export`: what it publishes, that ONNX Runtime finds what torch finds, what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn
from torch.nn import functional

from dino_api.experiment import ExperimentSpec
from dino_api.loading import load
from dino_api.names import GRAPH_FILE, ONNX_FILE, Action
from dino_api.result import ModelComparison, ModelFile, Result, ScoredModel
from dino_trainer.actions import export
from dino_trainer.detectors.onnx_detector import OnnxDetector, open_onnx
from dino_trainer.detectors.opening import open_model
from dino_trainer.detectors.torch_detector import TorchDetector, open_checkpoint
from dino_trainer.errors import TrainerError
from dino_trainer.export.input_size import input_size
from dino_trainer.export.onnx_model import GraphForm, export_onnx
from dino_trainer.gates import onnx_gate
from dino_trainer.gates.compare import matched, random_batch
from dino_trainer.model import build_dino
from dino_trainer.model.dino import Outputs, Predictions
from dino_trainer.model_files import checkpoint
from dino_trainer.model_files.checkpoint import LATEST
from dino_trainer.model_files.info import config_for
from dino_trainer.run import RunContext
from dino_trainer.scoring.detection import DetectionSet, detect
from dino_trainer.spec.micro_batch import in_batches_of
from tests.unit.training_builders import Recorder, a_context, a_dataset, a_spec, load_folder

NAMES = ("", "red", "", "blue")
SIZE = (64, 96)


def a_checkpoint(folder: Path) -> Path:
    """A detector with random weights, as a training leaves it; its validation data in `val`."""
    data = a_dataset(folder / "val", 6, seed=3)
    trained = a_spec(
        data, data, "train.precision=bf16", "dataset.augmentation.input_mean=[.4,.5,.6]"
    )
    torch.manual_seed(0)
    model = build_dino(trained.model, len(NAMES))
    for parameter in model.parameters():  # nothing may hide behind a zero start
        if parameter.detach().abs().max() == 0:
            torch.nn.init.normal_(parameter.data, std=0.05)
    path = folder / "results" / "train" / LATEST
    path.parent.mkdir(parents=True)
    content = {"spec": trained.model_dump(mode="json"), "model": model.state_dict()}
    checkpoint.write({**content, "class_names": list(NAMES)}, path)
    return path


def spec_of(folder: Path, *overrides: str) -> ExperimentSpec:
    """Nothing but where the results are: all else is in the checkpoint."""
    given = {"results_dir": str(folder / "results"), "dataset": {"workers": 0}}
    return load(given, overrides, Action.EXPORT)[0]


def context_of(spec: ExperimentSpec, recorder: Recorder) -> RunContext:
    return a_context(spec, recorder, action=Action.EXPORT)


class Made:
    """One export, for all tests here."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.recorder = folder, Recorder()
        self.checkpoint = a_checkpoint(folder)
        self.spec = spec_of(folder)
        self.result: Result = export.run(self.spec, context_of(self.spec, self.recorder))
        self.path = folder / "results" / "export" / ONNX_FILE

    def torch(self) -> TorchDetector:
        """The checkpoint in float32."""
        file = ModelFile(uri="model.pth", format="checkpoint")
        opened = open_checkpoint(self.checkpoint, file, self.spec, torch.device("cpu"))
        train = opened.info.spec.train.model_copy(update={"precision": "fp32"})
        spec = opened.info.spec.model_copy(update={"train": train})
        return TorchDetector(opened.model, replace(opened.info, spec=spec))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(tmp_path_factory.mktemp("exported"))


def opened(path: Path) -> OnnxDetector:
    return open_onnx(path, ModelFile(uri=path.name, format="onnx"))


def test_the_graph_is_one_that_every_runtime_knows(made: Made) -> None:
    """No GridSample, standard operators only, K of every TopK a constant."""
    proto = onnx.load(made.path)
    onnx.checker.check_model(proto, full_check=True)
    assert [(one.domain, one.version) for one in proto.opset_import] == [("", 17)]
    operators = {node.op_type for node in proto.graph.node}
    assert operators >= {"Gather", "MatMul", "TopK"}
    assert "GridSample" not in operators
    constants = {one.name: numpy_helper.to_array(one) for one in proto.graph.initializer}
    chosen = [constants[node.input[1]] for node in proto.graph.node if node.op_type == "TopK"]
    assert [k.tolist() for k in chosen] == [[10]]
    names = [node.name for node in proto.graph.node]
    assert len(set(names)) == len(names)
    assert "encoder.layers.0.attention.sampling_offsets/Gemm" in names


def test_inputs_and_outputs_are_those_of_tao(made: Made) -> None:
    graph = onnx.load(made.path, load_external_data=False).graph
    shapes = {
        one.name: [d.dim_param or d.dim_value for d in one.type.tensor_type.shape.dim]
        for one in (*graph.input, *graph.output)
    }
    assert shapes == {
        "inputs": ["batch", 3, 64, 96],
        "pred_logits": ["batch", 10, 4],
        "pred_boxes": ["batch", 10, 4],
    }


def test_the_result_says_what_was_made_and_how_it_compares(made: Made) -> None:
    result, report = made.result, json.loads((made.path.parent / GRAPH_FILE).read_text())
    assert [one.name for one in result.artifacts] == [ONNX_FILE, GRAPH_FILE]
    assert result.model is not None
    assert (result.model.uri, result.model.precision) == (str(made.path), "fp32")
    assert result.model.sha256 == result.artifacts[0].sha256
    assert result.comparison is not None
    assert result.comparison.matched > 0.99
    assert abs(result.comparison.loss) < 0.0005
    assert (result.comparison.images, result.comparison.candidate.format) == (6, "onnx")
    assert min(result.comparison.reference.latency_ms, result.comparison.candidate.latency_ms) > 0
    nodes = len(onnx.load(made.path).graph.node)
    assert (report["nodes"], report["bytes"]) == (nodes, made.path.stat().st_size)
    assert report["comparedOn"] == "6 images of the training's val_data_sources"
    assert report["problems"] == []
    assert any(f"{nodes} nodes" in event for event in made.recorder.events)
    assert not list(made.path.parent.glob("*.unchecked"))


def test_the_file_says_how_to_use_it_and_not_where_its_data_was(made: Made) -> None:
    props = {one.key: one.value for one in onnx.load(made.path).metadata_props}
    said = {key: json.loads(value) for key, value in props.items()}
    assert said["dino.schema"] == 1
    assert said["dino.class_names"] == list(NAMES)
    assert said["dino.input_size"] == list(SIZE)
    assert said["dino.preprocessing"]["mean"] == [0.4, 0.5, 0.6]
    assert (said["dino.variant"], said["dino.num_select"]) == ("raw", 10)
    assert len(said["dino.checkpoint_sha256"]) == 64
    assert said["dino.spec"]["model"]["hidden_dim"] == 32
    assert str(made.folder) not in "".join(props.values())


@pytest.mark.parametrize("batch", [1, 4])
def test_onnx_runtime_finds_what_torch_finds(made: Made, batch: int) -> None:
    data, detector = load_folder(made.folder / "val"), opened(made.path)
    config = in_batches_of(batch, config_for(detector.info, made.spec, made.spec.export))
    ours, theirs = (detect(one, data, config) for one in (detector, made.torch()))
    assert len(theirs.scores) == 60
    assert matched(theirs, ours) > 0.99
    assert matched(theirs, replace(ours, labels=ours.labels + 10)) == 0


class Pooled(nn.Module):
    """A detector of a few operations, which is exported in a moment: queries are cells."""

    def __init__(self) -> None:
        super().__init__()
        self.label_embed = nn.Embedding(1, 1)  # tells the device, as the real one's
        self.head = nn.Conv2d(3, len(NAMES) + 4, 1)

    def locate(self, *size: int) -> None:
        """Nothing to compute before."""

    def forward(self, images, mask=None, tokens=None) -> Outputs:
        cells = self.head(functional.avg_pool2d(images, 16)).flatten(2).transpose(1, 2)
        logits, boxes = cells.split([len(NAMES), 4], dim=2)
        return Outputs(Predictions(logits[None], boxes.sigmoid()[None]), None, None)


def test_end_to_end_takes_bytes_and_gives_boxes_in_pixels(made: Made, tmp_path: Path) -> None:
    """Of a fixed batch, in operator set 18, and more images than a batch holds."""
    torch.manual_seed(0)
    model, path = TorchDetector(Pooled().eval(), made.torch().info), tmp_path / "model.onnx"
    export_onnx(
        model.model,  # type: ignore[arg-type]
        model.info,
        path,
        GraphForm(SIZE, opset=18, batch=2, end_to_end=True),
    )
    assert onnx.load(path).opset_import[0].version == 18
    detector, batch = opened(path), random_batch(3, SIZE, 0)
    found = detector.run(batch.images.numpy())
    assert {name: (v.shape, v.dtype.name) for name, v in found.items()} == {
        "boxes": ((3, 10, 4), "float32"),
        "scores": ((3, 10), "float32"),
        "labels": ((3, 10), "int64"),
    }
    assert found["boxes"].max() > 60
    sizes = torch.tensor([[64, 96], [128, 96], [64, 480]])  # of pictures before they were resized
    ours, theirs = (_joined(one(batch, sizes)) for one in (detector, model))
    assert matched(theirs, ours) > 0.99
    assert detector.info.batch_size == 2


def _joined(detections) -> DetectionSet:
    parts = [torch.cat([getattr(d, name) for d in detections]).numpy() for name in _PARTS]
    return DetectionSet(np.repeat(np.arange(len(detections)), len(detections[0].scores)), *parts)


_PARTS = ("labels", "scores", "boxes")


def _changed(made: Made, at: Path, change: Callable[[onnx.ModelProto], None]) -> Path:
    proto = onnx.load(made.path)
    change(proto)
    onnx.save(proto, at)
    return at


def _rename(proto: onnx.ModelProto) -> None:
    old, proto.graph.output[0].name = proto.graph.output[0].name, "logits"
    for node in proto.graph.node:
        for place, name in enumerate(node.output):
            if name == old:
                node.output[place] = "logits"


def _prop(key: str, value: str) -> Callable[[onnx.ModelProto], None]:
    def change(proto: onnx.ModelProto) -> None:
        known = [one for one in proto.metadata_props if one.key == key]
        (known[0] if known else proto.metadata_props.add(key=key)).value = value

    return change


@pytest.mark.parametrize(
    "change, sentence",
    [
        (lambda proto: proto.metadata_props.pop(), "has metadata that cannot be read"),
        (lambda proto: proto.ClearField("metadata_props"), "without the metadata of `dino export`"),
        (_prop("dino.schema", "2"), "its schema is 2, and 1 is known here"),
        (_rename, "has the graph inputs -> logits, pred_boxes, and a detector has"),
        (_prop("dino.class_names", '["a"]'), "tells 4 classes, and its metadata names 1"),
        (_prop("dino.input_size", "[32, 32]"), "of 96x64 pixels, and its metadata says 32x32"),
        (_prop("dino.class_names", "'" * 9), "has metadata that cannot be read"),
        (_prop("dino.spec", "[" * 100_000), "has metadata that cannot be read"),
        (_prop("dino.input_size", "[Infinity, 1]"), "cannot be read .dino.input_size.0: "),
        (_prop("dino.input_size", "64"), "cannot be read .dino.input_size: "),
        (_prop("dino.num_select", "-1"), "cannot be read .dino.num_select: "),
        (_prop("dino.batch_size", '"four"'), "cannot be read .dino.batch_size: "),
        (_prop("dino.variant", '"odd"'), "cannot be read .dino.variant: "),
        (_prop("dino.quantization", "[1]"), "cannot be read .dino.quantization: "),
        (lambda proto: setattr(proto.graph.node[9], "op_type", "Odd"), "cannot be run by ONNX"),
    ],
)
def test_a_file_of_another_kind_is_refused_in_words(
    made: Made, tmp_path: Path, change: Callable[[onnx.ModelProto], None], sentence: str
) -> None:
    with pytest.raises(TrainerError, match=sentence) as caught:
        opened(_changed(made, tmp_path / "model.onnx", change))
    assert caught.value.reason == "InvalidSpec"
    assert "dino export" in caught.value.remedy


@pytest.mark.parametrize("content", [b"", b"not a model", None], ids=["empty", "text", "cut off"])
def test_what_is_no_onnx_file_is_refused_in_words(made: Made, tmp_path: Path, content) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(made.path.read_bytes()[:5000] if content is None else content)
    with pytest.raises(TrainerError, match=r"model.onnx is no ONNX file|metadata|cannot be run"):
        opened(path)


def test_the_onnx_file_of_another_model_is_refused(made: Made) -> None:
    spec = load(
        {"results_dir": str(made.folder)}, ["dataset.num_classes=7"], Action.EVALUATE
    )[0]  # fmt: skip
    with pytest.raises(TrainerError, match=r"dataset.num_classes is 7, the model's 4"):
        open_model(str(made.path), spec, context_of(made.spec, Recorder()))


def test_a_picture_of_another_size_is_refused(made: Made) -> None:
    with pytest.raises(TrainerError, match="takes images of 96x64 pixels, and these are of 32x32"):
        opened(made.path)(random_batch(1, (32, 32), 0), torch.tensor([[32, 32]]))


def test_a_closed_gate_publishes_the_comparison_alone(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored = ScoredModel(format="onnx", mAP=0.5)
    bad = ModelComparison(reference=scored, candidate=scored, images=6, matched=0.8, loss=0.0)
    monkeypatch.setattr(export, "compare_in_run", lambda *_, **__: bad)
    monkeypatch.setattr(
        export, "export_onnx", lambda model, info, path, _: shutil.copy(made.path, path)
    )
    shutil.copytree(made.folder / "results/train", tmp_path / "results/train")
    spec, recorder = spec_of(tmp_path), Recorder()
    context = context_of(spec, recorder)
    (context.output.dir / ONNX_FILE).write_bytes(b"of an earlier checkpoint")
    context.output.publish(ONNX_FILE)
    with pytest.raises(TrainerError, match=r"80.0 % of the checkpoint's detections") as caught:
        export.run(spec, context)
    assert caught.value.reason == "GateFailed"
    assert caught.value.kept.comparison == bad
    assert [one.name for one in caught.value.kept.artifacts] == [GRAPH_FILE]
    folder = tmp_path / "results/export"
    assert {one.name for one in folder.iterdir() if one.is_file()} == {
        GRAPH_FILE,
        "manifest.json",
    }, "a later job without a parent would take the file of the earlier checkpoint"
    assert set(context.output.published()) == {GRAPH_FILE}
    assert any(f"{folder / ONNX_FILE} of an earlier run is with" in e for e in recorder.events)


def test_export_onnx_file_never_overwrites(made: Made) -> None:
    spec = spec_of(made.folder, f"export.onnx_file={made.path}")
    with pytest.raises(TrainerError, match=f"{made.path} exists"):
        export.run(spec, context_of(spec, Recorder()))


@pytest.mark.parametrize(
    "overrides, size",
    [
        ([], (64, 96)),
        (["dataset.augmentation.fixed_size=[32,64]"], (32, 64)),
        (["export.input_height=128", "export.input_width=256"], (128, 256)),
    ],
)
def test_the_input_has_the_asked_size_or_the_trained_one(made: Made, overrides, size) -> None:
    spec = spec_of(made.folder, *overrides)
    assert input_size(spec, made.torch().info.spec) == size
    assert input_size(spec_of(made.folder), spec_of(made.folder)) == (640, 640)


def test_the_gate_takes_real_pictures_where_it_can(made: Made, tmp_path: Path) -> None:
    context, info = context_of(made.spec, Recorder()), made.torch().info
    trained = info.spec
    images, boxes = (made.folder / "val" / name for name in ("images", "annotations.json"))
    source = f"[{{image_dir: {images}, json_file: {boxes}}}]"
    given = spec_of(made.folder, f"dataset.test_data_sources={source}")
    assert (
        "all 6 images of dataset.test_data" in onnx_gate.pictures(given, info, context).description
    )
    gone = trained.dataset.val_data_sources[0].model_copy(update={"json_file": "/gone.json"})
    data = trained.dataset.model_copy(update={"val_data_sources": [gone]})
    moved = replace(info, spec=trained.model_copy(update={"dataset": data}))
    assert (
        "the training's train_data_sources"
        in onnx_gate.pictures(made.spec, moved, context).description
    )
    other = replace(moved, class_names=("", "green", "", "blue"))
    assert "has other classes than the training's data" in (
        onnx_gate.pictures(made.spec, other, context).description
    ), "it may have been annotated anew; that is no reason not to export"
    data = data.model_copy(update={"train_data_sources": None})
    bare = replace(info, spec=trained.model_copy(update={"dataset": data}))
    none = onnx_gate.pictures(made.spec, bare, context)
    assert none.dataset is None
    assert "There is no file /gone.json" in none.description


def test_the_gate_allows_rounding_and_nothing_else() -> None:
    def said(**changes) -> str:
        scored = ScoredModel(format="onnx", mAP=0.5)
        found = ModelComparison(reference=scored, candidate=scored, matched=0.995, loss=0.0004)
        return " ".join(onnx_gate.problems(found.model_copy(update=changes)))

    assert said() == said(loss=None, matched=None) == ""
    assert "they may differ by 0.0005" in said(loss=0.0006)
    assert "they may differ by 0.0005" in said(loss=-0.0006)
    assert "has 98.0 % of the checkpoint's detections" in said(matched=0.98)
