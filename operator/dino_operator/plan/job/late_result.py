"""The result of an attempt whose last words are lost or cut: a Job without a GPU reads result.json.

The pod was deleted before it was looked at, its node is gone, or other containers of it leave less
room for a message than even its essentials need. The Job leaves the same message as the attempt.
There is one at most; where it fails or cannot be made, the job is complete all the same, and says
where its result lies.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from dino_api import names as api
from dino_api import rfc3339
from dino_api.message import ESSENTIAL
from dino_api.names import Action, ConditionReason, Env, Label, Option, Phase, Stage
from dino_api.result import Result
from dino_operator.plan.job import kueue
from dino_operator.plan.job.status import write
from dino_operator.plan.model import Condition, Object, Plan
from dino_operator.plan.observed import containers, failure, results
from dino_operator.plan.observed.children import Refusal
from dino_operator.plan.observed.job import Job
from dino_operator.plan.observed.job_view import JobView
from dino_operator.plan.observed.pod import Pod
from dino_operator.plan.rendered import children, limit_ranges, names, pods, spec_file
from dino_operator.plan.rendered.pods import CACHE_DIR, Attempt
from dino_operator.plan.reported import conditions, refusals
from dino_operator.plan.reported.conditions import State

SECONDS = 600
"""For the Job; it reads one small file."""
PATIENCE = 900
"""For a Job that is held by somebody, and for one that cannot be made."""
RETRIES = 2
NEEDED = frozenset(ESSENTIAL) - {"failure"}
SHOWN = NEEDED | {"artifacts", "dataset"}
"""Members of a result that the status shows."""


@dataclass(frozen=True)
class ResultReading:
    """What is known of the result. plan: what to do until more is. problem: why no more will be."""

    result: Result | None
    plan: Plan | None = None
    problem: str = ""


def reading(view: JobView, job: Job) -> ResultReading:
    """The result of an attempt that succeeded: as its pod told it, or else as it is read."""
    result = results.of_job(job, view.children.pods)
    if result is not None and result.failure is not None:
        result = None  # of a pod that was preempted; the one that came after it is gone
    if result is not None and not result.lost & NEEDED:
        return ResultReading(result)
    reader = view.reader_of(job.attempt)
    if reader is None:
        return _missing(view, job, result)
    if reader.is_true("Complete"):
        return _read(results.of_job(reader, view.children.pods), result)
    own = reader.own(view.children.pods)
    if reader.is_finished:
        cause = failure.of_job(reader, own)
        return ResultReading(result, problem=f"{cause.rule.reason}: {cause.message}")
    left = PATIENCE - _since(view, str(reader.created_at))
    if left <= 0:
        message = f"Job {reader.name} has not ended after {PATIENCE} seconds"
        return ResultReading(result, problem=message)
    if reader.is_suspended:
        why = kueue.held_by(view, reader).running.message
        waits = _wait(view, min(left, view.settings.recheck), why)
        return ResultReading(result, replace(waits, patches=kueue.into_queue(view, reader)))
    why, soon = _stuck(view, own)
    return ResultReading(result, _wait(view, min(left, soon), why))


def _since(view: JobView, when: str) -> float:
    return (view.now - rfc3339.parse(when)).total_seconds()


def _read(result: Result | None, message: Result | None) -> ResultReading:
    """What the Job left; beside it, what the attempt itself told stays."""
    if result is None:
        return ResultReading(message, problem="the words of the Job that read it are lost, too")
    if result.failure is not None:
        return ResultReading(message, problem=f"it tells of a failure, {result.failure.reason}")
    missing = [name for name in NEEDED if message and getattr(result, name) is None]
    both = result.model_copy(update={name: getattr(message, name) for name in missing})
    cut = both.lost & {name for name in NEEDED if getattr(both, name) is None}
    return ResultReading(
        both, problem="the message of the Job that read it was cut, too" if cut else ""
    )


def _missing(view: JobView, job: Job, result: Result | None) -> ResultReading:
    """No Job reads it yet."""
    for other in view.children.strangers:
        return ResultReading(result, problem=f"Job {other.name} belongs to someone else")
    if view.wants_suspend:
        message = f"{_message(view)} once spec.runPolicy.suspend is false"
        return ResultReading(
            result, write(view, conditions.suspended(message), facts={"reporter": None})
        )
    refusal = view.children.refusal
    if refusal is not None:
        judged = refusals.judge(refusal)
        late = _since(view, job.finished_at) >= PATIENCE
        # The job may have ended long ago, while no operator was there: one answer is not the last.
        if judged.ends or (late and refusal.heard >= refusals.LASTS_AFTER):
            return ResultReading(result, problem=judged.sentence)
        return ResultReading(result, _refused(view, refusal))
    try:
        made = _objects(view, job.attempt)
    except spec_file.InvalidSpec as error:  # read by another version of the operator
        return ResultReading(result, problem=str(error))
    return ResultReading(result, _wait(view, PATIENCE, creates=made))


def _wait(view: JobView, seconds: float, why: str = "", creates: tuple[Object, ...] = ()) -> Plan:
    message = f"{_message(view)}: {why}" if why else _message(view)
    state = State(Phase.RUNNING, Condition(False, ConditionReason.READING_RESULT, message))
    return replace(
        write(view, state, facts={"reporter": None}, requeue_after=seconds), creates=creates
    )


def _refused(view: JobView, refusal: Refusal) -> Plan:
    """The plan that asks again. Words that were heard before stay: they have what is read."""
    condition = refusals.denied(view.resource, refusal)
    reason, why = (
        (condition.reason, condition.message) if condition else (ConditionReason.READING_RESULT, "")
    )
    message = why if why.startswith(_message(view)) else f"{_message(view)}: {why}"
    state = State(Phase.RUNNING, Condition(False, reason, message))
    return write(view, state, facts={"reporter": None}, requeue_after=view.settings.recheck)


def _message(view: JobView) -> str:
    return f"the work is done; its result is read from {view.folder}/{api.RESULT_FILE}"


def _stuck(view: JobView, own: list[Pod]) -> tuple[str, float]:
    """Why the Job's pod does not start, and after how many seconds there may be more to say.

    That it finds no node is told once it lasts.
    """
    for pod in (pod for pod in own if pod.is_live):
        called = f"pod {pod.name}: "
        if problem := containers.cannot_start(pod):
            return called + problem[1], PATIENCE
        if message := pod.unschedulable:
            waited = (view.now - pod.unplaced_since).total_seconds()
            left = view.settings.unschedulable_after - waited
            return (called + message, PATIENCE) if left <= 0 else ("", left)
    return "", PATIENCE


def _objects(view: JobView, attempt: int) -> tuple[Object, ...]:
    """The Job, and what its pod needs besides. Raises InvalidSpec."""
    resolved = spec_file.read_spec(view.resource)
    needed = children.inputs(view.resource, resolved, preflight=True)
    made = limit_ranges.fitted(job(view, resolved, attempt), view.children.limit_ranges)
    return (*view.children.lacking(needed), made)


def job(view: JobView, resolved: spec_file.ResolvedSpec, attempt: int) -> Object:
    """Its pod is that of a preflight, but for the command and the cache, which it does not need."""
    template = pods.template(
        view.resource, resolved, Attempt(attempt, preflight=True), view.settings
    )
    template["metadata"]["labels"][Label.ACTION.value] = Stage.RESULT.value
    pod = template["spec"]
    pod["volumes"] = [each for each in pod["volumes"] if each["name"] != "cache"]
    (container,) = pod["containers"]
    container["command"] = _command(resolved)
    container["env"] = [each for each in container["env"] if each["name"] != Env.CACHE_DIR]
    mounts = container["volumeMounts"]
    container["volumeMounts"] = [each for each in mounts if each["mountPath"] != CACHE_DIR]
    name = names.job_name(view.name, Stage.RESULT, attempt)
    labels = names.labels(view.resource, Stage.RESULT, attempt)
    spec = {
        "backoffLimit": RETRIES,
        "completions": 1,
        "parallelism": 1,
        "activeDeadlineSeconds": SECONDS,
        "template": template,
    }
    metadata = children.metadata(view.resource, name, labels)
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}


def _command(resolved: spec_file.ResolvedSpec) -> list[str]:
    command = ["dino", Stage.RESULT.value, Option.EXPERIMENT.value, api.SPEC_PATH]
    whose = [] if resolved.action is Action.TRAIN else [Option.ACTION.value, resolved.action.value]
    return [*command, *whose]


def troubles(view: JobView, reading: ResultReading) -> list[str]:
    """What of the result is not in the status, and why, for the sentence of a good end."""
    where = f"{view.folder}/{api.RESULT_FILE}"
    result = reading.result
    if result is None:
        return [f"its result is in {where} and could not be read: {reading.problem}"]
    if reading.problem:
        lost = result.lost & NEEDED
        lost = frozenset(name for name in lost if getattr(result, name) is None) or lost
        return [f"{', '.join(sorted(lost))} could not be read from {where}: {reading.problem}"]
    cut = sorted((result.lost | result.shortened) & SHOWN)
    if not cut:
        return []
    return [f"whole only in {where}, as the pod's message was cut: {', '.join(cut)}"]
