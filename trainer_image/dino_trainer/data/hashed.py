"""A stream of bytes that is counted and hashed on its way."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from dino_trainer.data.inflate import CHUNK, Readable


class Hashed:
    """The archive's bytes on their way in: counted, and hashed by a thread of its own."""

    def __init__(self, source: Readable, moved: Callable[[int], None] | None) -> None:
        self._source, self._moved = source, moved
        self._digest = hashlib.sha256()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="sha256")
        self._hashing: Future[None] | None = None
        self._rest: bytes | memoryview = b""

    def __enter__(self) -> Hashed:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    def is_gzip(self) -> bool:
        """By content, not by name: an archive that was renamed still opens."""
        self._rest = self._next(CHUNK)
        return bytes(self._rest[:2]) == b"\x1f\x8b"

    def read(self, size: int, /) -> bytes | memoryview:
        """At most `size` bytes; empty at the end."""
        data = self._rest or self._next(CHUNK)
        self._rest = data[size:]
        return data[:size]

    def finish(self) -> str:
        """Reads what is left; SHA-256 of everything, in hex."""
        while self._next(CHUNK):
            pass
        self._wait()
        return self._digest.hexdigest()

    def _next(self, size: int) -> bytes | memoryview:
        data = self._source.read(size)
        self._wait()
        self._hashing = self._pool.submit(self._digest.update, data)
        if self._moved:
            self._moved(len(data))
        return data

    def _wait(self) -> None:
        if self._hashing:
            self._hashing.result()
