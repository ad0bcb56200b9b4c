"""What must hold once all searches have ended, read from the API server alone."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dino_api.names import Action, Label, Stage
from dino_api.resources.dinoautoml import Algorithm, DinoAutoMLStatus, TrialRecord
from dino_operator.plan.annotations import Annotation
from dino_operator.plan.search.samplers.draw import draw
from dino_operator.plan.search.trials.outcomes import of_row
from dino_operator.plan.search.trials.trial import MAY_WIN

Object = dict[str, Any]
Ran = Mapping[tuple[str, str], Sequence[str]]


def faults(
    searches: Sequence[Object], dinojobs: Sequence[Object], ran: Ran, trials: int
) -> list[str]:
    """What is wrong, a sentence each; empty where nothing is.

    searches, dinojobs: all of the namespace, when everything has ended. ran: Jobs that had a
    running pod, by the name of their DinoJob or search and by stage. trials: of a search.
    """
    own = _by_search(dinojobs)
    found = []
    for search in searches:
        name = search["metadata"]["name"]
        said = [
            *_of_end(search),
            *_of_trials(search, own[name], trials),
            *_of_draws(search, own[name]),
            *_of_jobs(name, own[name], ran),
        ]
        found += [f"{name}: {each}" for each in said]
    owners = {search["metadata"]["name"] for search in searches}
    found += [f"children of an unknown search {name}" for name in set(own) - owners]
    return found


def _by_search(things: Sequence[Object]) -> dict[str, list[Object]]:
    found: dict[str, list[Object]] = defaultdict(list)
    for each in things:
        name = each["metadata"]["labels"].get(Label.AUTOML.value)
        if name:
            found[name].append(each)
    return found


def _of_end(search: Object) -> Iterator[str]:
    status = search.get("status") or {}
    if status.get("phase") != "Complete":
        yield f"phase {status.get('phase')}: {(status.get('failure') or {}).get('message')}"
        return
    rows = [TrialRecord.model_validate(row) for row in status["history"]]
    scores = {row.number: row.mAP50 for row in rows if row.state in MAY_WIN and row.mAP50}
    best = max(scores, key=lambda number: (scores[number], -number))
    told = status["best"]
    if (told["number"], told["mAP50"]) != (best, scores[best]):
        yield f"best is trial {told['number']} ({told['mAP50']}), not {best} ({scores[best]})"


def _of_trials(search: Object, own: Sequence[Object], trials: int) -> Iterator[str]:
    numbers = [int(each["metadata"]["labels"][Label.TRIAL.value]) for each in own]
    if sorted(numbers) != list(range(trials)):
        yield f"trials {sorted(numbers)} instead of 0 to {trials - 1}"
    rows = [row["number"] for row in search["status"].get("history", [])]
    if rows != list(range(trials)):
        yield f"rows {rows} in the history instead of 0 to {trials - 1}"
    live = [each["metadata"]["name"] for each in own if not _has_ended(each)]
    if live:
        yield f"{', '.join(live)} have not ended"


def _has_ended(job: Object) -> bool:
    told = (job.get("status") or {}).get("conditions", [])
    return any(each["type"] in ("Complete", "Failed") and each["status"] == "True" for each in told)


def _of_draws(search: Object, own: Sequence[Object]) -> Iterator[str]:
    """Every draw again, from the trials that it knew and from what the status says of them."""
    algorithm = Algorithm.model_validate(search["spec"]["algorithm"])
    status = DinoAutoMLStatus.model_validate(search["status"])
    rows = {row.number: of_row(row) for row in status.history}
    for job in own:
        number = int(job["metadata"]["labels"][Label.TRIAL.value])
        notes = job["metadata"]["annotations"]
        knew = [rows[int(each)] for each in notes[Annotation.KNEW.value].split(",") if each]
        again = draw(tuple(status.search), algorithm, number, knew)
        drawn = json.loads(notes[Annotation.PARAMETERS.value])
        if drawn != again:
            yield f"trial {number} has {drawn}, and drawn again {again}"
        if drawn != rows[number].parameters:
            yield f"trial {number} has {drawn}, and in the history {rows[number].parameters}"


def _of_jobs(name: str, own: Sequence[Object], ran: Ran) -> Iterator[str]:
    """One Job trains each trial, one checks the data, one writes the report."""
    wanted = Counter({(name, Stage.REPORT.value): 1, (f"{name}-trial-0", Stage.PREFLIGHT.value): 1})
    for job in own:
        wanted[job["metadata"]["name"], Action.TRAIN.value] += 1
    for (owner, stage), count in wanted.items():
        jobs = ran.get((owner, stage), [])
        if len(jobs) != count:
            yield f"{owner}: {count} Job for {stage} was due, and these ran: {jobs}"
