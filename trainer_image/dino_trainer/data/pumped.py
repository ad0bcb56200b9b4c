"""A stream that a thread of its own reads ahead, so that its work and its reader's overlap."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from queue import Empty, Queue

from dino_trainer.data.inflate import CHUNK, Readable

_WAITING = 16


class Pumped:
    """What `source` holds, at most _WAITING pieces ahead. Its errors come out of `read`.

    Use it as a context: leaving it stops the thread.
    """

    def __init__(self, source: Readable) -> None:
        self._source = source
        self._queue: Queue[memoryview] = Queue(_WAITING)
        self._left = threading.Event()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="pump")
        self._rest = memoryview(b"")

    def __enter__(self) -> Pumped:
        self._filling: Future[None] = self._pool.submit(self._fill)
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()
        while not self._filling.done():
            with suppress(Empty):
                self._queue.get(timeout=0.05)
        self._pool.shutdown()

    def read(self, size: int, /) -> memoryview:
        """At most `size` bytes; empty at the end."""
        if not self._rest and not (self._filling.done() and self._queue.empty()):
            self._rest = self._queue.get()
        if not self._rest:
            self._filling.result()
        data, self._rest = self._rest[:size], self._rest[size:]
        return data

    def _fill(self) -> None:
        try:
            while not self._left.is_set() and (data := self._source.read(CHUNK)):
                self._queue.put(memoryview(data))
        finally:
            self._queue.put(memoryview(b""))
