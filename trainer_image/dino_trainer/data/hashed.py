"""A stream of bytes that is counted and hashed on its way."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from queue import Queue

from dino_trainer.data.inflate import Readable

# Large enough for the hashing thread to be woken seldom, small enough for the cache.
PIECE = 1 << 20
_WAITING = 16


class Hashed:
    """The archive's bytes on their way in: counted, and hashed by a thread of its own."""

    def __init__(self, source: Readable, moved: Callable[[int], None] | None) -> None:
        self._source, self._moved = source, moved
        self._digest = hashlib.sha256()
        self._queue: Queue[memoryview] = Queue(_WAITING)
        self._thread = threading.Thread(target=self._hash, name="sha256", daemon=True)
        self._rest = memoryview(b"")

    def __enter__(self) -> Hashed:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def is_gzip(self) -> bool:
        """By content, not by name: an archive that was renamed still opens."""
        self._rest = self._next()
        return bytes(self._rest[:2]) == b"\x1f\x8b"

    def read(self, size: int, /) -> memoryview:
        """At most `size` bytes; empty at the end."""
        data = self._rest or self._next()
        self._rest = data[size:]
        return data[:size]

    def finish(self) -> str:
        """Reads what is left; SHA-256 of everything, in hex."""
        while self._next():
            pass
        self._stop()
        return self._digest.hexdigest()

    def _next(self) -> memoryview:
        data = memoryview(self._source.read(PIECE))
        if data:
            self._queue.put(data)
        if self._moved:
            self._moved(len(data))
        return data

    def _hash(self) -> None:
        while data := self._queue.get():
            self._digest.update(data)

    def _stop(self) -> None:
        """Returns when all is hashed; nothing may be read afterwards."""
        if self._thread.is_alive():
            self._queue.put(memoryview(b""))
            self._thread.join()
