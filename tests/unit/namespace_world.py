"""A namespace in memory with several resources: a chain of DinoJobs, or a search and its trials.

All plans are the real ones: the trials of the search are DinoJobs whose Jobs and pods the `World`
moves as those of any other.
"""

from __future__ import annotations

import json
from typing import Any

from dino_api.names import Label, Stage
from dino_operator.plan.annotations import Annotation
from dino_operator.plan.model import Object
from dino_operator.plan.observed import objects
from dino_operator.plan.observed.api_object import ApiObject
from dino_operator.runtime.keys import Kind
from tests.unit.plan_actions import job_to
from tests.unit.plan_store import copied, is_preflight
from tests.unit.plan_world import CHECKED, World
from tests.unit.search_builders import a_search

SEARCH = "s"
SOURCE = [{"uri": "s3://data/some"}]
DATA = {"train": SOURCE, "validation": SOURCE, "test": SOURCE}


class Namespace(World):
    """What exists, and what was ever said of each trial."""

    def __init__(self) -> None:
        super().__init__()
        self.drawn: dict[tuple[str, str], str] = {}

    # ---- what users make ----------------------------------------------------------------------

    def submit_chain(self, retries: int, nodes: int) -> None:
        """x trains, y goes on from what it leaves, z from the same."""
        first = job_to("train", resources={"gpus": 1, "nodes": nodes}).policy(maxRetries=retries)
        self._store(Kind.DINOJOBS, self._newborn(first.obj()))
        for name, action in (("y", "evaluate"), ("z", "export")):
            self.submit_child(name, action, {"kind": "DinoJob", "name": "x"})

    def submit_child(self, name: str, action: str, parent: Object) -> None:
        """A job that goes on from what another leaves."""
        spec = {"parent": parent, "resources": {"gpus": 0, "nodes": 1}}
        self._store(Kind.DINOJOBS, self._newborn(job_to(action, name, **spec).obj()))

    def submit_search(self, trials: int, **spec: Any) -> None:
        """s searches and evaluates its winner; y goes on from the winner, too."""
        made = a_search(SEARCH, maxTrials=trials, then=[{"action": "evaluate"}], **spec)
        made["spec"]["template"] |= {"datasets": DATA, "numClasses": 4}
        self._store(Kind.DINOAUTOMLS, self._newborn(made))
        self.submit_child("y", "export", {"kind": "DinoAutoML", "name": SEARCH})

    def edit_any(self, kind: Kind, name: str, **spec: Any) -> None:
        """kubectl patch of fields of a spec."""
        thing = copied(self.things[kind][name])
        thing["spec"].update(spec)
        thing["metadata"]["generation"] += 1
        self._store(kind, thing)

    def report(self, name: str, score: float) -> None:
        """The pod of a DinoJob pushes another point of its curve."""
        job = copied(self.things[Kind.DINOJOBS][name])
        curve = job["status"].get("progress", {}).get("curve", [])
        point = {"epoch": len(curve) + 1, "mAP50": score}
        told = {"epoch": point["epoch"], "curve": [*curve, point]}
        job["status"]["progress"] = told
        self._store(Kind.DINOJOBS, job)

    # ---- what is known of it --------------------------------------------------------------------

    def resources(self) -> list[Object]:
        """The DinoJobs and DinoAutoMLs."""
        return [each for kind in (Kind.DINOJOBS, Kind.DINOAUTOMLS) for each in self._all(kind)]

    def _all(self, kind: Kind) -> list[Object]:
        return list(self.things[kind].values())

    def live_trials(self) -> list[Object]:
        """DinoJobs of trials that have not ended."""
        jobs = (each for each in self._all(Kind.DINOJOBS) if not ApiObject(each).is_finished)
        return [each for each in jobs if _number(each) is not None]

    def last_words(self, pod: Object) -> str:
        if is_preflight(pod):
            return CHECKED
        labels = pod["metadata"]["labels"]
        if labels.get(Label.ACTION.value) == Stage.REPORT:
            return json.dumps({"schema": 1, "action": "report", "artifacts": [REPORT]})
        name = labels[Label.JOB.value]
        job = self.things[Kind.DINOJOBS].get(name)
        action = job["spec"]["action"] if job else "train"
        said: Object = {"schema": 1, "action": action}
        if action == "train":
            said |= {"metrics": {"mAP50": score_of(name)}}
            said |= {"checkpoint": {"uri": f"s3://results/{name}/best.pth", "epoch": 9}}
        elif action == "evaluate":
            said |= {"metrics": {"mAP50": score_of(name)}}
        else:
            said |= {"model": {"uri": f"s3://results/{name}/model.onnx", "format": "onnx"}}
        return json.dumps(said)

    def _is_checked(self, owner: str | None) -> bool:
        if super()._is_checked(owner):
            return True
        jobs = self.things[Kind.DINOJOBS]
        mine = next((each for each in jobs.values() if objects.uid_of(each) == owner), None)
        by = (mine or {"metadata": {}})["metadata"].get("annotations", {})
        return Annotation.DATA_CHECKED_BY.value in by and bool(self.checked)

    def _may_exist(self, made: Object) -> None:
        """Never more trials than parallelTrials, none too many, none too late, none drawn anew."""
        number = _number(made)
        if number is None:
            return
        search = self.things[Kind.DINOAUTOMLS].get(SEARCH)
        uid = objects.controller_uid(made)
        if search is None or objects.uid_of(search) != uid:
            return  # it was deleted meanwhile: the garbage collector takes the trial
        assert not search.get("status", {}).get("completionTime"), "the search was over"
        busy = [each for each in self.live_trials() if objects.controller_uid(each) == uid]
        assert self.ever(lambda: number < self._most("maxTrials")), "a trial too many"
        assert self.ever(lambda: len(busy) < self._most("parallelTrials")), (
            "more trials than may run"
        )
        drawn = made["metadata"]["annotations"][Annotation.PARAMETERS.value]
        name = objects.name_of(made)
        rows = search.get("status", {}).get("history", [])
        if name in [row["name"] for row in rows]:
            assert self.drawn[uid, name] == drawn, "a trial that is made again is drawn anew"
        self.drawn[uid, name] = drawn

    def _most(self, field: str) -> int:
        """A number of the search's spec; 0 where there is none."""
        search = self.things[Kind.DINOAUTOMLS].get(SEARCH)
        return search["spec"][field] if search else 0


REPORT = {"name": "report.html", "uri": "s3://results/s/report/report.html"}


def _number(job: Object) -> int | None:
    text = job["metadata"].get("labels", {}).get(Label.TRIAL.value)
    return None if text is None else int(text)


def score_of(name: str) -> float:
    """What a job of that name reaches."""
    return (sum(name.encode()) % 8 + 1) / 10
