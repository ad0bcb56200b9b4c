"""A search whose trials have ended, and whose spec is not understood any more.

An operator of another version, or an older CRD, took it. How the search ended stands: with its
winner, or with why it failed. The report and the jobs on the winner that exist are waited for; no
more are made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from dino_api.names import ConditionType, Phase
from dino_operator.plan.model import Object, Plan
from dino_operator.plan.observed.children import Children
from dino_operator.plan.observed.failure import Cause
from dino_operator.plan.observed.resource import DinoAutoML, DinoJob
from dino_operator.plan.reported import conditions
from dino_operator.plan.reported.conditions import State
from dino_operator.plan.search import status
from dino_operator.plan.search.after import completion, followers, report
from dino_operator.plan.search.after.report import Report
from dino_operator.plan.search.trials import dinojobs


def plan(search: DinoAutoML, children: Children, now: datetime, cause: Cause) -> Plan:
    """What is left to do. cause: why the spec is not understood."""
    written = report.made(search, children, now) or Report(ended=True)
    jobs = followers.made(search, children)
    rows = _rows(search, jobs)
    busy = [each for each in jobs if not each.is_finished]
    if busy or not written.ended:
        state = _waiting(search, busy)
    else:
        state = _last(search, written, rows, cause)
    kept = {
        "failure": search.status.raw.get("failure"),
        "artifacts": list(written.artifacts) or None,
        "then": rows or None,
    }
    planned = status.write(search, status.with_known(search, state), now, kept, written.again)
    held = dinojobs.holds(search.wants_suspend, jobs)
    return replace(planned, patches=(*completion.late_stops(search, children), *held))


def _rows(search: DinoAutoML, jobs: Sequence[DinoJob]) -> list[Object]:
    """status.then, without what was never made."""
    phases = {each.name: each.status.phase or Phase.PENDING.value for each in jobs}
    written = search.status.raw.get("then") or []
    ended = [each["name"] for each in written if each["phase"] in followers.ENDED]
    return [
        each if each["name"] in ended else {**each, "phase": phases[each["name"]]}
        for each in written
        if each["name"] in ended or each["name"] in phases
    ]


def _waiting(search: DinoAutoML, busy: Sequence[DinoJob]) -> State:
    """The state while jobs on the winner run, or the report is written."""
    if search.wants_suspend:
        running = [each.name for each in busy if not each.is_true(ConditionType.SUSPENDED)]
        return status.holding(f"{running[0]} saves a checkpoint and stops" if running else "")
    now = f"{busy[0].name} runs on the winner" if busy else "the report is written"
    return status.ending(f"{completion.outcome_of(search.status)}; {now}")


def _last(search: DinoAutoML, written: Report, rows: Sequence[Object], cause: Cause) -> State:
    failure = search.status.failure
    if failure:
        return conditions.failed(failure.reason, failure.message)
    failed = [each["name"] for each in rows if each["phase"] == Phase.FAILED.value]
    parts = [completion.outcome_of(search.status), *completion.troubles(written.problem, failed)]
    why = f"nothing more is made of it, as its spec is not understood any more: {cause.message}"
    return status.complete("; ".join((*parts, why)))
