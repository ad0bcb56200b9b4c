"""From the file behind `-e` to a checked experiment, or to every problem in it at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dino_api.experiment import ExperimentSpec
from dino_api.kubectl_yaml.lines import lines_of
from dino_api.kubectl_yaml.reader import NotYaml, read
from dino_api.loading import checked, resolved, template_file
from dino_api.names import Action, FailureReason
from dino_api.problem import Problem, SpecErrors, render
from dino_trainer.errors import TrainerError, invalid_spec
from dino_trainer.spec.needs import for_running


def read_spec_file(
    path: Path, overrides: Sequence[str], action: Action = Action.TRAIN
) -> tuple[ExperimentSpec, list[str]]:
    """The spec, checked for what `action` reads, overrides applied, and warnings as sentences.

    Raises InvalidSpec whose message holds every problem, one a line; InputNotFound.
    """
    mapping = read_mapping(path)
    located = ProblemLocator(path, overrides)
    problems: list[Problem] = []
    given, unresolved = resolved(mapping, overrides, action)
    try:
        spec, warnings = checked(given, unresolved, action)
    except SpecErrors as errors:
        problems = [problem for problem in errors.problems if problem.severity == "error"]
    named = {problem.path for problem in problems}
    needed = [each for each in for_running(given, action) if each.path not in named]
    if problems := needed + problems:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        lines = "\n".join(f"  {located.sentence(problem)}" for problem in problems)
        raise invalid_spec(f"{path} has {count}:\n{lines}", _correct(action))
    return spec, [located.sentence(warning) for warning in warnings]


class ProblemLocator:
    """Puts the line of the spec file before what is said about one of its keys."""

    def __init__(self, path: Path, overrides: Sequence[str]) -> None:
        self.lines = lines_of(path.read_text(encoding="utf-8"))
        self.given = tuple(text.lstrip("+~").partition("=")[0] for text in overrides)

    def sentence(self, problem: Problem) -> str:
        """The problem, with the line of its key or of what is around it."""
        line = self._line(problem.path)
        return render(
            problem if line is None else replace(problem, path=f"line {line}: {problem.path}")
        )

    def _line(self, path: str) -> int | None:
        if any(path == key or path.startswith((f"{key}.", f"{key}[")) for key in self.given):
            return None  # from the command line
        return self.lines.get(path)


def read_mapping(path: Path) -> dict[str, Any]:
    """What the file says, unchecked. Raises InvalidSpec, InputNotFound."""
    try:
        content = read(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise TrainerError(
            FailureReason.INPUT_NOT_FOUND, f"There is no file {path}.", "Check the path after -e."
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise invalid_spec(
            f"{path} cannot be read: {error}.", "Check the path after -e."
        ) from error
    except NotYaml as error:
        raise invalid_spec(f"{path} is not YAML: {error}.", _INDENT) from error
    if not isinstance(content, dict):
        kind = "empty" if content is None else f"a {type(content).__name__}"
        raise invalid_spec(f"{path} is {kind}, not a mapping of keys.", _INDENT)
    return content


def _correct(action: Action) -> str:
    return f"Correct these keys; {template_file(action)} shows every key with its meaning."


_INDENT = "Compare it with the templates in schemas/; indent with spaces, not tabs."
