"""Katib's objects, read when a plan needs them: they are polled, not watched."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from dino_operator.plan.model import Object
from dino_operator.plan.observed import objects
from dino_operator.plan.observed.api_object import ApiObject
from dino_operator.plan.observed.katib import Experiment, ExperimentTrial, Suggestion
from dino_operator.plan.rendered.names import experiment_name
from dino_operator.runtime.client import KATIB
from dino_operator.runtime.discovery import Discovery, ServedKind

TRIALS_OF = "katib.kubeflow.org/experiment"
"""Katib's label on its Trials."""


class KatibApi(Discovery, Protocol):
    """What is asked of the API server."""

    async def get(self, kind: str, namespace: str, name: str) -> Object | None: ...
    async def list_all(
        self, kind: str, namespace: str | None, selector: str
    ) -> tuple[list[Object], int]: ...


@dataclass(frozen=True)
class KatibObjects:
    """What was read for one search, and when. served: whether Experiments exist here at all."""

    served: bool = False
    experiment: Experiment | None = None
    suggestion: Suggestion | None = None
    trials: tuple[ExperimentTrial, ...] = ()
    at: float = 0.0


class Katib:
    """Reads for one search at a time, and keeps each answer for half the time between polls."""

    def __init__(
        self, api: KatibApi, poll: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._api, self._poll, self._clock = api, poll, clock
        self._seen: dict[str, KatibObjects] = {}
        self._experiments = ServedKind(api, "experiments", (KATIB,), clock)

    def forget(self, resource: Object) -> None:
        """What was read for this search is not true any more, or not needed."""
        self._seen.pop(objects.uid_of(resource), None)

    async def read(self, resource: Object, fresh: bool = False) -> KatibObjects:
        """What Katib has for this search. fresh: read it now. Raises ApiError.

        Nothing is read for a search that has ended, or that does not run on Katib.
        """
        if ApiObject(resource).is_finished or not _may_use(resource):
            self.forget(resource)
            return KatibObjects()
        known = self._seen.get(objects.uid_of(resource))
        if known is not None and not fresh and self._clock() - known.at < self._poll / 2:
            return known
        seen = (
            await self._read(resource)
            if await self._experiments.group()
            else KatibObjects(at=self._clock())
        )
        self._seen[objects.uid_of(resource)] = seen
        return seen

    async def _read(self, resource: Object) -> KatibObjects:
        """The Experiment, and the rest where there is one."""
        space, name = resource["metadata"]["namespace"], experiment_name(objects.uid_of(resource))
        started = self._clock()
        experiment = await self._api.get("experiments", space, name)
        if experiment is None:
            return KatibObjects(True, at=started)
        suggestion, (trials, _) = await asyncio.gather(
            self._api.get("suggestions", space, name),
            self._api.list_all("trials", space, f"{TRIALS_OF}={name}"),
        )
        return KatibObjects(
            True,
            Experiment(experiment),
            None if suggestion is None else Suggestion(suggestion),
            tuple(map(ExperimentTrial, trials)),
            started,
        )


def _may_use(resource: Object) -> bool:
    """Whether the search runs on Katib, or may yet."""
    chosen = resource.get("status", {}).get("engine")
    return (chosen or resource["spec"].get("engine") or "Auto") in ("Auto", "Katib")
