"""What befalls a plan while it waits for an answer: the orders in which faults were found."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dino_operator.plan.model import Object
from dino_operator.plan.observed import objects
from dino_operator.runtime.keys import Kind
from tests.unit.plan_world import World
from tests.unit.waiting_operator import Waiting

LAST_READ = "GET team/limitranges"
before_a_job = pytest.mark.parametrize("awaited", [LAST_READ, "POST team/configmaps"])
"""What is awaited right before a Job is made."""


@pytest.fixture
def operator() -> Iterator[Waiting]:
    made = Waiting(World(), print)
    made.answer_all()
    made.world.submit()
    yield made
    made.close()


def the_job(operator: Waiting) -> Object:
    job = operator.world.dinojob
    assert job is not None
    return job


@before_a_job
def test_what_is_planned_for_a_job_is_not_done_for_its_namesake(
    operator: Waiting, awaited: str
) -> None:
    operator.deliver_all()
    operator.answer_until(awaited)
    operator.world.remove(Kind.DINOJOBS, the_job(operator))
    operator.world.submit(action="gen_trt_engine")
    operator.deliver_all()
    operator.answer_all()
    operator.world.wait(60)
    operator.answer_all()
    (made,) = operator.world.jobs()
    assert objects.controller_uid(made) == objects.uid_of(the_job(operator))
    assert operator.world.created_jobs == ["x-gen-trt-engine-1"]


@before_a_job
def test_a_job_that_is_stopped_while_it_is_planned_is_not_begun(
    operator: Waiting, awaited: str
) -> None:
    operator.deliver_all()
    operator.answer_until(awaited)
    operator.world.edit(stop=True)
    operator.deliver_all()
    operator.answer_all()
    operator.world.wait(60)
    operator.answer_all()
    assert operator.world.created_jobs == []
    assert the_job(operator)["status"]["failure"]["reason"] == "Stopped"


def test_a_late_answer_brings_back_nothing_that_a_resync_found_gone(operator: Waiting) -> None:
    operator.deliver_all()
    late = operator.answer_until("GET team/dinojobs/x")
    operator.do(late)
    operator.world.remove(Kind.DINOJOBS, the_job(operator))
    operator.deliver_all()
    operator.resync()
    while operator.resyncing is not None and not operator.resyncing.done():
        operator.answer(-1)
    operator.answer_all()
    operator.agrees()
    assert operator.world.created_jobs == []
