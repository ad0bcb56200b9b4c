"""Where ranks find each other, and how the launchers of several nodes keep in touch.

On one node a free port is all it takes. Nodes meet by torchrun's rendezvous (c10d) at the first
one; through its store each launcher then shows that it is alive, and tells the others why its ranks
failed, so that all end together with the one reason that counts.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import sys
import threading
import time
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING

from dino_api.names import FailureReason
from dino_api.result import Failure
from dino_trainer.errors import TrainerError

if TYPE_CHECKING:
    from torch.distributed import Store
    from torch.distributed.elastic.rendezvous import RendezvousHandler, RendezvousInfo

# Pods of a job start at different times: nodes are waited for as long as an image pull may take.
JOIN_SECONDS = 900
STORE_SECONDS = 30
# Silence after which a node counts as lost.
SILENCE_SECONDS = 30.0
NODE_BEAT_SECONDS = 1.0
_GOODBYE_SECONDS = 15.0
_DONE = b"done"


@dataclass(frozen=True)
class AttemptEnd:
    """Why this attempt ends, on all nodes, and whether all ranks start again."""

    failure: Failure
    again: bool

    def to_json(self) -> str:
        return json.dumps({"failure": self.failure.to_dict(), "again": self.again})

    @classmethod
    def from_json(cls, text: str | bytes) -> AttemptEnd:
        plain = json.loads(text)
        return cls(Failure.model_validate(plain["failure"]), plain["again"])


@dataclass
class Meeting:
    """One attempt of all nodes. `env` leads its ranks to each other; this one has one node only."""

    env: dict[str, str]
    verdict: AttemptEnd | None = None

    @property
    def lost(self) -> str:
        """Which node does not answer; empty if all do."""
        return ""

    @property
    def alone(self) -> bool:
        """Whether no other node could know more."""
        return True

    def post(self, verdict: AttemptEnd) -> None:
        """Tells all nodes; the first verdict counts."""
        self.verdict = self.verdict or verdict

    def leave(self) -> None:
        """This node has ended, whichever way; the others do not wait for it."""


class OneNode:
    """Meetings without other nodes."""

    def meet(self, stop: threading.Event) -> Meeting:
        """Meets at a free port of this machine."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        return Meeting({"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)})

    def close(self) -> None:
        """Nobody waits."""


@dataclass
class ManyNodes:
    """Meetings of `nodes` nodes, of which this is number `index`, at the first one's `endpoint`.

    run_id: the same on all nodes, and another one for every training.
    """

    endpoint: str
    run_id: str
    index: int
    nodes: int
    join_seconds: int = JOIN_SECONDS
    _handler: RendezvousHandler | None = field(default=None, init=False)
    _rounds: int = field(default=0, init=False)

    def meet(self, stop: threading.Event) -> Meeting:
        """Waits for all nodes, in a thread: what waits inside torch would not hear of `stop`.

        Raises Preempted if `stop` is set before they have met, PeerLost if one stays away.
        """
        outcome: list[RendezvousInfo | Exception] = []
        thread = threading.Thread(target=self._meet, args=(outcome,), daemon=True)
        thread.start()
        while thread.is_alive():
            thread.join(0.1)
            if stop.is_set():
                raise TrainerError(
                    FailureReason.PREEMPTED, "Stopped on request before all nodes had met."
                )
        info = outcome[0]
        if isinstance(info, Exception):
            why = str(info) or type(info).__name__
            raise TrainerError(
                FailureReason.PEER_LOST,
                f"The {self.nodes} nodes did not meet at {self.endpoint} ({why}).",
            ) from info
        return self._meeting(info)

    def _meet(self, outcome: list[RendezvousInfo | Exception]) -> None:
        try:
            outcome.append(self._rendezvous())
        # Whatever it was, the thread that waits has to hear of it.
        except Exception as error:  # noqa: BLE001
            outcome.append(error)

    def _rendezvous(self) -> RendezvousInfo:
        # Three seconds of imports that a single node need not pay.
        _quiet_torch()
        from torch.distributed.elastic.rendezvous import RendezvousConnectionError

        until = time.monotonic() + self.join_seconds
        while self._handler is None:
            try:
                self._handler = self._new_handler()
            except RendezvousConnectionError:
                if time.monotonic() > until:
                    raise
                time.sleep(NODE_BEAT_SECONDS)
        return self._handler.next_rendezvous()

    def _new_handler(self) -> RendezvousHandler:
        from torch.distributed.elastic.rendezvous import RendezvousParameters
        from torch.distributed.elastic.rendezvous.registry import get_rendezvous_handler

        return get_rendezvous_handler(
            RendezvousParameters(
                "c10d",
                self.endpoint,
                self.run_id,
                min_nodes=self.nodes,
                max_nodes=self.nodes,
                local_addr=address_towards(self.endpoint),
                is_host=self.index == 0,
                read_timeout=STORE_SECONDS,
                join_timeout=self.join_seconds,
            )
        )

    def close(self) -> None:
        """Ends the rendezvous: nodes that still wait in it need not any more."""
        if self._handler is not None:
            self._handler.shutdown()

    def _meeting(self, info: RendezvousInfo) -> Meeting:
        at = info.bootstrap_store_info
        assert at is not None  # c10d always has one
        env = {
            "MASTER_ADDR": at.master_addr,
            "MASTER_PORT": str(at.master_port),
            # The launchers keep the store that ranks meet at; each round has its own keys in it.
            "TORCHELASTIC_USE_AGENT_STORE": "True",
            "TORCHELASTIC_RESTART_COUNT": str(self._rounds),
        }
        self._rounds += 1
        return SharedMeeting(env, info.store, self.index, self.nodes)


class SharedMeeting(Meeting):
    """A meeting of several nodes. A thread does the talking: a store may block."""

    def __init__(self, env: dict[str, str], store: Store, index: int, nodes: int) -> None:
        super().__init__(env)
        self._store, self._index = store, index
        self._others = [node for node in range(nodes) if node != index]
        self._outbox: AttemptEnd | None = None
        self._leaving = threading.Event()
        now = time.monotonic()
        self._answered = now
        self._seen: dict[int, tuple[bytes, float]] = dict.fromkeys(self._others, (b"", now))
        self._thread = threading.Thread(target=self._talk, name="peers", daemon=True)
        self._thread.start()

    @property
    def lost(self) -> str:
        limit = time.monotonic() - SILENCE_SECONDS
        if self._answered < limit:
            return "the first node" if self._index else "this node's own rendezvous"
        silent = [n for n, (beat, at) in self._seen.items() if at < limit and beat != _DONE]
        return f"node {silent[0] + 1}" if silent else ""

    @property
    def alone(self) -> bool:
        return False

    def post(self, verdict: AttemptEnd) -> None:
        self._outbox = verdict

    def leave(self) -> None:
        self._leaving.set()
        self._thread.join(_GOODBYE_SECONDS + NODE_BEAT_SECONDS)

    def _talk(self) -> None:
        count = 0
        try:
            while not self._leaving.wait(0 if count == 0 else self._pause()):
                count += 1
                self._exchange(str(count).encode())
            self._exchange(_DONE)
            self._wait_for_the_others()
        except RuntimeError:
            # The store's connection is gone for good; `lost` says so in a while.
            return

    def _pause(self) -> float:
        return 0.1 if self._outbox else NODE_BEAT_SECONDS

    def _exchange(self, beat: bytes) -> None:
        self._store.set(f"beat/{self._index}", beat.decode())
        if self._outbox:
            self._store.compare_set("verdict", "", self._outbox.to_json())
            self._outbox = None
        if self.verdict is None and self._store.check(["verdict"]):
            self.verdict = AttemptEnd.from_json(self._store.get("verdict"))
        for node in self._others:
            key = f"beat/{node}"
            value = self._store.get(key) if self._store.check([key]) else b""
            if value != self._seen[node][0]:
                self._seen[node] = (value, time.monotonic())
        self._answered = time.monotonic()

    def _wait_for_the_others(self) -> None:
        """Gives them the time to read a verdict: one keeps the store, one may still be joining."""
        until = time.monotonic() + _GOODBYE_SECONDS
        while time.monotonic() < until:
            if all(beat == _DONE for beat, _ in self._seen.values()):
                return
            time.sleep(0.1)
            self._exchange(_DONE)


def address_towards(endpoint: str) -> str:
    """This machine's address as seen from `endpoint` (host:port), without sending anything."""
    host, _, port = endpoint.rpartition(":")
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, int(port), type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind) as probe:
            probe.connect(address)
            return str(probe.getsockname()[0])
    except OSError:
        return socket.getfqdn()


def _quiet_torch() -> None:
    """A store that is gone is said once, by us: torch adds a C++ stack for every call.

    Torch reads this when it is imported; the ranks decide for themselves.
    """
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    if "torch" not in sys.modules and "TORCH_CPP_LOG_LEVEL" not in os.environ:
        os.environ["TORCH_CPP_LOG_LEVEL"] = "ERROR"
        import_module("torch")
        del os.environ["TORCH_CPP_LOG_LEVEL"]
