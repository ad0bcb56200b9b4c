"""The report of a search that has ended: a Job without a GPU writes it to the output.

The Job gets the search as a ConfigMap, whose name holds a hash of its content. It has no token and
little time; when it fails, the search is complete all the same.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dino_api import names as api
from dino_api import rfc3339
from dino_api.names import Env, Label, Option, Stage
from dino_api.search.record import SearchRecord
from dino_operator.plan.model import Object
from dino_operator.plan.observed import failure, results
from dino_operator.plan.observed.children import Children
from dino_operator.plan.observed.job import Job
from dino_operator.plan.observed.resource import DinoAutoML, DinoJob
from dino_operator.plan.rendered import children, limit_ranges, names, pods, spec_file
from dino_operator.plan.rendered.pods import CACHE_DIR, Attempt
from dino_operator.plan.reported import refusals
from dino_operator.plan.search.search_view import SearchView
from dino_operator.plan.search.trials import dinojobs

SHOWN = ("history", "best", "known")
"""Fields of the status that the report has as they stand."""
LARGEST = 1_000_000
"""Bytes of a ConfigMap's data; the API server takes 1 MiB."""
SECONDS = 600
RETRIES = 2
GONE = "its Job could not be made, or is gone"
OF_A_DINOJOB = frozenset({Env.JOB_NAME, Env.JOB_NAMESPACE, Env.JOB_UID, Env.ATTEMPT, Env.CACHE_DIR})


@dataclass(frozen=True)
class Report:
    """How far it is. creates: what is missing. problem: why there will be none. again: seconds
    until it is waited for no longer, of a Job whose end no watch would tell."""

    creates: tuple[Object, ...] = ()
    ended: bool = False
    artifacts: tuple[Object, ...] = ()
    problem: str = ""
    again: float | None = None


def progress(view: SearchView, outcome: str) -> Report:
    """What to do about the report. outcome: how the search ended, in a sentence."""
    known = made(view.resource, view.children, view.now)
    return known or _still_written(view) or _missing(view, outcome)


def made(search: DinoAutoML, children: Children, now: datetime) -> Report | None:
    """How far the report is that was made, or tried in vain; None where it is still to be made.

    Jobs on the winner come after it: once there are any, it is not made again.
    """
    known = search.status.artifacts
    if known:
        return Report(ended=True, artifacts=tuple(known))
    job = _job_of(search, children)
    if job is None:
        return Report(ended=True, problem=GONE) if search.status.followers else None
    if not job.is_finished:
        return _held_back(now, job) if job.is_suspended else Report()
    own = job.own(children.pods)
    result = results.of_job(job, own)
    if job.is_true("Complete"):
        artifacts = result.to_dict()["artifacts"] if result else []
        return Report(ended=True, artifacts=tuple(artifacts))
    cause = failure.of_job(job, own)
    return Report(ended=True, problem=f"{cause.rule.reason}: {cause.message}")


def _held_back(now: datetime, job: Job) -> Report:
    """A Job that a queue holds, say, which takes every Job. It is not waited for for ever."""
    waited = (now - rfc3339.parse(job.created_at)).total_seconds()
    if waited < SECONDS:
        return Report(again=SECONDS - waited)
    message = f"someone else has suspended Job {job.name} for {SECONDS} s"
    return Report(ended=True, problem=message)


def _still_written(view: SearchView) -> Report | None:
    """A pod whose Job is gone, and that may write until it ends; it is not waited for for ever."""
    for pod in view.children.pods:
        if pod.is_live and pod.label(Label.ACTION.value) == Stage.REPORT:
            waited = (view.now - rfc3339.parse(pod.created_at)).total_seconds()
            if waited < SECONDS:
                return Report(again=SECONDS - waited)
            message = f"pod {pod.name} of an earlier report has not ended for {SECONDS} s"
            return Report(ended=True, problem=message)
    return None


def _job_of(search: DinoAutoML, children: Children) -> Job | None:
    for job in children.jobs:
        if job.stage == Stage.REPORT and job.controller_uid == search.uid:
            return job
    return None


def _missing(view: SearchView, outcome: str) -> Report:
    refused = view.children.refusal
    if refused is not None and refused.kind != api.KIND and (invalid := refusals.end(refused)):
        return Report(ended=True, problem=f"{invalid.rule.reason}: {invalid.message}")
    try:
        return Report(creates=to_create(view, outcome))
    except spec_file.InvalidSpec as error:  # read by another version of the operator
        return Report(ended=True, problem=str(error))


def to_create(view: SearchView, outcome: str) -> tuple[Object, ...]:
    """The ConfigMap and the Job, and what its pod needs besides. Raises InvalidSpec."""
    text = content(view, outcome)
    config = names.config_name(view.name, Stage.REPORT.value, view.uid, text)
    like = dinojobs.dinojob(view, view.name, view.output)
    like["metadata"]["uid"] = view.uid
    job = DinoJob(like)
    missing = view.children.lacking(children.shared(job))
    return (*missing, _config_map(view, config, text), _job(view, job, config))


def _config_map(view: SearchView, name: str, text: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": view.metadata(name, ACTION=Stage.REPORT.value),
        "immutable": True,
        "data": {api.SEARCH_KEY: text},
    }


def _job(view: SearchView, like: DinoJob, config: str) -> Object:
    """Its pod is that of a preflight, but for the command and what it reads."""
    resolved = spec_file.read_spec(like)
    template = pods.template(like, resolved, Attempt(1, preflight=True), view.settings)
    metadata = view.metadata(f"{view.name}-report-1", ACTION=Stage.REPORT.value)
    template["metadata"]["labels"] = {
        key: value
        for key, value in template["metadata"]["labels"].items()
        if key not in (Label.JOB.value, Label.JOB_UID.value, Label.ATTEMPT.value)
    } | {**view.labels, Label.ACTION.value: Stage.REPORT.value}
    pod = template["spec"]
    pod["volumes"] = [_volume(each, config) for each in pod["volumes"] if each["name"] != "cache"]
    _tell(pod["containers"][0], view.output)
    spec = {"backoffLimit": RETRIES, "activeDeadlineSeconds": SECONDS, "template": template}
    made = {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}
    return limit_ranges.fitted(made, view.children.limit_ranges)


def _volume(volume: Object, config: str) -> Object:
    return {**volume, "configMap": {"name": config}} if volume["name"] == "spec" else volume


def _tell(container: Object, output: str) -> None:
    """Changes the container: what to do, and nothing that speaks of a DinoJob."""
    command = ["dino", Stage.REPORT.value, Option.EXPERIMENT.value, api.SEARCH_PATH]
    container["command"] = [*command, Option.OUTPUT.value, output]
    container["env"] = [each for each in container["env"] if each["name"] not in OF_A_DINOJOB]
    container["volumeMounts"] = [
        each for each in container["volumeMounts"] if each["mountPath"] != CACHE_DIR
    ]


def content(view: SearchView, outcome: str) -> str:
    """search.json. What does not fit is left out: other searches' trials, then the curves."""
    status = view.status
    record: dict[str, Any] = SearchRecord(
        name=view.name,
        namespace=view.namespace,
        engine=view.engine,
        algorithm=view.spec.algorithm,
        space=list(view.search.space),
        experiment=view.search.template.experiment,
        outcome=outcome,
        start_time=status.start_time or None,
        completion_time=status.completion_time or None,
    ).to_dict()
    record |= {key: each for key, each in status.raw.items() if key in SHOWN and each}
    text = _compact(record)
    if len(text.encode()) > LARGEST:
        text = _compact({**record, "known": []})
    if len(text.encode()) > LARGEST:
        rows = [{k: v for k, v in row.items() if k != "curve"} for row in record["history"]]
        text = _compact({**record, "known": [], "history": rows})
    return text


def _compact(record: Object) -> str:
    return json.dumps(record, separators=(",", ":"), sort_keys=True)
