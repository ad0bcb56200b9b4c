"""All checks of one training's data, in their order."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

from dino_api.experiment import DataSource, ExperimentSpec
from dino_api.result import Dataset
from dino_trainer.data.coco import class_names, digest_of
from dino_trainer.data.stage import StagedSource, data_root, stage
from dino_trainer.preflight.annotations import check_boxes_per_image, check_source
from dino_trainer.preflight.files import check_files
from dino_trainer.preflight.findings import Findings
from dino_trainer.preflight.sources import Split, read_split
from dino_trainer.preflight.splits import check_splits
from dino_trainer.storage import Say

_LONGEST = 1000


@dataclass(frozen=True)
class Checked:
    """What was found. validation: None where training data is scored, too."""

    train: Split
    validation: Split | None
    findings: Findings
    num_classes: int | None


def check(
    spec: ExperimentSpec, work_dir: Path, say: Say, stop: threading.Event | None = None
) -> Checked:
    """Stages and checks everything.

    Raises TrainerError where the work cannot be done: no access, a full disk, a store away, a stop.
    """
    findings = Findings()

    def stage_one(source: DataSource) -> StagedSource:
        return stage([source], work_dir / "data", say, stop)[0]

    data = spec.dataset
    train = read_split("train", data.train_data_sources or (), stage_one, findings)
    validation = None
    if data.val_data_sources and data.val_data_sources != data.train_data_sources:
        validation = read_split("validation", data.val_data_sources, stage_one, findings)
    kept = data_root(work_dir / "data") / "checked"
    for split in (train, validation):
        for source in split.sources if split else ():
            check_source(source, findings)
            check_files(source, kept, findings, say, stop)
    check_boxes_per_image(train, spec.model.num_queries, findings)
    check_splits(spec, train, validation, findings)
    largest = max(train.categories, default=None)
    return Checked(train, validation, findings, data.num_classes or (largest and largest + 1))


def describe(checked: Checked) -> Dataset:
    """What the resource's status says about the data."""
    train, count = checked.train, checked.num_classes
    return Dataset(
        num_classes=count,
        images=train.images,
        annotations=train.boxes,
        class_names=class_names(train.categories, count or 0)[:1000],
        digest=digest_of(source.staged for source in train.sources) if train.complete else None,
        warnings=[_short(one.message) for one in checked.findings.warnings],
    )


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
