"""What a plan is made from, looked at once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from dino_api.names import Action, ConditionType, Label, Stage
from dino_operator.plan.annotations import Annotation
from dino_operator.plan.model import Settings
from dino_operator.plan.observed import active_time, queue_labels
from dino_operator.plan.observed.children import Children
from dino_operator.plan.observed.job import Job
from dino_operator.plan.observed.pod import Pod
from dino_operator.plan.observed.resource import DinoAutoML, DinoJob, StoredPolicy
from dino_operator.plan.observed.status import JobStatus


@dataclass(frozen=True)
class JobView:
    """A resource, its children, the time and the settings, and the questions a plan asks."""

    resource: DinoJob
    children: Children
    now: datetime
    settings: Settings

    @property
    def name(self) -> str:
        """The resource's name."""
        return self.resource.name

    @property
    def uid(self) -> str:
        """The resource's uid; a child is ours only if its controller has it."""
        return self.resource.uid

    @property
    def policy(self) -> StoredPolicy:
        """spec.runPolicy."""
        return self.resource.run_policy

    @property
    def wants_suspend(self) -> bool:
        """Whether the user holds the job."""
        return self.resource.wants_suspend

    @property
    def wants_stop(self) -> bool:
        """Whether the user, or the search that it is a trial of, ends the job for good."""
        return self.resource.wants_stop

    @cached_property
    def search(self) -> DinoAutoML | None:
        """The DinoAutoML that was made for this job, if it exists."""
        ours = (each for each in self.children.automls if each.controller_uid == self.uid)
        return next(ours, None)

    @property
    def action(self) -> Action:
        """What the job does."""
        return self.resource.action

    @property
    def reads_data(self) -> bool:
        """Whether there is data to check. Some actions can do without any."""
        given = bool(self.resource.spec.get("datasets"))
        return given or self.resource.facts.needs is not None

    @property
    def asks_for_search(self) -> bool:
        """Whether good hyperparameters are to be found first."""
        return self.resource.asks_for_search

    @cached_property
    def is_searched(self) -> bool:
        """Whether a search runs in the job's place. A job that has begun to train goes on so."""
        if not self.asks_for_search:
            return False
        if self.search is not None or self.status.search:
            return True
        trains = bool(self.own_jobs or "specDigest" in self.status)
        return not trains and self.settings.automl and self.children.automl_served

    @property
    def checked_by(self) -> str:
        """The DinoJob whose preflight found this job's data good; empty where it has its own."""
        return self.resource.note(Annotation.DATA_CHECKED_BY)

    @property
    def max_retries(self) -> int:
        """How many counted failures may be followed by another attempt."""
        return self.policy.max_retries

    @property
    def nodes(self) -> int:
        """How many pods one attempt of this stage has."""
        return 1 if self.checks_data else self.resource.nodes

    @property
    def gpus(self) -> int:
        """GPUs of each pod that does the work."""
        return self.resource.gpus

    @property
    def queue(self) -> str:
        """The queue that a Job of this stage is made for; Kueue may choose one for others."""
        return "" if self.checks_data else queue_labels.wanted(self.resource)

    @property
    def _ours(self) -> list[Job]:
        return [job for job in self.children.jobs if job.controller_uid == self.uid]

    @property
    def readers(self) -> list[Job]:
        """Our Jobs that read the result of an attempt whose words were lost; none is an attempt."""
        return [job for job in self._ours if _is_reader(job)]

    def reader_of(self, attempt: int) -> Job | None:
        """The one of that attempt, if it exists."""
        return next((job for job in self.readers if job.attempt == attempt), None)

    @cached_property
    def own_jobs(self) -> list[Job]:
        """All our attempts: those of the preflight, then those of the work, by attempt."""
        ours = [job for job in self._ours if not _is_reader(job)]
        return sorted(ours, key=lambda job: (not job.is_preflight, job.attempt))

    @cached_property
    def preflight(self) -> Job | None:
        """The preflight Job that found no error, if there is one to see."""
        checks = (job for job in self.own_jobs if job.is_preflight)
        return next((job for job in checks if job.is_true("Complete")), None)

    @cached_property
    def checks_data(self) -> bool:
        """Whether the job is at its first stage. Once the data was found good, it stays good."""
        known = self.resource.is_true(ConditionType.DATA_READY)
        if known or self.preflight or self.checked_by or not self.reads_data:
            return False
        return all(job.is_preflight for job in self.own_jobs)

    @property
    def stage(self) -> str:
        """What the Jobs of this stage do: preflight, or the action."""
        return Stage.PREFLIGHT if self.checks_data else self.action.value

    @property
    def folder(self) -> str:
        """The folder where this stage publishes."""
        return f"{self.resource.output}/{self.stage}"

    @cached_property
    def stage_jobs(self) -> list[Job]:
        """Our Jobs of this stage by attempt."""
        return [job for job in self.own_jobs if job.is_preflight == self.checks_data]

    @cached_property
    def other_jobs(self) -> list[Job]:
        """Jobs that carry our label and belong to someone else: a namesake that was deleted."""
        return [job for job in self.children.jobs if job.controller_uid != self.uid]

    @cached_property
    def live_pods(self) -> list[Pod]:
        """Pods with our label that may hold a GPU, whoever owns them, oldest first."""
        return sorted((pod for pod in self.children.pods if pod.is_live), key=lambda pod: pod.born)

    @property
    def own_live_pods(self) -> list[Pod]:
        """Live pods that are this resource's, also where their Job is gone."""
        return [pod for pod in self.live_pods if pod.label(Label.JOB_UID) == self.uid]

    @cached_property
    def attempts(self) -> int:
        """The newest attempt of this stage that ever had a Job."""
        known = 0 if self.checks_data else self.status.attempts
        return max([known, *(job.attempt for job in self.stage_jobs)])

    @property
    def status(self) -> JobStatus:
        """The status that the last plan and the pod wrote."""
        return self.resource.status

    @cached_property
    def current(self) -> Job | None:
        """The Job of the newest attempt, if it still exists."""
        return self.job_of(self.attempts)

    def job_of(self, attempt: int) -> Job | None:
        """The Job of that attempt of this stage, if it still exists."""
        jobs = (job for job in self.stage_jobs if job.attempt == attempt)
        return next(jobs, None)

    @cached_property
    def succeeded(self) -> Job | None:
        """The Job of this stage that came to a good end, if one did."""
        return next((job for job in self.stage_jobs if job.is_true("Complete")), None)

    @property
    def surplus(self) -> list[Job]:
        """Unfinished Jobs of ours beside the one that should run."""
        keep = None if self.succeeded else self.current
        others = [job for job in self.own_jobs if job is not keep]
        needless = [] if self.succeeded else self.readers
        return [job for job in (*others, *needless) if not job.is_finished]

    def retries_before(self, attempt: int) -> int:
        """Counted failures before that attempt, as its Job remembers; one each where it is gone."""
        job = self.job_of(attempt)
        return attempt - 1 if job is None else job.number(Annotation.RETRIES)

    @property
    def deadline(self) -> int | None:
        """spec.runPolicy.activeDeadlineSeconds."""
        return self.policy.active_deadline_seconds

    def seconds_left(self, attempt: int) -> int | None:
        """Seconds of the deadline for that attempt; None without one, 0 or less when used up."""
        return None if self.deadline is None else self.deadline - self.seconds_spent(attempt)

    def seconds_spent(self, attempt: int) -> int:
        """Seconds that ran before. The attempt's own Job remembers them once it exists."""
        job = self.job_of(attempt)
        if job is not None:
            return active_time.noted(job)
        later = [each for each in self.stage_jobs if each.attempt >= attempt]
        earlier = [each for each in self.own_jobs if each not in later]
        status = self.status
        unnoted = {each.name: active_time.unnoted(each, status) for each in earlier}
        if any(each is not None for each in unnoted.values()):
            status = status.without_run  # it was of a Job that still exists
        of_gone = active_time.of_gone(status, self.children.pods, self.now)
        ran = [active_time.total(each) + (unnoted[each.name] or 0) for each in earlier]
        return max([of_gone, *ran])


def _is_reader(job: Job) -> bool:
    return job.stage == Stage.RESULT
