"""The embedded engine: trials are DinoJobs, drawn here."""

from __future__ import annotations

from collections.abc import Sequence

from dino_operator.plan.model import Object, Patch
from dino_operator.plan.search import ends
from dino_operator.plan.search.engines import pruning
from dino_operator.plan.search.engines.contract import Step
from dino_operator.plan.search.samplers.draw import draw
from dino_operator.plan.search.search_view import SearchView
from dino_operator.plan.search.trials import dinojobs, outcomes
from dino_operator.plan.search.trials.trial import Trial

GENERATION = "cmaes draws the next generation once every trial of the last one has ended"


def refusal(view: SearchView) -> str:
    """Why it cannot run a search: never. It runs all that the API accepts."""
    return ""


def step(view: SearchView) -> Step:
    """Starts and prunes trials. `plan` makes deleted ones again, and holds and stops all."""
    trials = outcomes.of_view(view)
    mine = tuple(each for each in trials if each.number != 0)
    busy = any(each.is_live for each in mine)
    if ends.reached(view, trials) is not None:
        return Step(trials=mine, ended=not busy)
    if view.wants_suspend:
        return Step(trials=mine)
    creates, waiting = _next(view, trials)
    return Step(
        creates=tuple(creates),
        patches=tuple(_pruned(view, trials)),
        trials=mine,
        waiting=waiting,
    )


def _next(view: SearchView, trials: Sequence[Trial]) -> tuple[list[Object], str]:
    """The DinoJobs of the next trials, and why there are fewer than might run."""
    taken = {each.number for each in trials}
    room = view.search.parallel_trials - sum(each.is_live for each in trials)
    free = [number for number in range(ends.planned(view)) if number not in taken]
    finished = [each for each in trials if not each.is_live]
    knew = [each.number for each in finished]
    made: list[Object] = []
    for number in free[: max(0, room)]:
        parameters = draw(view.search.space, view.spec.algorithm, number, finished, view.known)
        if parameters is None:
            return made, GENERATION
        made.append(dinojobs.render(view, number, parameters, knew))
    return made, ""


def _pruned(view: SearchView, trials: Sequence[Trial]) -> list[Patch]:
    jobs = (view.trial_jobs.get(number) for number in pruning.to_stop(trials, view.pruning))
    return [dinojobs.stop(job, "Pruned") for job in jobs if job is not None and not job.wants_stop]
