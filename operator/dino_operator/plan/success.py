"""The good end of a job: what the trainer told in its last words, or what is read for it."""

from __future__ import annotations

from dino_operator.plan import late, observe, parent, preflight, progress, results, status
from dino_operator.plan.model import Object, Plan
from dino_operator.plan.telling import end
from dino_operator.plan.view import View


def completed(view: View, job: Object) -> Plan:
    """The end, as the trainer told it in its termination message, or as it is read for it."""
    found = late.look(view, job)
    if found.plan is not None:
        return found.plan
    where, told, ended = late.folder(view), found.told, observe.finished_at(job)
    troubles = late.troubles(view, found)
    facts: Object = {"failure": None, **progress.done(view)}
    left = parent.left_in(where, view.resource)
    if told is None:
        return end(view, status.complete("; ".join(troubles)), ended, model=left, **facts)
    said = "; ".join((*results.figures(told), f"results are in {where}", *troubles))
    known = {**view.resource.get("status", {}), **preflight.facts(view)}
    facts |= results.of_success(told, known)
    if "model" in told.lost:
        facts["model"] = facts["model"] or left
    return end(view, status.complete(said), ended, **facts)
