"""How often a reader is given spoiled input, and what counts as an end of it."""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis.database import DirectoryBasedExampleDatabase

from dino_api.names import FailureReason
from dino_trainer.errors import TrainerError

EXAMPLES = int(os.environ.get("DINO_FUZZ_EXAMPLES", "0"))
"""Of each test; 0: few, and the same ones each time."""
FOUND = Path(__file__).resolve().parents[2] / "build" / "fuzz"
"""Where `make fuzz` keeps what failed: its words as they come, and its inputs for the next run."""
STEPS = 3_000_000
"""Calls of functions, in Python or in C, that one input may cost: a count, as no clock is asked."""
ROOM = 3 << 30
"""Bytes that the process may reserve beyond what it has."""
OURS = frozenset({FailureReason.INTERNAL_ERROR, FailureReason.OUT_OF_MEMORY})
"""Reasons that say nothing of the input."""


def fuzzed(few: int) -> settings:
    """So many examples in `make test`, and DINO_FUZZ_EXAMPLES of others in `make fuzz`."""
    return settings(
        max_examples=EXAMPLES or few,
        derandomize=not EXAMPLES,
        database=DirectoryBasedExampleDatabase(FOUND / "inputs") if EXAMPLES else None,
        deadline=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )


class TooMuchWork(BaseException):
    """No Exception: what takes those as damage must not go on."""


@contextmanager
def ends(*named: type[Exception]) -> Iterator[None]:
    """What is done inside ends well, or in a named error, after at most so many steps."""
    sys.setprofile(_counting(STEPS))
    try:
        yield
    except Exception as error:
        if not _is_named(error, named):
            raise
    except TooMuchWork:
        raise AssertionError(f"it is not over after {STEPS} calls") from None
    finally:
        sys.setprofile(None)


def _is_named(error: Exception, named: tuple[type[Exception], ...]) -> bool:
    """Whether the reader means it. Of ValueErrors only the plain ones are: others have names."""
    if isinstance(error, TrainerError) and error.reason in OURS:
        return False
    return any(
        type(error) is kind if kind is ValueError else isinstance(error, kind) for kind in named
    )


def _counting(most: int) -> Callable[[object, str, object], None]:
    left = most

    def count(_frame: object, event: str, _what: object) -> None:
        nonlocal left
        left -= event in ("call", "c_call")
        if left < 0:
            raise TooMuchWork

    return count


@contextmanager
def bounded_memory() -> Iterator[None]:
    """What asks for more than ROOM ends in MemoryError, which no reader calls an end."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    taken = pages * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + ROOM, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
