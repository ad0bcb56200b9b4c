"""A stream of bytes that is counted and hashed on its way."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from dino_trainer.data.inflate import Readable

# Each piece changes threads once, so pieces are large.
PIECE = 8 << 20


class Hashed:
    """The archive's bytes on their way in: counted, and hashed by a thread of its own."""

    def __init__(self, source: Readable, moved: Callable[[int], None] | None) -> None:
        self._source, self._moved = source, moved
        self._digest = hashlib.sha256()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="sha256")
        self._hashing: Future[None] | None = None
        self._rest = memoryview(b"")

    def __enter__(self) -> Hashed:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

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
        self._wait()
        return self._digest.hexdigest()

    def _next(self) -> memoryview:
        data = memoryview(self._source.read(PIECE))
        self._wait()
        self._hashing = self._pool.submit(self._digest.update, data)
        if self._moved:
            self._moved(len(data))
        return data

    def _wait(self) -> None:
        if self._hashing:
            self._hashing.result()
