"""Names of classes: what a class map says, held against what the model was trained on.

A class map is TAO's: a text file with one name a line, where line i, counted from 0, is the class
with id i + 1. A model that was trained on a class 0 has line i as class i. TAO believes any class
map: one whose lines are in another order than the annotations' ids gives every box a wrong name.
"""

from __future__ import annotations

from collections.abc import Sequence

from dino_trainer.errors import TrainerError, invalid_dataset

_ORDER = "Write the names in the order of the category ids that the model was trained on"


def read_lines(content: bytes, where: str) -> list[str]:
    """The names in a class map, without white space around them; blank lines at its end are none.

    where: what messages call the file. Raises InvalidDataset for a file without a name, or that is
    not UTF-8.
    """
    try:
        lines = [line.strip() for line in content.decode("utf-8-sig").splitlines()]
    except UnicodeDecodeError as error:
        raise invalid_dataset(
            f"{where} is not a class map: it is not UTF-8 text.",
            "Name a text file with the name of one class in each line.",
        ) from error
    while lines and not lines[-1]:
        lines.pop()
    if not lines:
        raise invalid_dataset(
            f"{where} holds no names.", "Write the name of one class in each line."
        )
    return lines


def names_by_label(lines: Sequence[str], class_names: Sequence[str], where: str) -> tuple[str, ...]:
    """Name by label, "" for labels without one, as long as `class_names`.

    lines: of the class map. class_names: what the model knows by label, "" where nothing.
    Lines for ids that the model does not use may hold anything, or all be left out.
    Raises InvalidDataset, naming the first difference.
    """
    if not any(class_names):
        return _unchecked(lines, len(class_names), where)
    if list(lines) == [name for name in class_names if name]:
        return tuple(class_names)
    first = 0 if class_names[0] else 1
    for number, line in enumerate(lines):
        label = number + first
        if label >= len(class_names):
            raise _differs(where, number, line, f"the model has no class {label}", class_names)
        if class_names[label] not in ("", line):
            known = f"class {label} of the model is {class_names[label]!r}"
            raise _differs(where, number, line, known, class_names)
    for label in range(first + len(lines), len(class_names)):
        if class_names[label]:
            raise invalid_dataset(
                f"{where} ends after line {len(lines)}, and class {label} of the model is "
                f"{class_names[label]!r}.",
                _remedy(class_names),
            )
    return tuple(class_names)


def _differs(
    where: str, number: int, line: str, known: str, class_names: Sequence[str]
) -> TrainerError:
    message = f"{where} does not fit the model: its line {number + 1} is {line!r}, and {known}."
    return invalid_dataset(message, _remedy(class_names))


def _remedy(class_names: Sequence[str]) -> str:
    names = [name for name in class_names if name]
    shown = ", ".join(names[:20]) + (", …" if len(names) > 20 else "")
    return f"{_ORDER}: {shown}."


def _unchecked(lines: Sequence[str], classes: int, where: str) -> tuple[str, ...]:
    """For a model that knows no names. As many lines as classes can only begin with class 0."""
    if len(lines) > classes:
        raise invalid_dataset(
            f"{where} has {len(lines)} lines, and the model has {classes} classes.",
            f"{_ORDER}, one for each id from 1 to {classes - 1}.",
        )
    first = 0 if len(lines) == classes else 1
    names = [""] * first + list(lines)
    return tuple(names + [""] * (classes - len(names)))
