"""`dino quantize` in mode weight_only_ptq: a checkpoint of INT8 weights that finds the same."""

from __future__ import annotations

import pickletools
import zipfile
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import torch

from dino_api.experiment import ExperimentSpec
from dino_api.loading import load
from dino_api.names import Action
from dino_api.result import ModelComparison, Result, ScoredModel
from dino_trainer.actions import quantize
from dino_trainer.detectors.opening import open_model
from dino_trainer.errors import TrainerError
from dino_trainer.gates.compare import ComparisonSettings, matched
from dino_trainer.model import build_dino, read_state
from dino_trainer.model.weights import PACKED
from dino_trainer.model_files import checkpoint
from dino_trainer.model_files.info import config_for
from dino_trainer.model_files.int8_weights import Int8Weights, read_int8_weights
from dino_trainer.model_files.naming import model_uri
from dino_trainer.quantize.weight_only import FEWEST_WEIGHTS
from dino_trainer.results.output import Output
from dino_trainer.run import RunContext
from dino_trainer.scoring.detection import detect
from dino_trainer.train.weights import load_initial
from tests.unit.training_builders import Recorder, a_dataset, a_spec, load_folder, source

MADE = "dino_model_int8.pth"
NAMES = ("", "red", "", "blue")
MODE = {"backend": "torchao", "mode": "weight_only_ptq"}


class WeightQuantization:
    """A trained detector, its data, and the action on them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.recorder = folder, Recorder()
        data = a_dataset(folder / "val", 4)
        spec = a_spec(data, data, "model.hidden_dim=64", "model.dim_feedforward=128")
        torch.manual_seed(0)
        self.content: dict[str, Any] = {
            "spec": spec.model_dump(mode="json"),
            "class_names": list(NAMES),
            "model": build_dino(spec.model, len(NAMES)).state_dict(),
        }
        self.given = folder / "results" / "train" / "dino_model_latest.pth"
        self.given.parent.mkdir(parents=True)
        checkpoint.write(self.content, self.given)
        self.made = folder / "results" / "quantize" / MADE

    def spec(self, *overrides: str, action: Action = Action.QUANTIZE) -> ExperimentSpec:
        content = {
            "results_dir": str(self.folder / "results"),
            "dataset": {"test_data_sources": [source(self.folder / "val")], "workers": 0},
            **({"quantize": MODE} if action is Action.QUANTIZE else {}),
        }
        return load(content, overrides, action)[0]

    def context(self, action: Action = Action.QUANTIZE) -> RunContext:
        work = self.folder / "work"
        output = Output(str(self.folder / "results" / action), work)
        return RunContext(output, self.recorder, work, Event(), "digest", "test",
                          action=action)  # type: ignore[arg-type]  # fmt: skip

    def run(self, *overrides: str) -> Result:
        return quantize.run(self.spec(*overrides), self.context())

    def opened(self, path: Path) -> Any:
        spec = self.spec(action=Action.EVALUATE)
        return open_model(str(path), spec, self.context(Action.EVALUATE))


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> WeightQuantization:
    """With the quantized file made of what a training leaves, which no key names."""
    lab = WeightQuantization(tmp_path_factory.mktemp("weights"))
    lab.result = lab.run()  # type: ignore[attr-defined]
    return lab


def test_the_file_is_published_compared_and_smaller(lab: WeightQuantization) -> None:
    result: Result = lab.result  # type: ignore[attr-defined]
    assert [each.name for each in result.artifacts] == [MADE, "report.html"]
    assert (result.model.format, result.model.precision) == ("checkpoint", "int8")
    assert result.model.uri == str(lab.made)
    found = result.comparison
    assert (found.reference.precision, found.candidate.precision) == ("fp32", "int8")
    assert (found.images, found.max_loss) == (4, 0.005)
    assert result.model.bytes == lab.made.stat().st_size < 0.6 * lab.given.stat().st_size
    assert result.note in lab.recorder.events
    assert "it computes as before" in result.note
    report = (lab.made.parent / "report.html").read_text()
    assert "are stored as INT8" in report
    assert "<li>encoder.layers.0.attention.value_proj</li>" in report
    assert "calibration" not in report
    assert not [event for event in lab.recorder.events if event.startswith("Warning")]


def test_an_evaluation_of_it_finds_what_the_checkpoint_finds(lab: WeightQuantization) -> None:
    before, after = lab.opened(lab.given), lab.opened(lab.made)
    assert after.info.class_names == before.info.class_names == NAMES
    assert after.info.spec == before.info.spec
    assert (after.info.file.format, after.info.file.precision) == ("checkpoint", "int8")
    data = load_folder(lab.folder / "val")
    config = config_for(before.info, lab.spec(), lab.spec().quantize)
    found = [detect(each, data, config) for each in (before, after)]
    assert matched(*found) > 0.8
    weights = [dict(each.model.named_parameters()) for each in (before, after)]
    for name, weight in weights[0].items():
        step = weight.abs().flatten(1).amax(1) / 127 if weight.ndim > 1 else weight.abs()
        gap = (weight - weights[1][name]).abs().reshape(len(weight), -1).amax(1)
        assert (gap <= 0.51 * step + 1e-6).all(), name


def test_large_layers_alone_are_int8_and_all_others_are_kept_bit_by_bit(
    lab: WeightQuantization,
) -> None:
    content = checkpoint.read(lab.made)
    packed = read_int8_weights(content)
    assert {code.dtype for code in packed.codes.values()} == {torch.int8}
    assert all(code.numel() >= FEWEST_WEIGHTS for code in packed.codes.values())
    assert any(code.ndim == 4 for code in packed.codes.values())
    assert any("in_proj" in name for name in packed.codes)
    given = lab.content["model"]
    assert {*packed.codes, *packed.kept} == {*given}
    assert all(torch.equal(value, given[name]) for name, value in packed.kept.items())
    assert content["quantization"]["tool"].startswith("torchao 0.")


def test_the_file_names_nothing_that_the_library_brings(lab: WeightQuantization) -> None:
    """So `torch.load(weights_only=True)` reads it where torchao is not even installed."""
    with zipfile.ZipFile(lab.made) as archive:
        (inner,) = (name for name in archive.namelist() if name.endswith("data.pkl"))
        steps = list(pickletools.genops(archive.read(inner)))
    named = {arg for step, arg, _ in steps if step.name == "GLOBAL"}
    assert named <= {
        "torch._utils _rebuild_tensor_v2",
        "torch FloatStorage",
        "torch CharStorage",
        "torch LongStorage",
        "collections OrderedDict",
    }
    assert not [step for step, *_ in steps if step.name in ("STACK_GLOBAL", "INST")]


def test_codes_and_scales_are_torchaos_own_numbers(lab: WeightQuantization) -> None:
    from torchao.quantization import Int8Tensor, PerRow

    state = read_int8_weights(checkpoint.read(lab.made)).state()
    name = "encoder.layers.0.feed_forward.linear1.weight"
    own = Int8Tensor.from_hp(lab.content["model"][name], granularity=PerRow()).dequantize()
    assert torch.equal(state[name], own)


@pytest.mark.parametrize("action", [Action.EXPORT, Action.DISTILL, Action.QUANTIZE])
def test_what_makes_another_model_refuses_it_by_name(
    lab: WeightQuantization, action: Action
) -> None:
    message = rf"{MADE} holds weights in INT8, which only evaluate and inference take: {action} "
    with pytest.raises(TrainerError, match=message) as error:
        open_model(str(lab.made), lab.spec(), lab.context(action))
    assert error.value.reason == "InvalidSpec"
    assert error.value.remedy == "Name the checkpoint that it was made from."


def test_a_training_refuses_it_by_name(lab: WeightQuantization) -> None:
    data = lab.folder / "val"
    spec = a_spec(data, data, f"train.pretrained_model_path={lab.made}")
    model = build_dino(spec.model, len(NAMES))
    with pytest.raises(TrainerError, match="weights in INT8, which only evaluations and infer"):
        load_initial(model, spec, lab.folder / "work")
    with pytest.raises(ValueError, match="the checkpoint that it was made from"):
        read_state(lab.made)


def test_patterns_keep_layers_and_one_that_fits_nothing_is_refused(tmp_path: Path) -> None:
    lab = WeightQuantization(tmp_path)
    lab.run("quantize.skip_names=[backbone.*, '*.in_proj']")
    content = checkpoint.read(lab.made)
    left = {*content[PACKED]["codes"]}
    assert left
    assert not [name for name in left if name.startswith("backbone.") or ".in_proj." in name]
    skipped = content["quantization"]["skipped"]
    assert any(name.startswith("backbone.") for name in skipped)
    assert any(name.endswith(".in_proj") for name in skipped)
    with pytest.raises(TrainerError, match=r"'nothing\.\*' fits no layer that would be"):
        lab.run("quantize.skip_names=[nothing.*]")
    with pytest.raises(TrainerError, match="has no layer of 4096 weights or more left to quantize"):
        lab.run("quantize.skip_names=['*']")


def test_too_great_a_loss_publishes_the_report_alone_and_withdraws_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = WeightQuantization(tmp_path)
    lab.run()

    def compare(_: Any, __: Any, settings: ComparisonSettings, *more: Any) -> ModelComparison:
        both = [ScoredModel(format="checkpoint", precision=p, mAP=m) for p, m in WORSE.items()]
        return ModelComparison(reference=both[0], candidate=both[1], images=4, loss=0.02,
                          max_loss=settings.max_loss)  # fmt: skip

    monkeypatch.setattr(quantize, "compare_in_run", compare)
    with pytest.raises(TrainerError, match=r"mAP is 0\.4800") as error:
        lab.run()
    assert error.value.reason == "GateFailed"
    assert "Keep layers in floating point by quantize.skip_names" in error.value.remedy
    assert "calibration" not in error.value.remedy
    assert not lab.made.exists()
    assert [each.name for each in error.value.kept.artifacts] == ["report.html"]


WORSE = {"fp32": 0.5, "int8": 0.48}


def test_an_onnx_file_and_a_missing_checkpoint_are_refused(tmp_path: Path) -> None:
    lab = WeightQuantization(tmp_path)
    with pytest.raises(TrainerError, match=r"m\.onnx is no checkpoint but onnx"):
        lab.run("quantize.model_path=m.onnx")
    lab.given.unlink()
    assert model_uri(lab.spec(), Action.QUANTIZE) == str(lab.given)
    with pytest.raises(TrainerError) as error:
        lab.run()
    assert error.value.reason == "InputNotFound"
    assert "`dino train` before" in error.value.remedy


def test_without_any_data_the_file_is_made_and_it_is_said_that_no_map_is_known(
    tmp_path: Path,
) -> None:
    lab = WeightQuantization(tmp_path)
    lab.content["spec"]["dataset"] |= {"train_data_sources": None, "val_data_sources": None}
    checkpoint.write(lab.content, lab.given)
    result = lab.run("dataset.test_data_sources=null")
    assert result.comparison.loss is None
    assert "on 8 images: no mAP, for want of test data" in result.note
    assert any("random images" in event for event in lab.recorder.events)


def test_damaged_codes_are_a_sentence(lab: WeightQuantization, tmp_path: Path) -> None:
    content = checkpoint.read(lab.made)
    packed = read_int8_weights(content)
    name = next(iter(packed.codes))
    short = replace(packed, scales={**packed.scales, name: packed.scales[name][:-1]})
    for wrong in (
        short.plain(),
        {"codes": {}},
        replace(packed, codes={name: torch.ones(2)}).plain(),
    ):
        path = tmp_path / "bad.pth"
        checkpoint.write({**content, PACKED: wrong}, path)
        with pytest.raises(TrainerError, match=r"bad\.pth is no checkpoint: its INT8 weights"):
            lab.opened(path)


def test_a_whole_state_comes_back_from_codes_of_any_shape() -> None:
    codes = {"conv": torch.tensor([[[[1]]], [[[-2]]]], dtype=torch.int8)}
    packed = Int8Weights(codes, {"conv": torch.tensor([0.5, 2.0])}, {"bias": torch.zeros(2)})
    state = read_int8_weights({PACKED: packed.plain()}).state()
    assert state["conv"].flatten().tolist() == [0.5, -4.0]
    assert state["conv"].shape == (2, 1, 1, 1)
    assert {*state} == {"conv", "bias"}
