"""A server that answers as Amazon S3 is documented to, where the real one of the tests does not.

What it says stands in "Error responses" of the S3 API reference and in the pages on redirects: a
HEAD is answered without a body, a wrong region with AuthorizationHeaderMalformed or
PermanentRedirect.
"""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType


@dataclass(frozen=True)
class S3Answer:
    """status, and what the body of any request but a HEAD says. headers: of both."""

    status: int
    code: str = ""
    message: str = ""
    more: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def body(self) -> bytes:
        if not self.code:
            return b"hello"
        said = f"<Code>{self.code}</Code><Message>{self.message}</Message>{self.more}"
        return f'<?xml version="1.0" encoding="UTF-8"?>\n<Error>{said}</Error>'.encode()


OK = S3Answer(206, headers={"ETag": '"1"', "Content-Range": "bytes 0-4/5"})


class S3Answers:
    """Listens until the end of its `with`.

    answers: by method, to requests that are not signed for `region`; those that are find "hello".
    asked: method and region of every request.
    """

    def __init__(self, answers: dict[str, S3Answer], region: str = "nowhere") -> None:
        self.answers, self.region = answers, region
        self.asked: list[tuple[str, str]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> S3Answers:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                match = re.search(r"/\d{8}/([^/]+)/s3/", self.headers.get("Authorization", ""))
                region = match[1] if match else ""
                outer.asked.append((self.command, region))
                given = OK if region == outer.region else outer.answers[self.command]
                self.send_response(given.status)
                for name, value in given.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(given.body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(given.body)

            do_GET = do_HEAD = _answer

            def log_message(self, *_: object) -> None:
                """Not into the tests' output."""

        return Handler
