"""What an action says before it begins."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dino_api.actions import ACTIONS, DatasetSplit
from dino_api.experiment import DataSource, ExperimentSpec
from dino_api.names import TRAINS, Action
from dino_trainer.distributed.launcher import Topology
from dino_trainer.model_files.naming import model_uri
from dino_trainer.results.output import Output
from dino_trainer.spec.needs import annotated
from dino_trainer.spec.sections import sources_of
from dino_trainer.storage.store import Say


def announce(action: Action, spec: ExperimentSpec, output: Output, say: Say) -> None:
    """What is going to happen, before it happens."""
    lines = [*_data(action, spec), *_model(action, spec)]
    if action in TRAINS:
        lines += _training(spec)
    for name, text in lines:
        say(f"{name:<16} {text}")
    say(f"{action.value.capitalize()} results will be saved at: {output.uri('')}")


def _data(action: Action, spec: ExperimentSpec) -> Iterator[tuple[str, str]]:
    for part in annotated(action):
        sources = _sources(sources_of(spec.dataset, part))
        if part is DatasetSplit.VALIDATION:
            sources = sources or "the training data again"
        if sources:
            yield part.heading, sources
    infer = spec.dataset.infer_data_sources
    if DatasetSplit.INFERENCE in ACTIONS[action].reads and infer:
        yield DatasetSplit.INFERENCE.heading, ", ".join(infer.image_dir)


def _model(action: Action, spec: ExperimentSpec) -> Iterator[tuple[str, str]]:
    model = spec.model
    if action in TRAINS:
        text = (
            f"DINO on {model.backbone}, {model.num_feature_levels} levels, "
            f"{model.num_queries} queries, {model.enc_layers} + {model.dec_layers} layers"
        )
        yield "Model", text
    if action != Action.TRAIN:
        yield "Teacher" if action == Action.DISTILL else "From", model_uri(spec, action)


def _training(spec: ExperimentSpec) -> Iterator[tuple[str, str]]:
    train = spec.train
    processes = Topology.of(train).size
    device = f"{train.num_gpus} GPU" if train.num_gpus else "the CPU"
    if processes > 1:
        device = f"each of {processes} {'GPUs' if train.num_gpus else 'processes'}"
    yield (
        "Training",
        f"{train.num_epochs} epochs of batches of {spec.dataset.batch_size} on {device}, "
        f"validated every {train.validation_interval} (maxDets {train.max_detections})",
    )


def _sources(sources: Sequence[DataSource] | None) -> str:
    return ", ".join(f"{source.image_dir} ({source.json_file})" for source in sources or ())
