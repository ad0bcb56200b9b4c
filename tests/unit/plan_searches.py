"""Jobs in whose place a search runs, the search, and what is said of both."""

from __future__ import annotations

from typing import Any, Self

from dino_api import names as api
from dino_operator.plan.model import Event, Patch, Plan
from tests.builders import SOUND, Builder, JobBuilder, Object, a_job, at, owned_by
from tests.statuses import told, told_at

ROUTED = ("Routed", "DinoAutoML x searches; the job shows what it says", True)
NEW = ("Checking", "DinoAutoML x was made and has not begun")
CHECKPOINT = {"uri": "s3://results/x/trials/2/train/dino_model_best.pth", "epoch": 3}
BEST = {"trial": "x-trial-2", "number": 2, "mAP50": 0.7, "checkpoint": CHECKPOINT}
TRIALS = {"total": 5, "display": "3/20"}
SAYS = ("Started", "5 trials, 2 of them run", True)
SHOWN = {
    "automl": "x",
    "startTime": at(5),
    "metrics": {"mAP50": 0.7},
    "checkpoint": CHECKPOINT,
    "progress": {"display": "3/20 trials"},
    "dataset": {"numClasses": 4},
}


class SearchBuilder(Builder):
    """A DinoAutoML."""

    def spec(self, **values: Any) -> Self:
        """Fields of spec."""
        self.thing["spec"].update(values)
        return self

    def told(self, phase: str, **status: Any) -> Self:
        """Its phase, and more of its status."""
        self.thing.setdefault("status", {}).update(phase=phase, **status)
        return self


def a_search_for(job: JobBuilder) -> SearchBuilder:
    """The DinoAutoML that was made for that job, which nobody has looked at yet."""
    owner = job.meta
    return SearchBuilder(
        {
            "apiVersion": api.API_VERSION,
            "kind": api.AUTOML_KIND,
            "metadata": {
                "name": owner["name"],
                "namespace": owner["namespace"],
                "uid": f"search-of-{owner['uid']}",
                "resourceVersion": "2",
                "creationTimestamp": at(0),
                "labels": {
                    api.MANAGED_BY_LABEL: api.MANAGED_BY,
                    api.Label.JOB.value: owner["name"],
                    api.Label.JOB_UID.value: owner["uid"],
                },
                "ownerReferences": [owned_by(job)],
            },
            "spec": {
                "template": {
                    "datasets": {
                        "train": [{"uri": "s3://data/train"}],
                        "validation": [{"uri": "s3://data/val"}],
                    },
                    "output": {"uri": "s3://results/x"},
                    "experiment": SOUND,
                    "runPolicy": {"maxRetries": 3},
                },
                "parallelTrials": 2,
                "suspend": False,
                "maxTrials": 20,
            },
        }
    )


def a_searched() -> JobBuilder:
    return a_job().searched()


def a_running() -> SearchBuilder:
    """The search after 3 of 20 trials."""
    made = a_search_for(a_job()).told(
        "Running", startTime=at(5), best=BEST, trials=TRIALS, dataset={"numClasses": 4}
    )
    made.condition("DataReady", reason="DataChecked", message="10 images, 4 classes")
    made.condition("Running", reason=SAYS[0], message=SAYS[1])
    return made


def an_end(kind: str, reason: str, said: str) -> SearchBuilder:
    """The search at its end."""
    made = a_running().told(kind, completionTime=at(50))
    why = reason if kind == "Failed" else "Finished"
    made.condition("Running", False, reason=why, message="")
    return made.condition(kind, reason=reason, message=said)


def begun(**more: Any) -> Object:
    status = told(
        "Pending", routed=ROUTED, data=NEW, running=("Queued", NEW[1]), automl="x", **more
    )
    return told_at(status, 60)


def running(**more: Any) -> Object:
    status = told("Running", routed=ROUTED, running=SAYS, **{**SHOWN, **more})
    return told_at(status, 60)


def hold(on: bool) -> Patch:
    return Patch("x", "search-of-uid-x", {"spec": {"suspend": on}}, kind="dinoautomls")


def succeeds() -> Plan:
    status = told(
        "Complete",
        routed=ROUTED,
        complete=("Completed", "best mAP50 0.7000", True),
        **{**SHOWN, "completionTime": at(50)},
    )
    event = Event("Completed", "best mAP50 0.7000", "end")
    return Plan(status=told_at(status, 60), events=(event,))
