"""The checks, in the order in which they run: what only a GPU can show comes first."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module

from tests.gpu.machine import Machine
from tests.gpu.rows import Row

Check = Callable[[Machine], Iterator[Row]]
# Modules are imported where a check runs: what one of them lacks stops no other.
ORDER = (
    "sampling.choice",
    "sampling.numbers",
    "step.numbers",
    "training.learns",
    "sampling.large",
    "step.cost",
    "training.heals",
    "step.one_process",
    "peer.beside",
    "step.compiled",
)


def check_of(name: str) -> Check:
    """The check of a name in ORDER. Raises ImportError where its module lacks a package."""
    module, _, function = name.partition(".")
    check: Check = getattr(import_module(f"tests.gpu.{module}"), function)
    return check
