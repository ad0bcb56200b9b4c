"""What actions after training need of their data: it has to suit a model that exists already."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dino_api.experiment import ExperimentSpec
from dino_api.experiment.dataset import InferDataSource
from dino_api.names import FailureReason
from dino_trainer.data.pictures import Picture, PictureListing
from dino_trainer.errors import TrainerError
from dino_trainer.inference.classmap import names_by_label, read_lines
from dino_trainer.model_files.info import ModelInfo
from dino_trainer.preflight.findings import Findings
from dino_trainer.preflight.places import At
from dino_trainer.preflight.sources import PreflightSplit
from dino_trainer.scoring.classes import both_lists, listed, named_classes, otherwise_named
from dino_trainer.storage.opening import open_store
from dino_trainer.storage.store import Say
from dino_trainer.storage.uris import split

# Fewer images than these miss what is rare, and ranges come out too small.
ENOUGH_TO_CALIBRATE = 32
_LISTED = 5


def check_given(
    spec: ExperimentSpec,
    splits: Sequence[PreflightSplit],
    model: ModelInfo | None,
    findings: Findings,
) -> None:
    """Categories that the model does not have, and calibration with hardly any images.

    model: what its file says, where that could be read.
    """
    check_known_categories(splits, model, spec.dataset.num_classes, findings)
    if model and splits:
        check_names(splits[-1], model, findings)
    for one in splits:
        if one.name == "calibration" and one.listed < ENOUGH_TO_CALIBRATE:
            findings.add("calibration-few", str(one.images), at=At(one.name))


def check_known_categories(
    splits: Sequence[PreflightSplit],
    model: ModelInfo | None,
    classes: int | None,
    findings: Findings,
) -> None:
    """Categories beyond those of the model. classes: how many it has, if its file does not say."""
    has = f": {listed(named, _LISTED)}" if model and (named := named_classes(model)) else ""
    count = model.num_classes if model else classes
    if count is None:
        return
    for one in splits:
        unknown = (
            f"{one.name} {id} {name!r} (the model has {count} classes{has})"
            for id, name in sorted(one.categories.items())
            if id >= count
        )
        findings.add_all("class-unknown", unknown, At(one.name))


def check_names(scored: PreflightSplit, model: ModelInfo, findings: Findings) -> None:
    """Checks the split whose score counts, or that is learned from: elsewhere names say nothing."""
    if other := otherwise_named(model, scored.categories):
        first = other[0]
        text = (
            f"{first} is {scored.categories[first]!r} in {scored.name} and "
            f"{model.class_names[first]!r} in the model. "
            f"{both_lists(model, scored.categories, f'{scored.name} data')}"
        )
        at = At(scored.name)
        findings.add_sentences("class-names-differ", text, len(other), at=at)


def check_pictures(
    infer: InferDataSource,
    classes: int | None,
    find: Callable[[Sequence[str]], PictureListing],
    findings: Findings,
    say: Say,
) -> list[Picture]:
    """Lists the images of an inference, which become local, and reads its class map.

    classes: of the model, where that is known. find: `find_pictures`, to here. Returns the images.
    Raises TrainerError for what is no flaw of the data: no access, a full disk, a store away.
    """
    try:
        lines = read_lines(_content(infer.classmap, say), infer.classmap)
        if classes is not None:
            names_by_label(lines, [""] * classes, infer.classmap)
    except TrainerError as error:
        _note(error, "classmap-unusable", findings)
    try:
        listing = find(infer.image_dir)
        findings.add_all("images-left-out", listing.left_out)
        findings.add_all("images-lost", listing.lost)
        return listing.pictures
    except TrainerError as error:
        _note(error, "images-absent", findings)
        return []


def _content(uri: str, say: Say) -> bytes:
    base, name = split(uri)
    return open_store(base, say).read_bytes(name)


def _note(error: TrainerError, unusable: str, findings: Findings) -> None:
    if error.reason == FailureReason.INPUT_NOT_FOUND:
        findings.add_sentences("source-missing", error.message)
    elif error.reason == FailureReason.INVALID_DATASET:
        findings.add_sentences(unusable, error.message)
    else:
        raise error
