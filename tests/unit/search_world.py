"""A namespace in memory with one DinoAutoML and its children, and an operator that may be killed.

DinoJobs are moved by the test: `check`, `run`, `complete`, `fail` are what the DinoJob's own plan
and its pods would have done. Creating a DinoJob that must not exist fails the test.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any

from dino_api import names as api
from dino_api import rfc3339
from dino_api.resources.dinoautoml import SmokeProfile
from dino_operator.plan.model import Condition, Object, Patch, Plan, Settings
from dino_operator.plan.observed import objects
from dino_operator.plan.observed.api_object import ApiObject
from dino_operator.plan.observed.children import Children
from dino_operator.plan.search import decide
from tests.builders import NOON, around
from tests.unit.plan_store import Crash, copied
from tests.unit.search_builders import a_search

SETTINGS = Settings(
    "trainer:1", profile=SmokeProfile(train_uri="s3://smoke/train", validation_uri="s3://smoke/val")
)
Writes = Callable[[], None]


class SearchWorld:
    """What exists. `reconcile` is what the operator does about it."""

    def __init__(self, **spec: Any) -> None:
        self.now = NOON
        self.born = 0
        self.settings = SETTINGS
        self.automl = a_search(**spec)
        self.dinojobs: dict[str, Object] = {}
        self.jobs: dict[str, Object] = {}
        self.pods: list[Object] = []
        self.others: dict[tuple[str, str], Object] = {}
        self.strangers: tuple[Object, ...] = ()
        self.configs: dict[str, Object] = {}
        self.katib_served = False
        self.events: list[str] = []
        self.drawn: dict[int, Object] = {}
        self.writes = 0
        self.crash: Writes = lambda: None
        self.seen = self.look()

    # ---- the operator -------------------------------------------------------------------------

    def look(self) -> tuple[Object, Children]:
        """What a list of everything would say now."""
        children = around(
            jobs=map(copied, self.jobs.values()),
            pods=map(copied, self.pods),
            strangers=map(copied, self.strangers),
            dinojobs=map(copied, self.dinojobs.values()),
            others={key: copied(each) for key, each in self.others.items()},
            katib_served=self.katib_served,
        )
        return copied(self.automl), children

    def plan(self) -> Plan:
        """What would be done now, by an operator that knows everything."""
        return decide.plan(*self.look(), self.now, self.settings)

    def reconcile(self, stale: bool = False) -> Plan:
        """One plan, carried out. stale: made from what was seen last, and looked at again where it
        could not be taken back."""
        if not stale:
            self.seen = self.look()
        planned = decide.plan(*self.seen, self.now, self.settings)
        if planned.irrevocable:
            self.seen = self.look()
            planned = decide.plan(*self.seen, self.now, self.settings)
        self.carry_out(planned)
        return planned

    def carry_out(self, planned: Plan) -> None:
        for thing in planned.creates:
            self._write(lambda thing=thing: self._create(thing))
        for patch in planned.patches:
            self._write(lambda patch=patch: self._patch(patch))
        for event in planned.events:
            self._write(lambda event=event: self.events.append(f"{event.reason}: {event.message}"))
        if planned.status is not None:
            self._write(lambda: self._apply(planned.status))

    def settle(self, rounds: int = 20) -> None:
        """Until nothing is left to do."""
        for _ in range(rounds):
            if self.reconcile().is_empty:
                return
        raise AssertionError(f"still busy: {self.plan()}")

    def _write(self, write: Writes) -> None:
        self.writes += 1
        self.crash()
        write()

    def _create(self, thing: Object) -> None:
        kind, name = thing["kind"], objects.name_of(thing)
        made = copied(thing)
        self.born += 1
        made["metadata"] |= {"uid": f"uid-{self.born}", "creationTimestamp": self.stamp()}
        if kind == "Job":
            self.jobs.setdefault(name, made)
        elif kind == api.KIND:
            self._may_exist(made)
            self.dinojobs.setdefault(name, made)
        elif kind == "ConfigMap":
            self.configs[name] = made

    def _may_exist(self, made: Object) -> None:
        """Never two of a number, never more than parallelTrials, none too many, none too late."""
        assert not ApiObject(self.automl).is_finished, "nothing is made after the end"
        number = made["metadata"]["labels"].get(api.Label.TRIAL.value)
        if number is None:
            return
        assert objects.name_of(made) not in self.dinojobs
        assert not self.automl.get("status", {}).get("completionTime"), "the search was over"
        spec = self.automl["spec"]
        assert int(number) < spec.get("maxTrials", SETTINGS.profile.max_trials)
        assert len(self.live()) < spec["parallelTrials"]
        drawn = made["metadata"]["annotations"]
        before = self.drawn.setdefault(int(number), drawn)
        same = "dino-operator.io/parameters"
        assert before[same] == drawn[same], "a trial that is made again has its own parameters"

    def _patch(self, patch: Patch) -> None:
        job = self.dinojobs.get(patch.name)
        if job is None or objects.uid_of(job) != patch.uid:
            return
        labels = patch.body.get("metadata", {}).get("labels", {})
        policy = patch.body.get("spec", {}).get("runPolicy", {})
        assert not job["spec"]["runPolicy"]["stop"] or policy.get("stop", True)
        job["metadata"]["labels"] |= labels
        job["spec"]["runPolicy"] |= policy

    def _apply(self, told: Object | None) -> None:
        if self.seen[0]["metadata"]["resourceVersion"] != self._version():
            raise Crash("409: planned from another version")
        assert told != self.automl.get("status"), "a write without a change"
        known, over = self.automl.get("status", {}), "completionTime"
        if over in (told or {}) and over not in known:
            assert not self.live(), "the search is over, and a trial of it runs"
        if ApiObject(self.automl).is_finished:
            before = [each["type"] for each in self.automl["status"]["conditions"]]
            assert [each["type"] for each in (told or {})["conditions"]] == before
        self.automl["status"] = copied(told)
        self._changed()

    def _version(self) -> str:
        return str(self.automl["metadata"]["resourceVersion"])

    def _changed(self) -> None:
        self.automl["metadata"]["resourceVersion"] = str(int(self._version()) + 1)

    # ---- what the test does ---------------------------------------------------------------------

    def stamp(self) -> str:
        return rfc3339.text(self.now)

    def wait(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def edit(self, **spec: Any) -> None:
        """kubectl patch."""
        self.automl["spec"].update(spec)
        self.automl["metadata"]["generation"] += 1
        self._changed()

    def job(self, number: int) -> Object:
        return self.dinojobs[f"x-trial-{number}"]

    def live(self) -> list[Object]:
        """DinoJobs of trials that have not ended, by number."""
        found = [each for each in self.dinojobs.values() if not ApiObject(each).is_finished]
        return [each for each in found if api.Label.TRIAL.value in each["metadata"]["labels"]]

    def tell(self, name: str, **told: Any) -> None:
        """Fields of a DinoJob's status."""
        self.dinojobs[name].setdefault("status", {}).update(told)

    def condition(self, name: str, kind: str, told: bool = True, **more: str) -> None:
        conditions = self.dinojobs[name].setdefault("status", {}).setdefault("conditions", [])
        conditions[:] = [each for each in conditions if each["type"] != kind]
        said = {"reason": kind, "message": "", **more}
        conditions.append({"type": kind, "status": "True" if told else "False", **said})

    def check(self, name: str = "x-trial-0") -> None:
        """The preflight found nothing wrong."""
        self.condition(name, "DataReady", reason="DataChecked", message="10 images")
        self.tell(name, dataset={"numClasses": 4, "images": 10})

    def run(self, name: str, *curve: float) -> None:
        """A pod trains; so many validations were pushed."""
        self.tell(name, startTime=self.stamp(), phase="Running")
        self.condition(name, "Running", message=f"pod of {name} runs")
        self.condition(name, "Suspended", False)
        points = [{"epoch": n, "mAP50": value} for n, value in enumerate(curve, start=1)]
        self.tell(name, progress={"epoch": len(curve), "curve": points})

    def complete(self, name: str, score: float) -> None:
        """It trained to its end and published its best checkpoint."""
        self._end(name, "Complete", "Completed")
        self.tell(
            name, metrics={"mAP50": score}, checkpoint=self.checkpoint(name), phase="Complete"
        )

    def fail(self, name: str, reason: str = "Crashed", message: str = "said why") -> None:
        """It ended without a result."""
        self._end(name, "Failed", "BackoffLimitExceeded" if reason == "Crashed" else reason)
        self.tell(name, failure={"reason": reason, "message": message}, phase="Failed")

    def obey(self, name: str, checkpoint: bool = True) -> None:
        """A DinoJob that is to stop or to hold does so."""
        policy = self.dinojobs[name]["spec"]["runPolicy"]
        if policy["stop"]:
            self._end(name, "Failed", "Stopped")
            if checkpoint:
                self.tell(name, checkpoint=self.checkpoint(name))
        else:
            self.condition(name, "Suspended", policy["suspend"])

    def checkpoint(self, name: str) -> Object:
        return {"uri": f"s3://results/x/{name}/best.pth"}

    def delete(self, name: str) -> None:
        """kubectl delete. A trial that was written down nowhere may be drawn anew."""
        del self.dinojobs[name]
        history = self.automl.get("status", {}).get("history", [])
        if name not in [row["name"] for row in history]:
            self.drawn.pop(int(name.rpartition("-")[2]), None)

    def _end(self, name: str, kind: str, reason: str) -> None:
        self.condition(name, kind, reason=reason)
        self.tell(name, completionTime=self.stamp())

    def report(self, failed: str = "") -> None:
        """The report's Job ends."""
        job = self.jobs["x-report-1"]
        said = {"schema": 1, "action": "report", "artifacts": [{"name": "report.html", "uri": "u"}]}
        code = 70 if failed else 0
        if failed:
            said = {"schema": 1, "failure": {"reason": "InternalError", "message": failed}}
        self.pods.append(report_pod(job, said, code))
        kind = "Failed" if failed else "Complete"
        job["status"] = {"conditions": [{"type": kind, "status": "True", "reason": "r"}]}

    def baseline(self, score: float = 0.5) -> None:
        """Trial 0 checks the data and trains."""
        self.settle()
        self.check()
        self.run("x-trial-0", score / 2, score)
        self.settle()
        self.complete("x-trial-0", score)
        self.settle()

    def row(self, number: int) -> Object:
        """A trial in status.history."""
        return next(each for each in self.automl["status"]["history"] if each["number"] == number)

    def says(self, kind: str) -> tuple[str, str, str]:
        """Status, reason and message of a condition."""
        found = Condition.of(self.automl, kind)
        return (str(found.is_true), found.reason, found.message) if found else ("", "", "")


def report_pod(job: Object, said: Object, code: int) -> Object:
    """The pod of the report's Job, ended."""
    import json

    ended = {"exitCode": code, "message": json.dumps(said)}
    owner = {"kind": "Job", "uid": objects.uid_of(job), "controller": True}
    return {
        "metadata": {
            "name": "report",
            "labels": job["metadata"]["labels"],
            "ownerReferences": [owner],
        },
        "status": {
            "phase": "Failed" if code else "Succeeded",
            "containerStatuses": [{"name": objects.CONTAINER, "state": {"terminated": ended}}],
        },
    }


def names(things: Iterable[Object]) -> list[str]:
    """Their names."""
    return [objects.name_of(each) for each in things]
