"""Whether a model and its test data speak of the same classes, and which of them are scored."""

from __future__ import annotations

from collections.abc import Sequence

from dino_trainer.data.coco import CocoDataset
from dino_trainer.errors import invalid_dataset, invalid_spec
from dino_trainer.model_files.info import ModelInfo

_SHOWN = 5


def check_classes(info: ModelInfo, dataset: CocoDataset) -> list[str]:
    """Warnings, a sentence each, about classes of the test data that the model never saw.

    Raises:
        TrainerError: InvalidDataset where the data has a category id that the model has no output
            for, or another name for one of its classes.
    """
    named = {label: name for label, name in enumerate(info.class_names) if name}
    beyond = {i: name for i, name in dataset.categories.items() if i >= info.num_classes}
    if beyond:
        raise invalid_dataset(
            f"The test data has {_listed(beyond)}, and {info.file.uri} knows category ids below "
            f"{info.num_classes} only{_known(named)}.",
            "Give the categories of the test data the ids that the training data had, or evaluate "
            "a model that was trained on these classes.",
        )
    other = [
        f"category {i} is {name!r} in the test data and {named[i]!r} in the model"
        for i, name in sorted(dataset.categories.items())
        if named.get(i, name) != name
    ]
    if other:
        more = f", and {len(other) - _SHOWN} more" if len(other) > _SHOWN else ""
        raise invalid_dataset(
            f"{info.file.uri} has other classes than the test data: "
            f"{'; '.join(other[:_SHOWN])}{more}.",
            "Use the names and ids of the training data, or evaluate the model that fits.",
        )
    unseen = {i: name for i, name in dataset.categories.items() if named and i not in named}
    if unseen:
        return [f"The model was not trained on {_listed(unseen)} of the test data."]
    return []


def scored_classes(asked: Sequence[int] | None, dataset: CocoDataset) -> dict[int, str]:
    """Name by id of the classes that count, sorted by id: all, or those of `eval_class_ids`.

    Raises:
        TrainerError: InvalidSpec for an id that the test data does not have.
    """
    known = dict(sorted(dataset.categories.items()))
    if asked is None:
        return known
    unknown = sorted(set(asked) - known.keys())
    if unknown:
        raise invalid_spec(
            f"dataset.eval_class_ids names {', '.join(map(str, unknown))}, and the test data has "
            f"no such category id. It has {_listed(known, 20)}.",
            "Name ids of the test data, or leave the key out to score all classes.",
        )
    return {i: known[i] for i in sorted(set(asked))}


def _listed(classes: dict[int, str], most: int = _SHOWN) -> str:
    said = [f"{i} ({name})" for i, name in sorted(classes.items())]
    more = f" and {len(said) - most} more" if len(said) > most else ""
    return f"{', '.join(said[:most])}{more}"


def _known(named: dict[int, str]) -> str:
    return f": {_listed(named, 20)}" if named else ""
