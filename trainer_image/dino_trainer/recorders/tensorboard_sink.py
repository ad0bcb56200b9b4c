"""Event files for TensorBoard, below `tensorboard/` in the results.

Each process that trains writes a file of its own; TensorBoard reads all of a folder as one run. The
first event of a file says at which step it begins: points of later steps, which a killed process
left behind, are then not shown twice.
"""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress
from typing import Protocol, TypedDict

from dino_api.result import Metrics, Progress
from dino_trainer.report.meter import NO_PARTS, LossParts
from dino_trainer.results.output import Output
from dino_trainer.storage.store import Say

FOLDER = "tensorboard"
_MANY = 1000


class Scalar(TypedDict):
    """One value, as protobuf takes it."""

    tag: str
    simple_value: float


class Summary(TypedDict):
    """The values of one moment."""

    value: list[Scalar]


class Values(TypedDict):
    """An event that is not written yet."""

    wall_time: float
    step: int
    summary: Summary


class Records(Protocol):
    """TensorBoard's RecordWriter."""

    def write(self, data: bytes) -> None: ...
    def flush(self) -> None: ...
    def close(self) -> None: ...


class TensorBoardSink:
    """Collects values and writes them at each validation, where the file is also published.

    step: where the training goes on.
    """

    def __init__(self, output: Output, say: Say, step: int) -> None:
        self._output, self._say = output, say
        # To the microsecond: a second training within this second would overwrite the first.
        who = f"{socket.gethostname()}.{os.getpid()}"
        self.name = f"{FOLDER}/events.out.tfevents.{time.time():017.6f}.{who}"
        self._first, self._step = step, step
        self._waiting: list[Values] = []
        self._writer: Records | None = None
        self._broken = False

    def progress(self, progress: Progress, parts: LossParts = NO_PARTS) -> None:
        """Values of one step."""
        self._step = progress.step or self._step
        own: dict[str, float | None] = {
            "loss": progress.loss,
            "learning_rate": progress.learning_rate,
            "images_per_second": progress.images_per_second,
        }
        self._note({f"train/{name}": value for name, value in {**own, **parts.named}.items()})
        if len(self._waiting) >= _MANY:
            self._write(publish=False)

    def validated(self, epoch: int, metrics: Metrics, best: bool) -> None:
        """All statistics of one validation."""
        values = metrics.model_dump(by_alias=False)
        self._note({f"val/{name}": value for name, value in values.items()})
        self._write(publish=True)

    def close(self, outcome: str) -> None:
        """What was not written yet."""
        if self._waiting:
            self._write(publish=True)
        if self._writer:
            with suppress(OSError):  # what waited was written and flushed, or said to be lost
                self._writer.close()

    def _note(self, values: dict[str, float | None]) -> None:
        scalars: list[Scalar] = [
            {"tag": n, "simple_value": v} for n, v in values.items() if v is not None
        ]
        if not self._broken:
            summary: Summary = {"value": scalars}
            self._waiting.append({"wall_time": time.time(), "step": self._step, "summary": summary})

    def _write(self, publish: bool) -> None:
        waiting, self._waiting = self._waiting, []
        if self._broken:
            return
        try:
            # A second to import, which is better spent after the first steps.
            from tensorboard.compat.proto.event_pb2 import Event

            writer = self._writer = self._writer or self._open()
            for event in waiting:
                writer.write(Event(**event).SerializeToString())
            writer.flush()
            if publish:
                self._output.offer(self.name)
        except Exception as error:  # noqa: BLE001  # whatever it is, training is worth more
            self._broken = True
            self._say(f"{self.name} cannot be written ({error}); going on without TensorBoard.")

    def _open(self) -> Records:
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.summary.writer.record_writer import RecordWriter

        path = self._output.dir / self.name
        path.parent.mkdir(parents=True, exist_ok=True)
        writer: Records = RecordWriter(path.open("wb"))
        now = time.time()
        writer.write(Event(wall_time=now, file_version="brain.Event:2").SerializeToString())
        start = SessionLog(status=SessionLog.START)
        begin = Event(wall_time=now, step=self._first + 1, session_log=start)
        writer.write(begin.SerializeToString())
        return writer
