"""What a job's GPUs have cost: counted from its status alone, and never less than was told."""

from __future__ import annotations

import pytest

from dino_operator.plan.job.decide import plan
from dino_operator.plan.observed import gpu_time
from dino_operator.plan.observed.status import JobStatus
from tests.builders import Object, a_child, a_job, a_pod, around, at, later
from tests.statuses import COMPLETE, QUEUED, RAN, RUNNING, told
from tests.unit.plan_cases import SETTINGS

LATE = 3600
"""When somebody looks, in seconds after noon; the pod of RUNNING started at five."""


def heard(seconds: float) -> Object:
    return {"progress": {"updatedAt": at(seconds)}}


SO_FAR = {
    "a job that nobody has looked at": (None, 0),
    "one that waits": (QUEUED, 0),
    "one that runs and has told nothing": (RUNNING, 0),
    "up to its last word, however late it is": ({**RUNNING, **heard(65)}, 60),
    "the word of an attempt before it says nothing": ({**RUNNING, **heard(3)}, 0),
    "a word that lies ahead counts up to now": ({**RUNNING, **heard(2 * LATE)}, LATE - 5),
    "what is no time": ({**RUNNING, "progress": {"updatedAt": "soon"}}, 0),
    "with what ran before": ({**RUNNING, **heard(65), "gpuSeconds": 7}, 67),
    "all GPUs of all nodes": ({**RUNNING, **heard(65), "gpus": 16}, 960),
    "none": ({**RUNNING, **heard(65), "gpus": 0}, 0),
    "while it waits for another attempt": ({**QUEUED, **heard(65), "gpuSeconds": 7}, 7),
    "after its end": ({**COMPLETE, **heard(50)}, 55),
    "a search's GPUs are those of its trials": ({**RUNNING, **heard(65), "automl": "x"}, 0),
}


@pytest.mark.parametrize("sentence", SO_FAR)
def test_so_far(sentence: str) -> None:
    status, seconds = SO_FAR[sentence]
    assert gpu_time.so_far(JobStatus(status or {}), later(LATE)) == seconds


def spent(job: Object, now: float, **children: list[Object]) -> int | None:
    """What the status says after the next plan."""
    status = plan(job, around(**children), later(now), SETTINGS).status
    assert status is not None
    found: int | None = status.get("gpuSeconds")
    return found


def test_an_end_that_nobody_saw_is_counted_from_when_it_was() -> None:
    """The operator was away for an hour: the GPUs were not held for it."""
    job = a_job().status(RUNNING)
    child = a_child(job).complete()
    assert spent(job.obj(), LATE, jobs=[child.obj()], pods=[a_pod(child).succeeded().obj()]) == 55


def test_a_job_that_was_held_while_nobody_looked_held_no_gpus_since() -> None:
    """By Kueue, or by somebody's hand, sixty seconds after noon."""
    job = a_job().status({**RUNNING, **heard(50)})
    held = {"type": "Suspended", "status": "True", "lastTransitionTime": at(60)}
    child = a_child(job).obj()
    child["spec"]["suspend"] = True
    child.setdefault("status", {})["conditions"] = [held]
    assert spent(job.obj(), LATE, jobs=[child]) == 55


def test_of_several_ends_the_first_since_the_run_began_is_its_own() -> None:
    ends = [later(2), later(65), later(70)]
    assert gpu_time.at_end_of_run(JobStatus(dict(RUNNING)), ends, later(LATE)) == 60
    assert gpu_time.at_end_of_run(JobStatus(dict(RUNNING)), ends[:1], later(LATE)) == LATE - 5


def test_it_is_no_less_than_was_told_where_clocks_disagree() -> None:
    job = a_job().status({**RUNNING, **heard(75)})
    child = a_child(job).complete()
    assert gpu_time.so_far(JobStatus(job.obj()["status"]), later(LATE)) == 70
    assert spent(job.obj(), LATE, jobs=[child.obj()], pods=[a_pod(child).succeeded().obj()]) == 70


def test_the_runs_of_all_attempts_are_added() -> None:
    job = a_job().status({**RUNNING, **RAN, "gpus": 1})
    child = a_child(job).failed()
    assert spent(job.obj(), 60, jobs=[child.obj()], pods=[a_pod(child).exited(69).obj()]) == 110


def test_a_job_without_gpus_has_no_such_field() -> None:
    job = a_job().spec(resources={"gpus": 0}).status({**RUNNING, "gpus": 0})
    child = a_child(job).complete()
    found = spent(job.obj(), 60, jobs=[child.obj()], pods=[a_pod(child).succeeded().obj()])
    assert found is None


def test_waiting_costs_nothing() -> None:
    waits = told("Queued", running=("Queued", "why"))
    assert gpu_time.at_end_of_run(JobStatus(waits), later(60), later(60)) is None
