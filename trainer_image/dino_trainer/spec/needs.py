"""What running an action needs and a valid spec may lack: data, a model, a place for results."""

from __future__ import annotations

from collections.abc import Iterator

from dino_api.actions import ACTIONS, DatasetSplit, facts_of
from dino_api.names import WEIGHTS_ALONE, Action
from dino_api.problem import Problem

_SOURCES = "[{image_dir: images, json_file: annotations.json}]"


def for_running(data: dict[str, object], action: Action) -> list[Problem]:
    """Every such problem of a spec that is not checked yet."""
    return [*_results(data, action), *_data(data, action), *_teacher(data, action)]


def _results(data: dict[str, object], action: Action) -> Iterator[Problem]:
    own = _map(data.get(action.value)).get("results_dir")
    if not (data.get("results_dir") or own):
        yield _missing("results_dir", action, "/path or s3://bucket/path")


def _data(data: dict[str, object], action: Action) -> Iterator[Problem]:
    dataset = _map(data.get("dataset"))
    weights = _map(data.get(action.value)).get("mode") == WEIGHTS_ALONE
    facts = facts_of(action, weights)
    if DatasetSplit.INFERENCE in facts.reads:
        yield from _pictures(_map(dataset.get(DatasetSplit.INFERENCE.key)), action)
    elif facts.needs and not dataset.get(facts.needs.key):
        yield _missing(f"dataset.{facts.needs.key}", action, _SOURCES)
    for part in annotated(action):
        yield from _incomplete(part.key, dataset.get(part.key), action)


def annotated(action: Action) -> tuple[DatasetSplit, ...]:
    """The data with annotations that the action reads where it is given."""
    return tuple(each for each in ACTIONS[action].reads if each is not DatasetSplit.INFERENCE)


def _pictures(infer: dict[str, object], action: Action) -> Iterator[Problem]:
    for part, form in (("image_dir", "a folder or an archive"), ("classmap", "a text file")):
        if not infer.get(part):
            yield _missing(f"dataset.{DatasetSplit.INFERENCE.key}.{part}", action, form)


def _teacher(data: dict[str, object], action: Action) -> Iterator[Problem]:
    key = "pretrained_teacher_model_path"
    if action == Action.DISTILL and not _map(data.get(action.value)).get(key):
        yield _missing(f"distill.{key}", action, "the path of the teacher's checkpoint")


def _incomplete(key: str, sources: object, action: Action) -> Iterator[Problem]:
    named = enumerate(sources) if isinstance(sources, list) else [(None, sources)]
    for place, source in named:
        where = f"dataset.{key}" if place is None else f"dataset.{key}[{place}]"
        for part in ("image_dir", "json_file"):
            if isinstance(source, dict) and not source.get(part):
                yield _missing(f"{where}.{part}", action, "a path or s3:// URI")


def _map(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}


def _missing(path: str, action: Action, form: str) -> Problem:
    return Problem(
        path, None, f"is needed to {ACTIONS[action].verb}", f"Write {form}.", id="needed"
    )
