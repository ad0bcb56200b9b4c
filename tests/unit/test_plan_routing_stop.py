"""Ending a job in whose place a search runs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dino_api.failures import by_reason
from dino_operator.plan.model import Event, Plan
from tests.builders import at
from tests.statuses import changed_at, told, told_at
from tests.unit.plan_cases import PlanCase, check
from tests.unit.plan_searches import (
    ROUTED,
    SHOWN,
    a_running,
    a_searched,
    an_end,
    hold,
    running,
    succeeds,
)


def _stops() -> dict[str, PlanCase]:
    late = "spec.runPolicy.stop ended the job"
    stays = f"{late}; DinoAutoML x stays suspended, with its trials"
    saves = "DinoAutoML x saves the checkpoints of its trials and stops"
    stopping = changed_at(
        told("Running", routed=ROUTED, running=("Stopping", saves), **SHOWN),
        **dict.fromkeys(("AutoMLRouted", "DataReady", "Suspended", "Complete", "Failed"), 60),
        Running=60,
    )
    held = a_running().spec(suspend=True)
    return {
        "stopping suspends the search": PlanCase(
            a_searched().policy(stop=True).status(running()),
            Plan(patches=(hold(True),), status=stopping),
            automls=[a_running()],
        ),
        "waits for its trials": PlanCase(
            a_searched().policy(stop=True).status(stopping), Plan(), automls=[held]
        ),
        "and has failed once none runs": PlanCase(
            a_searched().policy(stop=True).status(stopping),
            _stopped(stays),
            automls=[a_running().spec(suspend=True).condition("Suspended", reason="Suspended")],
        ),
        "a search that ended first has the last word": PlanCase(
            a_searched().policy(stop=True).status(running()),
            succeeds(),
            automls=[an_end("Complete", "Completed", "best mAP50 0.7000")],
        ),
        "so has one that only writes its report": PlanCase(
            a_searched().policy(stop=True).status(running(completionTime=at(50))),
            Plan(),
            automls=[a_running().told("Running", completionTime=at(50))],
        ),
        "which goes on where it was held by then": PlanCase(
            a_searched().policy(stop=True).status(running(completionTime=at(50))),
            Plan(patches=(hold(False),)),
            automls=[a_running().told("Running", completionTime=at(50)).spec(suspend=True)],
        ),
        "none is made for a job that was stopped before": PlanCase(
            a_searched().policy(stop=True), _never(late)
        ),
        "nothing is touched afterwards": PlanCase(
            a_searched().status(_stopped(stays).status), Plan(), automls=[held]
        ),
    }


def _stopped(said: str, **more: Any) -> Plan:
    rule = by_reason("Stopped")
    facts = {
        **SHOWN,
        "completionTime": at(60),
        "failure": {"reason": "Stopped", "message": said, "remedy": rule.remedy},
        **more,
    }
    status = told(
        "Failed",
        routed=ROUTED,
        data=("Checking", ""),
        complete=("EndedWithoutSuccess", ""),
        failed=("Stopped", said, True),
        **facts,
    )
    event = Event("Failed", f"Stopped: {said} {rule.remedy}", "end", warning=True)
    return Plan(status=told_at(status, 60), events=(event,))


def _never(said: str) -> Plan:
    plan = _stopped(said)
    assert plan.status is not None
    status = {key: value for key, value in plan.status.items() if key not in SHOWN}
    return replace(plan, status=status)


CASES = _stops()


@pytest.mark.parametrize("sentence", CASES)
def test_plan(sentence: str) -> None:
    check(CASES[sentence])
