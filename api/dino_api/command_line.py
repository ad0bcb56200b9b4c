"""Command lines of which some words may stand anywhere, as those of TAO may."""

from __future__ import annotations

import argparse
from collections.abc import Sequence


def parsed(
    parser: argparse.ArgumentParser, arguments: Sequence[str] | None, words: str
) -> argparse.Namespace:
    """The options. words: where a command keeps its KEY=VALUE, any number of them.

    argparse takes one row of words. Those behind an option that follows it are left over, and
    belong to them; of a command without such words they are an error, as unknown options are.
    """
    options, rest = parser.parse_known_args(arguments)
    if not rest:
        return options
    if words not in options or any(each.startswith("-") for each in rest):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    setattr(options, words, [*getattr(options, words), *rest])
    return options
