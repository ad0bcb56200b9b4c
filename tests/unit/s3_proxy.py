"""A TCP proxy before the S3 server that holds uploads of one file, or refuses everybody."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from threading import Event

from tests.patience import LONG


class S3Proxy:
    """Listens on `port` until `close`.

    hold: uploads whose path ends with this wait for `release`.
    holding: an upload waits. refusing: set it, and every connection is cut.
    """

    def __init__(self, server_port: int, hold: str = "") -> None:
        self._server_port = server_port
        self.hold(hold)
        self.holding, self.released, self.refusing = Event(), Event(), Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.endpoint = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._accept, daemon=True).start()

    def hold(self, name: str) -> None:
        """Uploads whose path ends with `name` wait from now on."""
        self._hold = name.encode()

    def release(self) -> None:
        """Lets uploads pass, now and later."""
        self.released.set()

    def close(self) -> None:
        self.released.set()
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._server_port))
                for pair in ((client, server, True), (server, client, False)):
                    threading.Thread(target=self._pump, args=pair, daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, asking: bool) -> None:
        with suppress(OSError):
            while (data := source.recv(1 << 16)) and not self.refusing.is_set():
                if asking and self._to_hold(data):
                    self.holding.set()
                    self.released.wait(LONG)
                sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _to_hold(self, data: bytes) -> bool:
        path = data.split(b"\r\n", 1)[0].split(b" ")[1:2]
        return bool(self._hold) and data.startswith(b"PUT ") and path[0].endswith(self._hold)
