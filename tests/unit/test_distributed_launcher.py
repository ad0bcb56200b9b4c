"""The launcher with ranks that only pretend: what it starts, ends and starts again, and why."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch.distributed.elastic.rendezvous  # noqa: F401  # not by two launchers at a time

from dino_api.experiment import TrainConfig
from dino_api.result import Failure
from dino_trainer.distributed import launcher, meeting
from dino_trainer.distributed.launcher import Supervisor, Topology
from dino_trainer.distributed.meeting import ManyNodes, OneNode
from dino_trainer.distributed.processes import Processes, oom_kills
from dino_trainer.errors import TrainerError
from tests.patience import LONG

# What every rank begins with. fail() leaves a failure as a rank does, and ends.
PRELUDE = """
import json, os, pathlib, signal, sys, time
rank, folder = int(os.environ["RANK"]), pathlib.Path({folder!r})
def fail(reason, code, message="it broke"):
    failure = {{"reason": reason, "message": message, "exitCode": code}}
    pathlib.Path(os.environ["DINO_RANK_FAILURE_FILE"]).write_text(json.dumps(failure))
    sys.exit(code)
def lost(): fail("PeerLost", 75)
def note(name): (folder / f"{{name}}-{{rank}}-{{time.time_ns()}}").touch()
def wait(name):
    while not list(folder.glob(name)): time.sleep(0.01)
"""


class Node:
    """One launcher, whose ranks run `script`."""

    def __init__(
        self, folder: Path, script: str, shape: Topology, place: OneNode | ManyNodes | None = None
    ) -> None:
        self.stop, self.said = threading.Event(), list[str]()
        command = [sys.executable, "-S", "-c", PRELUDE.format(folder=str(folder)) + script]
        self.supervisor = Supervisor(
            shape, command, place or OneNode(), self.stop, self.said.append, restarts=2
        )
        self.failure: Failure | None = None
        self.thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        self.failure = self.supervisor.run()

    def start(self) -> Node:
        self.thread.start()
        return self

    def end(self) -> Failure | None:
        self.thread.join(LONG)
        assert not self.thread.is_alive()
        return self.failure


@pytest.fixture
def two(tmp_path: Path) -> Callable[[str], Node]:
    """Starts a launcher of two ranks."""
    return lambda script: Node(tmp_path, script, Topology(1, 0, 2)).start()


def seen(folder: Path, name: str) -> list[int]:
    """The ranks that noted `name`, in order."""
    paths = sorted(folder.glob(f"{name}-*"), key=lambda path: path.name.rpartition("-")[2])
    return [int(path.name.split("-")[1]) for path in paths]


def stopped(node: Node, folder: Path, sign: str) -> Failure:
    """How it ended that was asked to stop once both ranks had noted `sign`."""
    while len(seen(folder, sign)) < 2:
        time.sleep(0.02)
    node.stop.set()
    failure = node.end()
    assert failure is not None
    return failure


def test_ranks_get_their_places(two, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    names = "WORLD_SIZE LOCAL_WORLD_SIZE LOCAL_RANK MASTER_ADDR OMP_NUM_THREADS"
    script = f"note('-'.join(os.environ[name] for name in {names.split()}))"
    assert two(script).end() is None
    found = sorted(path.name.rpartition("-")[0] for path in tmp_path.iterdir())
    assert found == ["2-2-0-127.0.0.1-2-0", "2-2-1-127.0.0.1-2-1"]


def test_the_rank_that_failed_is_named_not_the_one_that_lost_it(two, tmp_path: Path) -> None:
    script = """
if rank == 0:
    wait("gone*"); time.sleep(0.3); lost()
note("gone"); fail("Diverged", 76, "The loss is nan.")
"""
    failure = two(script).end()
    assert failure is not None
    assert (failure.reason, failure.exit_code) == ("Diverged", 76)
    assert failure.message == "Process 2 of 2: The loss is nan."
    assert seen(tmp_path, "gone") == [1]  # never again


def test_even_if_the_loss_is_noticed_first(two) -> None:
    script = """
if rank == 0: lost()
time.sleep(0.5); fail("DiskFull", 74)
"""
    failure = two(script).end()
    assert failure is not None
    assert failure.reason == "DiskFull"


def test_a_killed_rank_starts_all_again(two, tmp_path: Path) -> None:
    script = """
note("began")
if len(list(folder.glob("began*"))) > 2: sys.exit(0)
wait("began-0*"); wait("began-1*")
if rank == 1: os.kill(os.getpid(), signal.SIGKILL)
time.sleep(0.5); lost()
"""
    node = two(script)
    assert node.end() is None
    assert sorted(seen(tmp_path, "began")) == [0, 0, 1, 1]
    assert node.said == [
        "Process 2 of 2: SIGKILL ended the process. All processes start again, a training from its "
        "checkpoint."
    ]


def test_but_not_for_ever(two, tmp_path: Path) -> None:
    script = """
note("began")
while len(list(folder.glob("began*"))) % 2: time.sleep(0.01)  # until the other one has, too
if rank == 1: os.kill(os.getpid(), signal.SIGSEGV)
time.sleep(0.2); lost()
"""
    failure = two(script).end()
    assert failure is not None
    assert (failure.reason, failure.message) == (
        "Crashed",
        "Process 2 of 2: SIGSEGV ended the process.",
    )
    assert len(seen(tmp_path, "began")) == 6


def test_a_stop_lets_rank_0_save(two, tmp_path: Path) -> None:
    script = """
def asked(*_):
    if rank == 0: time.sleep(0.7); note("saved")
    fail("Preempted", 143, "Stopped after step 3.")
signal.signal(signal.SIGTERM, asked); note("ready")
while True: time.sleep(1)
"""
    failure = stopped(two(script), tmp_path, "ready")
    assert (failure.reason, failure.exit_code) == ("Preempted", 143)
    assert failure.message == "Stopped after step 3."
    assert seen(tmp_path, "saved") == [0]


def test_a_stop_before_ranks_listen_is_no_crash(two, tmp_path: Path) -> None:
    failure = stopped(two("note('began'); time.sleep(3600)"), tmp_path, "began")
    assert failure.reason == "Preempted"


def test_a_rank_that_hangs_is_killed(two, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launcher, "NOTICE_SECONDS", 0.1)
    monkeypatch.setattr(launcher, "KILL_SECONDS", 0.5)
    script = """
signal.signal(signal.SIGTERM, signal.SIG_IGN); note("deaf")
if rank == 1: wait("deaf-0*"); sys.exit(3)
time.sleep(3600)
"""
    failure = two(script).end()
    assert failure is not None
    assert failure.reason == "Crashed"
    assert "exit code 3 and left no reason" in failure.message


def test_a_stop_that_is_not_heard_is_a_stop(
    two, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that hangs in the last upload made it a crash, which counts as an attempt."""
    monkeypatch.setattr(launcher, "KILL_SECONDS", 0.5)
    script = """
signal.signal(signal.SIGTERM, signal.SIG_IGN if rank == 0 else lambda *_: lost())
note("ready")
while True: time.sleep(1)
"""
    failure = stopped(two(script), tmp_path, "ready")
    assert (failure.reason, failure.exit_code) == ("Preempted", 143)
    assert "it did not end" in failure.message


def test_a_rank_killed_for_memory_says_so(tmp_path: Path) -> None:
    (tmp_path / "memory.events").write_text("oom 1\noom_kill 1\n")
    script = """
if rank == 1:
    (folder / "memory.events").write_text("oom 2\\noom_kill 2\\n")
    note("began"); os.kill(os.getpid(), signal.SIGKILL)
time.sleep(0.2); lost()
"""
    node = Node(tmp_path, script, Topology(1, 0, 2))
    node.supervisor.cgroups = tmp_path
    failure = node.start().end()
    assert failure is not None
    assert (failure.reason, failure.exit_code) == ("OutOfMemory", 137)
    assert seen(tmp_path, "began") == [1]  # it would run out of memory again


@pytest.mark.parametrize(
    "name, text, kills",
    [
        ("memory.events", "low 0\noom_kill 3\n", 3),
        ("memory/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n", 2),
        ("memory/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\n", 0),
        ("other", "", 0),
    ],
)
def test_both_kinds_of_control_groups_count_kills(
    tmp_path: Path, name: str, text: str, kills: int
) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(text)
    assert oom_kills(tmp_path) == kills


def test_nothing_is_left_running(tmp_path: Path) -> None:
    command = [sys.executable, "-S", "-c", "import time; time.sleep(60)"]
    started = Processes(command, [{"RANK": "0"}])
    started.close()
    started.poll()
    assert not started.running
    assert started.failed[0].failure.message == f"{signal.SIGKILL.name} ended the process."


def nodes(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> list[Node]:
    """Two launchers of one rank each, which meet on this machine."""
    monkeypatch.setattr(launcher, "NOTICE_SECONDS", 0.1)
    endpoint = f"127.0.0.1:{OneNode().meet(threading.Event()).env['MASTER_PORT']}"
    return [
        Node(folder, script, Topology(2, index, 1), ManyNodes(endpoint, "run", index, 2)).start()
        for index in range(2)
    ]


def test_one_reason_counts_on_all_nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = """
note(os.environ["MASTER_ADDR"])
if rank == 1: wait("127.0.0.1-0-*"); note("fails"); fail("AccessDenied", 77, "Not allowed.")
wait("fails*"); time.sleep(0.2); lost()
"""
    both = [node.end() for node in nodes(tmp_path, script, monkeypatch)]
    assert [f and (f.reason, f.message) for f in both] == [
        ("AccessDenied", "Process 2 of 2: Not allowed.")
    ] * 2
    assert sorted(seen(tmp_path, "127.0.0.1")) == [0, 1]


def test_all_nodes_start_again_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = """
note("round" + os.environ["TORCHELASTIC_RESTART_COUNT"])
if os.environ["TORCHELASTIC_RESTART_COUNT"] == "1": sys.exit(0)
wait("round0-1*")
if rank == 0: os.kill(os.getpid(), signal.SIGKILL)
time.sleep(3600)  # as a rank that hangs in a GPU's collective
"""
    assert [node.end() for node in nodes(tmp_path, script, monkeypatch)] == [None, None]
    assert sorted(seen(tmp_path, "round1")) == [0, 1]


def test_a_node_that_vanished_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # By the clock of a busy machine both are silent for seconds.
    now = [0.0]
    clock = SimpleNamespace(monotonic=lambda: now[0], sleep=time.sleep)
    monkeypatch.setattr(meeting, "time", clock)
    monkeypatch.setattr(meeting, "SILENCE_SECONDS", 2.0)
    monkeypatch.setattr(meeting.SharedMeeting, "leave", lambda self: self._leaving.set())
    script = """
signal.signal(signal.SIGTERM, lambda *_: lost()); note("began"); time.sleep(3600)
"""
    first, second = nodes(tmp_path, script, monkeypatch)
    while len(seen(tmp_path, "began")) < 2:
        time.sleep(0.02)
    # As if its power were cut: no more beats, no farewell.
    monkeypatch.setattr(meeting.SharedMeeting, "_exchange", forgets(1, now))
    failure = first.end()
    assert failure is not None
    assert failure.reason == "PeerLost"
    assert "node 2 does not answer" in failure.message
    second.stop.set()
    second.end()


def forgets(index: int, now: list[float]) -> Callable[..., None]:
    """The exchange of messages, but for one node; a second passes from each to the next."""
    exchange = meeting.SharedMeeting._exchange

    def maybe(self: meeting.SharedMeeting, beat: bytes) -> None:
        if self._index != index:
            now[0] += 1
            exchange(self, beat)

    return maybe


def test_a_node_that_never_comes_is_not_waited_for_for_ever() -> None:
    port = OneNode().meet(threading.Event()).env["MASTER_PORT"]
    place = ManyNodes(f"127.0.0.1:{port}", "run", 0, 2, join_seconds=1)
    with pytest.raises(TrainerError, match="The 2 nodes did not meet at") as caught:
        place.meet(threading.Event())
    assert caught.value.reason == "PeerLost"


def test_a_stop_ends_the_wait_for_nodes() -> None:
    port = OneNode().meet(threading.Event()).env["MASTER_PORT"]
    stop = threading.Event()
    stop.set()
    with pytest.raises(TrainerError, match="before all nodes had met") as caught:
        ManyNodes(f"127.0.0.1:{port}", "run", 0, 2).meet(stop)
    assert caught.value.reason == "Preempted"


@pytest.mark.parametrize(
    "train, env, shape",
    [
        ({}, {}, Topology(1, 0, 1)),
        ({"num_gpus": 4}, {}, Topology(1, 0, 4)),
        ({"num_gpus": 0, "num_processes": 3}, {}, Topology(1, 0, 3)),
        (
            {"num_gpus": 2},
            {"DINO_NODES": "3", "DINO_RDZV_ENDPOINT": "a:1", "JOB_COMPLETION_INDEX": "2"},
            Topology(3, 2, 2),
        ),
    ],
)
def test_the_number_of_processes(train, env, shape) -> None:
    found = Topology.of(TrainConfig(**train), env)
    assert (found, found.size, found.first_rank) == (
        shape,
        shape.nodes * shape.local,
        shape.index * shape.local,
    )


def test_several_nodes_need_a_place_to_meet() -> None:
    with pytest.raises(TrainerError, match="nothing says which node this is") as caught:
        Topology.of(TrainConfig(num_nodes=2), {})
    assert caught.value.reason == "InvalidSpec"
    assert "DINO_RDZV_ENDPOINT" in caught.value.remedy
