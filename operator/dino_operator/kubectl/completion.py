"""`kubectl dino completion`: commands, options and the names of jobs, completed by a shell.

argcomplete does it, of the same parser. Shells ask `kubectl-dino` itself; for `kubectl dino`,
kubectl asks a program called `kubectl_complete-dino`, which `complete` is.
"""

from __future__ import annotations

import argparse
import io
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from dino_operator.kubectl.ending import DONE, INSTALL, UNAVAILABLE, CommandExit

DESCRIPTION = """\
A script that teaches a shell to complete kubectl-dino: commands, options, and the names of jobs and
searches from the cluster. `kubectl dino` needs no script of its own: kubectl's completion asks
kubectl_complete-dino, which is installed beside kubectl-dino.
"""
EPILOG = """\
examples:
  source <(kubectl-dino completion bash)     for this shell; in ~/.bashrc for every one
  kubectl-dino completion zsh > "${fpath[1]}/_kubectl-dino"
  kubectl-dino completion fish > ~/.config/fish/completions/kubectl-dino.fish
  source <(kubectl completion bash)          kubectl's own, for `kubectl dino`
"""
SHELLS = ("bash", "zsh", "fish")
PROGRAM = "kubectl-dino"
_NO_FILES = ":4"
"""kubectl's word for: offer no files besides."""
_AFTER_A_DASH = False
"""Options are offered once a word begins with a dash, else names of jobs would be lost in them."""
_ASKED = "_ARGCOMPLETE"
"""Set while a shell asks."""


def add(commands: Any, environ: Mapping[str, str]) -> None:
    """The command's options."""
    made = commands.add_parser(
        "completion",
        help="print what teaches a shell to complete",
        description=DESCRIPTION,
        epilog=EPILOG,
    )
    made.add_argument("shell", choices=SHELLS, help="which one")
    made.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Prints the script. Raises CommandExit."""
    try:
        from argcomplete.shell_integration import shellcode
    except ImportError as error:
        message = f"Completion needs argcomplete. {INSTALL.format('kubectl')}"
        raise CommandExit(UNAVAILABLE, message) from error
    print(shellcode([PROGRAM], shell=options.shell))
    return DONE


def answer_shell(made: argparse.ArgumentParser) -> None:
    """Where a shell asks, its answer, and the end of the process."""
    if _ASKED in os.environ:
        from argcomplete import autocomplete

        autocomplete(made, always_complete_options=_AFTER_A_DASH)


def answer_kubectl(made: argparse.ArgumentParser, words: Sequence[str]) -> int:
    """Prints what may stand for the last word, a line each, as kubectl reads it."""
    try:
        from argcomplete import io as argcomplete_io
        from argcomplete.finders import CompletionFinder
    except ImportError:
        print(_NO_FILES)
        return DONE

    class Finder(CompletionFinder):
        def _init_debug_stream(self) -> None:
            """Standard error: file descriptor 9 is a shell's, and there is none here."""
            argcomplete_io.debug_stream = sys.stderr

    *before, last = words or ("",)
    line = f"{shlex.join([PROGRAM, *before])} {last}"
    os.environ |= {
        _ASKED: "1",
        "_ARGCOMPLETE_IFS": "\n",
        "_ARGCOMPLETE_DFS": "\t",
        "_ARGCOMPLETE_SUPPRESS_SPACE": "1",
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
    }
    answers = io.StringIO()
    Finder()(made, _AFTER_A_DASH, exit_method=lambda code: None, output_stream=answers)
    sys.stdout.write("".join(f"{each.strip()}\n" for each in answers.getvalue().splitlines()))
    print(_NO_FILES)
    return DONE
