"""All checks of the data of one action, in their order."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from dino_api.actions import ACTIONS, DatasetSplit
from dino_api.experiment import DataSource, ExperimentSpec
from dino_api.names import TRAINS, Action
from dino_api.reported import shortened
from dino_api.result import Dataset
from dino_trainer.data.coco import class_names, digest_of
from dino_trainer.data.pictures import Picture, find_pictures
from dino_trainer.data.source_facts import Looking
from dino_trainer.model_files.info import ModelInfo
from dino_trainer.preflight.annotations import (
    check_boxes_per_image,
    check_detections,
    check_select,
    check_source,
)
from dino_trainer.preflight.causes import WHOLE_FILE
from dino_trainer.preflight.files import check_files
from dino_trainer.preflight.findings import Findings
from dino_trainer.preflight.given_model import detections_per_image, given_model
from dino_trainer.preflight.model_data import (
    check_given,
    check_known_categories,
    check_names,
    check_pictures,
)
from dino_trainer.preflight.named_models import check_made, check_named
from dino_trainer.preflight.skipping import Skipping
from dino_trainer.preflight.sources import (
    PreflightSource,
    PreflightSplit,
    StageOne,
    read_split_for_check,
)
from dino_trainer.preflight.splits import (
    check_contents,
    check_eval_ids,
    check_leakage,
    check_splits,
    check_training,
)
from dino_trainer.preflight.staging import one_by_one
from dino_trainer.preflight.tokens import check_tokens, check_tokens_of_pictures
from dino_trainer.spec.needs import annotated
from dino_trainer.spec.sections import scoring_section, sources_of
from dino_trainer.storage.store import Say

_LONGEST = 1000


@dataclass(frozen=True)
class PreflightResult:
    """What was found.

    splits: by their order in the action, the one that it is about first; of a training without the
    validation data where training data is scored, too. pictures: images without annotations.
    """

    action: Action
    splits: tuple[PreflightSplit, ...]
    findings: Findings
    num_classes: int | None
    pictures: int = 0


def check(
    spec: ExperimentSpec,
    work_dir: Path,
    say: Say,
    stop: threading.Event | None = None,
    action: Action = Action.TRAIN,
) -> PreflightResult:
    """Stages and checks everything.

    Raises TrainerError where the work cannot be done: no access, a full disk, a store away, a stop;
    a model that the spec names and that is not there, or not as the spec says.
    """
    check_named(spec, action)
    model = given_model(spec, action)
    check_made(model, spec, action)
    into = work_dir / "data"
    wanted = _sources(spec, action)
    stage_one = one_by_one([s for _, sources in wanted for s in sources], into, say, stop)
    looking = Looking(into, say, stop)
    annotated = partial(_annotated, spec, action, model, wanted, stage_one)
    splits, findings = annotated(None)
    share, begin = spec.dataset.skip_unreadable, "No image was looked at"
    if share and not _to_write_anew(findings):
        # Everything is counted without the images that are left out.
        splits, findings = annotated(Skipping(share, looking))
        begin = "What images hold is not told"
    if _to_write_anew(findings):
        say(f"{begin}: annotations come first that are to be written anew.")
    else:
        look = partial(check_files, looking=looking, findings=findings)
        _check_images(action, splits, look, findings)
    infer = spec.dataset.infer_data_sources
    pictures: list[Picture] = []
    if DatasetSplit.INFERENCE in ACTIONS[action].reads and infer:
        count = model.num_classes if model else spec.dataset.num_classes
        find = partial(find_pictures, into=into, say=say, stop=stop)
        pictures = check_pictures(infer, count, find, findings, say)
        check_tokens_of_pictures(spec, pictures, model, findings)
    classes = _num_classes(spec, splits, findings)
    return PreflightResult(action, splits, findings, classes, len(pictures))


def _annotated(
    spec: ExperimentSpec,
    action: Action,
    model: ModelInfo | None,
    wanted: Sequence[tuple[str, Sequence[DataSource]]],
    stage_one: StageOne,
    skipping: Skipping | None,
) -> tuple[tuple[PreflightSplit, ...], Findings]:
    """The splits, and what their annotations show. skipping: as of `read_split_for_check`."""
    findings = Findings()
    read = partial(read_split_for_check, stage_one=stage_one, findings=findings, skipping=skipping)
    splits = tuple(read(name, sources) for name, sources in wanted)
    for source in (source for split in splits for source in split.sources):
        check_source(source, findings)
    check_splits(splits, findings)
    _check_annotations(spec, action, splits, model, findings)
    check_tokens(spec, action, splits, model, findings)
    return splits, findings


def _to_write_anew(findings: Findings) -> bool:
    """Whether whole files of annotations are, for which images wait."""
    return any(findings.has(rule) for rule in WHOLE_FILE)


def _check_annotations(
    spec: ExperimentSpec,
    action: Action,
    splits: Sequence[PreflightSplit],
    model: ModelInfo | None,
    findings: Findings,
) -> None:
    """All that the action asks of them."""
    if action in TRAINS:
        train, validation = splits[0], splits[1] if len(splits) > 1 else None
        check_boxes_per_image(train, spec.model.num_queries, findings)
        check_training(spec, train, validation, findings)
        if model:  # the teacher
            check_known_categories([train], model, None, findings)
            check_names(train, model, findings)
    else:
        check_given(spec, splits, model, findings)
    facts = ACTIONS[action]
    if splits and (facts.scores or facts.also_reads):
        check_eval_ids(spec, splits, findings)
        whose, scoring = scoring_section(spec, action)
        key = f"{whose}.max_detections"
        check_detections(splits[-1], scoring.max_detections, key, findings)
        if select := detections_per_image(spec, action, model):
            check_select(splits[-1], select, findings)


def _check_images(
    action: Action,
    splits: Sequence[PreflightSplit],
    look: Callable[[PreflightSource], None],
    findings: Findings,
) -> None:
    """The slow part: every image is opened. look: `check_files` of a source."""
    for source in (source for split in splits for source in split.sources):
        look(source)
    check_contents(splits, findings)
    if action in TRAINS and len(splits) > 1:
        check_leakage(splits[0], splits[1], findings)


def _sources(spec: ExperimentSpec, action: Action) -> list[tuple[str, Sequence[DataSource]]]:
    """The splits that the action reads, by name; training data that is scored, too, once."""
    data = spec.dataset
    by_part = {part: sources_of(data, part) for part in annotated(action)}
    if action in TRAINS and data.val_data_sources == data.train_data_sources:
        by_part[DatasetSplit.VALIDATION] = None
    return [(part.value, given or ()) for part, given in by_part.items() if given or _leads(part)]


def _leads(part: DatasetSplit) -> bool:
    """Whether a split is looked at even where none is given: all is about it."""
    return part is DatasetSplit.TRAIN


def _num_classes(
    spec: ExperimentSpec, splits: Sequence[PreflightSplit], findings: Findings
) -> int | None:
    if findings.has("category-id-large"):
        return None
    largest = max(splits[0].categories, default=None) if splits else None
    return spec.dataset.num_classes or (largest and largest + 1)


def _digest(split: PreflightSplit) -> str:
    """As of the data that the action reads."""
    return digest_of((source.staged for source in split.sources), split.skips)


def dataset_status(checked: PreflightResult) -> Dataset:
    """What the resource's status says about the data: that of the first split."""
    warnings = [shortened(one.message, _LONGEST) for one in checked.findings.warnings]
    if not checked.splits:
        return Dataset(images=checked.pictures, warnings=warnings)
    first, count = checked.splits[0], checked.num_classes
    return Dataset(
        num_classes=count,
        images=first.images,
        annotations=first.boxes,
        class_names=class_names(first.categories, count or 0),
        digest=_digest(first) if first.complete else None,
        warnings=warnings,
    )
