"""What a plan is made from, looked at once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from dino_operator.plan import observe
from dino_operator.plan.model import Children, Object, Settings
from dino_operator.plan.names import Annotation

DEFAULT_MAX_RETRIES = 3
"""Where the stored object lacks it; the CRD's default is the same."""


@dataclass(frozen=True)
class View:
    """A resource, its children, the time and the settings, and the questions a plan asks."""

    resource: Object
    children: Children
    now: datetime
    settings: Settings

    @property
    def name(self) -> str:
        """The resource's name."""
        return observe.name_of(self.resource)

    @property
    def uid(self) -> str:
        """The resource's uid; a child is ours only if its controller has it."""
        return observe.uid_of(self.resource)

    @property
    def policy(self) -> Object:
        """spec.runPolicy as stored."""
        return dict(self.resource["spec"].get("runPolicy") or {})

    @property
    def wants_suspend(self) -> bool:
        """Whether the user holds the job."""
        return bool(self.policy.get("suspend"))

    @property
    def max_retries(self) -> int:
        """How many counted failures may be followed by another attempt."""
        return int(self.policy.get("maxRetries", DEFAULT_MAX_RETRIES))

    @cached_property
    def own_jobs(self) -> list[Object]:
        """Our Jobs by attempt."""
        ours = [job for job in self.children.jobs if observe.controller_uid(job) == self.uid]
        return sorted(ours, key=observe.attempt_of)

    @cached_property
    def other_jobs(self) -> list[Object]:
        """Jobs that carry our label and belong to someone else: a namesake that was deleted."""
        return [job for job in self.children.jobs if observe.controller_uid(job) != self.uid]

    @cached_property
    def live_pods(self) -> list[Object]:
        """Pods with our label that may hold a GPU, whoever owns them, oldest first."""
        return sorted(filter(observe.is_live, self.children.pods), key=observe.born)

    @property
    def attempts(self) -> int:
        """The newest attempt that ever had a Job."""
        told = int(self.resource.get("status", {}).get("attempts", 0))
        return max([told, *map(observe.attempt_of, self.own_jobs)])

    @property
    def current(self) -> Object | None:
        """The Job of the newest attempt, if it still exists."""
        if not self.own_jobs or observe.attempt_of(self.own_jobs[-1]) < self.attempts:
            return None
        return self.own_jobs[-1]

    @property
    def succeeded(self) -> Object | None:
        """The Job that completed, if one did."""
        return next((job for job in self.own_jobs if observe.is_true(job, "Complete")), None)

    @property
    def surplus(self) -> list[Object]:
        """Unfinished Jobs of ours beside the one that should run."""
        keep = None if self.succeeded else self.current
        return [job for job in self.own_jobs if not observe.is_finished(job) and job is not keep]

    def retries_before(self, attempt: int) -> int:
        """Counted failures before that attempt, from the Jobs; one each where none can say."""
        noted = [
            int(observe.annotation(job, Annotation.RETRIES) or 0)
            for job in self.own_jobs
            if observe.attempt_of(job) == attempt
        ]
        return noted[0] if noted else attempt - 1

    def seconds_left(self, attempt: int) -> int | None:
        """Of the deadline, for that attempt; None without a deadline, 0 or less when used up."""
        deadline = self.policy.get("activeDeadlineSeconds")
        if deadline is None:
            return None
        return int(deadline) - self.seconds_spent(attempt)

    def seconds_spent(self, attempt: int) -> int:
        """By earlier attempts. The attempt's own Job remembers it once it exists."""
        for job in self.own_jobs:
            if observe.attempt_of(job) == attempt:
                return int(observe.annotation(job, Annotation.SPENT) or 0)
        earlier: Iterable[Object] = (
            job for job in self.own_jobs if observe.attempt_of(job) < attempt
        )
        return sum(map(observe.seconds_run, earlier))
