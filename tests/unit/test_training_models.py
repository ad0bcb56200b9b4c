"""What a training left, read again as a model: scored weights, structure, preprocessing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dino_api.actions import ACTIONS
from dino_api.experiment import ExperimentSpec
from dino_api.loading import load
from dino_api.names import Action
from dino_api.result import ModelFile
from dino_trainer.detectors.opening import open_detector, open_model
from dino_trainer.detectors.torch_detector import TorchDetector
from dino_trainer.errors import TrainerError
from dino_trainer.model import build_dino
from dino_trainer.model.backbone import FrozenBatchNorm2d
from dino_trainer.model_files import checkpoint
from dino_trainer.model_files.checkpoint import BEST, LATEST
from dino_trainer.model_files.info import ModelInfo, check_structure, config_for
from dino_trainer.model_files.naming import model_format, model_uri
from dino_trainer.run import RunContext
from dino_trainer.scoring.detection import detect
from dino_trainer.scoring.scorer import Scorer
from dino_trainer.storage.files import sha256_of
from tests.unit.training_builders import (
    Recorder,
    a_context,
    a_spec,
    latest,
    load_folder,
    run,
    spec_for,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training of two epochs, once for all tests here."""
    folder = tmp_path_factory.mktemp("trained")
    spec = spec_for(folder)
    recorder = Recorder()
    result = run(spec, recorder)
    assert result.model is not None
    best = folder / "results" / "train" / BEST
    assert result.model.uri == str(best)
    assert (result.model.format, result.model.precision) == ("checkpoint", "fp32")
    assert result.model.sha256 == sha256_of(best)
    np.save(folder / "metrics.npy", [m.mAP for _, m, _ in recorder.validations])
    return folder


def context_of(folder: Path, action: Action = Action.EVALUATE) -> RunContext:
    return replace(a_context(spec_for(folder), Recorder()), action=action)


def opened(folder: Path, name: str, *overrides: str) -> TorchDetector:
    """The file, opened with a spec that says nothing of the model."""
    spec = load({"results_dir": "x"}, ["evaluate.num_gpus=0", *overrides], Action.EVALUATE)[0]
    detector = open_model(str(folder / "results/train" / name), spec, context_of(folder))
    assert isinstance(detector, TorchDetector)
    return detector


def test_the_weights_are_those_that_were_scored(folder: Path) -> None:
    """Of the latest checkpoint the average, which the last validation scored: the same mAP."""
    detector = opened(folder, LATEST)
    saved = latest(spec_for(folder))
    for name, value in detector.model.state_dict().items():
        assert torch.equal(value, saved["ema"][name])
    data = load_folder(folder / "val")
    spec = detector.info.spec
    found = detect(detector, data, config_for(detector.info, spec, spec.evaluate))
    assert found is not None
    assert Scorer(data).score(found)[0] == np.load(folder / "metrics.npy")[-1]


def test_who_only_detects_opens_a_model_without_batch_norms(tmp_path: Path) -> None:
    spec = a_user_spec("model.backbone=resnet_18", "model.enc_layers=1", "model.dec_layers=1")
    path = tmp_path / "a.pth"
    torch.save(build_dino(spec.model, 4).state_dict(), path)
    folded = open_detector(str(path), spec, context_of(tmp_path))
    assert isinstance(folded, TorchDetector)
    assert not any(isinstance(part, FrozenBatchNorm2d) for part in folded.model.modules())
    plain = open_model(str(path), spec, context_of(tmp_path))
    assert isinstance(plain, TorchDetector)
    assert any(isinstance(part, FrozenBatchNorm2d) for part in plain.model.modules())


def test_a_checkpoint_says_what_it_is(folder: Path) -> None:
    info = opened(folder, BEST).info
    assert info.class_names == ("", "red", "", "blue")
    assert info.num_classes == info.spec.dataset.num_classes == 4
    assert info.spec.model.hidden_dim == 32
    assert (info.num_select, info.input_size, info.batch_size) == (10, None, None)
    path = folder / "results/train" / BEST
    assert info.file.sha256 == sha256_of(path)
    assert (info.file.format, info.file.precision) == ("checkpoint", "fp32")
    assert info.file.bytes == path.stat().st_size


def test_another_structure_is_refused_by_name(folder: Path) -> None:
    with pytest.raises(TrainerError) as refused:
        opened(folder, BEST, "model.hidden_dim=64", "model.enc_layers=1", "dataset.num_classes=9")
    error = refused.value
    assert error.reason == "InvalidSpec"
    assert error.message.endswith(
        "is of another model than the spec describes: model.hidden_dim is 64, the model's 32; "
        "dataset.num_classes is 9, the model's 4."
    )
    with pytest.raises(TrainerError, match=r"input_mean is \[0.5, 0.5, 0.5\], the model's \[0.485"):
        opened(folder, BEST, "dataset.augmentation.input_mean=[0.5, 0.5, 0.5]")


def test_what_says_only_how_to_train_may_differ(folder: Path) -> None:
    detector = opened(folder, BEST, "model.dn_number=7", "model.num_select=3")
    assert detector.info.num_select == 3
    data = load_folder(folder / "val")
    config = config_for(detector.info, detector.info.spec, detector.info.spec.evaluate)
    found = detect(detector, data, config)
    assert found is not None
    assert len(found.scores) == 3 * 4


def test_files_of_other_trainers_take_the_structure_of_the_spec(
    folder: Path, tmp_path: Path
) -> None:
    """As TAO wraps the published names, and as a file of nothing but tensors."""
    state = checkpoint.read(folder / "results/train" / BEST)["model"]
    wrapped = tmp_path / "tao.pth"
    torch.save({"state_dict": {f"model.model.{k}": v for k, v in state.items()}}, wrapped)
    spec = spec_for(folder)
    detector = open_model(str(wrapped), spec, context_of(folder))
    assert isinstance(detector, TorchDetector)
    assert detector.info.class_names == ("",) * 4
    assert all(torch.equal(v, state[k]) for k, v in detector.model.state_dict().items())
    other = a_spec(folder / "train", folder / "val", "model.enc_layers=2")
    with pytest.raises(TrainerError, match="does not fit this model") as refused:
        open_model(str(wrapped), other, context_of(folder))
    assert refused.value.reason == "InvalidSpec"
    assert "model.* keys" in refused.value.remedy


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"no checkpoint at all", "is no checkpoint"),
        ({"model": {"weight": torch.ones(1)}}, "holds no detector"),
        (
            {"model": {"transformer.decoder.class_embed.0.bias": torch.zeros(21_841)}},
            r"odd\.pth tells 21,841 classes, of 20,000 at most\.",
        ),
        ({"model": {}, "spec": {"model": {"colour": 1}}, "class_names": []}, "another release"),
    ],
)
def test_what_is_no_model_is_refused(
    folder: Path, tmp_path: Path, content: object, said: str
) -> None:
    path = tmp_path / "odd.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(TrainerError, match=said) as refused:
        open_model(str(path), spec_for(folder), context_of(folder))
    assert refused.value.reason == "InvalidSpec"


def test_a_model_that_is_not_there(folder: Path) -> None:
    with pytest.raises(TrainerError, match="There is no file") as missing:
        opened(folder, "no.pth")
    assert missing.value.reason == "InputNotFound"
    keys = " or ".join(f"evaluate.{key}" for key in ACTIONS[Action.EVALUATE].model_keys)
    assert missing.value.remedy == f"Name a model that is there as {keys}."
    uri = model_uri(a_user_spec(), Action.EVALUATE)
    with pytest.raises(TrainerError) as missing:
        open_model(uri, a_user_spec(), context_of(folder))
    assert missing.value.remedy == f"Run `dino train` before, or name the model as {keys}."
    with pytest.raises(TrainerError, match="is no model file"):
        model_format("s3://bucket/model.onnx.zip")


def a_user_spec(*overrides: str) -> ExperimentSpec:
    return load({"results_dir": "/r/"}, overrides)[0]


@pytest.mark.parametrize(
    ("action", "overrides", "uri"),
    [
        (Action.EVALUATE, (), "/r/train/dino_model_latest.pth"),
        (Action.EVALUATE, ("evaluate.onnx_file=/m.onnx",), "/m.onnx"),
        (Action.INFERENCE, ("inference.trt_engine=/m.engine",), "/m.engine"),
        (Action.EXPORT, ("evaluate.checkpoint=/not.mine",), "/r/train/dino_model_latest.pth"),
        (Action.GEN_TRT_ENGINE, (), "/r/export/dino_model.onnx"),
        (Action.QUANTIZE, ("quantize.model_path=s3://b/m.onnx",), "s3://b/m.onnx"),
        (Action.DISTILL, ("distill.pretrained_teacher_model_path=/t.pth",), "/t.pth"),
    ],
)
def test_where_the_model_lies(action: Action, overrides: tuple[str, ...], uri: str) -> None:
    assert model_uri(a_user_spec(*overrides), action) == uri


def test_one_model_is_named(folder: Path) -> None:
    two = a_user_spec("evaluate.checkpoint=/a.pth", "evaluate.onnx_file=/a.onnx")
    with pytest.raises(TrainerError, match=r"checkpoint \(/a.pth\) and evaluate.onnx_file \(/a.on"):
        model_uri(two, Action.EVALUATE)
    with pytest.raises(TrainerError, match=r"distill\.pretrained_teacher_model_path is not set"):
        model_uri(a_user_spec(), Action.DISTILL)


def an_info(folder: Path, **changes: object) -> ModelInfo:
    spec = a_spec(folder / "train", folder / "val", "dataset.augmentation.input_std=[0.3,0.3,0.3]")
    file = ModelFile(uri="/m.onnx", format="onnx")
    known: dict[str, object] = {"input_size": None, "batch_size": None, "num_select": 10}
    return ModelInfo(file, spec, ("", "a"), **{**known, **changes})  # type: ignore[arg-type]


def test_images_are_prepared_as_the_model_was_validated(folder: Path) -> None:
    spec = a_user_spec("dataset.workers=3", "dataset.augmentation.test_random_resize=320")
    config = config_for(an_info(folder), spec, spec.evaluate)
    assert config.augmentation.input_std == [0.3, 0.3, 0.3]
    assert config.augmentation.fixed_size == [64, 96]
    assert config.augmentation.test_random_resize == 320  # the spec's own
    assert (config.workers, config.batch_size) == (3, 4)
    assert spec.dataset.augmentation.fixed_size is None


def test_sizes_and_batches_of_the_section_and_of_the_file(folder: Path) -> None:
    spec = a_user_spec(
        "evaluate.input_width=320", "evaluate.input_height=256", "evaluate.batch_size=3"
    )
    config = config_for(an_info(folder), spec, spec.evaluate)
    assert (config.augmentation.fixed_size, config.batch_size) == ([256, 320], 3)
    fixed = an_info(folder, input_size=(256, 320), batch_size=1)
    config = config_for(fixed, spec, spec.evaluate)
    assert (config.augmentation.fixed_size, config.batch_size) == ([256, 320], 1)
    config = config_for(fixed, spec, spec.quantize)
    assert config.augmentation.fixed_size == [256, 320]
    with pytest.raises(TrainerError, match=r"say 320x256, and /m.onnx takes 640x640 only"):
        config_for(an_info(folder, input_size=(640, 640)), spec, spec.evaluate)


def test_after_a_lack_of_memory_fewer_images_are_looked_at_together(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = a_user_spec("evaluate.batch_size=6")
    monkeypatch.setenv("DINO_MICRO_BATCH", "3")
    assert config_for(an_info(folder), spec, spec.evaluate).batch_size == 3
    assert config_for(an_info(folder), spec, spec.quantize).batch_size == 3, "dataset.batch_size"
    assert config_for(an_info(folder, batch_size=2), spec, spec.evaluate).batch_size == 2
    with pytest.raises(TrainerError, match=r"/m\.onnx, which takes batches of 8 only") as caught:
        config_for(an_info(folder, batch_size=8), spec, spec.evaluate)
    assert "export.batch_size" in caught.value.remedy


@pytest.mark.parametrize(
    "text", ["0", "two", "-1", "1.5", "\N{SUPERSCRIPT TWO}", "\N{ARABIC-INDIC DIGIT TWO}"]
)
def test_a_micro_batch_that_is_no_number_is_refused_by_every_action(
    folder: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """As `dino train` refuses it: the same value is read by one reader."""
    monkeypatch.setenv("DINO_MICRO_BATCH", text)
    spec = a_user_spec("evaluate.batch_size=6")
    with pytest.raises(TrainerError, match=f"^DINO_MICRO_BATCH is {text}, not a number") as caught:
        config_for(an_info(folder), spec, spec.evaluate)
    assert caught.value.reason == "InvalidSpec"


def test_detections_that_a_file_selects_cannot_be_more(folder: Path) -> None:
    spec = a_user_spec("model.num_select=20", "model.backbone=timm/test_efficientnet")
    with pytest.raises(TrainerError, match=r"model\.num_select is 20, the model's 10"):
        check_structure(an_info(folder), spec)


def test_the_content_of_a_file_says_what_it_is(folder: Path, tmp_path: Path) -> None:
    """Our own checkpoint under any ending; what is none is named, whichever key names it."""
    spec, context = spec_for(folder), context_of(folder)
    own = (folder / "results/train" / BEST).read_bytes()
    for name in ("own.pt", "own.bin", "own.safetensors"):
        (tmp_path / name).write_bytes(own)
        assert open_model(str(tmp_path / name), spec, context).info.num_classes == 4
    lfs = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 7\n"
    refused = {
        "a.onnx": (lfs, "a.onnx is no onnx file: it is a Git LFS pointer for 7 bytes"),
        "b.engine": (b"<html><body>", "b.engine is no engine file: it is an HTML page"),
        "c.onnx": (own, "c.onnx is no onnx file, but a checkpoint"),
        "d.pth": (lfs, "d.pth is not a readable checkpoint: it is a Git LFS pointer"),
    }
    for name, (content, said) in refused.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(TrainerError, match=r"Git LFS|HTML|a checkpoint") as caught:
            open_model(str(tmp_path / name), spec, context)
        assert caught.value.reason == "InvalidSpec"
        assert said in caught.value.message
    for name in ("x.hdf5", "x.etlt", "x.zip", "x.plan"):
        with pytest.raises(TrainerError, match="is no model file, but "):
            model_format(name)
    (tmp_path / "folder.pth").mkdir()
    with pytest.raises(TrainerError, match="is a folder, not a file of weights"):
        open_model(str(tmp_path / "folder.pth"), spec, context)
