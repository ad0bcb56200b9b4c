"""search.json: what is kept of a search that has ended, and what its report is made of."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from dino_api.base import Camel
from dino_api.resources.dinoautoml import (
    Algorithm,
    BestTrial,
    KnownTrial,
    SearchParameter,
    TrialRecord,
)


class SearchRecord(Camel):
    """One search, from its space to its winner.

    space: what was searched; `dino train --search` reads the same key. experiment: the template's,
    which trial 0 trained. outcome: the last word of the conditions, as a sentence.
    """

    name: str
    namespace: str = "default"
    engine: str = ""
    algorithm: Algorithm = Field(default_factory=Algorithm)
    space: list[SearchParameter]
    experiment: dict[str, Any] = Field(default_factory=dict)
    outcome: str = ""
    start_time: str | None = None
    completion_time: str | None = None
    history: list[TrialRecord] = Field(default_factory=list)
    best: BestTrial | None = None
    known: list[KnownTrial] = Field(default_factory=list)
