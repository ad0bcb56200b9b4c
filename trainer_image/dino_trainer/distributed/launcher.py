"""Starts one action as several processes, ends them together, and says why they ended.

torchrun's own agent restarts after any failure, kills the ranks 30 seconds after the first has
ended, and knows nothing of reasons. This one restarts only what a signal ended, gives rank 0 the
time to save its checkpoint, and lets one reason count on all nodes.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dino_api.names import Env, FailureReason
from dino_api.result import Failure
from dino_trainer.distributed.meeting import AttemptEnd, ManyNodes, Meeting, OneNode
from dino_trainer.distributed.processes import CGROUPS, Ending, Processes
from dino_trainer.errors import TrainerError, invalid_spec
from dino_trainer.spec.sections import SpreadSection
from dino_trainer.storage.store import Say

# In-place restarts of all ranks, from the last checkpoint, after a signal ended one of them.
MAX_RESTARTS = 3
# A rank that is asked to end finishes its step, and rank 0 saves. Kubernetes gives the pod 120
# seconds. After a failure the others have nothing to save, and may hang in a message to the dead.
KILL_SECONDS = 100.0
KILL_OTHERS_SECONDS = 15.0
# Ranks mostly notice by themselves that one is gone; they are asked only after this.
NOTICE_SECONDS = 5.0
# What another node's launcher may take to say why its rank failed.
REASON_SECONDS = 15.0
_POLL_SECONDS = 0.1
_AGAIN = "All processes start again, a training from its checkpoint."


@dataclass(frozen=True)
class Topology:
    """How many processes, and which of the nodes this is."""

    nodes: int
    index: int
    local: int

    @classmethod
    def of(cls, section: SpreadSection | None, env: Mapping[str, str] = os.environ) -> Topology:
        """One process per GPU, or `num_processes` where there is none.

        section: of the action in a spec, or None for what always is one process.
        Raises InvalidSpec if several nodes are asked for and nothing says where they meet.
        """
        if section is None:
            return cls(1, 0, 1)
        nodes = int(env.get(Env.NODES) or section.num_nodes)
        if nodes > 1 and not (env.get(Env.RDZV_ENDPOINT) and env.get(Env.COMPLETION_INDEX)):
            raise invalid_spec(
                f"num_nodes is {nodes}, but nothing says which node this is.",
                f"Leave it out; or run this on every node, with {Env.RDZV_ENDPOINT}=host:port of "
                f"the first one and {Env.COMPLETION_INDEX}=0, 1, … in the environment.",
            )
        index = int(env.get(Env.COMPLETION_INDEX) or 0) if nodes > 1 else 0
        return cls(nodes, index, section.num_gpus or section.num_processes)

    @property
    def size(self) -> int:
        """Processes in all."""
        return self.nodes * self.local

    @property
    def first_rank(self) -> int:
        """The first one on this node."""
        return self.index * self.local


def is_rank(env: Mapping[str, str] = os.environ) -> bool:
    """Whether this process was started as one of several, by `supervise` or by torchrun."""
    return "RANK" in env and int(env.get("WORLD_SIZE", "1")) > 1


def supervise(
    shape: Topology, arguments: Sequence[str], run_id: str, stop: threading.Event, say: Say
) -> Failure | None:
    """Runs `dino <arguments>` as the ranks of this node; returns why they failed, if they did."""
    command = [sys.executable, "-m", "dino_trainer", *arguments]
    if shape.nodes == 1:
        place: OneNode | ManyNodes = OneNode()
    else:
        endpoint = os.environ[Env.RDZV_ENDPOINT]
        place = ManyNodes(endpoint, run_id, shape.index, shape.nodes)
    return Supervisor(shape, command, place, stop, say).run()


@dataclass
class Supervisor:
    """The launcher of one node."""

    shape: Topology
    command: Sequence[str]
    place: OneNode | ManyNodes
    stop: threading.Event
    say: Say
    restarts: int = MAX_RESTARTS
    cgroups: Path = CGROUPS

    def run(self) -> Failure | None:
        """Until all ranks succeeded (None), or the training failed for good."""
        try:
            for attempt in range(self.restarts + 1):
                end = self._attempt(last=attempt == self.restarts)
                if end is None or not end.again:
                    break
                self.say(f"{end.failure.message} {_AGAIN}")
            return end.failure if end else None
        finally:
            self.place.close()

    def _attempt(self, last: bool) -> AttemptEnd | None:
        try:
            if self.stop.is_set():
                raise TrainerError(FailureReason.PREEMPTED, "Stopped on request between attempts.")
            meeting = self.place.meet(self.stop)
        except TrainerError as error:
            return AttemptEnd(error.as_failure(), again=False)
        processes = Processes(self.command, self._envs(meeting), self.cgroups)
        try:
            return LaunchAttempt(self, processes, meeting, last).until_the_end()
        finally:
            processes.close()
            meeting.leave()

    def _envs(self, meeting: Meeting) -> list[dict[str, str]]:
        shape, common = self.shape, {**os.environ, **meeting.env}
        if threads := common.get(Env.OMP_NUM_THREADS):
            # It is said for the whole container.
            common[Env.OMP_NUM_THREADS] = str(max(1, int(threads) // shape.local))
        common |= {"WORLD_SIZE": str(shape.size), "LOCAL_WORLD_SIZE": str(shape.local)}
        return [
            {**common, "RANK": str(shape.first_rank + local), "LOCAL_RANK": str(local)}
            for local in range(shape.local)
        ]


class LaunchAttempt:
    """One attempt: from started ranks to a verdict, with no rank left running."""

    def __init__(
        self, supervisor: Supervisor, processes: Processes, meeting: Meeting, last: bool
    ) -> None:
        self._processes, self._meeting = processes, meeting
        self._stop, self._shape = supervisor.stop, supervisor.shape
        self._may_restart = not last
        self._verdict: AttemptEnd | None = None
        self._forwarded = False
        self._ending_since: float | None = None
        self._asked = False

    def until_the_end(self) -> AttemptEnd | None:
        """Waits for all ranks; None if all succeeded."""
        while True:
            self._processes.poll()
            if self._processes.succeeded:
                return None
            self._verdict = self._verdict or self._judge()
            if self._verdict and not self._processes.running:
                return self._verdict
            self._press()
            time.sleep(_POLL_SECONDS)

    def _judge(self) -> AttemptEnd | None:
        """What ends this attempt, as soon as it is certain."""
        if self._meeting.verdict:
            return self._meeting.verdict
        failed = self._processes.failed
        if why := next((ending for ending in failed if ending.tells_why), None):
            verdict = AttemptEnd(self._named(why), self._again(why))
            self._meeting.post(verdict)
            return verdict
        if silent := self._meeting.lost:
            return AttemptEnd(peer_lost(f"{silent} does not answer any more").as_failure(), False)
        if self._processes.running or not failed:
            return None
        stopped = [e for e in failed if e.failure.reason == FailureReason.PREEMPTED]
        if stopped or self._meeting.alone or self._since_the_end() > REASON_SECONDS:
            return AttemptEnd((stopped or failed)[0].failure, again=False)
        return None

    def _again(self, why: Ending) -> bool:
        return why.killed and self._may_restart and not self._stop.is_set()

    def _named(self, why: Ending) -> Failure:
        message = f"Process {why.rank + 1} of {self._shape.size}: {why.failure.message}"
        return why.failure.model_copy(update={"message": message})

    def _press(self) -> None:
        """Asks ranks that still run to end, and ends them where they cannot."""
        if self._stop.is_set() and not self._forwarded:
            self._forwarded = True
            self._ask()
        since = self._since_the_end()
        if self._verdict and since > NOTICE_SECONDS:
            self._ask()
        hopeless = self._verdict is not None and not self._stop.is_set() and self._shape.index > 0
        if since > (KILL_OTHERS_SECONDS if hopeless else KILL_SECONDS):
            self._processes.kill()

    def _ask(self) -> None:
        if not self._asked:
            self._asked = True
            self._processes.stop()

    def _since_the_end(self) -> float:
        """Seconds since the first sign of it."""
        now = time.monotonic()
        if self._ending_since is None and (
            self._verdict or self._processes.failed or self._forwarded
        ):
            self._ending_since = now
        return 0.0 if self._ending_since is None else now - self._ending_since


def peer_lost(what: str) -> TrainerError:
    """Another process is gone, and nobody said why."""
    return TrainerError(FailureReason.PEER_LOST, f"Of this job's processes, {what}.")
