"""The command line of `kubectl-dino`: its commands, and how each of them ends."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version

from dino_api.command_line import CommandParser, parsed
from dino_api.reported import print_any_text
from dino_operator.kubectl import (
    again,
    bundle,
    completion,
    diff,
    from_tao,
    logs,
    policy,
    render,
    report,
    status,
    validate,
)
from dino_operator.kubectl.ending import CODES, DONE, INTERRUPTED, CommandExit

PROGRAM = """\
A plugin of kubectl: with kubectl-dino on the PATH, `kubectl dino COMMAND` works.
`kubectl dino COMMAND --help` has examples of each.
"""
EXIT_CODES = "exit codes, as of sysexits.h:\n" + "".join(
    f"  {code:<5}{words}\n" for code, words in CODES.items()
)
COMMANDS = (
    validate,
    render,
    from_tao,
    status,
    logs,
    report,
    policy,
    diff,
    again,
    bundle,
    completion,
)


def parser(environ: Mapping[str, str]) -> argparse.ArgumentParser:
    """The command line; the environment has the defaults, as the operator's own."""
    made = CommandParser(
        prog="kubectl-dino",
        description=PROGRAM,
        epilog=EXIT_CODES,
    )
    made.add_argument("--version", action="version", version=version("dino-operator"))
    commands = made.add_subparsers(dest="command", metavar="command", required=True)
    for each in COMMANDS:
        each.add(commands, environ)
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point. Returns the exit status."""
    print_any_text(sys.stdout, sys.stderr)
    made = parser(os.environ)
    completion.answer_shell(made)
    options = parsed(made, arguments, from_tao.CHANGES)
    try:
        code = int(options.run(options))
        sys.stdout.flush()
    except CommandExit as end:
        if str(end):
            print(f"kubectl-dino: {end}", file=sys.stderr)
        return end.status
    except BrokenPipeError:  # `… | head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except KeyboardInterrupt:
        return INTERRUPTED
    return code


def complete() -> int:
    """Entry point of kubectl_complete-dino. Returns the exit status."""
    return completion.answer_kubectl(parser(os.environ), sys.argv[1:])
