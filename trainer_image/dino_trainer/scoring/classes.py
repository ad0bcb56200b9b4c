"""Whether a model and the data it is scored on speak of the same classes, and which are scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dino_trainer.data.coco import CocoDataset
from dino_trainer.data.name_forms import composed
from dino_trainer.errors import invalid_dataset, invalid_spec
from dino_trainer.model_files.info import ModelInfo

_SHOWN = 5
_LIST = 20


def check_classes(info: ModelInfo, dataset: CocoDataset, data: str = "test data") -> list[str]:
    """Warnings, a sentence each, about classes of the data that the model never saw.

    data: what sentences call it.

    Raises:
        TrainerError: InvalidDataset where the data has a category id that the model has no output
            for, or another name for one of its classes.
    """
    named = named_classes(info)
    if beyond := unknown_to(info, dataset.categories):
        raise invalid_dataset(
            f"The {data} has {listed(beyond)}, and {info.file.uri} knows category ids below "
            f"{info.num_classes} only{_known(named)}.",
            f"Give the categories of the {data} the ids that the training data had, or name a "
            "model that was trained on these classes.",
        )
    if other := otherwise_named(info, dataset.categories):
        conflicts = "; ".join(
            f"category {i} is {dataset.categories[i]!r} in the {data} and {named[i]!r} in the model"
            for i in other[:_SHOWN]
        )
        more = f", and {len(other) - _SHOWN} more" if len(other) > _SHOWN else ""
        raise invalid_dataset(
            f"{info.file.uri} has other classes than the {data}: {conflicts}{more}. "
            f"{both_lists(info, dataset.categories, data)}",
            "Use the names and ids of the training data, or name the model that fits.",
        )
    unseen = {i: name for i, name in dataset.categories.items() if named and i not in named}
    if unseen:
        return [f"The model was not trained on {listed(unseen)} of the {data}."]
    return []


def named_classes(info: ModelInfo) -> dict[int, str]:
    """Name by id, of classes whose names the model knows."""
    return {label: name for label, name in enumerate(info.class_names) if name}


def unknown_to(info: ModelInfo, categories: Mapping[int, str]) -> dict[int, str]:
    """The categories that the model has no output for."""
    return {i: name for i, name in categories.items() if i >= info.num_classes}


def otherwise_named(info: ModelInfo, categories: Mapping[int, str]) -> list[int]:
    """The ids that mean another class to the model; one name in two forms of letters is one."""
    named = named_classes(info)
    return [
        i
        for i, name in sorted(categories.items())
        if composed(named.get(i, name)) != composed(name)
    ]


def both_lists(info: ModelInfo, categories: Mapping[int, str], data: str) -> str:
    """Writes `The model has 1 (red), 3 (blue); the test data 1 (rot), 3 (blau).`"""
    return (
        f"The model has {listed(named_classes(info), _LIST)}; the {data} "
        f"{listed(categories, _LIST)}."
    )


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
            f"no such category id. It has {listed(known, _LIST)}.",
            "Name ids of the test data, or leave the key out to score all classes.",
        )
    return {i: known[i] for i in sorted(set(asked))}


def listed(classes: Mapping[int, str], most: int = _SHOWN) -> str:
    """Writes `1 (red), 3 (blue) and 7 more`."""
    names = [f"{i} ({name})" for i, name in sorted(classes.items())]
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"


def _known(named: dict[int, str]) -> str:
    return f": {listed(named, _LIST)}" if named else ""
