"""Ten lives of DinoJobs and searches: what is made, how pods end, and what users do meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dino_api.names import Label
from dino_operator.plan.model import Object
from dino_operator.runtime.client import MERGE, OURS, ApiError, path
from dino_operator.runtime.keys import Kind
from tests.api.operator_cluster import a_manifest
from tests.unit.search_builders import a_search

if TYPE_CHECKING:
    from tests.proof.faults import Lists, Run

OUT_OF_MEMORY = 71
USER_ERROR = 64
CRASH = 70
Act = Callable[["Run", Object], Coroutine[Any, Any, bool]]


@dataclass
class Workload:
    """One life.

    codes: exit codes of the pods of a Job, by its name; 0 else. acts: what users do, in order, each
    until it says that it is done; from the first Job that trains on, its pod runs until then.
    leaves_nothing: everything is deleted in the end. stays: its pod does not end by itself.
    """

    name: str
    made: tuple[Object, ...]
    codes: dict[str, int] = field(default_factory=dict)
    acts: tuple[Act, ...] = ()
    leaves_nothing: bool = False
    stays: bool = False

    async def begin(self, run: Run) -> None:
        """Users apply it."""
        for each in self.made:
            await create(run, each)

    async def act(self, run: Run, lists: Lists) -> bool:
        """Users do what is left to do; whether nothing is."""
        done = vars(run).setdefault("acted", 0)
        if done == len(self.acts):
            return True
        job = next((e for e in lists[Kind.DINOJOBS][0] if e["metadata"]["name"] == "x"), {})
        if await self.acts[done](run, job):
            vars(run)["acted"] = done + 1
        return False

    def holds(self, run: Run, pod: Object) -> bool:
        """Whether the pod runs on, as somebody will act while it does."""
        trains = pod["metadata"]["labels"].get(Label.ACTION.value) == "train"
        return trains and (self.stays or vars(run).get("acted", 0) < len(self.acts))


async def create(run: Run, thing: Object) -> None:
    """kubectl create."""
    where = f"{OURS}/namespaces/{run.namespace}/{thing['kind'].lower()}s"
    await run.client.request("POST", where, body=thing)


async def change(run: Run, **policy: Any) -> None:
    """kubectl patch of x's runPolicy."""
    where = path("dinojobs", run.namespace, "x")
    body = {"spec": {"runPolicy": policy}}
    await run.client.request("PATCH", where, body=body, content=MERGE)


def phase(job: Object) -> str:
    """The phase that the status tells; empty without a job."""
    return str(job.get("status", {}).get("phase", ""))


async def suspend(run: Run, job: Object) -> bool:
    if phase(job) != "Running":
        return False
    await change(run, suspend=True)
    return True


async def resume(run: Run, job: Object) -> bool:
    if phase(job) != "Suspended":
        return False
    await change(run, suspend=False)
    return True


async def stop(run: Run, job: Object) -> bool:
    if phase(job) != "Running":
        return False
    await change(run, stop=True)
    return True


async def delete(run: Run, job: Object) -> bool:
    if phase(job) != "Running":
        return False
    body = {"propagationPolicy": "Background"}
    try:
        await run.client.request("DELETE", path("dinojobs", run.namespace, "x"), body=body)
    except ApiError as error:
        if error.status != 404:
            raise
    return True


async def again(run: Run, job: Object) -> bool:
    """Created once more, as soon as the old one has gone."""
    if job:
        return False
    await create(run, a_manifest())
    return True


def trains(name: str = "x", retries: int = 2, nodes: int = 1, **spec: Any) -> Object:
    """A DinoJob on CPU."""
    made = a_manifest(name, **spec)
    made["spec"] |= {"runPolicy": {"maxRetries": retries}}
    made["spec"]["resources"] = {"gpus": 0, "nodes": nodes}
    return made


def searches() -> Object:
    """Two trials, one after the other, and an evaluation of the winner."""
    made = a_search("s", maxTrials=2, parallelTrials=1, then=[{"action": "evaluate"}])
    source = [{"uri": "s3://bucket/data"}]
    template = made["spec"]["template"]
    template["datasets"] = {"train": source, "validation": source, "test": source}
    template["resources"] = {"gpus": 0}
    made["metadata"] = {"name": "s"}
    return made


def evaluates() -> Object:
    """A job that goes on from what x leaves."""
    source = [{"uri": "s3://bucket/test"}]
    parent = {"kind": "DinoJob", "name": "x"}
    made = a_manifest("y", action="evaluate", parent=parent, datasets={"test": source})
    made["spec"]["output"] = {"uri": "s3://bucket/evaluated"}
    return made


WORKLOADS = (
    Workload("succeeds", (trains(),)),
    Workload("a user's error", (trains(),), {"x-train-1": USER_ERROR}),
    Workload("out of memory, then it fits", (trains(),), {"x-train-1": OUT_OF_MEMORY}),
    Workload("retries used up", (trains(retries=1),), {"x-train-1": CRASH, "x-train-2": CRASH}),
    Workload("suspended and resumed", (trains(),), acts=(suspend, resume)),
    Workload("stopped", (trains(),), acts=(stop,), stays=True),
    Workload("deleted while it runs", (trains(),), acts=(delete,), leaves_nothing=True),
    Workload("deleted and created again", (trains(),), acts=(delete, again)),
    Workload("two nodes", (trains(nodes=2),)),
    Workload("a search and its winner", (searches(),)),
    Workload("a chain", (trains(), evaluates())),
)
