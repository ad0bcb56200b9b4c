"""Reads an object of a store from its start to its end, several parts at a time, without a file.

One request is seldom as fast as the network; the parts that follow are fetched while the one
before is hashed, inflated and written.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

PART = 16 * 1024 * 1024
THREADS = 8
# Parts in memory at most, those under way included.
WINDOW = 9
Fetch = Callable[[int, int], list[bytes]]


class Ahead:
    """A file to read forward. fetch(start, end): the bytes from start up to end, end excluded, in
    pieces.

    Errors of `fetch` come out of `read`. Use it as a context: leaving it drops what is under way.
    """

    def __init__(self, fetch: Fetch, size: int, part: int = PART, window: int = WINDOW) -> None:
        self._fetch, self._size, self._part = fetch, size, part
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="ahead")
        self._parts: deque[Future[list[bytes]]] = deque()
        self._asked = 0
        self._window = window
        self._pieces: Iterator[bytes] = iter(())
        self._rest = memoryview(b"")
        self._fill()

    def __enter__(self) -> Ahead:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def read(self, size: int, /) -> memoryview:
        """At most `size` bytes; empty at the end."""
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is not None:
                self._rest = memoryview(piece)
            elif self._parts:
                self._pieces = iter(self._parts.popleft().result())
                self._fill()
            else:
                break
        data, self._rest = self._rest[:size], self._rest[size:]
        return data

    def _fill(self) -> None:
        while len(self._parts) < self._window and self._asked < self._size:
            end = min(self._asked + self._part, self._size)
            self._parts.append(self._pool.submit(self._fetch, self._asked, end))
            self._asked = end
