"""Kueue's Workload of a Job that waits, read when a plan needs it: they are polled, not watched.

The operator must run where they may not be read, and notice when they may.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from dino_operator.plan.annotations import Annotation
from dino_operator.plan.model import Object
from dino_operator.plan.observed import objects, queue_labels
from dino_operator.plan.observed.api_object import ApiObject
from dino_operator.plan.observed.children import KueueAccess
from dino_operator.plan.observed.job import Job
from dino_operator.plan.observed.workload import Workload
from dino_operator.runtime.client import KUEUE_VERSIONS, ApiError
from dino_operator.runtime.discovery import Discovery, ServedKind


class KueueApi(Discovery, Protocol):
    """What is asked of the API server."""

    async def list_in(self, group: str, plural: str, space: str, selector: str) -> list[Object]: ...


@dataclass(frozen=True)
class KueueObjects:
    """What was read for one Job, and when."""

    kueue: KueueAccess = "unasked"
    workload: Workload | None = None
    at: float = 0.0


class Kueue:
    """Reads for one DinoJob at a time, and keeps each answer for half the time between polls."""

    def __init__(
        self, api: KueueApi, poll: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._api, self._poll, self._clock = api, poll, clock
        self._seen: dict[str, tuple[str, KueueObjects]] = {}
        self._workloads = ServedKind(api, "workloads", KUEUE_VERSIONS, clock)

    async def read(
        self, resource: Object, jobs: Iterable[Job], fresh: bool = False
    ) -> KueueObjects:
        """What Kueue has for this DinoJob. fresh: read it now. Raises ApiError.

        Nothing is read unless an unfinished Job of it was suspended by someone else.
        """
        owner = objects.uid_of(resource)
        job = None if ApiObject(resource).is_finished else _held(owner, jobs)
        if job is None:
            self._seen.pop(owner, None)
            return KueueObjects()
        of, known = self._seen.get(owner, ("", KueueObjects()))
        if of == job.uid and self._is_recent(known) and not fresh:
            return known
        seen = await self._read(job)
        self._seen = {key: each for key, each in self._seen.items() if self._is_recent(each[1])}
        self._seen[owner] = job.uid, seen
        return seen

    def _is_recent(self, seen: KueueObjects) -> bool:
        return self._clock() - seen.at < self._poll / 2

    async def _read(self, job: Job) -> KueueObjects:
        started, group = self._clock(), await self._workloads.group()
        if not group:
            return KueueObjects("missing", at=started)
        selector = f"{queue_labels.JOB_UID}={job.uid}"
        space = job.namespace
        try:
            workloads = await self._api.list_in(group, "workloads", space, selector)
        except ApiError as error:
            if error.status in (401, 403):
                return KueueObjects("forbidden", at=started)
            raise
        return KueueObjects("read", next(map(Workload, workloads), None), started)


def _held(owner: str, jobs: Iterable[Job]) -> Job | None:
    """The Job that someone else suspended."""
    for job in jobs:
        ours = job.controller_uid == owner and not job.is_finished
        if ours and job.is_suspended and not job.note(Annotation.HELD):
            return job
    return None
