"""A job in whose place a search runs: what is made and shown; and when it trains itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dino_api.failures import by_reason
from dino_api.resources.dinoautoml import DinoAutoMLSpec
from dino_operator.plan.job.decide import plan
from dino_operator.plan.model import Event, Plan
from dino_operator.plan.observed.children import Children
from dino_operator.plan.observed.resource import DinoJob
from dino_operator.plan.rendered import pods, spec_file
from tests.builders import (
    JobBuilder,
    Object,
    a_child,
    a_job,
    a_pod,
    a_preflight,
    around,
    at,
    later,
)
from tests.statuses import RUNNING, UNCHECKED, told, told_at
from tests.unit.plan_cases import SETTINGS, PlanCase, check, created
from tests.unit.plan_searches import (
    ROUTED,
    SHOWN,
    SearchBuilder,
    a_running,
    a_search_for,
    a_searched,
    an_end,
    begun,
    hold,
    running,
    succeeds,
)
from tests.unit.test_plan_parent import TAKEN, WEIGHTS

OFF = replace(SETTINGS, automl=False)


def _made() -> dict[str, PlanCase]:
    return {
        "a search is made for it": PlanCase(
            a_searched(), Plan(creates=(a_made(),), status=begun())
        ),
        "once": PlanCase(a_searched().status(begun()), Plan(), automls=[a_search_for(a_job())]),
        "it is made again where someone deleted it": PlanCase(
            a_searched().status(running()), Plan(creates=(a_made(),), status=begun())
        ),
        "but not before it is gone": PlanCase(
            a_searched().status(begun()),
            _waits("DinoAutoML x of an earlier time is still being deleted; it is waited for"),
            automls=[a_search_for(a_job()).deleting()],
        ),
        "nor beside that of a job of this name that was deleted": PlanCase(
            a_searched().status(begun()),
            _waits("DinoAutoML x of an earlier time is still being deleted; it is waited for"),
            automls=[a_search_for(a_job().uid("old"))],
        ),
        "what it says is shown": PlanCase(
            a_searched().status(begun()),
            Plan(status=running()),
            automls=[a_running()],
        ),
        "and not written twice": PlanCase(
            a_searched().status(running()), Plan(), automls=[a_running()]
        ),
        "it is suspended with the job": PlanCase(
            a_searched().suspended().status(running()),
            Plan(patches=(hold(True),)),
            automls=[a_running()],
        ),
        "and resumed": PlanCase(
            a_searched().status(running()),
            Plan(patches=(hold(False),)),
            automls=[a_running().spec(suspend=True)],
        ),
        "the job succeeds with it": PlanCase(
            a_searched().status(running()),
            succeeds(),
            automls=[an_end("Complete", "Completed", "best mAP50 0.7000")],
        ),
        "and fails with it": PlanCase(
            a_searched().status(running()),
            _fails("MaxFailedTrialsReached", "4 trials failed", "Look.", failure=True),
            automls=[_failed_search()],
        ),
    }


def _direct() -> dict[str, PlanCase]:
    off = (
        "AutoMLDisabled",
        "searches are turned off in this installation (Helm value "
        "automl.enabled); the job trains with its experiment as it is",
    )
    lacks = (
        "AutoMLCRDMissing",
        "the DinoAutoML CRD is not installed; the job trains with its experiment as it is",
    )
    trains = {**RUNNING, "conditions": _with(RUNNING, lacks)}
    return {
        "it trains itself where searches are turned off": PlanCase(
            a_searched(), _trains(a_searched(), off), settings=OFF
        ),
        "and where there is no CRD of searches": PlanCase(
            a_searched(), _trains(a_searched(), lacks), served=False
        ),
        "a job that trains goes on when the CRD comes": PlanCase(
            a_searched().status(trains),
            Plan(requeue_after=245),
            jobs=[a_child(a_job())],
            pods=[a_pod(a_child(a_job())).running()],
        ),
        "also where the operator ended before it said so": PlanCase(
            a_searched(),
            Plan(status=_checks(off)),
            jobs=[a_preflight(a_job())],
            pods=[a_pod(a_preflight(a_job())).running()],
        ),
        "without data of its own it says what is missing": PlanCase(
            _without_data(), _no_data(off), settings=OFF
        ),
    }


def a_made() -> Object:
    """What is POSTed: no uid, no version."""
    made = a_search_for(a_job()).obj()
    for key in ("uid", "resourceVersion", "creationTimestamp"):
        del made["metadata"][key]
    return made


def _waits(said: str) -> Plan:
    status = told(
        "Pending",
        routed=ROUTED,
        data=("Checking", ""),
        automl="x",
        running=("WaitingForChild", said),
    )
    return Plan(status=told_at(status, 60), requeue_after=30)


FAILURE = {"reason": "MaxFailedTrialsReached", "message": "4 trials failed", "remedy": "Look."}


def _failed_search() -> SearchBuilder:
    made = an_end("Failed", FAILURE["reason"], FAILURE["message"])
    return made.told("Failed", failure=FAILURE)


def _fails(reason: str, said: str, remedy: str, failure: bool) -> Plan:
    status = told(
        "Failed",
        routed=ROUTED,
        failed=(reason, said, True),
        **{**SHOWN, "completionTime": at(50), "failure": FAILURE},
    )
    event = Event("Failed", f"{reason}: {said} {remedy}", "end", warning=True)
    return Plan(status=told_at(status, 60), events=(event,))


def _checks(why: tuple[str, str]) -> Object:
    status = told("Preparing", routed=why, data=UNCHECKED, running=UNCHECKED)
    return told_at({**status, "specDigest": "digest", "image": "trainer:1"}, 60)


def _trains(job: JobBuilder, why: tuple[str, str]) -> Plan:
    status = {**_checks(why), "specDigest": spec_file.read_spec(DinoJob(job.obj())).digest}
    made = created(job, pods.Attempt(1, preflight=True))
    return Plan(creates=made, status=status, requeue_after=60)


def _with(status: Object, why: tuple[str, str]) -> list[Object]:
    first, *others = status["conditions"]
    return [first, told("Running", routed=why)["conditions"][1], *others]


def _without_data() -> JobBuilder:
    job = a_searched()
    del job.thing["spec"]["datasets"]
    return job


def _no_data(why: tuple[str, str]) -> Plan:
    rule = by_reason("InvalidSpec")
    said = spec_file.NO_DATA
    status = told(
        "Failed",
        routed=why,
        data=("InvalidSpec", said),
        complete=("EndedWithoutSuccess", ""),
        failed=("InvalidSpec", said, True),
        failure={"reason": "InvalidSpec", "message": said, "remedy": rule.remedy},
        completionTime=at(60),
    )
    event = Event("Failed", f"InvalidSpec: {said} {rule.remedy}", "end", warning=True)
    return Plan(status=told_at(status, 60), events=(event,))


CASES = {**_made(), **_direct()}


@pytest.mark.parametrize("sentence", CASES)
def test_plan(sentence: str) -> None:
    check(CASES[sentence])


def searched_for(job: JobBuilder, **settings: Any) -> Object:
    """The DinoAutoML that is made for that job."""
    done = plan(job.obj(), Children(), later(60), replace(SETTINGS, **settings))
    (made,) = done.creates
    DinoAutoMLSpec.model_validate(made["spec"])
    return made


def test_only_trainings_are_searched_for() -> None:
    done = plan(a_searched().spec(action="export").obj(), Children(), later(60), SETTINGS)
    assert "DinoAutoML" not in {each["kind"] for each in done.creates}
    assert done.status is not None
    assert "AutoMLRouted" not in str(done.status["conditions"])


def test_the_installation_says_how_many_trials() -> None:
    spec = searched_for(a_searched(), routed_trials=3, routed_parallel=9)["spec"]
    assert (spec["maxTrials"], spec["parallelTrials"]) == (3, 3)


def test_without_data_of_its_own_the_profile_says_how_many_trials() -> None:
    spec = searched_for(_without_data(), routed_trials=50, routed_parallel=30)["spec"]
    assert "maxTrials" not in spec
    assert spec["parallelTrials"] == SETTINGS.profile.max_trials


def test_the_search_is_held_and_not_each_trial() -> None:
    made = searched_for(a_searched().policy(suspend=True))
    assert made["spec"]["suspend"] is True
    assert made["spec"]["template"]["runPolicy"] == {"maxRetries": 3}


def test_a_long_name_is_cut_for_the_names_of_trials() -> None:
    made = searched_for(JobBuilder(a_job("n" * 60).searched().obj()))
    assert len(made["metadata"]["name"]) == 40
    assert made["metadata"]["labels"]["dino-operator.io/job"] == "n" * 60


def test_labels_of_kueues_reach_the_search() -> None:
    """And from there its trials: Kueue reads those of their Jobs."""
    job = a_searched()
    job.meta["labels"] = {"kueue.x-k8s.io/priority-class": "low", "team": "red"}
    labels = searched_for(job)["metadata"]["labels"]
    assert labels["kueue.x-k8s.io/priority-class"] == "low"


def test_a_job_of_a_release_that_asked_for_no_validation_is_searched_for() -> None:
    job = a_searched()
    del job.thing["spec"]["datasets"]["validation"]
    data = searched_for(job)["spec"]["template"]["datasets"]
    assert data["validation"] == data["train"], "the API server takes the search"


def test_an_heir_is_searched_for_with_what_it_inherits() -> None:
    job = a_searched().spec(parent={"name": "base"}).experiment().status({"inherited": TAKEN})
    template = searched_for(job)["spec"]["template"]
    assert "parent" not in template
    assert template["experiment"]["train"]["pretrained_model_path"] == TAKEN["model"]["uri"]
    assert template["experiment"]["model"] == TAKEN["experiment"]["model"]
    assert template["numClasses"] == 4


def test_a_file_as_parent_goes_into_the_search() -> None:
    template = searched_for(a_searched().spec(parent={"uri": WEIGHTS}))["spec"]["template"]
    assert "parent" not in template
    assert template["experiment"]["train"]["pretrained_model_path"] == WEIGHTS


def test_an_heir_of_another_structure_is_refused_before_a_search_is_made() -> None:
    job = a_searched().spec(parent={"name": "base"}).status({"inherited": TAKEN})
    job.experiment(model={"num_queries": 300})
    done = plan(job.obj(), Children(), later(60), SETTINGS)
    assert not done.creates
    assert done.status is not None
    assert done.status["failure"]["reason"] == "InvalidSpec"


def test_a_strangers_search_of_that_name_is_left_alone() -> None:
    stranger = a_search_for(a_job().uid("other")).obj()
    children = around(strangers=(stranger,))
    done = plan(a_searched().obj(), children, later(60), SETTINGS)
    assert not done.creates
    assert "DinoAutoML x belongs to someone else" in str(done.status)
