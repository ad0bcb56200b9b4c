"""Tactics that TensorRT measured, kept from one build to the next."""

from __future__ import annotations

from dino_api.names import TIMING_CACHE
from dino_trainer.results.output import Output
from dino_trainer.storage.files import replacing
from dino_trainer.storage.opening import open_store
from dino_trainer.storage.uris import split


class TimingCacheFile:
    """The file `gen_trt_engine.timing_cache` where that is set, else a file among the results.

    A build that was interrupted goes on with it. TensorRT itself refuses one of another GPU.
    """

    def __init__(self, uri: str, output: Output) -> None:
        self._uri, self._output = uri, output

    def read(self) -> bytes:
        """What is known; nothing where there is no such file."""
        if not self._uri:
            path = self._output.fetch(TIMING_CACHE)
            return path.read_bytes() if path else b""
        folder, name = split(self._uri)
        store = open_store(folder)
        return store.read_bytes(name) if store.exists(name) else b""

    def write(self, data: bytes) -> None:
        """Keeps it, if there is anything. Raises those of the store."""
        if not data:
            return
        if self._uri:
            folder, name = split(self._uri)
            open_store(folder).write_bytes(data, name)
            return
        with replacing(self._output.dir / TIMING_CACHE) as aside:
            aside.write_bytes(data)
        self._output.publish(TIMING_CACHE)
