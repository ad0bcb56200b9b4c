"""When a search must stop: its goal is reached, too much failed, or every trial was made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from dino_operator.plan.failure import Cause
from dino_operator.plan.search.engine import Trial
from dino_operator.plan.search.view import SearchView


@dataclass(frozen=True)
class End:
    """Why a search starts no more trials. failure: it ends without success, for this cause."""

    message: str
    failure: Cause | None = None


def reached(view: SearchView, trials: Sequence[Trial]) -> End | None:
    """Why no more trials may start, or None where they may.

    trials: all of them, the baseline first. Pure in its arguments.
    """
    return None


def most_frequent(trials: Sequence[Trial]) -> str:
    """The reason for which most of the failed trials failed; empty where none did."""
    reasons = Counter(each.reason for each in trials if each.state == "Failed" and each.reason)
    return min(reasons, key=lambda reason: (-reasons[reason], reason), default="")
