"""Command lines: how they end where they are wrong, and words that may stand anywhere, as TAO's."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from dino_api.failures import exit_code
from dino_api.names import FailureReason


class CommandParser(argparse.ArgumentParser):
    """Usage errors end as every other mistake in a request, not with argparse's 2.

    Descriptions and epilogs of all commands keep their lines.
    """

    def __init__(self, **arguments: Any) -> None:
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, **arguments)

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(exit_code(FailureReason.INVALID_SPEC), f"{self.prog}: {message}\n")


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
