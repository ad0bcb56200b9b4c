"""What became of the trials that are DinoJobs: from the DinoJobs, and else from status.history."""

from __future__ import annotations

from dino_operator.plan.search.engine import Trial
from dino_operator.plan.search.view import SearchView


def of_view(view: SearchView) -> tuple[Trial, ...]:
    """The trials by number, also those whose DinoJob was deleted."""
    return ()


def baseline(view: SearchView) -> Trial | None:
    """Trial 0, which has the defaults, once it was made."""
    return next((each for each in of_view(view) if each.number == 0), None)
