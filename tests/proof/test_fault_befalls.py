"""Whether a spoiled moment came is counted: a fault that never befell proves nothing."""

from __future__ import annotations

from typing import Any, cast

import pytest

from dino_operator.plan.model import Object
from dino_operator.runtime.client import ApiError, Client
from dino_operator.runtime.keys import Kind
from tests.proof.faults import AT_CHANGES, AT_WRITES, Fault, Killed, Line, Lists, Run, What
from tests.proof.workloads import WORKLOADS

META = {"name": "x", "namespace": "team", "uid": "u", "resourceVersion": "1"}
THING: Object = {"kind": "Job", "metadata": META}
NOTHING: Lists = {kind: ([], 1) for kind in Kind}


class EmptyServer:
    """An API server with nothing in it, which takes everything."""

    async def create(self, thing: Object) -> Object:
        return thing

    async def list_all(self, *_: Any) -> tuple[list[Object], int]:
        return [], 1


NOBODY = cast(Client, EmptyServer())


@pytest.mark.parametrize("what", AT_WRITES)
async def test_a_fault_at_a_write_befalls_at_that_write(what: What) -> None:
    line = Line(NOBODY, Fault(what, 2))
    await line.create(THING)
    assert not line.befell
    with pytest.raises((Killed, ApiError)):
        await line.create(THING)
    assert line.befell


@pytest.mark.parametrize("what", AT_CHANGES)
async def test_a_fault_at_a_change_befalls_at_that_change(what: What) -> None:
    run = Run(NOBODY, WORKLOADS[0], Fault(what, 2))
    await run._see(NOTHING)
    assert not run.befell
    await run._see(NOTHING | {Kind.JOBS: ([], 2)})
    assert not run.befell, "nothing has changed"
    await run._see(NOTHING | {Kind.JOBS: ([THING], 3)})
    assert run.befell


async def test_a_fault_at_no_change_is_none() -> None:
    run = Run(NOBODY, WORKLOADS[0], Fault("kill after", 1))
    await run._see(NOTHING)
    assert not run.befell, "its number is that of a write"
