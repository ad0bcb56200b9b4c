"""`dino evaluate`: what it writes, what it refuses, and that pycocotools agrees with its files."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import json
import re
from dataclasses import replace
from pathlib import Path
from threading import Event

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from dino_api.experiment import ExperimentSpec
from dino_api.names import Action
from dino_api.result import Metrics, ModelFile, Result
from dino_trainer.actions import evaluate
from dino_trainer.command.cli import main
from dino_trainer.data.coco import CocoDataset, load_coco
from dino_trainer.data.image_store import Folder
from dino_trainer.data.stage import StagedSource
from dino_trainer.detectors.torch_detector import TorchDetector
from dino_trainer.distributed.world import World
from dino_trainer.errors import TrainerError
from dino_trainer.model import Detections, build_dino
from dino_trainer.model_files import checkpoint
from dino_trainer.model_files.graph_metadata import GraphMetadata
from dino_trainer.model_files.info import ModelInfo
from dino_trainer.report.reporter import Reporter
from dino_trainer.run import RunContext
from dino_trainer.scoring.detection import detect
from dino_trainer.scoring.scorer import Scorer
from tests.unit.ranks import in_ranks
from tests.unit.training_builders import Recorder, a_context, a_dataset, a_spec, load_folder

NAMES = ("", "red", "", "blue")


class Painter:
    """A detector that knows the truth, and errs by design. Image 0 has low scores only."""

    device = torch.device("cpu")

    def __init__(self, dataset: CocoDataset, spec: ExperimentSpec, names=NAMES) -> None:
        file = ModelFile(uri="model.pth", format="checkpoint", precision="fp32")
        self.info = ModelInfo(file, spec, tuple(names), None, None, 20)
        rng = np.random.default_rng(0)
        self.found = [self._paint(image, place, rng) for place, image in enumerate(dataset.images)]

    def _paint(self, image, place: int, rng) -> Detections:
        corners = np.concatenate([image.boxes[:, :2], image.boxes[:, :2] + image.boxes[:, 2:]], 1)
        boxes = np.concatenate([corners + rng.normal(0, 2, corners.shape), corners + 40])
        labels = np.concatenate([image.labels, image.labels])
        labels[rng.random(len(labels)) < 0.2] = 3
        labels[-1] = 2  # a class that the test data does not have
        scores = rng.random(len(labels)) * (0.4 if place == 0 else 1)
        order = np.argsort(-scores)
        return Detections(
            torch.tensor(scores[order], dtype=torch.float32),
            torch.tensor(labels[order]),
            torch.tensor(boxes[order], dtype=torch.float32),
        )

    def __call__(self, batch, sizes) -> list[Detections]:
        return [self.found[index] for index in batch.indices]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return a_dataset(tmp_path / "test", 6, seed=3)


def spec_of(folder: Path, *overrides: str) -> ExperimentSpec:
    source = f"{{image_dir: {folder}/images, json_file: {folder}/annotations.json}}"
    return a_spec(folder, folder, f"dataset.test_data_sources=[{source}]", *overrides)


def context_of(spec: ExperimentSpec, reporter=None, **given) -> RunContext:
    context = a_context(spec, reporter or Recorder(), given.get("stop"), Action.EVALUATE)
    return replace(context, world=given.get("world") or World.alone())


def painted(
    patch: pytest.MonkeyPatch, folder: Path, *overrides: str, names=NAMES, reporter=None, stop=None
) -> Result:
    spec = spec_of(folder, *overrides)
    painter = Painter(load_folder(folder), spec, names)
    patch.setattr(evaluate, "open_detector", lambda *_: painter)
    return evaluate.run(spec, context_of(spec, reporter, stop=stop))


def written(folder: Path, name: str) -> Path:
    return folder.parent / "results" / "evaluate" / name


def pycocotools(folder: Path, class_ids: list[int] | None = None) -> tuple[list[float], list[str]]:
    """Statistics, and the printed lines, of predictions.json."""
    said = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(folder / "annotations.json"))
        results = truth.loadRes(str(written(folder, "predictions.json")))
        evaluation = COCOeval(truth, results, "bbox")
        if class_ids:
            evaluation.params.catIds = class_ids
        evaluation.evaluate()
        evaluation.accumulate()
    with contextlib.redirect_stdout(said):
        evaluation.summarize()
    return evaluation.stats.tolist(), said.getvalue().splitlines()


@pytest.mark.parametrize("threshold", [0.0, 0.5])
@pytest.mark.parametrize("class_ids", [None, [3], [3, 1]], ids=["all", "one", "both"])
def test_pycocotools_reads_the_predictions_and_says_the_same(
    folder: Path, monkeypatch: pytest.MonkeyPatch, threshold: float, class_ids
) -> None:
    """With a threshold image 0 has no detection: no other image may get its place."""
    overrides = [f"evaluate.conf_threshold={threshold}"]
    if class_ids:
        overrides.append(f"dataset.eval_class_ids={class_ids}")
    hearer = Recorder()
    result = painted(monkeypatch, folder, *overrides, reporter=hearer)
    stats, lines = pycocotools(folder, class_ids)
    assert result.metrics == Metrics.from_coco(stats)
    assert result.metrics.mAP50 > 0.1
    assert hearer.events[-13:] == [*lines, f"mAP {stats[0]}"]
    entries = json.loads(written(folder, "predictions.json").read_text())
    images = {entry["image_id"] for entry in entries}
    assert images == ({2, 3, 4, 5, 6} if threshold else {1, 2, 3, 4, 5, 6})
    assert min(entry["score"] for entry in entries) >= threshold


def test_a_threshold_that_nothing_reaches_leaves_zeros(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = painted(monkeypatch, folder, "evaluate.conf_threshold=1.0")
    assert result.metrics.mAP == 0.0
    assert json.loads(written(folder, "predictions.json").read_text()) == []
    assert "No detection is right" in written(folder, "report.html").read_text()


def test_metrics_json_tells_everything(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = painted(monkeypatch, folder)
    said = json.loads(written(folder, "metrics.json").read_text())
    assert Metrics.model_validate(said["metrics"]) == result.metrics
    assert [(one["id"], one["name"]) for one in said["classes"]] == [(1, "red"), (3, "blue")]
    assert np.mean([one["AP"] for one in said["classes"]]) == pytest.approx(result.metrics.mAP)
    assert np.mean([one["AP50"] for one in said["classes"]]) == pytest.approx(result.metrics.mAP50)
    assert np.mean([one["AR"] for one in said["classes"]]) == pytest.approx(result.metrics.AR100)
    matrix = np.array(said["confusion"]["matrix"])
    assert matrix.shape == (3, 3)
    assert matrix[:2].sum() == said["data"]["boxes"] == load_folder(folder).annotations
    used = said["threshold"]["used"]
    assert used == said["threshold"]["best"]
    assert used["recall"] == pytest.approx(np.trace(matrix) / matrix[:2].sum())
    assert used["precision"] == pytest.approx(np.trace(matrix) / matrix[:, :2].sum())
    assert sum(one["mistakes"] for one in said["worst"]) == matrix.sum() - np.trace(matrix)
    counts = [one["mistakes"] for one in said["worst"]]
    assert counts == sorted(counts, reverse=True)
    assert said["worst"][0]["file"] == f"{said['worst'][0]['id']}.png"
    assert len(said["curves"]["precision"]["0.50"]) == len(said["curves"]["classes"]["3"]) == 101
    assert result.model.uri == said["model"]["uri"] == "model.pth"
    assert {one.name: one.bytes for one in result.artifacts} == {
        name: written(folder, name).stat().st_size
        for name in ("metrics.json", "predictions.json", "report.html")
    }


def test_the_report_needs_no_other_file_and_shows_pictures(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = json.loads((folder / "annotations.json").read_text())
    document["categories"][0]["name"] = "<script>alert(1)</script>"
    (folder / "annotations.json").write_text(json.dumps(document))
    names = ("", "<script>alert(1)</script>", "", "blue")
    painted(monkeypatch, folder, names=names)
    text = written(folder, "report.html").read_text()
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)" in text
    assert not re.search(r"<(script|img)[^>]* src=.(?!data:)|<link", text)
    worst = json.loads(written(folder, "metrics.json").read_text())["worst"]
    pictures = re.findall(r'alt="(.+?), \d+ right, .+?" src="data:image/jpeg;base64,(.+?)"', text)
    assert [name for name, _ in pictures] == [one["file"] for one in worst]
    first = Image.open(io.BytesIO(base64.b64decode(pictures[0][1])))
    assert first.size == (96, 64)
    for heading in ("Classes", "Precision and recall", "F1 by threshold", "Confusions"):
        assert f"<h2>{heading}</h2>" in text


def test_a_file_name_that_is_no_text_costs_no_result(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = json.loads((folder / "annotations.json").read_text())
    document["images"][1]["file_name"] = "\udce9.png"
    (folder / "annotations.json").write_text(json.dumps(document))
    (folder / "images" / "2.png").rename(folder / "images" / "\udce9.png")
    result = painted(monkeypatch, folder)
    assert [one.name for one in result.artifacts] == [
        "metrics.json", "predictions.json", "report.html",
    ]  # fmt: skip
    said = json.loads(written(folder, "metrics.json").read_text())
    assert "\udce9.png" in [one["file"] for one in said["worst"]]
    assert "\\udce9.png" in written(folder, "report.html").read_text()


def test_sources_that_both_count_from_one_are_kept_apart(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = a_dataset(folder.parent / "other", 3, seed=5)
    staged = [
        StagedSource(Folder(one / "images"), one / "annotations.json", "")
        for one in (folder, other)
    ]
    text = ", ".join(
        f"{{image_dir: {one}/images, json_file: {one}/annotations.json}}" for one in (folder, other)
    )
    spec = spec_of(folder, f"dataset.test_data_sources=[{text}]")
    painter = Painter(load_coco(staged), spec)
    monkeypatch.setattr(evaluate, "open_detector", lambda *_: painter)
    result = evaluate.run(spec, context_of(spec))
    said = json.loads(written(folder, "metrics.json").read_text())
    names = [f"{number}.png" for number in (1, 2, 3, 4, 5, 6, 1, 2, 3)]
    files = {str(place): name for place, name in enumerate(names, start=1)}
    assert said["data"]["imageFiles"] == files

    whole, more = (json.loads((one / "annotations.json").read_text()) for one in (folder, other))
    whole["images"] += [{**image, "id": image["id"] + 6} for image in more["images"]]
    whole["annotations"] += [
        {**one, "id": one["id"] + 1000, "image_id": one["image_id"] + 6}
        for one in more["annotations"]
    ]
    (folder / "annotations.json").write_text(json.dumps(whole))
    assert result.metrics == Metrics.from_coco(pycocotools(folder)[0])


REFUSED = {
    "a category that the model has no output for": (
        ["", "red", ""],
        [],
        "InvalidDataset",
        r"The test data has 3 \(blue\), and model.pth knows category ids below 3 only: 1 \(red\).",
    ),
    "another name for the same id": (
        ["", "red", "", "green"],
        [],
        "InvalidDataset",
        r"model.pth has other classes .*: category 3 is 'blue' in the test data and 'green' in ",
    ),
    "classes to score that are not there": (
        NAMES,
        ["dataset.eval_class_ids=[3, 2, 9]"],
        "InvalidSpec",
        r"eval_class_ids names 2, 9, .* It has 1 \(red\), 3 \(blue\).",
    ),
}


@pytest.mark.parametrize("names, overrides, reason, said", REFUSED.values(), ids=REFUSED)
def test_what_does_not_fit_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, names, overrides, reason, said
) -> None:
    with pytest.raises(TrainerError, match=said) as why:
        painted(monkeypatch, folder, *overrides, names=names)
    assert why.value.reason == reason
    assert not written(folder, "metrics.json").exists()


def test_classes_that_the_model_never_saw_are_said_and_count(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hearer = Recorder()
    result = painted(monkeypatch, folder, names=["", "", "", "blue"], reporter=hearer)
    warning = "The model was not trained on 1 (red) of the test data."
    assert f"Warning: {warning}" in hearer.events
    assert result.dataset.warnings == [warning]


def test_a_model_without_names_is_taken_at_its_word(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Published checkpoints and TAO's know no names."""
    assert painted(monkeypatch, folder, names=[""] * 4).dataset.warnings == []


def test_a_stop_ends_it_without_a_result(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stop = Event()
    hearer = Recorder(lambda step: stop.set() if step == 2 else None)
    with pytest.raises(TrainerError, match="after 2 of 6 images") as why:
        painted(monkeypatch, folder, reporter=hearer, stop=stop)
    assert why.value.reason == "Preempted"
    assert [one.percent for one in hearer.steps] == [33]


def test_boxes_that_are_no_numbers_are_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paint = Painter._paint

    def broken(self: Painter, image, place: int, rng) -> Detections:
        made = paint(self, image, place, rng)
        return replace(made, boxes=made.boxes * float("nan")) if place == 4 else made

    monkeypatch.setattr(Painter, "_paint", broken)
    with pytest.raises(TrainerError, match=r"not numbers \(NaN\), first in 5.png") as why:
        painted(monkeypatch, folder)
    assert why.value.reason == "Diverged"


def test_status_json_has_taos_keys(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = spec_of(folder)
    reporter = Reporter(context_of(spec).output, None)
    result = painted(monkeypatch, folder, reporter=reporter)
    lines = written(folder, "status.json").read_text().splitlines()
    last = json.loads(lines[-1])
    assert last["message"] == "Test metrics generated."
    want = {"test_mAP": result.metrics.mAP, "test_mAP50": result.metrics.mAP50}
    assert last["kpi"] == {name: round(value, 6) for name, value in want.items()}


def a_checkpoint(spec: ExperimentSpec) -> torch.nn.Module:
    """The latest checkpoint of a training that never was, where evaluate looks for it."""
    torch.manual_seed(0)
    model = build_dino(spec.model, 4).eval()
    path = Path(spec.results_dir) / "train" / checkpoint.LATEST
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "model": model.state_dict(),
        "spec": spec.model_dump(mode="json"),
        "class_names": list(NAMES),
    }
    checkpoint.write(content, path)
    return model


def test_the_command_scores_the_latest_checkpoint(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """With nothing but data and results_dir in the spec: the checkpoint says what it is."""
    spec = spec_of(folder)
    model = a_checkpoint(spec)
    text = {
        "results_dir": spec.results_dir,
        "dataset": {
            "test_data_sources": {
                "image_dir": f"{folder}/images",
                "json_file": f"{folder}/annotations.json",
            },
            "batch_size": 2,
            "workers": 0,
        },
    }
    (folder / "spec.yaml").write_text(json.dumps(text))
    assert main(["evaluate", "-e", str(folder / "spec.yaml")]) == 0
    out = capfd.readouterr().out
    told = Result.from_termination_message(written(folder, "result.json").read_text())
    dataset = load_folder(folder)
    info = Painter(dataset, spec).info
    found = detect(TorchDetector(model, replace(info, num_select=10)), dataset, spec.dataset)
    assert told.metrics == Metrics.from_coco(Scorer(dataset).score(found))
    assert told.action == "evaluate"
    assert told.model.uri.endswith("results/train/dino_model_latest.pth")
    assert f"Test mAP50 : {told.metrics.mAP50:.4f}" in out
    assert len(json.loads(written(folder, "predictions.json").read_text())) == len(found.scores)


def an_onnx_file(path: Path, spec: ExperimentSpec) -> None:
    """Whatever it is shown, one red object in the middle, half as wide and high as the image.

    It takes 4 images of 48 x 32 pixels at once.
    """
    logits, boxes = np.full((1, 10, 4), -9, "f4"), np.full((1, 10, 4), 0.5, "f4")
    logits[0, 3, 1] = 2
    constants = [numpy_helper.from_array(a, n) for a, n in ((logits, "l"), (boxes, "b"))]
    nodes = [
        helper.make_node("ReduceMean", ["inputs"], ["mean"], axes=[2, 3], keepdims=0),
        helper.make_node("ReduceMean", ["mean"], ["one"], axes=[1], keepdims=1),
        helper.make_node("Sub", ["one", "one"], ["flat"]),
        helper.make_node("Unsqueeze", ["flat", "axis"], ["zero"]),
        helper.make_node("Add", ["zero", "l"], ["pred_logits"]),
        helper.make_node("Add", ["zero", "b"], ["pred_boxes"]),
    ]
    constants.append(numpy_helper.from_array(np.array([2]), "axis"))
    shapes = {"inputs": [4, 3, 32, 48], "pred_logits": [4, 10, 4], "pred_boxes": [4, 10, 4]}
    infos = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in shapes.items()]
    graph = helper.make_graph(nodes, "middle", infos[:1], infos[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    metadata = GraphMetadata(spec, NAMES, (32, 48), 4, 10, "raw", "int8", None)
    helper.set_model_props(model, metadata.to_props())
    onnx.save(model, path)


def test_an_onnx_file_goes_the_same_way(folder: Path) -> None:
    """With the size and the batch that it takes; of the last batch only the images count."""
    path = folder / "middle.onnx"
    an_onnx_file(path, spec_of(folder))
    spec = spec_of(folder, f"evaluate.onnx_file={path}", "evaluate.conf_threshold=0.5")
    hearer = Recorder()
    result = evaluate.run(spec, context_of(spec, hearer))
    assert (result.model.format, result.model.precision) == ("onnx", "int8")
    assert result.model.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert "on 6 images, 4 at once" in hearer.events[0]
    found = json.loads(written(folder, "predictions.json").read_text())
    middle = {"category_id": 1, "bbox": [24, 16, 48, 32], "score": pytest.approx(0.8808, abs=1e-4)}
    assert found == [{"image_id": number, **middle} for number in range(1, 7)]
    assert result.metrics == Metrics.from_coco(pycocotools(folder)[0])


def a_rank(world: World, spec: ExperimentSpec) -> dict | None:
    result = evaluate.run(spec, context_of(spec, world=world))
    return result.metrics.to_dict() if result.metrics else None


def test_fewer_images_at_a_time_find_the_same(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = spec_of(folder, "evaluate.batch_size=4")
    a_checkpoint(spec)
    found = []
    for images in ("", "1"):  # as the operator asks for after a lack of memory
        monkeypatch.setenv("DINO_MICRO_BATCH", images)
        hearer = Recorder()
        evaluate.run(spec, context_of(spec, hearer))
        assert f"on 6 images, {images or 4} at once" in hearer.events[0]
        found.append(json.loads(written(folder, "predictions.json").read_text()))
    assert len(found[0]) == len(found[1]) == 60
    for whole, alone in zip(*found, strict=True):
        assert whole["image_id"] == alone["image_id"]
        assert whole["score"] == pytest.approx(alone["score"], abs=1e-4)


def test_two_processes_write_what_one_writes(folder: Path) -> None:
    spec = spec_of(folder)
    a_checkpoint(spec)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as each of two: another number adds up in another order
    alone = a_rank(World.alone(), spec)
    torch.set_num_threads(threads)
    names = ("predictions.json", "metrics.json")
    files = [written(folder, name).read_bytes() for name in names]
    assert len(json.loads(files[0])) == 60
    for name in names:
        written(folder, name).unlink()
    assert in_ranks(2, a_rank, spec) == [alone, None]
    assert [written(folder, name).read_bytes() for name in names] == files


def a_stopped_rank(world: World, spec: ExperimentSpec) -> None:
    """The second one is asked to stop before it begins."""
    stop = Event()
    if world.rank == 1:
        stop.set()
    evaluate.run(spec, context_of(spec, world=world, stop=stop))


def test_a_stop_of_one_process_stops_them_all(folder: Path) -> None:
    """With one reason: a pod that ended with success would not be started again."""
    spec = spec_of(folder)
    a_checkpoint(spec)
    want = ("Preempted", "Stopped on request after 0 of 6 images.")
    assert in_ranks(2, a_stopped_rank, spec) == [want, want]


def rewritten(folder: Path, change) -> None:
    path = folder / "annotations.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


@pytest.mark.parametrize("shift", [2**53, 2**63, -(2**70)])
def test_ids_of_images_are_only_names(
    folder: Path, monkeypatch: pytest.MonkeyPatch, shift: int
) -> None:
    """Rounded to float64 they would be one image, or none."""
    before = painted(monkeypatch, folder).metrics
    first = [one["image_id"] for one in json.loads(written(folder, "predictions.json").read_text())]

    def shifted(document) -> None:
        for image in document["images"]:
            image["id"] += shift
        for box in document["annotations"]:
            box["image_id"] += shift
            box["id"] += shift

    rewritten(folder, shifted)
    assert painted(monkeypatch, folder).metrics == before
    again = [one["image_id"] for one in json.loads(written(folder, "predictions.json").read_text())]
    assert again == [id + shift for id in first]
    numbers = json.loads(written(folder, "metrics.json").read_text())
    assert all(one["id"] - shift in range(1, 7) for one in numbers["worst"])


def test_the_number_of_detections_that_count_is_in_every_report(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hearer = Recorder()
    painted(monkeypatch, folder, "evaluate.max_detections=500", reporter=hearer)
    assert sum("maxDets=500 ]" in line for line in hearer.events) == 9
    assert sum("maxDets=100 ]" in line for line in hearer.events) == 1  # AR100, as it is called
    numbers = json.loads(written(folder, "metrics.json").read_text())
    assert numbers["settings"]["maxDetections"] == 500
    assert "(maxDets 500)" in written(folder, "report.html").read_text()


def test_more_boxes_than_detections_that_count_are_warned_of(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dense(document) -> None:
        box = document["annotations"][0]
        document["annotations"] += [{**box, "id": 1000 + n} for n in range(120)]

    rewritten(folder, dense)
    (warning,) = [w for w in painted(monkeypatch, folder).dataset.warnings if "boxes of one" in w]
    assert "the 100 best detections of a class are scored in an image" in warning
    assert "Raise evaluate.max_detections and model.num_select" in warning
    wide = painted(monkeypatch, folder, "evaluate.max_detections=200").dataset.warnings
    assert not [text for text in wide if "boxes of one" in text]


def test_crowds_alone_are_no_boxes_to_score(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def crowds(document) -> None:
        for box in document["annotations"]:
            box["iscrowd"] = 1

    rewritten(folder, crowds)
    with pytest.raises(TrainerError, match=r"all boxes are crowds \(iscrowd 1\)"):
        painted(monkeypatch, folder)


def test_classes_without_a_box_cannot_be_scored(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def only_ones(document) -> None:
        for box in document["annotations"]:
            box["category_id"] = 1

    rewritten(folder, only_ones)
    with pytest.raises(
        TrainerError, match=r"no box of the classes in dataset.eval_class_ids \(3\)"
    ):
        painted(monkeypatch, folder, "dataset.eval_class_ids=[3]")
