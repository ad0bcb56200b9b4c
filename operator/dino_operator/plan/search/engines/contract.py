"""What an engine is: the embedded one and Katib's give the same answer to the same question.

Trial 0, the baseline, is a DinoJob on both engines and not the engine's business: `plan` makes it,
follows it (`outcomes.baseline`), and asks the engine only once it has found the data good.
`ends.reached(view, trials)` says why a search must stop now; an engine that is asked after that
starts nothing, stops what runs, and says `ended` once nothing of it runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from dino_operator.plan.model import Delete, Object, Patch
from dino_operator.plan.observed.failure import Cause
from dino_operator.plan.search.search_view import SearchView
from dino_operator.plan.search.trials.trial import Trial


class SearchEngine(Protocol):
    """What an engine answers. Each is a module with these functions."""

    def step(self, view: SearchView) -> Step:
        """What to do now, and what its trials did so far."""

    def refusal(self, view: SearchView) -> str:
        """Why it cannot run this search; empty where it can."""


@dataclass(frozen=True)
class Step:
    """What an engine wants done now, and what it saw.

    trials: the engine's trials by number, the baseline not among them.
    ended: nothing of it runs and it starts no more; never before `ends.reached` says so, or the
    engine itself failed.
    waiting: why it starts nothing although it may; a sentence for the condition Running.
    failure: the engine itself failed, not its trials; the search fails with it.
    facts: fields of the status that only the engine knows, such as Katib's `experiment`.
    requeue_after: seconds until it wants to be asked again; None where a child wakes it.
    asks: uids of Jobs whose events would tell more, as in a Plan.
    """

    creates: tuple[Object, ...] = ()
    patches: tuple[Patch, ...] = ()
    deletes: tuple[Delete, ...] = ()
    trials: tuple[Trial, ...] = ()
    ended: bool = False
    waiting: str = ""
    failure: Cause | None = None
    facts: Mapping[str, object] = field(default_factory=dict)
    requeue_after: float | None = None
    asks: tuple[str, ...] = ()
