"""What Katib never ends by itself: noticed from the trials' Jobs and pods, said, and ended.

A trial that cannot start is ended by ending its Job: Katib then counts it as failed and goes on or
fails. Where Katib itself does not go on there is nothing to end but the whole search.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from dino_api import rfc3339
from dino_api.names import ConditionType, FailureReason, Label
from dino_operator.plan.annotations import Annotation
from dino_operator.plan.model import Condition, Patch
from dino_operator.plan.observed import (
    containers,
    failure,
    objects,
    pod_events,
    scheduling,
    workload,
)
from dino_operator.plan.observed.failure import Cause
from dino_operator.plan.observed.job import Job
from dino_operator.plan.observed.katib import Experiment
from dino_operator.plan.observed.pod import SIDECAR, Pod
from dino_operator.plan.rendered import deadline
from dino_operator.plan.reported import sentences
from dino_operator.plan.search.engines.katib.katib_trials import KatibTrial
from dino_operator.plan.search.search_view import SearchView

LATE = 60.0
"""Seconds after which a wait for Katib is said."""
PATIENCE = 600.0
"""Seconds after which it is given up."""
INJECTION = "katib.kubeflow.org/metrics-collector-injection=enabled"


@dataclass(frozen=True)
class Hang:
    """What does not go on: a sentence, what to patch, and the end of the search where it is one.

    asks: uids of Jobs whose events would tell more.
    """

    message: str = ""
    patches: tuple[Patch, ...] = ()
    failure: Cause | None = None
    asks: tuple[str, ...] = ()


def worst(view: SearchView, katib_trials: Sequence[KatibTrial]) -> Hang:
    """The worst hang of a search that Katib has not ended. katib_trials: oldest first.

    A Job that someone else resumes each time is said beside it: what hangs does not tell why the
    search is not suspended.
    """
    open_ones = [each for each in katib_trials if not each.is_over]
    hangs = [hang for each in open_ones if (hang := _of_trial(view, each))]
    if not open_ones and (idle := _of_search(view, katib_trials)):
        hangs.append(idle)
    fatal = next((hang.failure for hang in hangs if hang.failure), None)
    first = next((hang.message for hang in hangs if hang.message), "")
    resumed = next((_resumed(job) for each in open_ones if (job := _left_to_run(each))), "")
    message = "; ".join(filter(None, [first.rstrip(".") if resumed else first, resumed]))
    asks = tuple(uid for hang in hangs for uid in hang.asks)
    return Hang(message, tuple(patch for hang in hangs for patch in hang.patches), fatal, asks)


def is_about_to_start(view: SearchView, each: KatibTrial) -> bool:
    """Whether Katib may make a Job of it yet: it does so also after the end of its Experiment."""
    if each.is_over or each.job is not None:
        return False
    waited = (view.now - rfc3339.parse(each.trial.created_at)).total_seconds()
    return waited < PATIENCE


def fatal(message: str, remedy: str = "") -> Cause:
    """The end of the search because Katib does not go on."""
    cause = failure.cause(FailureReason.KATIB_FAILED, message)
    return Cause(cause.rule, message, remedy) if remedy else cause


def _of_trial(view: SearchView, each: KatibTrial) -> Hang | None:
    if each.job is None:
        since = rfc3339.parse(each.trial.created_at)
        message = f"Katib makes no Job of Trial {each.name}; kubectl describe trial says why"
        return _overdue(view, since, message)
    if each.stopped_for:
        return None
    if each.job.is_finished:
        since = rfc3339.parse(each.job.finished_at)
        message = (
            f"Job {each.name} has ended, and Katib does not end its Trial: no metric reached it"
        )
        return _overdue(view, since, message)
    live = [pod for pod in each.pods if pod.is_live]
    if bare := next(filter(_lacks_collector, live), None):
        return _no_collector(view, bare)
    if each.job.is_suspended:
        return _held(each.job)
    return _of_pods(view, each.job, live) if live else _no_pod(view, each.job, each.pods)


def _left_to_run(each: KatibTrial) -> Job | None:
    """Its Job, if someone else resumed it each time that it was suspended."""
    if each.job is None or each.job.is_finished or each.stopped_for:
        return None
    return each.job if deadline.is_given_up(each.job) else None


def _overdue(view: SearchView, since: datetime, message: str) -> Hang | None:
    """Nothing at first, then a sentence, then the end of the search."""
    waited = (view.now - since).total_seconds()
    if waited < LATE:
        return None
    if waited < PATIENCE:
        return Hang(message)
    return Hang(
        message, failure=fatal(f"{message}. It was waited for during {PATIENCE / 60:.0f} min.")
    )


def _lacks_collector(pod: Pod) -> bool:
    """Whether the kubelet lists the trainer alone. Katib puts its collector beside the first."""
    containers = [each.name for each in pod.containers if each.kind == SIDECAR]
    return pod.index == 0 and containers == [objects.CONTAINER]


def _no_collector(view: SearchView, pod: Pod) -> Hang:
    message = (
        f"pod {pod.name} has no metrics collector of Katib's beside the trainer: no "
        "metric of any trial would reach Katib"
    )
    remedy = (
        f"Label the namespace (kubectl label namespace {view.namespace} {INJECTION}) and create "
        "the search again, or set spec.engine: Embedded."
    )
    return Hang(message, failure=fatal(message, remedy))


def _held(job: Job) -> Hang | None:
    """A Job that Kueue holds, or someone else; what the operator itself holds does not hang."""
    name, ask = job.name, workload.command_for(job)
    if job.queue:
        return Hang(f"Job {name} waits in queue {job.queue} until Kueue admits it; {ask} says why")
    if is_ours(job):
        return None
    return Hang(
        f"someone else than the operator suspended Job {name}; {ask} says whether Kueue did. "
        f"{sentences.resume_by_hand(name)}"
    )


def is_ours(job: Job) -> bool:
    """Whether the operator suspended it: by its mark, which it makes in the same write. What one
    before the mark suspended is said as someone else's, and how to resume it."""
    return bool(job.note(Annotation.HELD))


def _resumed(job: Job) -> str:
    """What is said of a Job that the operator wants suspended, and someone else does not."""
    return (
        f"someone else resumed Job {job.name} each of the {deadline.MOST_HOLDS} times that the "
        "operator suspended it, so that it is left to run: kubectl get job "
        f"{job.name} -o yaml --show-managed-fields says who wrote spec.suspend, kubectl get "
        "mutatingwebhookconfigurations what else may change it (ask who runs the cluster's "
        f"policies). kubectl annotate job {job.name} {Annotation.HOLDS.value}- has the operator "
        "try again"
    )


def _no_pod(view: SearchView, job: Job, ended: Iterable[Pod]) -> Hang | None:
    """Refused by Pod Security, a quota or a webhook: only events tell, which name the cause."""
    since = job.without_pod_since(ended, view.now)
    waited = (view.now - since).total_seconds()
    if waited < view.settings.pod_missing_after:
        return None
    name, events = job.name, view.children.events.get(job.uid)
    asks = (job.uid,) if events is None else ()
    refusal = pod_events.refusal(job, events or (), since)
    if refusal is not None:
        message = f"Job {name}: {refusal[1]}"
    else:
        message = f"no pod of Job {name} is created; kubectl describe job {name} says why"
    if waited < PATIENCE:
        return Hang(message, asks=asks)
    return Hang(message, (deadline.stopping(job, FailureReason.KATIB_FAILED, message),), asks=asks)


def _of_pods(view: SearchView, job: Job, live: Sequence[Pod]) -> Hang | None:
    for pod in live:
        if problem := containers.cannot_start(pod):
            kind, why = problem
            message = f"pod {pod.name}: {why}"
            wait = timedelta(seconds=view.settings.image_pull_timeout)
            if view.now < pod.waiting_since + wait:
                return Hang(message)
            pulling = kind in containers.PULL_PROBLEMS
            reason = FailureReason.IMAGE_PULL_FAILED if pulling else FailureReason.KATIB_FAILED
            return Hang(message, (deadline.stopping(job, reason, message),))
        if pod.unschedulable:
            return _unschedulable(view, pod)
    return None


def _unschedulable(view: SearchView, pod: Pod) -> Hang | None:
    """A hang that is said and never ended: nodes come and go."""
    waited = (view.now - pod.unplaced_since).total_seconds()
    if waited < view.settings.unschedulable_after:
        return None
    return Hang(scheduling.sentence(pod, view.search.template.resources.gpus))


def _of_search(view: SearchView, katib_trials: Sequence[KatibTrial]) -> Hang | None:
    """Katib draws no trial although none is left that runs."""
    if view.wants_suspend:
        return None
    held = view.resource.condition(ConditionType.SUSPENDED)
    times = [_experiment(view).created_at, held.since if held else ""]
    times += [each.trial.completion_time for each in katib_trials]
    since = max(rfc3339.parse(each) for each in times if each)
    return _overdue(view, since, _idle(view))


def _idle(view: SearchView) -> str:
    """Why, as far as Katib's objects tell."""
    if not _experiment(view).has_status:
        return "Katib's controller does not answer: the Experiment has no status"
    message, name = "Katib draws no trial", _experiment(view).name
    for pod in view.children.pods:
        if problem := containers.cannot_start(pod) if _is_of_suggestion(view, pod) else None:
            return f"{message}: its pod {pod.name}: {problem[1]}"
    suggestion = view.children.suggestion
    if suggestion is None:
        return f"{message}: it has made no Suggestion"
    ready = suggestion.condition("DeploymentReady") or Condition(False)
    if not ready.is_true:
        why = ready.message or "its deployment is not ready"
        return f"{message}: {why}; kubectl describe deployment -l {LABEL}={name}"
    return f"{message}: its Suggestion answers no more; kubectl describe suggestion {name}"


LABEL = "katib.kubeflow.org/experiment"


def _experiment(view: SearchView) -> Experiment:
    assert view.children.experiment is not None
    return view.children.experiment


def _is_of_suggestion(view: SearchView, pod: Pod) -> bool:
    """Katib copies the Experiment's labels onto the pod that draws; those of trials have more."""
    return pod.label(Label.AUTOML_UID) == view.uid and not pod.label(Label.ACTION)
