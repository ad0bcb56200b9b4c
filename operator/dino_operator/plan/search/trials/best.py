"""The best trial, and the jobs that run on it once the search has ended (spec.then)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dino_api.names import Action, Phase
from dino_api.resources.dinoautoml import Best
from dino_api.search import assign
from dino_operator.plan.model import Object
from dino_operator.plan.observed import objects
from dino_operator.plan.reported import refusals
from dino_operator.plan.search.after import follower
from dino_operator.plan.search.engines.contract import DIGITS, MAY_WIN, Trial
from dino_operator.plan.search.search_view import SearchView
from dino_operator.plan.search.trials import dinojobs

ENDED = (Phase.COMPLETE.value, Phase.FAILED.value)


def best(view: SearchView, trials: Sequence[Trial]) -> Object | None:
    """status.best: of the trials that ended with a checkpoint, the one with the highest mAP50.

    Of equal ones the first. What the status says of it stays when its DinoJob is deleted.
    """
    stored = view.status.get("best")
    found = [each for each in trials if each.state in MAY_WIN and each.mAP50 is not None]
    winning = [each for each in found if each.checkpoint or _is(stored, each)]
    if not winning:
        return stored
    winner = max(winning, key=lambda each: (round(each.mAP50 or 0.0, DIGITS), -each.number))
    return _told(view, winner) if stored is None or _is_news(stored, winner) else stored


def _is(stored: Object | None, trial: Trial) -> bool:
    return stored is not None and stored["number"] == trial.number


def _is_news(stored: Object, winner: Trial) -> bool:
    """Whether it is another trial, or its pod's last words came later than Katib's word on it."""
    known = stored.get("checkpoint") or {}
    return not _is(stored, winner) or len(winner.checkpoint or {}) > len(known)


def _told(view: SearchView, trial: Trial) -> Object:
    experiment = trial.specification
    if experiment is None:
        template = view.search.template.experiment
        experiment = assign(view.search.space, trial.assignment, template)
    told = Best(
        trial=trial.name,
        number=trial.number,
        parameters=trial.assignment,
        mAP50=round(trial.mAP50 or 0.0, DIGITS),
    )
    specification = dinojobs.read_by(Action.TRAIN, experiment)
    return told.to_dict() | {"checkpoint": trial.checkpoint, "specification": specification}


@dataclass(frozen=True)
class Following:
    """The jobs on the winner. creates: the next one. told: status.then. failed: names."""

    creates: tuple[Object, ...]
    told: list[Object]
    failed: tuple[str, ...]

    @property
    def ended(self) -> bool:
        """Whether there is nothing left to do."""
        return all(each["phase"] in ENDED for each in self.told)


def follow(view: SearchView) -> Following:
    """What to do about spec.then: one job after the other, each on the winner.

    One that failed holds up none of the others, and the search is complete all the same: its winner
    stands. Deleted before its end, a job is made again.
    """
    jobs = {objects.name_of(each): each for each in view.own_dinojobs}
    before = {each["name"]: each["phase"] for each in view.status.get("then", [])}
    wanted = _parents(view, before)
    told: list[Object] = []
    creates: list[Object] = []
    for index, entry in enumerate(view.spec.then, start=1):
        name = follower.name_of(view, index)
        phase = before.get(name, "")
        if phase not in ENDED or (name in wanted and name not in jobs):
            free = all(each["phase"] in ENDED for each in told)
            if name not in jobs and free and not view.wants_suspend:
                creates.append(follower.render(view, index))
            job = jobs.get(name) or {}
            phase = (job.get("status") or {}).get("phase") or Phase.PENDING.value
        told.append({"action": entry.action, "name": name, "phase": phase})
    if refusals.end(view.children.refusal) and creates:
        invalid = objects.name_of(creates.pop())
        told = [{**each, "phase": _phase(each, invalid)} for each in told]
    failed = (each["name"] for each in told if each["phase"] == Phase.FAILED.value)
    return Following(tuple(creates), told, tuple(failed))


def _phase(told: Object, invalid: str) -> str:
    """One that the API server does not take has failed before it began."""
    return Phase.FAILED.value if told["name"] == invalid else str(told["phase"])


def _parents(view: SearchView, before: Object) -> set[str]:
    """Followers that others go on from which have not ended: deleted, they are made again, and find
    their results."""
    waiting = [
        index
        for index in range(1, len(view.spec.then) + 1)
        if before.get(follower.name_of(view, index)) not in ENDED
    ]
    return {follower.parent_of(view, index)["name"] for index in waiting}
