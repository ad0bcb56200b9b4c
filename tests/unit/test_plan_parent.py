"""A job that goes on from another: it waits, takes over, refuses, or fails with it."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from dino_api.failures import by_reason
from dino_api.names import EventReason
from dino_operator.plan.annotations import Annotation
from dino_operator.plan.job.decide import plan
from dino_operator.plan.model import Event, Plan
from dino_operator.plan.observed.children import Children
from dino_operator.plan.observed.resource import DinoJob
from dino_operator.plan.rendered import pods, spec_file
from tests.builders import SOUND, Builder, JobBuilder, Object, a_job, around, at, later
from tests.statuses import UNCHECKED, told, told_at
from tests.unit.plan_cases import HOLD, SETTINGS, PlanCase, check, created
from tests.unit.plan_searches import a_search_for

WEIGHTS = "s3://results/base/train/dino_model_best.pth"
READY = ("ParentComplete", f"the job starts from {WEIGHTS} of DinoJob base", True)
TAKEN = {
    "model": {"uri": WEIGHTS, "format": "checkpoint"},
    "experiment": {"model": {"backbone": "resnet_18", "num_queries": 100}},
    "numClasses": 4,
}
MODEL = {"backbone": "resnet_18", "num_queries": 100, "pretrained_backbone_path": "imagenet"}


def an_heir(name: str = "base", kind: str | None = None) -> JobBuilder:
    named = {"name": name} if kind is None else {"name": name, "kind": kind}
    return a_job().spec(parent=named).experiment(train=SOUND["train"])


def a_parent(**status: Any) -> JobBuilder:
    """DinoJob base, complete."""
    done = {"checkpoint": {"uri": WEIGHTS}, "dataset": {"numClasses": 4}, **status}
    made = a_job("base").experiment(model=MODEL).status(done)
    made.condition("Complete")
    return made


def waiting(reason: str, said: str, when: float = 60, **more: Any) -> Object:
    """The status of a job that nobody has begun."""
    more = {"parent": (reason, said), "running": (reason, said), **more}
    return told_at(told("Pending", data=UNCHECKED, **more), when)


def _waits() -> dict[str, PlanCase]:
    absent = "DinoJob base does not exist yet; it is waited for"
    runs = "DinoJob base has not ended yet; it is waited for"
    round_ = "x waits for base waits for x: none of them can start; delete one and create it "
    round_ += "without spec.parent"
    lost = "DinoJob base is complete, but its status names no model"
    bad = "DinoJob base failed: Diverged: NaN"
    failed = a_job("base").condition("Failed", reason="Diverged", message="NaN")
    held = told_at(
        told(
            "Suspended",
            data=UNCHECKED,
            parent=("WaitingForParent", absent),
            running=("Suspended", ""),
            suspended=("Suspended", HOLD, True),
        ),
        60,
    )
    takes = waiting("ParentComplete", READY[1], parent=READY, inherited=TAKEN)
    return {
        "it waits for a parent that does not exist": PlanCase(
            an_heir(), Plan(status=waiting("WaitingForParent", absent))
        ),
        "in words that stay": PlanCase(
            an_heir().status(waiting("WaitingForParent", absent)), Plan(), now=600
        ),
        "it waits for one that has not ended": PlanCase(
            an_heir(), Plan(status=waiting("WaitingForParent", runs)), others=[a_job("base")]
        ),
        "jobs that wait for each other are told so": PlanCase(
            an_heir(),
            Plan(status=waiting("WaitingForParent", round_)),
            others=[a_job("base").spec(parent={"name": "x"})],
        ),
        "a suspended heir waits suspended": PlanCase(
            an_heir().suspended(), Plan(status=held, events=(Event("Suspended", HOLD, "1"),))
        ),
        "it fails with its parent": PlanCase(an_heir(), _fails(bad), others=[failed]),
        "also suspended, which it does not go on from": PlanCase(
            an_heir().suspended().status(held), _fails(bad), others=[failed]
        ),
        "it fails where its parent left no checkpoint": PlanCase(
            an_heir(), _fails(lost), others=[a_parent(checkpoint=None)]
        ),
        "what the parent left is written down before anything is made of it": PlanCase(
            an_heir(), Plan(status=takes, requeue_after=1), others=[a_parent()]
        ),
        "then it begins, whatever becomes of the parent": PlanCase(
            an_heir().status(takes), _begins(an_heir().status(takes))
        ),
    }


def _fails(said: str) -> Plan:
    rule = by_reason("ParentFailed")
    status = told(
        "Failed",
        data=("ParentFailed", said),
        parent=("ParentFailed", said),
        complete=("EndedWithoutSuccess", ""),
        failed=("ParentFailed", said, True),
        failure={"reason": "ParentFailed", "message": said, "remedy": rule.remedy},
        completionTime=at(60),
    )
    event = Event("Failed", f"ParentFailed: {said} {rule.remedy}", "end", warning=True)
    return Plan(status=told_at(status, 60), events=(event,))


def _begins(job: JobBuilder) -> Plan:
    digest = spec_file.read_spec(DinoJob(job.obj())).digest
    status = told("Preparing", data=UNCHECKED, running=UNCHECKED, parent=READY, inherited=TAKEN)
    status = {**told_at(status, 60), "specDigest": digest, "image": "trainer:1"}
    made = created(job, pods.Attempt(1, preflight=True))
    return Plan(creates=made, status=status, requeue_after=60)


CASES = _waits()


@pytest.mark.parametrize("sentence", CASES)
def test_plan(sentence: str) -> None:
    check(CASES[sentence])


def test_the_trainer_starts_from_the_parents_checkpoint_with_its_structure() -> None:
    job = an_heir().experiment(model={"dropout_ratio": 0.1}).status({"inherited": TAKEN})
    read = yaml.safe_load(spec_file.read_spec(DinoJob(job.obj())).content)
    assert read["train"]["pretrained_model_path"] == WEIGHTS
    assert read["model"] == {**TAKEN["experiment"]["model"], "dropout_ratio": 0.1}
    assert read["dataset"]["num_classes"] == 4


def test_classes_of_its_own_stay() -> None:
    job = an_heir().spec(numClasses=9).status({"inherited": TAKEN})
    read = yaml.safe_load(spec_file.read_spec(DinoJob(job.obj())).content)
    assert read["dataset"]["num_classes"] == 9


@pytest.mark.parametrize(
    "model, refused",
    [
        ({"num_queries": 300}, "model.num_queries: must be 100"),
        ({"backbone": "resnet_50"}, "model.backbone: must be resnet_18"),
        ({"hidden_dim": 128}, "model.hidden_dim: must be 256"),
        ({"num_queries": 100, "hidden_dim": 256, "cls_loss_coef": 1.0}, None),
    ],
)
def test_another_structure_than_the_parents_is_refused_by_name(
    model: dict[str, Any], refused: str | None
) -> None:
    """Also where the parent has the default; what weights do not depend on may differ."""
    job = an_heir().experiment(model=model).status({"inherited": TAKEN})
    done = plan(job.obj(), Children(), later(60), SETTINGS)
    assert done.status is not None
    if refused is None:
        assert "failure" not in done.status
        return
    assert not done.creates
    assert done.status["failure"]["reason"] == "InvalidSpec"
    assert refused in done.status["failure"]["message"]


def taken(*others: Builder, kind: str | None = None) -> Object:
    """What x takes over from base."""
    named = {(each.thing["kind"], each.meta["name"]): each.obj() for each in others}
    children = around(others=named)
    done = plan(an_heir(kind=kind).obj(), children, later(60), SETTINGS)
    assert done.status is not None
    return done.status["inherited"]


def test_structure_goes_on_from_heir_to_heir() -> None:
    """The grandparent may be gone."""
    base = a_parent(inherited={**TAKEN, "experiment": {"model": {"enc_layers": 2}}})
    assert taken(base)["experiment"]["model"] == {"enc_layers": 2, **TAKEN["experiment"]["model"]}


def test_a_search_leaves_its_winner() -> None:
    best = {"checkpoint": {"uri": WEIGHTS}, "specification": {"model": MODEL, "train": {}}}
    search = a_search_for(a_job("base")).told("Complete", best=best, dataset={"numClasses": 4})
    assert taken(search.condition("Complete"), kind="DinoAutoML") == TAKEN


def test_a_job_that_was_searched_for_leaves_that_of_its_search() -> None:
    best = {"checkpoint": {"uri": WEIGHTS}, "specification": {"model": MODEL}}
    search = a_search_for(a_job("base")).told("Complete", best=best)
    base = a_parent(automl="base")
    base.thing["spec"]["experiment"] = {}
    assert taken(base, search.condition("Complete")) == TAKEN


def test_of_a_search_that_is_gone_only_the_file_knows_the_structure() -> None:
    """The experiment of the job lacks what was drawn, such as the number of queries."""
    base = a_parent(automl="base")
    assert taken(base) == {key: TAKEN[key] for key in ("model", "numClasses")}


def test_data_that_another_trial_checked_is_not_checked_again() -> None:
    job = a_job("x").note(Annotation.DATA_CHECKED_BY, "search-trial-0")
    done = plan(job.obj(), Children(), later(60), SETTINGS)
    assert [each["metadata"]["name"] for each in done.creates][-1] == "x-train-1"
    assert done.status is not None
    ready = next(each for each in done.status["conditions"] if each["type"] == "DataReady")
    assert (ready["status"], ready["reason"]) == ("True", "CheckedByTrial")
    assert UNCHECKED[1] not in str(done.status)


def said_of(job: JobBuilder) -> list[str]:
    """What the plan that begins says of the spec."""
    done = plan(job.obj(), Children(), later(60), SETTINGS)
    assert done.creates
    return said_in(done)


def said_in(done: Plan) -> list[str]:
    return [each.message for each in done.events if each.reason == EventReason.SPEC_DOUBTFUL]


def test_a_training_from_random_numbers_is_told_before_a_gpu_is_asked_for() -> None:
    job = a_job().experiment(train=SOUND["train"])
    (said,) = said_of(job)
    assert "pretrained_backbone_path: is empty, so the backbone starts from random" in said
    assert "docs/backbones.md" in said
    assert said_of(a_job()) == []


def test_it_is_told_also_where_the_operator_ended_before_it_could() -> None:
    job = a_job().experiment(train=SOUND["train"])
    first = plan(job.obj(), Children(), later(60), SETTINGS)
    (made,) = (each for each in first.creates if each["kind"] == "Job")
    made["metadata"] |= {"creationTimestamp": at(60), "uid": "made"}
    around_it = around([made])
    again = plan(job.obj(), around_it, later(70), SETTINGS)
    assert said_in(again) == said_of(job)
    told = job.status(first.status or {})
    assert said_in(plan(told.obj(), around_it, later(80), SETTINGS)) == []


def test_a_parents_model_is_no_random_start() -> None:
    job = an_heir().status({"inherited": TAKEN})
    assert said_of(job) == []
    assert spec_file.read_spec(DinoJob(an_heir().obj())).warnings == (), (
        "nor before it is looked at"
    )


def test_a_teacher_is_no_start_of_the_student() -> None:
    job = (
        an_heir()
        .spec(action="distill")
        .experiment(model={"backbone": "resnet_18"}, train=SOUND["train"])
    )
    warnings = spec_file.read_spec(DinoJob(job.status({"inherited": TAKEN}).obj())).warnings
    assert any("random numbers" in each for each in warnings)
