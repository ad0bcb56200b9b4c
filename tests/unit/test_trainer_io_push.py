"""Progress to the cluster, against a double of the API server's one endpoint, over real TLS.

The double records requests and answers as told. That a real API server accepts them, and refuses
anything else, is for the tests on a cluster.
"""

from __future__ import annotations

import json
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from dino_api.result import Progress
from dino_trainer.report.cluster import ProgressPush, PushError, Target, interval, push
from tests.patience import LONG, Patience


class ApiServer:
    """Records each PATCH; `answer` is the status of the next ones, None hangs."""

    def __init__(self, folder: Path) -> None:
        self.requests: list[tuple[str, dict[str, str], Any]] = []
        self.times: list[float] = []
        self.answer: int | None = 200
        self.answers = 0
        self.released = threading.Event()
        _make_certificate(folder)
        self._server = HTTPServer(("127.0.0.1", 0), self._handler())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "ca.crt", folder / "key")
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        (folder / "token").write_text("first-token\n")
        port = self._server.server_address[1]
        self.target = Target("127.0.0.1", port, folder, "team", "digits")

    def close(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()

    def wait_for(self, count: int) -> None:
        waiting = Patience(60)
        while len(self.requests) < count:
            assert waiting.lasts(), f"{len(self.requests)} of {count} requests"
            time.sleep(0.01)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        api = self

        class Handler(BaseHTTPRequestHandler):
            def do_PATCH(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                api.times.append(time.monotonic())
                api.requests.append((self.path, dict(self.headers), body))
                if api.answer is None:
                    api.released.wait(LONG)
                api.answers += 1
                self.send_response(api.answer or 500)
                self.end_headers()
                self.wfile.write(json.dumps({"message": "told so"}).encode())

            def log_message(self, *_: Any) -> None:
                """Quiet."""

        return Handler


def _make_certificate(folder: Path) -> None:
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"]
    command += ["-subj", "/CN=api", "-addext", "subjectAltName=IP:127.0.0.1"]
    command += ["-keyout", str(folder / "key"), "-out", str(folder / "ca.crt")]
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture
def api(tmp_path: Path) -> Iterator[ApiServer]:
    server = ApiServer(tmp_path)
    yield server
    server.close()


def test_one_push_is_a_server_side_apply_of_progress_alone(api: ApiServer) -> None:
    push(api.target, Progress(epoch=1, epochs=2, percent=50))
    [(path, headers, body)] = api.requests
    assert path == (
        "/apis/dino-operator.io/v1alpha1/namespaces/team/dinojobs/digits/status"
        "?fieldManager=dino-trainer&force=true"
    )
    assert headers["Content-Type"] == "application/apply-patch+yaml"
    assert headers["Authorization"] == "Bearer first-token"
    assert body == {
        "apiVersion": "dino-operator.io/v1alpha1",
        "kind": "DinoJob",
        "metadata": {"name": "digits", "namespace": "team"},
        "status": {"progress": {"epoch": 1, "epochs": 2, "percent": 50, "display": "50%"}},
    }


def test_a_rotated_token_is_read_anew(api: ApiServer) -> None:
    push(api.target, Progress())
    (api.target.token_dir / "token").write_text("second-token")
    push(api.target, Progress())
    assert [r[1]["Authorization"] for r in api.requests] == [
        "Bearer first-token",
        "Bearer second-token",
    ]


def test_a_server_with_another_certificate_is_not_told_the_token(
    api: ApiServer, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    _make_certificate(other)
    (tmp_path / "ca.crt").write_bytes((other / "ca.crt").read_bytes())
    with pytest.raises(PushError, match="SSL"):
        push(api.target, Progress())
    assert api.requests == []


def test_a_refusal_carries_the_servers_words(api: ApiServer) -> None:
    api.answer = 403
    with pytest.raises(PushError, match="403 Forbidden: told so"):
        push(api.target, Progress())


def test_a_missing_token_is_a_push_error(api: ApiServer) -> None:
    (api.target.token_dir / "token").unlink()
    with pytest.raises(PushError, match="token"):
        push(api.target, Progress())


def test_a_newer_value_replaces_one_that_waits(api: ApiServer) -> None:
    pusher = ProgressPush(api.target, print, seconds=LONG)
    pusher.offer(Progress(step=0))
    api.wait_for(1)
    for step in range(1, 50):
        pusher.offer(Progress(step=step))
    pusher.close()
    assert [r[2]["status"]["progress"]["step"] for r in api.requests] == [0, 49]


def test_it_is_not_told_more_often_than_asked_for(api: ApiServer) -> None:
    pusher = ProgressPush(api.target, print, seconds=0.5)
    began = time.monotonic()
    for step in range(2):
        pusher.offer(Progress(step=step))
        api.wait_for(step + 1)
    pusher.close()
    assert api.times[1] - began >= 0.5


@pytest.mark.parametrize(
    ("age", "seconds"), [(0, 10), (1000, 10), (3000, 30), (6000, 60), (100_000, 60)]
)
def test_the_longer_it_runs_the_less_often_it_is_told(age: float, seconds: float) -> None:
    assert interval(age) == pytest.approx(seconds)


def test_what_asks_for_more_than_the_most_gets_it() -> None:
    assert interval(100_000, least=120) == 120


def test_nothing_new_is_not_sent_again(api: ApiServer) -> None:
    pusher = ProgressPush(api.target, print, seconds=0.01)
    pusher.offer(Progress(step=1))
    api.wait_for(1)
    time.sleep(0.1)
    pusher.close()
    assert len(api.requests) == 1


def test_offering_never_waits_for_the_server(api: ApiServer) -> None:
    api.answer = None
    pusher = ProgressPush(api.target, print, seconds=0)
    pusher.offer(Progress(step=1))
    api.wait_for(1)
    pusher.offer(Progress(step=2))
    assert api.answers == 0, "the first one is not answered yet"
    api.answer = 200
    api.released.set()
    pusher.close()


def test_failures_are_said_once_and_are_not_fatal(api: ApiServer) -> None:
    said: list[str] = []
    api.answer = 500
    pusher = ProgressPush(api.target, said.append, seconds=0)
    for step in range(6):
        pusher.offer(Progress(step=step))
        api.wait_for(step + 1)
        assert (said == []) or step >= 2, "the first refusals may only mean: not yet"
    pusher.close()
    assert len(said) == 1
    assert "500" in said[0]
    assert "going on" in said[0]


def test_a_short_run_that_never_got_through_says_so(api: ApiServer) -> None:
    said: list[str] = []
    api.answer = 403
    pusher = ProgressPush(api.target, said.append)
    pusher.offer(Progress(step=1))
    api.wait_for(1)
    pusher.offer(Progress(step=2))
    pusher.close()
    assert len(said) == 1


def test_who_is_no_pod_of_a_job_has_no_target(tmp_path: Path) -> None:
    env = {
        "DINO_JOB_NAME": "digits",
        "DINO_JOB_NAMESPACE": "team",
        "DINO_TOKEN_DIR": str(tmp_path),
        "KUBERNETES_SERVICE_HOST": "10.0.0.1",
        "KUBERNETES_SERVICE_PORT": "6443",
    }
    assert Target.from_env(env) == Target("10.0.0.1", 6443, tmp_path, "team", "digits")
    for name in env:
        without = {key: value for key, value in env.items() if key != name}
        target = Target.from_env(without)
        if name == "KUBERNETES_SERVICE_PORT":
            assert target is not None
            assert target.port == 443
        else:
            assert target is None
