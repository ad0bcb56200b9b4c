"""What became of Katib's trials: from the Trials, their Jobs and pods, and else status.history.

Katib knows the metric; why a trial failed and where its checkpoint lies, the pod's last words know.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import isfinite

from dino_api import rfc3339
from dino_api.names import BEST_CHECKPOINT, METRIC, Action, FailureReason, Label
from dino_api.resources import dinoautoml
from dino_api.resources.dinoautoml import Assignment, TrialState
from dino_api.result import Result
from dino_api.search import active, assign
from dino_operator.plan.annotations import Annotation
from dino_operator.plan.model import Object
from dino_operator.plan.observed import failure, katib, results
from dino_operator.plan.observed.children import Children
from dino_operator.plan.observed.job import Job
from dino_operator.plan.observed.pod import SIDECAR, Pod
from dino_operator.plan.search.engines.katib import experiment
from dino_operator.plan.search.search_view import SearchView
from dino_operator.plan.search.trials.outcomes import of_row
from dino_operator.plan.search.trials.trial import LIVE, Point, Trial

BEST = f"{Action.TRAIN}/{BEST_CHECKPOINT}"
"""The trainer's best checkpoint below a trial's output, where no pod is left to say so."""
UNAVAILABLE = (
    "Katib has no metric of it: no validation was finished, or none gave a number "
    f"(a line '{METRIC}: 0.41')"
)
GONE = "its Trial was deleted"
DONE: tuple[tuple[str, TrialState], ...] = (("Succeeded", "Succeeded"), ("EarlyStopped", "Pruned"))
"""Katib's conditions of a trial with a result, and what they are called here."""


@dataclass(frozen=True)
class KatibTrial:
    """A Trial of Katib's with its Job and the Job's pods, as far as they exist."""

    trial: katib.ExperimentTrial
    job: Job | None
    pods: tuple[Pod, ...]

    @property
    def name(self) -> str:
        """The name of all three."""
        return self.trial.name

    @property
    def is_over(self) -> bool:
        """Whether Katib has said its last word on it."""
        return self.trial.is_over

    @property
    def is_behind(self) -> bool:
        """Whether Katib, which is asked, knows of an end that the watches of Job and pods have not
        brought yet, nor with it the pod's last words."""
        if self.job is None or self.job.is_suspended:
            return False
        return not self.job.is_finished or any(pod.is_live for pod in self.pods)

    @property
    def stopped_for(self) -> str:
        """The reason for which the operator stopped its Job; empty where it did not."""
        return self.job.note(Annotation.STOPPED_FOR) if self.job else ""

    @property
    def result(self) -> Result | None:
        """What its trainer left."""
        return results.of_job(self.job, self.pods) if self.job else None


def existing(view: SearchView) -> list[KatibTrial]:
    """Katib's Trials of our Experiment, oldest first."""
    present = view.children.experiment
    if present is None:
        return []
    ours = (each for each in view.children.katib_trials if each.controller_uid == present.uid)
    return [_with_job(view, each) for each in sorted(ours, key=lambda trial: trial.born)]


def _with_job(view: SearchView, trial: katib.ExperimentTrial) -> KatibTrial:
    jobs = (each for each in view.children.jobs if each.controller_uid == trial.uid)
    job = next(jobs, None)
    pods = job.own(view.children.pods) if job else []
    return KatibTrial(trial, job, tuple(pods))


def trials(view: SearchView, katib_trials: list[KatibTrial]) -> tuple[Trial, ...]:
    """All trials of Katib that there ever were, by number, which each gets by age and keeps.

    One that ended stays as it was written down: Katib runs a Trial that someone deletes again.
    """
    rows = {row.name: row for number, row in view.history.items() if number > 0}
    facts = {}
    following = max((row.number for row in rows.values()), default=0) + 1
    for each in katib_trials:
        row = rows.pop(each.name, None)
        if row is None:
            facts[following] = trial(view, following, each)
            following += 1
            continue
        now = trial(view, row.number, each)
        facts[row.number] = now if row.state in (*LIVE, now.state) else _of_row(view, row)
    facts |= {row.number: _of_row(view, row) for row in rows.values()}
    return tuple(facts[number] for number in sorted(facts))


def _of_row(view: SearchView, row: dinoautoml.TrialRecord) -> Trial:
    """A trial that is known from status.history alone."""
    best = view.status.best
    written = best.checkpoint if best and best.trial == row.name else None
    trial_of_row = replace(
        of_row(row),
        checkpoint=written or _checkpoint(view, row.name, row.state),
        specification=_specification(view, row.parameters),
    )
    if not trial_of_row.is_live:
        return trial_of_row
    return replace(trial_of_row, state="Stopped", message=GONE, ended=rfc3339.text(view.now))


def trial(view: SearchView, number: int, each: KatibTrial) -> Trial:
    """What is known of a Trial."""
    result = each.result
    parameters = _parameters(view, each.trial)
    score = _score(result, each.trial)
    state, reason, message = _outcome(each, score)
    curve = tuple(
        Point(point.epoch, point.mAP50) for point in (result.curve if result else None) or ()
    )
    checkpoint = result.checkpoint.to_dict() if result and result.checkpoint else None
    over = each.is_over and state not in LIVE
    return Trial(
        number,
        each.name,
        state,
        parameters=parameters,
        mAP50=score,
        epoch=curve[-1].epoch if curve else None,
        reason=reason,
        message=message,
        started=each.trial.start_time,
        ended=each.trial.completion_time if over else "",
        gpu_seconds=_gpu_seconds(view, each) if over else None,
        curve=curve,
        checkpoint=checkpoint or _checkpoint(view, each.name, state),
        specification=_specification(view, parameters),
    )


def _parameters(view: SearchView, trial: katib.ExperimentTrial) -> Assignment:
    """What Katib drew, in the types of the keys, without what does not count."""
    texts = trial.parameters
    try:
        return active(view.search.space, texts)
    except ValueError:  # a Trial that someone made by hand
        return texts


def _specification(view: SearchView, parameters: Assignment) -> Object | None:
    try:
        return assign(view.search.space, parameters, view.search.template.experiment)
    except ValueError:
        return None


def _score(result: Result | None, trial: katib.ExperimentTrial) -> float | None:
    """The best validation mAP50: the trainer's own word, or else what Katib read from its log."""
    if result and result.metrics and result.metrics.mAP50 is not None:
        return result.metrics.mAP50
    return _number(trial.highest(METRIC))


def _number(text: object) -> float | None:
    """Katib writes texts: `unavailable`, an empty one, and without our filter also nan."""
    try:
        value = float(str(text))
    except ValueError:
        return None
    return value if isfinite(value) else None


def _outcome(each: KatibTrial, score: float | None) -> tuple[TrialState, str, str]:
    """State, reason and message."""
    if each.stopped_for == FailureReason.STOPPED:
        return "Stopped", "", ""
    if each.trial.is_true("Failed"):
        return _failed(each)
    if each.trial.is_true("Killed"):
        return "Stopped", "", _message(each, "Killed")
    if each.trial.is_true("MetricsUnavailable"):
        return "Failed", FailureReason.METRICS_UNAVAILABLE.value, UNAVAILABLE
    for kind, state in DONE:
        if each.trial.is_true(kind):
            if state == "Succeeded" and each.is_behind:
                break
            if score is None:
                return "Failed", FailureReason.METRICS_UNAVAILABLE.value, UNAVAILABLE
            return state, "", ""
    return ("Running" if any(pod.is_running for pod in each.pods) else "Pending"), "", ""


def _message(each: KatibTrial, kind: str) -> str:
    condition = each.trial.condition(kind)
    return condition.message if condition else ""


def _failed(each: KatibTrial) -> tuple[TrialState, str, str]:
    """Why, as the failure catalogue has it; Katib's own message holds the exit code at best."""
    collector = _collector_failure(each)
    if collector:
        return "Failed", FailureReason.METRICS_UNAVAILABLE.value, collector
    condition = {"type": "Failed", "status": "True", "message": _message(each, "Failed")}
    condition["reason"] = _job_reason(each)
    job = each.job or Job({"metadata": {}, "status": {"conditions": [condition]}})
    cause = failure.of_job(job, list(each.pods))
    return "Failed", cause.rule.reason.value, cause.message


def _job_reason(each: KatibTrial) -> str:
    """`TrialFailed. Job reason: DeadlineExceeded` says why the Job failed."""
    failed = each.trial.condition("Failed")
    return failed.reason.rpartition("Job reason: ")[2] if failed else ""


def _collector_failure(each: KatibTrial) -> str:
    """What is said of a trial whose trainer did well and whose metrics collector did not."""
    for pod in reversed(each.pods):
        ended = pod.ended
        if ended is None or ended.exit_code != 0:
            continue
        for container in pod.containers:
            other = container.ended
            if container.kind == SIDECAR and other and other.exit_code:
                why = f"exit code {other.exit_code}, {other.reason or 'Error'}"
                return (
                    f"the trainer finished, but Katib's metrics collector ended with {why}; "
                    f"kubectl logs {pod.name} -c {container.name} says more"
                )
    return ""


def _checkpoint(view: SearchView, name: str, state: str) -> Object | None:
    """The place of the best checkpoint; a trial that succeeded has validated."""
    if state != "Succeeded":
        return None
    return {"uri": f"{experiment.output(view, name)}/{BEST}"}


def _gpu_seconds(view: SearchView, each: KatibTrial) -> int | None:
    """GPUs times the seconds that the Job was active; 0 GPUs cost nothing."""
    if each.job is None or not each.job.is_finished:
        return None
    resources = view.search.template.resources
    return resources.gpus * resources.nodes * each.job.seconds_run


def jobs(search: str, children: Children) -> list[Job]:
    """The Jobs of the trials of the search with that uid, oldest first, also those whose Trial is
    gone."""
    ours = (each for each in children.jobs if _is_of_trial(each, search))
    return sorted(ours, key=lambda job: job.born)


def _is_of_trial(job: Job, search: str) -> bool:
    meta = job.raw["metadata"]
    owners = (each for each in meta.get("ownerReferences") or [] if each.get("controller"))
    ours = job.label(Label.AUTOML_UID) == search
    return ours and any(owner.get("kind") == "Trial" for owner in owners)
