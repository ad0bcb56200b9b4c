"""TAO's own specs load unchanged, and no key that claims an effect goes unread."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from dino_api.base import note_of
from dino_api.experiment import ExperimentSpec
from dino_api.experiment.paths import known_paths, section_of, walk
from dino_api.experiment.spec import OTHER_SECTIONS
from dino_api.loading import load

HERE = Path(__file__).parent
TRAINER = HERE.parents[1] / "trainer_image" / "dino_trainer"
TAO = yaml.safe_load((HERE / "api_tao_spec.yaml").read_text())
# Only the default of these is accepted, so there is nothing to read.
ONE_VALUE = {
    "train.distributed_strategy",
    "train.is_dry_run",
    "export.format",
    "export.input_channel",
    "export.serialize_nvdsinfer",
    "gen_trt_engine.tensorrt.layers_precision",
    "quantize.backend",
    "quantize.mode",
    "quantize.layers",
}
# Keys that this project adds to TAO's.
ADDED = {
    "train.ema",
    "train.ema.enabled",
    "train.ema.decay",
    "train.checkpointer",
    "train.checkpointer.monitor",
    "train.checkpointer.save_top_k",
    "train.early_stopping",
    "train.early_stopping.enabled",
    "train.early_stopping.patience",
    "train.early_stopping.min_delta",
    "train.accumulate_grad_batches",
    "train.max_detections",
    "evaluate.max_detections",
    "train.tensorboard",
    "train.num_processes",
    "train.optim.warmup_steps",
    "train.optim.lr_decay_start",
    "dataset.augmentation.fixed_size",
    "dataset.augmentation.planned_sizes",
    "dataset.augmentation.zoom_crop",
    "dataset.skip_unreadable",
    "evaluate.onnx_file",
    "evaluate.num_processes",
    "inference.onnx_file",
    "inference.num_processes",
    "export.end_to_end",
    "quantize.gate",
    "quantize.gate.max_loss",
}
# TAO: 91 classes unless told; here they are derived. It recomputes activations by default.
OTHER_DEFAULT = {"dataset.num_classes": 91, "train.activation_checkpoint": True}


# Lists of sections, and sections that TAO's spec leaves empty.
INSIDE = [path for path in known_paths() if path.endswith("_data_sources")]
INSIDE += ["quantize.layers", "distill"]


def leaves(mapping: dict[str, object], prefix: str = "") -> dict[str, object]:
    """Dotted path -> value of every key that is not a section."""
    found: dict[str, object] = {}
    for name, value in mapping.items():
        path = f"{prefix}{name}"
        found |= leaves(value, f"{path}.") if isinstance(value, dict) and value else {path: value}
    return found


def test_a_whole_tao_spec_loads_with_warnings_alone() -> None:
    spec, warnings = load(TAO)
    assert spec.train.optim.lr == 2e-4
    assert {one.severity for one in warnings} == {"warning"}
    warned = {one.path for one in warnings}
    assert OTHER_SECTIONS.keys() <= warned
    assert {"model.clip_max_norm", "train.optim.lr_linear_proj_mult"} <= warned


def test_training_keys_are_tao_s_and_what_we_add_is_listed() -> None:
    ours = {path for path in known_paths() if path.partition(".")[0] not in OTHER_SECTIONS}
    theirs = {path for path in leaves(TAO) if path.partition(".")[0] not in OTHER_SECTIONS}
    assert theirs <= ours
    sections = {".".join(path) for path, field in walk() if section_of(field.annotation)}
    inside = {path for path in ours if any(path.startswith(f"{one}.") for one in INSIDE)}
    added = ours - theirs - sections - inside
    assert added == ADDED - sections, "list keys that TAO has not in ADDED, and in docs/tao.md"


def test_keys_are_in_snake_case_but_for_two_of_tao_s() -> None:
    named = {path for path in known_paths() if path != path.lower()}
    assert named == {"model.pe_temperatureH", "model.pe_temperatureW"}


def test_defaults_are_tao_s() -> None:
    ours = leaves(ExperimentSpec().model_dump())
    for path, value in leaves(TAO).items():
        if path in OTHER_DEFAULT:
            assert value == OTHER_DEFAULT[path]
        elif path.partition(".")[0] in ("model", "train") or path.startswith("dataset.aug"):
            assert ours[path] == value, path


def test_tao_s_template_loads_with_its_jitter() -> None:
    augmentation = TAO["dataset"]["augmentation"] | {"fixed_random_crop": 1024}
    dataset = TAO["dataset"] | {"augmentation": augmentation, "eval_class_ids": [1]}
    spec, problems = load(TAO | {"dataset": dataset})
    assert spec.dataset.augmentation.fixed_random_crop == 1024
    assert [one for one in problems if one.severity == "error"] == []


def live() -> list[str]:
    """Keys that claim to have an effect on training."""
    return [
        ".".join(path)
        for path, field in walk()
        if path[0] not in OTHER_SECTIONS
        and not note_of(field).dead
        and section_of(field.annotation) is None
        and not any(".".join(path).startswith(f"{one}.") for one in (*INSIDE, "quantize.layers"))
    ]


def test_the_trainer_reads_every_key_that_claims_an_effect() -> None:
    code = "\n".join(path.read_text() for path in TRAINER.rglob("*.py"))
    words = set(re.findall(r"\w+", code))
    unread = {path for path in live() if path.rpartition(".")[2] not in words}
    assert unread <= ONE_VALUE


def test_the_page_for_those_who_come_from_tao_has_every_key_that_we_add() -> None:
    page = (HERE.parents[1] / "docs" / "tao.md").read_text()
    told = page.partition("Not TAO's are")[2].partition("\n## ")[0]
    sections = {path.rpartition(".")[0] for path in ADDED} & ADDED
    keys = {path for path in ADDED if path.rpartition(".")[0] not in sections}
    assert {path for path in keys if path.rpartition(".")[2] not in told} == set()
