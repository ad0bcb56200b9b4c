"""`dino train --search FILE`: values that a search engine drew, given as overrides.

Katib can only put texts into the command line. What they mean together (a value that counts only
beside another, num_select below num_queries) is the search space's business, the same for every
engine: `dino_api.search.assign`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from pydantic import TypeAdapter

from dino_api.experiment.overrides import apply_overrides
from dino_api.names import FailureReason
from dino_api.resources.dinoautoml import SearchParameter
from dino_api.search import assign
from dino_trainer.errors import TrainerError, invalid_spec
from dino_trainer.spec.file import read_mapping

_SPACE = TypeAdapter(list[SearchParameter])
_REMEDY = "Give the search.json of the search that drew these values."


def with_draw(search: Path, spec: Path, overrides: Sequence[str]) -> list[str]:
    """The overrides with what the draw among them means, in the types of their keys.

    Overrides whose path is in the search space are the draw; the others stay as they are.
    Raises TrainerError: InvalidSpec, InputNotFound.
    """
    space = _read_space(search)
    paths = {one.path for one in space}
    drawn = {path: text for path, text in map(_split, overrides) if path in paths}
    rest = [text for text in overrides if _split(text)[0] not in paths]
    experiment, _ = apply_overrides(read_mapping(spec), rest)
    try:
        drawn_up = assign(space, drawn, experiment)
    except ValueError as error:
        raise invalid_spec(f"The drawn values cannot be used: {error}.", _REMEDY) from error
    before, after = dict(_leaves(experiment)), dict(_leaves(drawn_up))
    changed = [path for path in after if after[path] != before.get(path, ...)]
    return [*rest, *(f"{path}={json.dumps(after[path])}" for path in changed)]


def _read_space(path: Path) -> list[SearchParameter]:
    try:
        return _SPACE.validate_python(json.loads(path.read_text(encoding="utf-8"))["space"])
    except FileNotFoundError as error:
        raise TrainerError(
            FailureReason.INPUT_NOT_FOUND, f"There is no file {path}.", "Check --search."
        ) from error
    except (KeyError, OSError, RecursionError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise invalid_spec(f"{path} holds no search space: {reason}.", _REMEDY) from error


def _split(override: str) -> tuple[str, str]:
    path, _, value = override.partition("=")
    return path.lstrip("+"), value


def _leaves(node: dict[str, object], prefix: str = "") -> Iterable[tuple[str, object]]:
    for name, value in node.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
