"""`quantize.skip_names`: the layers that the user keeps in floating point."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase

from dino_trainer.errors import invalid_spec


def skipped_by(
    patterns: Sequence[str],
    able: Sequence[str],
    where: str,
    fits: Callable[[str, str], bool] = fnmatchcase,
) -> set[str]:
    """The names of `able` that a pattern (* and ?) is meant for.

    able: the layers that would be quantized. where: what messages call the file. fits: whether a
    name, given first, is meant by a pattern. Raises InvalidSpec for a pattern that fits none.
    """
    matches = {pattern: [name for name in able if fits(name, pattern)] for pattern in patterns}
    if unused := [pattern for pattern, names in matches.items() if not names]:
        raise invalid_spec(
            f"quantize.skip_names: {', '.join(map(repr, unused))} fits no layer that would be "
            f"quantized in {where}.",
            f"Use names such as {', '.join(able[:3]) or 'none'}, or leave it out.",
        )
    return {name for names in matches.values() for name in names}
