"""What a training says before it begins."""

from __future__ import annotations

from collections.abc import Sequence

from dino_api.experiment import DataSource, ExperimentSpec
from dino_trainer.distributed.launcher import Shape
from dino_trainer.output import Output
from dino_trainer.storage import Say


def announce(spec: ExperimentSpec, output: Output, say: Say) -> None:
    """What is going to happen, before it happens."""
    model, train, data = spec.model, spec.train, spec.dataset
    processes = Shape.of(train).size
    device = f"{train.num_gpus} GPU" if train.num_gpus else "the CPU"
    if processes > 1:
        device = f"each of {processes} {'GPUs' if train.num_gpus else 'processes'}"
    say(f"Training data    {_sources(data.train_data_sources)}")
    say(f"Validation data  {_sources(data.val_data_sources) or 'the training data again'}")
    say(
        f"Model            DINO on {model.backbone}, {model.num_feature_levels} levels, "
        f"{model.num_queries} queries, {model.enc_layers} + {model.dec_layers} layers"
    )
    say(
        f"Training         {train.num_epochs} epochs of batches of {data.batch_size} on {device}, "
        f"validated every {train.validation_interval}"
    )
    say(f"Train results will be saved at: {output.uri('')}")


def _sources(sources: Sequence[DataSource] | None) -> str:
    return ", ".join(f"{source.image_dir} ({source.json_file})" for source in sources or ())
