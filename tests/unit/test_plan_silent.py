"""A pod that runs and writes no progress: somebody may have deleted its account or its right."""

from __future__ import annotations

import pytest

from dino_operator.plan.job.decide import plan
from dino_operator.plan.model import Object, Plan, Settings
from dino_operator.plan.observed.resource import DinoJob
from dino_operator.plan.rendered import children, spec_file
from tests.builders import a_child, a_job, a_pod, around, at, later
from tests.statuses import ATTEMPT, RUNNING, changed_at, told
from tests.unit.plan_cases import PlanCase, check

SETTINGS = Settings(trainer_image="trainer:1")
child = a_child(a_job())
POD = "x-train-1-aaaaa"


def _silent(since: float) -> Object:
    said = (
        f"pod {POD} runs; no progress was written since {at(since)}; ServiceAccount dino-trainer "
        f"and RoleBinding dino-trainer-progress were made sure of (kubectl logs {POD} says what it "
        "does)"
    )
    status = told(
        "Running", running=("Started", said, True), reporter=POD, startTime=at(5), **ATTEMPT
    )
    return changed_at(status, Running=5)


def _wrote(status: Object, when: float) -> Object:
    return {**status, "progress": {"updatedAt": at(when)}}


def _needed() -> tuple[Object, ...]:
    """Its account, its right, and the rest of what a pod needs."""
    resource = DinoJob(a_job().obj())
    return tuple(children.inputs(resource, spec_file.read_spec(resource), preflight=False))


def _case(status: Object, plan: Plan, now: float) -> PlanCase:
    return PlanCase(
        a_job().status(status), plan, jobs=[child], pods=[a_pod(child).running()], now=now
    )


CASES = {
    "as long as it writes progress, nothing is done": _case(
        _wrote(RUNNING, 400), Plan(requeue_after=200), now=500
    ),
    "where it writes none any more, its account and its right are made sure of": _case(
        _wrote(RUNNING, 100),
        Plan(status=_silent(since=100), creates=_needed(), requeue_after=400),
        now=500,
    ),
    "ever more seldom, and in the same words": _case(
        _wrote(_silent(since=100), 100), Plan(creates=_needed(), requeue_after=800), now=900
    ),
    "until it writes again": _case(
        _wrote(_silent(since=100), 890), Plan(status=RUNNING, requeue_after=290), now=900
    ),
    "a time without an offset is in UTC": _case(
        {**RUNNING, "progress": {"updatedAt": at(400).rstrip("Z")}},
        Plan(requeue_after=200),
        now=500,
    ),
    "a pod may write what it likes: what is no time stops no plan": _case(
        {**RUNNING, "progress": {"updatedAt": "soon"}},
        Plan(status=_silent(since=5), creates=_needed(), requeue_after=495),
        now=500,
    ),
    "one that never wrote any is told by its start": _case(
        RUNNING, Plan(status=_silent(since=5), creates=_needed(), requeue_after=300), now=305
    ),
}


@pytest.mark.parametrize("sentence", CASES)
def test_plan(sentence: str) -> None:
    check(CASES[sentence])


def test_what_is_made_sure_of_is_the_account_and_its_right() -> None:
    assert [each["kind"] for each in _needed()][:2] == ["ServiceAccount", "RoleBinding"]


def test_an_action_that_says_little_is_left_alone() -> None:
    job = a_job().spec(action="export")
    running = a_child(job)
    children = around((running.obj(),), (a_pod(running).running().obj(),))
    found = plan(job.status(RUNNING).obj(), children, later(900), SETTINGS)
    assert not found.creates
    assert found.requeue_after is None, "nor looked at again and again"
