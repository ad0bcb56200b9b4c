"""Nothing is lost: a training that was interrupted ends in the bits of one that was not."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from dino_api.experiment import ExperimentSpec, OptimConfig
from dino_trainer.errors import TrainerError
from dino_trainer.model_files import checkpoint
from dino_trainer.model_files.checkpoint import BEST, LATEST, PREVIOUS
from dino_trainer.train.optim import build_optimizer, take_over
from tests.unit.training_builders import (
    Killed,
    Recorder,
    a_dataset,
    assert_same,
    interrupted,
    killed_at,
    latest,
    run,
    spec,
    spec_for,
)

__all__ = ["spec"]


@pytest.mark.parametrize("at", [1, 4, 6])
def test_a_resumed_run_ends_in_the_same_bits(tmp_path: Path, at: int) -> None:
    """In the first epoch, between two, and in the second; also with loader workers."""
    straight, broken = Recorder(), Recorder()
    run(spec_for(tmp_path, "results_dir=" + str(tmp_path / "straight")), straight)
    again = "results_dir=" + str(tmp_path / "broken")
    before = interrupted(spec_for(tmp_path, again), at)
    run(spec_for(tmp_path, again, "dataset.workers=1"), broken)
    assert [p.step for p in broken.steps] == list(range(at + 1, 9))
    assert [(p.step, p.percent) for p in broken.positions] == [(at, 100 * at // 8)]

    for name in (LATEST, BEST):
        whole = checkpoint.read(tmp_path / "straight" / "train" / name)
        parts = checkpoint.read(tmp_path / "broken" / "train" / name)
        for content in (whole, parts):
            content.pop("spec")  # paths and workers differ
        assert_same(whole, parts)
    assert straight.validations == before.validations + broken.validations


@pytest.mark.parametrize("fits", [True, False])
def test_the_checkpoints_spec_is_parsed_once(
    fits: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(spec_for(tmp_path), 2)
    parse, calls = ExperimentSpec.model_validate, []

    def counted(*arguments, **more):
        calls.append(arguments)
        return parse(*arguments, **more)

    # Both are made before it is counted.
    spec = spec_for(tmp_path, *([] if fits else ["train.optim.lr=0.5"]))
    monkeypatch.setattr(ExperimentSpec, "model_validate", counted)
    if fits:
        run(spec)
    else:
        with pytest.raises(TrainerError, match=r"of another experiment: train\.optim\.lr"):
            run(spec)
    assert len(calls) == 1


def test_a_killed_run_resumes_from_its_last_checkpoint(tmp_path: Path) -> None:
    """A kill leaves what the last interval saved; the steps since are done again, equally."""
    run(spec_for(tmp_path, "results_dir=" + str(tmp_path / "straight")))
    interval = ("train.checkpoint_interval=3", "train.checkpoint_interval_unit=step")
    spec = spec_for(tmp_path, "results_dir=" + str(tmp_path / "broken"), *interval)
    with pytest.raises(Killed):
        run(spec, killed_at(7))
    assert latest(spec)["step"] == 6
    recorder = Recorder()
    run(spec, recorder)
    assert recorder.steps[0].step == 7
    whole = checkpoint.read(tmp_path / "straight" / "train" / LATEST)
    for key in ("model", "ema", "optimizer", "best"):
        assert_same(whole[key], latest(spec)[key], key)


def test_a_stop_during_validation_validates_again(spec: ExperimentSpec) -> None:
    straight = Recorder()
    run(spec, straight)
    shutil.rmtree(spec.results_dir)
    interrupted(spec, 8)  # the last step is done, its validation is not
    assert latest(spec)["validated"] == 1
    recorder = Recorder()
    result = run(spec, recorder)
    assert recorder.steps == []
    assert [p.step for p in recorder.positions] == [8]
    assert recorder.validations == straight.validations[1:]
    assert result.metrics is not None


def test_a_damaged_checkpoint_gives_way_to_the_one_before(spec: ExperimentSpec) -> None:
    interrupted(spec, 6)
    folder = Path(spec.results_dir) / "train"
    path = folder / LATEST
    assert checkpoint.read(folder / PREVIOUS)["step"] == 4
    path.write_bytes(path.read_bytes()[:5000])
    recorder = Recorder()
    run(spec, recorder)
    assert recorder.steps[0].step == 5
    assert any("Resuming after step 4" in event for event in recorder.events)


def test_a_checkpoint_of_another_spec_is_never_resumed(spec: ExperimentSpec) -> None:
    interrupted(spec, 2)
    other = spec.model_copy(deep=True)
    other.train.optim.lr = 1e-5
    with pytest.raises(TrainerError, match="is of another experiment") as caught:
        run(other)
    assert caught.value.reason == "InvalidSpec"
    assert "another experiment: train.optim.lr is 1e-05, the checkpoint's 0.0002." in str(
        caught.value
    )
    assert latest(spec)["step"] == 2


def test_changed_data_is_not_resumed_on(spec: ExperimentSpec, tmp_path: Path) -> None:
    interrupted(spec, 2)
    shutil.rmtree(tmp_path / "train")
    a_dataset(tmp_path / "train", 8, seed=9)
    with pytest.raises(TrainerError, match="not the data that the checkpoint was trained on"):
        run(spec)


def test_a_named_checkpoint_is_resumed(tmp_path: Path) -> None:
    first = spec_for(tmp_path)
    interrupted(first, 6)
    path = Path(first.results_dir) / "train" / LATEST
    elsewhere = str(tmp_path / "elsewhere")
    named = f"train.resume_training_checkpoint_path={path}"
    recorder = Recorder()
    result = run(spec_for(tmp_path, "results_dir=" + elsewhere, named), recorder)
    assert recorder.steps[0].step == 7
    assert result.metrics == recorder.validations[-1][1]  # the best one before lies elsewhere

    named = f"train.resume_training_checkpoint_path={tmp_path}/elsewhere/train/{BEST}"
    with pytest.raises(TrainerError, match="early_stopping and 10 more"):
        run(spec_for(tmp_path, "results_dir=" + str(tmp_path / "third"), named))


def test_a_checkpoint_of_a_release_that_wrote_less_is_refused_by_what_it_lacks(
    spec: ExperimentSpec, tmp_path: Path
) -> None:
    interrupted(spec, 1)
    older = tmp_path / "older.pth"
    other = f"results_dir={tmp_path}/other"
    again = spec_for(tmp_path, other, f"train.resume_training_checkpoint_path={older}")
    for lost in ("loggers", "skipped", "early_stopping"):
        content = latest(spec)
        del content[lost]
        checkpoint.write(content, older)
        with pytest.raises(TrainerError, match=f"lacks {lost}\\.") as caught:
            run(again)
        assert caught.value.reason == "InvalidSpec"


def named(folder: Path, at: int, *before: str) -> str:
    """The override that resumes a training of `before` which was stopped in step `at`."""
    first = spec_for(folder, f"results_dir={folder}/first", *before)
    interrupted(first, at)
    return f"train.resume_training_checkpoint_path={folder}/first/train/{LATEST}"


def test_the_new_specs_hyper_parameters_count_and_the_state_is_loaded(tmp_path: Path) -> None:
    """Rates, decay, schedule, batch, clipping, precision: what experiment.yaml says is done."""
    resume = named(tmp_path, 4)
    changed = (
        "train.optim.lr=0.01",
        "train.optim.lr_backbone=0.005",
        "train.optim.weight_decay=0.3",
        "train.optim.lr_scheduler=Cosine",
        "train.optim.warmup_steps=0",
        "train.num_epochs=3",
        "dataset.batch_size=4",
        "train.seed=7",
    )
    recorder = Recorder()
    spec = spec_for(tmp_path, f"results_dir={tmp_path}/second", resume, *changed)
    run(spec, recorder)
    # Epochs of 2 steps now, one of them behind it; half a cosine over 6 steps.
    assert [each.step for each in recorder.steps] == [3, 4, 5, 6]
    assert recorder.steps[0].learning_rate == pytest.approx(0.01 * 0.75)
    before = checkpoint.read(tmp_path / "first" / "train" / LATEST)
    after = latest(spec)
    groups = after["optimizer"]["param_groups"]
    assert [(group["base_lr"], group["weight_decay"]) for group in groups] == [
        (0.01, 0.3),
        (0.005, 0.3),
    ]
    counted = {int(state["step"]) for state in after["optimizer"]["state"].values()}
    assert counted == {4 + 4}, "moments and their step count are the checkpoint's, and go on"
    assert after["seed"] == 7 != before["seed"]
    (said,) = [each for each in recorder.events if each.startswith("From here on other values")]
    assert "train.optim.lr is 0.01, the checkpoint's 0.0002" in said
    assert "and 2 more" in said


FIXED = {
    "train.optim.optimizer=SGD": "train.optim.optimizer is SGD, the checkpoint's AdamW",
    "model.num_queries=12": "model.num_queries is 12, the checkpoint's 10",
    "model.hidden_dim=64": "model.hidden_dim is 64, the checkpoint's 32",
    "model.embed_init_tgt=false": "model.embed_init_tgt is False, the checkpoint's True",
    "model.backbone=resnet_18": "model.backbone is resnet_18, the checkpoint's timm/test_efficien",
    "dataset.num_classes=9": "dataset.num_classes is 9, the checkpoint's 4",
    "train.freeze=[backbone]": "train.freeze is ['backbone'], the checkpoint's empty",
    "model.train_backbone=false": "model.train_backbone is False, the checkpoint's True",
    "train.num_epochs=1": "train.num_epochs is 1, and the checkpoint is in epoch 2",
    "train.seed=7": "train.seed is 7, the checkpoint's 1234, which decides what is left of the",
}


def test_what_cannot_change_is_named_with_both_values_and_the_way_on(tmp_path: Path) -> None:
    resume = named(tmp_path, 5)
    for override, said in FIXED.items():
        other = spec_for(tmp_path, f"results_dir={tmp_path}/second", resume, override)
        with pytest.raises(TrainerError, match="cannot go on with this spec") as caught:
            run(other)
        assert caught.value.reason == "InvalidSpec"
        assert said in caught.value.message
        assert caught.value.message.endswith(".")
        assert "train.pretrained_model_path" in caught.value.remedy
    both = spec_for(tmp_path, f"results_dir={tmp_path}/second", resume, *list(FIXED)[:2])
    with pytest.raises(TrainerError, match=r"12, the checkpoint's 10; train\.optim\.optimizer is"):
        run(both)


def test_a_model_that_differs_in_what_no_key_says_is_told_by_its_tensors(tmp_path: Path) -> None:
    resume = named(tmp_path, 5)
    path = tmp_path / "first" / "train" / LATEST
    content = checkpoint.read(path)
    content["model"]["decoder.norm.weight"] = content["model"]["decoder.norm.weight"][:7]
    del content["model"]["level_embed"]
    checkpoint.write(content, path)
    with pytest.raises(TrainerError) as caught:
        run(spec_for(tmp_path, f"results_dir={tmp_path}/second", resume))
    assert caught.value.message == (
        "The checkpoint to resume from is of another model: decoder.norm.weight is [32], the "
        "checkpoint's [7]; level_embed is not in the checkpoint."
    )


def test_weights_that_are_not_read_are_said(tmp_path: Path) -> None:
    resume = named(tmp_path, 6)
    recorder = Recorder()
    weights = "train.pretrained_model_path=/nowhere/x.pth"
    run(spec_for(tmp_path, f"results_dir={tmp_path}/second", resume, weights), recorder)
    assert (
        "train.pretrained_model_path (/nowhere/x.pth) is not read: the weights are the "
        "checkpoint's." in recorder.events
    )


def test_state_goes_by_parameter_though_other_rates_make_other_groups() -> None:
    """Of a ViT, whose layers have rates of their own: saved states are only counted through."""
    model = torch.nn.ModuleDict({"backbone": torch.nn.ModuleDict({"body": torch.nn.ModuleDict()})})
    body = model["backbone"]["body"]
    for number in range(3):
        body[str(number)] = torch.nn.Linear(2, 2)
    model["head"] = torch.nn.Linear(2, 2)
    far = {f"backbone.body.{at}.{kind}": 3 - at for at in range(3) for kind in ("weight", "bias")}
    kinds = [OptimConfig(layer_decay_rate=rate) for rate in (0.5, 1.0)]
    old, new, before = (build_optimizer(model, kinds[at], far) for at in (0, 1, 0))
    assert [len(each.param_groups) for each in (old, new)] == [4, 2]
    for number, parameter in enumerate(model.parameters()):
        parameter.grad = torch.full_like(parameter, number + 1.0)
    old.step()
    take_over(new, before, old.state_dict())
    for parameter in model.parameters():
        assert torch.equal(new.state[parameter]["exp_avg"], old.state[parameter]["exp_avg"])
    assert {group["lr"] for group in new.param_groups} == {0.0002}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"<!doctype html><html>", "is not a whole checkpoint: it is an HTML page: what a server"),
        (b"\x80\x02}", "is not a whole checkpoint: its content is damaged or cut off."),
        ({"state_dict": {"a": torch.ones(1)}, "hyper_parameters": Path("a")}, "another program"),
    ],
)
def test_what_cannot_be_resumed_from_is_named(tmp_path: Path, content: object, said: str) -> None:
    path = tmp_path / "x.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(TrainerError) as caught:
        run(spec_for(tmp_path, f"train.resume_training_checkpoint_path={path}"))
    assert said in caught.value.message
    assert caught.value.message.endswith(".")
    assert caught.value.message.isprintable()
