"""What the API server refuses: judged by its answer, then said of DinoJobs and of searches."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dino_api.names import AUTOML_KIND, KIND
from dino_operator.plan.job.decide import plan
from dino_operator.plan.model import Object, Plan, is_true
from dino_operator.plan.observed.children import Refusal
from dino_operator.plan.observed.resource import DinoJob
from dino_operator.plan.reported import refusals
from dino_operator.plan.search import decide
from tests.builders import a_child, a_job, a_pod, a_preflight, around, at, later
from tests.statuses import RUNNING
from tests.unit.plan_cases import SETTINGS
from tests.unit.plan_searches import a_search_for
from tests.unit.refusals import INVALID, TERMINATING, WAITED_FOR, RefusingAnswer
from tests.unit.search_world import SearchWorld

OF_A_DINOJOB = ("ServiceAccount", "RoleBinding", "ConfigMap", "Service", "Job", AUTOML_KIND)
every_answer = pytest.mark.parametrize("answer", WAITED_FOR.values(), ids=WAITED_FOR)


@every_answer
def test_what_the_cluster_refuses_is_waited_for(answer: RefusingAnswer) -> None:
    judged = refusals.judge(answer.refusal("Job", "x-preflight-1"))
    assert judged.reason == answer.judged
    assert not judged.ends
    assert judged.sentence.startswith("the API server refuses Job x-preflight-1: ")
    assert judged.remedy.endswith(".")


def test_the_apis_own_validation_ends_it() -> None:
    judged = refusals.judge(INVALID.refusal())
    assert judged.ends
    assert "spec.template.spec.tolerations[0].key: Invalid value" in judged.sentence


@pytest.mark.parametrize("kind", ["ServiceAccount", "RoleBinding"])
def test_what_has_nothing_of_the_spec_does_not_end_a_job(kind: str) -> None:
    assert not refusals.judge(INVALID.refusal(kind)).ends


def test_a_namespace_that_goes_is_quiet() -> None:
    assert refusals.judge(TERMINATING.refusal()).is_quiet


@pytest.mark.parametrize(
    "case, words",
    [
        ("quota", "kubectl describe resourcequota few"),
        ("policy, Invalid", "ValidatingAdmissionPolicy labels (binding all)"),
        ("policy, Invalid", "kubectl label"),
        ("policy, Invalid", "spec.podTemplate"),
        ("webhook denies, 403", "the webhook validate.kyverno.svc"),
        ("webhook closed", "the pods behind the webhook mjob.kb.io"),
        ("no right", "helm upgrade"),
        ("unavailable", "tried again"),
    ],
)
def test_the_remedy_says_whom_to_ask_and_what_to_do(case: str, words: str) -> None:
    assert words in refusals.judge(WAITED_FOR[case].refusal()).message


def test_a_connections_own_port_is_not_told() -> None:
    """It is another one each time, and each change of words would cost a write."""
    said = 'failed calling webhook "w": read tcp 10.0.0.1:{}->10.0.0.2:443: connection reset'
    both = {
        refusals.judge(Refusal("create", "Job", "x", 500, message=said.format(port))).message
        for port in (41000, 42000)
    }
    assert len(both) == 1
    assert "read tcp 10.0.0.2:443" in both.pop()


def running(told: Plan) -> Object:
    assert told.status is not None
    (found,) = [each for each in told.status["conditions"] if each["type"] == "Running"]
    return dict(found)


# ---- DinoJobs -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", OF_A_DINOJOB)
@every_answer
def test_a_dinojob_says_at_once_what_it_waits_for(answer: RefusingAnswer, kind: str) -> None:
    job = a_job().searched() if kind == AUTOML_KIND else a_job().spec(resources={"nodes": 2})
    children = around(refusal=answer.refusal(kind, "its-name"))
    told = plan(job.obj(), children, later(0), SETTINGS)
    assert told.status is not None
    assert told.status["phase"] == "Pending"
    assert running(told)["reason"] == answer.judged
    assert f"refuses {kind} its-name: " in running(told)["message"]
    assert (told.creates, told.patches, told.deletes) == ((), (), ())
    events = [each.reason for each in told.events]
    assert events == ([] if answer.judged == "APIServerUnavailable" else ["Refused"])
    again = job.status(told.status).obj()
    after = plan(again, children, later(30), SETTINGS)
    assert (after.status, after.events) == (None, ()), "said once"


def test_an_impossible_spec_ends_a_dinojob() -> None:
    told = plan(a_job().obj(), around(refusal=INVALID.refusal()), later(0), SETTINGS)
    assert told.status is not None
    assert told.status["failure"]["reason"] == "InvalidSpec"
    assert told.status["failure"]["remedy"].startswith("Correct the named key")


@pytest.mark.parametrize("code", [400, 413, 422])
def test_a_proxys_answer_ends_nothing(code: int) -> None:
    """Kubernetes gives a reason; a load balancer before it has a page of HTML."""
    answer = Refusal("create", "Job", "x", code, message="<html>Bad Request</html>")
    told = plan(a_job().obj(), around(refusal=answer), later(0), SETTINGS)
    assert running(told)["reason"] == "APIServerUnavailable"


def test_what_is_made_again_for_a_training_does_not_end_it() -> None:
    job = a_job().status(RUNNING)
    child = a_child(job)
    children = around(
        (child.obj(),),
        (a_pod(child).running().obj(),),
        refusal=INVALID.refusal("ConfigMap", "x-train"),
    )
    told = plan(job.obj(), children, later(900), SETTINGS)
    assert not told.deletes
    assert told.status is not None
    assert told.status["phase"] == "Running"


def test_a_change_that_is_refused_leaves_progress_to_the_pod() -> None:
    job = a_job().status({**RUNNING, "progress": {"epoch": 1, "updatedAt": at(50)}}).suspended()
    answer = replace(WAITED_FOR["quota"].refusal("Job", "x-train-1"), verb="patch")
    child = a_child(job)
    children = around((child.obj(),), (a_pod(child).running().obj(),), refusal=answer)
    told = plan(job.obj(), children, later(60), SETTINGS)
    assert told.status is not None
    assert "progress" not in told.status
    again = plan(job.status(told.status).obj(), children, later(61), SETTINGS)
    assert again.status is None, "said once"


def test_words_that_were_heard_before_change_nothing() -> None:
    """Of two full quotas, now one answers and now the other."""
    job, few = a_job(), WAITED_FOR["quota"]
    first = plan(job.obj(), around(refusal=few.refusal()), later(0), SETTINGS)
    other = replace(few, message=few.message.replace("few", "fewer"))
    job.status(first.status)
    news = plan(job.obj(), around(refusal=other.refusal()), later(1), SETTINGS)
    assert "fewer" in running(news)["message"]
    assert not news.events, "one event"
    heard = plan(job.obj(), around(refusal=other.refusal(heard=1)), later(2), SETTINGS)
    assert heard.status is None


def test_what_may_pass_at_once_has_an_event_once_it_lasts() -> None:
    job, answer = DinoJob(a_job().obj()), WAITED_FOR["unavailable"]
    found = [refusals.lasting(job, answer.refusal(heard=count)) for count in range(8)]
    assert [len(each) for each in found] == [0, 0, 0, 1, 0, 0, 0, 0]
    assert not refusals.lasting(job, WAITED_FOR["quota"].refusal(heard=3)), "it had its event"


def test_a_failure_that_is_retried_stays_while_the_next_attempt_is_refused() -> None:
    job = a_job().status(RUNNING)
    child = a_child(job).failed(end=60)
    known = {"reason": "StorageUnavailable", "message": "S3 does not answer", "remedy": "Start S3."}
    pod = a_pod(child).exited(69, message={"schema": 1, "action": "train", "failure": known})
    refusal = WAITED_FOR["quota"].refusal("Job", "x-train-2")
    children = around(
        (a_preflight(job).complete().obj(), child.obj()), (pod.obj(),), refusal=refusal
    )
    told = plan(job.obj(), children, later(600), SETTINGS)
    assert told.status is not None
    assert told.status["failure"]["reason"] == "StorageUnavailable"
    assert told.status["attempts"] == 1, "the second has no Job"
    assert running(told)["reason"] == "QuotaExceeded"


@pytest.mark.parametrize("verb", ["patch", "delete"])
@pytest.mark.parametrize(
    "answer, reason",
    [
        (WAITED_FOR["policy, Forbidden"], "PolicyDenied"),
        (WAITED_FOR["webhook closed"], "WebhookUnavailable"),
        (INVALID, "ChangeRefused"),
    ],
)
def test_a_refused_change_leaves_a_running_job_running(
    verb: str, answer: RefusingAnswer, reason: str
) -> None:
    job = a_job().status(RUNNING).suspended()
    refusal = replace(answer.refusal("Job", "x-train-1"), verb=verb)
    child = a_child(job)
    jobs = (a_preflight(job).complete().obj(), child.obj())
    children = around(jobs, (a_pod(child).running().obj(),), refusal=refusal)
    told = plan(job.obj(), children, later(60), SETTINGS)
    assert told.status is not None
    assert told.status["phase"] == "Running"
    found = running(told)
    assert (found["status"], found["reason"]) == ("True", reason)
    assert "Job x-train-1" in found["message"]
    assert not is_true({"status": told.status}, "Suspended"), "it is not held"
    assert [each.reason for each in told.events] == ["Refused"]
    assert (told.creates, told.patches, told.deletes) == ((), (), ())


def test_a_change_that_is_refused_before_the_first_status_is_said() -> None:
    refusal = replace(WAITED_FOR["quota"].refusal("Job", "x-train-1"), verb="patch")
    told = plan(a_job().obj(), around(refusal=refusal), later(0), SETTINGS)
    assert told.status is not None
    assert told.status["phase"] == "Pending"


def test_a_search_in_a_jobs_place_is_copied_while_it_cannot_be_held() -> None:
    job = a_job().searched()
    made = a_search_for(job).told("Running", best=None, trials={"total": 5, "display": "3/20"})
    made.condition("Running", reason="Searching", message="5 trials run")
    refusal = replace(WAITED_FOR["no right"].refusal(AUTOML_KIND, "x"), verb="patch")
    children = around(automls=(made.obj(),), refusal=refusal)
    told = plan(job.suspended().obj(), children, later(60), SETTINGS)
    assert told.status is not None
    assert told.status["progress"] == {"display": "3/20 trials"}
    assert running(told)["reason"] == "NotPermitted"
    assert not told.patches


def test_after_the_end_a_refused_change_says_nothing_new() -> None:
    job = a_job().status({**RUNNING, "phase": "Complete"}).condition("Complete", reason="Completed")
    refusal = replace(WAITED_FOR["quota"].refusal(), verb="patch")
    told = plan(job.obj(), around(refusal=refusal), later(60), SETTINGS)
    assert told.events == ()
    assert "QuotaExceeded" not in str(told.status)


# ---- searches -----------------------------------------------------------------------------------


def searched(world: SearchWorld, refusal: Refusal) -> Plan:
    resource, children = world.look()
    return decide.plan(resource, replace(children, refusal=refusal), world.now, world.settings)


@every_answer
def test_a_search_whose_first_trial_is_refused_waits(answer: RefusingAnswer) -> None:
    world = SearchWorld()
    told = searched(world, answer.refusal(KIND, "x-trial-0"))
    assert told.status is not None
    assert told.status["phase"] == "Pending"
    assert running(told)["reason"] == answer.judged
    assert "failure" not in told.status
    assert not told.creates
    world.carry_out(told)
    after = searched(world, answer.refusal(KIND, "x-trial-0"))
    assert (after.status, after.events) == (None, ()), "said once"
    world.baseline(0.5)
    assert world.dinojobs, "it goes on by itself"


@every_answer
def test_trials_that_run_go_on_while_the_next_one_is_refused(answer: RefusingAnswer) -> None:
    world = SearchWorld(maxTrials=5, maxFailedTrials=4)
    world.baseline(0.5)
    world.run("x-trial-1", 0.2)
    world.complete("x-trial-2", 0.4)
    told = searched(world, answer.refusal(KIND, "x-trial-3"))
    assert told.status is not None
    assert told.status["phase"] == "Running"
    found = running(told)
    assert (found["status"], found["reason"]) == ("True", answer.judged)
    assert (
        "2 of 5 trials have ended; x-trial-1 run; the API server refuses DinoJob x-trial-3"
        in (found["message"])
    )
    assert told.status["history"][2]["mAP50"] == 0.4, "what ended is written down"
    assert len(told.status["history"]) == 3, "and nothing of what does not exist"
    world.seen = world.look()
    world.carry_out(told)
    world.settle()
    assert "x-trial-3" in world.dinojobs, "it goes on by itself"
    assert world.says("Running")[1] == "Searching"


def ended(**spec: Any) -> SearchWorld:
    """After the last trial; the report is being written."""
    world = SearchWorld(maxTrials=2, **spec)
    world.baseline(0.5)
    world.complete("x-trial-1", 0.4)
    world.settle()
    return world


@pytest.mark.parametrize("kind", ["ServiceAccount", "RoleBinding", "ConfigMap", "Job"])
def test_a_report_that_is_refused_is_waited_for(kind: str) -> None:
    world = ended()
    world.jobs.clear()
    told = searched(world, WAITED_FOR["quota"].refusal(kind, "x-report-1"))
    assert not told.creates
    assert running(told)["reason"] == "QuotaExceeded"
    assert "x-trial-0 is the best" in running(told)["message"]
    world.seen = world.look()
    world.carry_out(told)
    world.settle()
    world.report()
    world.settle()
    assert world.says("Complete")[0] == "True"


def test_an_impossible_report_fails_nothing() -> None:
    world = ended()
    world.jobs.clear()
    told = searched(world, INVALID.refusal("Job", "x-report-1"))
    assert told.is_last_word
    assert [each.reason for each in told.events] == ["ReportFailed", "Completed"]


def test_a_job_on_the_winner_that_is_refused_is_waited_for() -> None:
    data = {"train": [{"uri": "s3://d/t"}], "validation": [{"uri": "s3://d/v"}]}
    template = {"datasets": {**data, "test": [{"uri": "s3://d/e"}]}, "output": {"uri": "s3://r/x"}}
    world = ended(template=template, then=[{"action": "evaluate"}])
    world.report()
    told = searched(world, WAITED_FOR["policy, Invalid"].refusal(KIND, "x-then-1"))
    assert told.status is not None
    assert [each["phase"] for each in told.status["then"]] == ["Pending"]
    assert running(told)["reason"] == "PolicyDenied"
    world.seen = world.look()
    world.carry_out(told)
    world.settle()
    assert "x-then-1" in world.dinojobs


def test_a_trial_that_cannot_be_held_does_not_stop_the_history() -> None:
    world = SearchWorld()
    world.baseline(0.5)
    world.complete("x-trial-1", 0.4)
    world.edit(suspend=True)
    refusal = replace(WAITED_FOR["no right"].refusal(KIND, "x-trial-2"), verb="patch")
    told = searched(world, refusal)
    assert told.status is not None
    assert told.status["history"][1]["mAP50"] == 0.4
    assert running(told)["reason"] == "NotPermitted"
    assert not told.patches


def test_an_experiment_that_cannot_be_read_chooses_no_engine() -> None:
    world = SearchWorld(engine="Auto")
    told = searched(
        world, Refusal("read", "Experiment", "of Katib", 403, message="cannot get resource")
    )
    assert told.status is not None
    assert told.status["phase"] == "Pending"
    assert "engine" not in told.status
    assert running(told)["reason"] == "NotPermitted"
