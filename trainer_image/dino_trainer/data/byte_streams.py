"""Streams of bytes that are read forward once: fetched in parts, inflated, buffered, hashed.

Each reads from the one before, in a thread of its own where its work is worth one, so that an
archive is fetched, hashed, inflated and written at the same time.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from queue import Empty, Queue
from statistics import median
from typing import Protocol

from blake3 import blake3
from zlib_ng import zlib_ng

# Of one request to a store.
PART = 16 * 1024 * 1024
FETCH_THREADS = 8
# Parts in memory at most, those under way included.
WINDOW = 9
# Small enough for the memory of one piece to be used again for the next, without a page fault.
CHUNK = 1 << 18
# Large enough for the hashing thread to be woken seldom, small enough for the cache.
PIECE = 1 << 20
# Bytes a second from which on one request is as fast as several, and the pieces it is judged by.
_FAST, _JUDGED = 500e6, 8
# Pieces between two threads.
_WAITING = 16
# Inflated at once: photographs come out as large as they went in, and so in one piece.
_PACKED = 3 * CHUNK // 4
_GZIP = 16 + zlib_ng.MAX_WBITS
Fetch = Callable[[int, int], Iterable[bytes]]


class Readable(Protocol):
    """Bytes to read forward."""

    def read(self, size: int, /) -> bytes | memoryview:
        """Reads at most `size` bytes; empty at the end alone."""


class InPieces(ABC):
    """A stream that comes in pieces, and is read in sizes of the reader's own."""

    _rest = memoryview(b"")

    @abstractmethod
    def _next_piece(self) -> memoryview:
        """What follows; empty at the end alone."""

    def read(self, size: int, /) -> memoryview:
        """Reads at most `size` bytes; empty at the end."""
        if not self._rest:
            self._rest = self._next_piece()
        data, self._rest = self._rest[:size], self._rest[size:]
        return data


class FetchedInParts(InPieces):
    """An object of a store, without a file. fetch(start, end): the bytes from start up to end, end
    excluded, in pieces as they come.

    By one request as long as that is fast, as it is from a server nearby: then more of them take
    turns at the processor, and each waits in memory while another is read. One is seldom as fast as
    a network, so that else the parts that follow are fetched while the one before is hashed,
    inflated and written. Errors of `fetch` come out of `read`. Use it as a context: leaving it
    drops what is under way.
    """

    def __init__(
        self,
        fetch: Fetch,
        size: int,
        part: int = PART,
        window: int = WINDOW,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._fetch, self._size, self._part, self._window = fetch, size, part, window
        self._clock = clock
        self._pieces = self._all()

    def __enter__(self) -> FetchedInParts:
        return self

    def __exit__(self, *_: object) -> None:
        self._pieces.close()

    def _next_piece(self) -> memoryview:
        return memoryview(next(filter(None, self._pieces), b""))

    def _all(self) -> Generator[bytes, None, None]:
        at = yield from self._by_one()
        yield from self._by_several(at)

    def _by_one(self) -> Generator[bytes, None, int]:
        """Until it is slow, or at the end; returns how far it came.

        All of it is asked for at once: from a file's start on, a server may let the kernel send it,
        which takes it a third of the time that it takes from another place.
        """
        at, pace = 0, _Pace(self._clock)
        for piece in pace.timed(self._fetch(0, self._size)):
            at += len(piece)
            yield piece
            if pace.is_slow:
                return at
        return self._size  # where it ends early, whoever reads it knows that it is too soon

    def _by_several(self, at: int) -> Generator[bytes, None, None]:
        """From `at` on, in order."""
        starts = iter(range(at, self._size, self._part))
        if at >= self._size:
            return
        pool = ThreadPoolExecutor(FETCH_THREADS, thread_name_prefix="fetch")
        try:
            parts = deque(pool.submit(self._fetched, one) for one in islice(starts, self._window))
            while parts:
                pieces = parts.popleft().result()
                parts.extend(pool.submit(self._fetched, one) for one in islice(starts, 1))
                yield from pieces
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _fetched(self, start: int) -> list[bytes]:
        return list(self._fetch(start, min(start + self._part, self._size)))


class _Pace:
    """How fast pieces come: the middle one of the last few, the first of a request aside, which
    waits for the answer."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._seconds: deque[float] = deque(maxlen=_JUDGED)

    def timed(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """The pieces; what their taker does with them takes no time."""
        waiting = iter(pieces)
        if first := next(waiting, b""):
            yield first
        start = self._clock()
        for piece in waiting:
            self._seconds.append((self._clock() - start) / max(1, len(piece)))
            yield piece
            start = self._clock()

    @property
    def is_slow(self) -> bool:
        """Whether several requests would be faster."""
        return len(self._seconds) == _JUDGED and median(self._seconds) > 1 / _FAST


class GzipReader(InPieces):
    """What a gzip stream holds, all of its members; zlib compares the checksum of each.

    In larger pieces than the 8 kB of the standard library's reader; zlib-ng inflates photographs a
    quarter faster than zlib, and one core remains the limit.

    Raises EOFError where the stream ends early, zlib_ng.error where it is damaged.
    """

    def __init__(self, source: Readable) -> None:
        self._source = source
        self._member = zlib_ng.decompressobj(_GZIP)
        self._waiting: bytes | memoryview = b""

    def _next_piece(self) -> memoryview:
        """Never more than CHUNK, however much a few bytes may stand for."""
        while not self._member.eof or self._next_member():
            self._waiting = self._waiting or self._source.read(_PACKED)
            if not self._waiting:
                raise EOFError("the compressed data ends early")
            data = self._member.decompress(self._waiting, CHUNK)
            self._waiting = self._member.unconsumed_tail
            if data:
                return memoryview(data)
        return memoryview(b"")

    def _next_member(self) -> bool:
        """Whether another member follows; zeros may, as some tools pad with them."""
        rest = self._member.unused_data.lstrip(b"\0")
        while not rest:
            block = bytes(self._source.read(CHUNK))
            if not block:
                return False
            rest = block.lstrip(b"\0")
        self._member, self._waiting = zlib_ng.decompressobj(_GZIP), rest
        return True


class ReadAhead(InPieces):
    """A stream that a thread of its own reads ahead, so that its work and its reader's overlap.

    At most _WAITING pieces of `size` bytes ahead; errors of `source` come out of `read`. Use it as
    a context: leaving it stops the thread.
    """

    def __init__(self, source: Readable, size: int = CHUNK) -> None:
        self._source, self._size = source, size
        self._queue: Queue[memoryview] = Queue(_WAITING)
        self._left = threading.Event()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="buffer")

    def __enter__(self) -> ReadAhead:
        self._filling: Future[None] = self._pool.submit(self._fill)
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()
        while not self._filling.done():
            with suppress(Empty):
                self._queue.get(timeout=0.05)
        self._pool.shutdown()

    def _next_piece(self) -> memoryview:
        over = self._filling.done() and self._queue.empty()
        piece = memoryview(b"") if over else self._queue.get()
        if not piece:
            self._filling.result()
        return piece

    def _fill(self) -> None:
        try:
            while not self._left.is_set() and (data := self._source.read(self._size)):
                self._queue.put(memoryview(data))
        finally:
            self._queue.put(memoryview(b""))


class HashingReader(InPieces):
    """An archive's bytes on their way in: counted, and hashed by a thread of its own.

    By BLAKE3, of which one core does several times as much as of SHA-256: that took longer than to
    fetch and write the same bytes. See docs/decisions/0027-archives-are-named-by-blake3.md.
    """

    def __init__(self, source: Readable, moved: Callable[[int], None] | None) -> None:
        self._source, self._moved = source, moved
        self._digest = blake3()
        self._queue: Queue[memoryview] = Queue(_WAITING)
        self._thread = threading.Thread(target=self._hash, name="hash", daemon=True)

    def __enter__(self) -> HashingReader:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def is_gzip(self) -> bool:
        """Whether it is, by content and not by name: an archive that was renamed still opens."""
        self._rest = self._next_piece()
        return bytes(self._rest[:2]) == b"\x1f\x8b"

    def finish(self) -> str:
        """Reads what is left; BLAKE3 of everything, in hex."""
        while self._next_piece():
            pass
        self._stop()
        return self._digest.hexdigest()

    def _next_piece(self) -> memoryview:
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
