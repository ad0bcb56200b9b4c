"""A real S3 server behind TLS with a certificate of a private authority."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from dino_trainer.errors import TrainerError
from dino_trainer.storage.opening import open_store
from tests.unit.s3_server import BUCKET, S3Server


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate that is its own authority, with its key in key.pem beside it."""
    made = tmp_path / "ca.crt"
    names = ("-subj", "/CN=private", "-addext", "subjectAltName=IP:127.0.0.1")
    key = ("-newkey", "rsa:2048", "-nodes", "-keyout", str(tmp_path / "key.pem"))
    command = ["openssl", "req", "-x509", "-days", "2", *key, *names, "-out", str(made)]
    subprocess.run(command, check=True, capture_output=True)
    return made


@pytest.fixture
def tls(s3_server: S3Server, certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An https:// address of the server, which is the environment's."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.parent / "key.pem")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(
            target=serve, args=(listener, context, s3_server.port), daemon=True
        ).start()
        endpoint = f"https://127.0.0.1:{listener.getsockname()[1]}"
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
        yield endpoint
        listener.shutdown(socket.SHUT_RDWR)


def serve(listener: socket.socket, context: ssl.SSLContext, port: int) -> None:
    """Decrypts what comes, until the listener is closed."""
    with suppress(OSError):
        while True:
            client, _ = listener.accept()
            threading.Thread(target=carry, args=(client, context, port), daemon=True).start()


def carry(client: socket.socket, context: ssl.SSLContext, port: int) -> None:
    """One connection. A client that does not trust us ends it in the handshake."""
    with (
        suppress(OSError),
        context.wrap_socket(client, server_side=True) as outside,
        socket.create_connection(("127.0.0.1", port)) as inside,
    ):
        back = threading.Thread(target=copy, args=(inside, outside), daemon=True)
        back.start()
        copy(outside, inside)
        back.join()


def copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


def test_a_private_authority_is_trusted_by_its_certificate(
    tls: str, certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What trainer.caConfigMap of the chart sets in every training pod."""
    monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
    store = open_store(f"s3://{BUCKET}/{tmp_path.name}")
    store.write_bytes(b"hello", "a.txt")
    assert store.read_bytes("a.txt") == b"hello"


def test_without_it_the_error_says_what_to_set(
    tls: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_CA_BUNDLE", raising=False)
    monkeypatch.setenv("DINO_STORAGE_PATIENCE", "1")
    store = open_store(f"s3://{BUCKET}/{tmp_path.name}")
    with pytest.raises(TrainerError) as error:
        store.read_bytes("a.txt")
    assert f"The certificate of {tls} is not one that is trusted here" in str(error.value)
    assert "trainer.caConfigMap" in error.value.remedy
