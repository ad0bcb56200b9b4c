"""The DinoJobs of a search: rendered, made again, held, stopped."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dino_api import names as api
from dino_api.actions import ACTIONS
from dino_api.names import Action
from dino_api.resources.dinoautoml import Assignment, TrialState
from dino_api.search import assign
from dino_operator.plan.annotations import Annotation
from dino_operator.plan.model import Object, Patch
from dino_operator.plan.observed import queue_labels
from dino_operator.plan.observed.resource import NOT_SEARCHED, DinoJob
from dino_operator.plan.search.search_view import SearchView
from dino_operator.plan.search.trials.trial import Trial


def render(
    view: SearchView, number: int, parameters: Assignment, knew: Iterable[int] = ()
) -> Object:
    """The DinoJob of a trial. knew: the trials whose results the draw was made from."""
    template = view.search.template
    job = dinojob(
        view, view.trial_name(number), f"{view.output}/trials/{number}", TRIAL=str(number)
    )
    whole = assign(view.search.space, parameters, template.experiment)
    job["spec"]["experiment"] = read_by(Action.TRAIN, whole)
    notes = {
        Annotation.PARAMETERS.value: json.dumps(parameters),
        Annotation.KNEW.value: ",".join(map(str, sorted(knew))),
    }
    if number:
        notes[Annotation.DATA_CHECKED_BY.value] = view.trial_name(0)
    job["metadata"].setdefault("annotations", {}).update(notes)
    return job


def dinojob(view: SearchView, name: str, output: str, **labels: str) -> Object:
    """A DinoJob made from the template, that trains once with its data and its experiment."""
    template = view.search.template
    policy = template.run_policy.model_copy(update={"suspend": False, "stop": False})
    spec = template.to_dict() | {
        "action": Action.TRAIN.value,
        "automlPolicy": NOT_SEARCHED,
        "experiment": read_by(Action.TRAIN, template.experiment),  # to_dict leaves out what is null
        "output": {"uri": output},
        "runPolicy": policy.to_dict(),
    }
    meta = view.metadata(name, **labels)
    meta["labels"].update(queue_labels.carried(view.resource))
    reads = ACTIONS[Action.TRAIN].reads  # a DinoJob that names others is refused
    spec["datasets"] = {key: each for key, each in spec["datasets"].items() if key in reads}
    return {
        "apiVersion": api.API_VERSION,
        "kind": api.KIND,
        "metadata": meta,
        "spec": spec,
    }


def read_by(action: Action, experiment: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of the experiment without what only other actions read."""
    facts = ACTIONS[action]
    kept: dict[str, Any] = {}
    for name, section in experiment.items():
        if name not in {*Action} or name in facts.sections:
            kept[name] = copy.deepcopy(section)
        elif part := {k: v for k, v in (section or {}).items() if facts.reads_key(f"{name}.{k}")}:
            kept[name] = part
    return kept


def lost(view: SearchView, trials: Sequence[Trial]) -> list[Object]:
    """DinoJobs of trials that had not ended and were deleted, as many as may run."""
    if view.wants_suspend:
        return []
    here = [each for each in trials if each.is_live and each.number in view.trial_jobs]
    gone = [each for each in trials if each.is_live and each.number not in view.trial_jobs]
    room = max(0, view.search.parallel_trials - len(here))
    return [render(view, each.number, each.parameters) for each in gone[:room]]


def holds(wants: bool, jobs: Iterable[DinoJob]) -> list[Patch]:
    """Suspends or resumes those that have not ended and are not being stopped."""
    return [
        patch(job, {"spec": {"runPolicy": {"suspend": wants}}})
        for job in jobs
        if not job.is_finished and not job.wants_stop and job.wants_suspend != wants
    ]


def stop(job: DinoJob, state: TrialState) -> Patch:
    """Ends a trial and says as what, in one write: whoever looks later reads it there."""
    labels = {api.Label.TRIAL_END.value: state}
    body = {"metadata": {"labels": labels}, "spec": {"runPolicy": {"stop": True}}}
    return patch(job, body)


def stops(jobs: Iterable[DinoJob]) -> list[Patch]:
    """Ends all that have not ended."""
    return [stop(job, "Stopped") for job in jobs if not job.is_finished and not job.wants_stop]


def patch(job: DinoJob, body: Object) -> Patch:
    """A patch of that DinoJob and no namesake."""
    return Patch(job.name, job.uid, body, kind=api.PLURAL)
