"""Stores against real folders and a real S3 server, and what becomes of each failure."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from dino_trainer.errors import TrainerError
from dino_trainer.storage import s3
from dino_trainer.storage.opening import open_store
from dino_trainer.storage.store import Store
from dino_trainer.storage.uris import split
from tests.patience import LONG
from tests.unit.s3_server import ACCESS_KEY, BUCKET, SECRET_KEY, S3Server, free_port

LARGE = 40 * 1024 * 1024


@pytest.fixture(params=["local", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """An empty store of each kind."""
    if request.param == "local":
        return open_store(str(tmp_path / "store"))
    request.getfixturevalue("s3_server")
    return open_store(f"s3://{BUCKET}/{tmp_path.name}")


def test_what_is_written_is_read_and_found(store: Store, tmp_path: Path) -> None:
    stored = store.write_bytes(b"hello", "a/b.txt")
    assert stored.uri == store.uri("a/b.txt")
    assert stored.bytes == 5
    assert stored.sha256 == hashlib.sha256(b"hello").hexdigest()
    assert store.read_bytes("a/b.txt") == b"hello"
    store.download("a/b.txt", tmp_path / "here" / "b.txt")
    assert (tmp_path / "here" / "b.txt").read_bytes() == b"hello"
    entry = store.head("a/b.txt")
    assert entry is not None
    assert (entry.key, entry.size) == ("a/b.txt", 5)


def test_a_changed_file_has_another_etag(store: Store) -> None:
    store.write_bytes(b"one", "x")
    before = store.head("x")
    store.write_bytes(b"two!", "x")
    assert before != store.head("x")


def test_copies_and_removes(store: Store) -> None:
    store.write_bytes(b"hello", "a/b.txt")
    store.copy("a/b.txt", "c.txt")
    store.remove("a/b.txt")
    store.remove("a/b.txt")
    assert store.read_bytes("c.txt") == b"hello"
    assert not store.exists("a/b.txt")


def test_lists_by_prefix(store: Store) -> None:
    for name in ("images/1.jpg", "images/sub/2.jpg", "other.txt"):
        store.write_bytes(b"x", name)
    assert sorted(e.key for e in store.list("images/")) == ["images/1.jpg", "images/sub/2.jpg"]
    assert len(list(store.list())) == 3


def test_a_missing_file_is_named(store: Store, tmp_path: Path) -> None:
    assert store.head("nothing") is None
    assert not store.exists("nothing")
    with pytest.raises(TrainerError, match="nothing") as caught:
        store.download("nothing", tmp_path / "x")
    assert caught.value.exit_code == 66
    assert not (tmp_path / "x").exists()
    with pytest.raises(TrainerError, match="nothing"):
        store.read_bytes("nothing")


def test_large_files_go_in_parts_and_are_counted(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(os.urandom(LARGE))
    moved: list[int] = []
    stored = store.upload(path, "large", moved.append)
    assert sum(moved) == LARGE
    moved.clear()
    store.download("large", tmp_path / "back", moved.append)
    assert sum(moved) == LARGE
    assert hashlib.sha256((tmp_path / "back").read_bytes()).hexdigest() == stored.sha256


def test_lists_more_than_one_page(s3_server: S3Server, tmp_path: Path) -> None:
    store = open_store(f"s3://{BUCKET}/{tmp_path.name}")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: store.write_bytes(b"", f"{i}"), range(1005)))
    assert len({entry.key for entry in store.list()}) == 1005


def test_s3_keeps_the_digest_with_the_content(s3_server: S3Server, tmp_path: Path) -> None:
    store = open_store(f"s3://{BUCKET}/{tmp_path.name}")
    assert store.digest_of("x") is None
    stored = store.write_bytes(b"hello", "x")
    assert store.digest_of("x") == stored.sha256


def test_404_names_bucket_and_key(s3_server: S3Server) -> None:
    with pytest.raises(TrainerError, match=f"no object a/b.json in bucket {BUCKET}") as caught:
        open_store(f"s3://{BUCKET}/a").read_bytes("b.json")
    assert caught.value.exit_code == 66
    with pytest.raises(TrainerError, match="no bucket not-there") as caught:
        open_store("s3://not-there").write_bytes(b"", "x")
    assert caught.value.exit_code == 66


@pytest.mark.parametrize(
    "changes",
    [
        {"AWS_SECRET_ACCESS_KEY": "wrong"},
        {"AWS_ACCESS_KEY_ID": "nobody"},
    ],
    ids=["wrong secret", "unknown key"],
)
def test_403_is_access_denied(
    changes: dict[str, str], s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in changes.items():
        monkeypatch.setenv(name, value)
    _forget_clients()
    with pytest.raises(TrainerError, match="refused access to s3://data/x") as caught:
        open_store(f"s3://{BUCKET}").read_bytes("x")
    assert caught.value.exit_code == 77
    assert "secretName" in caught.value.remedy
    _forget_clients()


def test_no_credentials_says_which_variables(
    s3_server: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    _forget_clients()
    with pytest.raises(TrainerError, match="no S3 credentials") as caught:
        open_store(f"s3://{BUCKET}").read_bytes("x")
    assert caught.value.exit_code == 77
    assert "AWS_SECRET_ACCESS_KEY" in caught.value.remedy
    _forget_clients()


def test_connection_refused_is_unavailable(
    monkeypatch: pytest.MonkeyPatch, s3_server: S3Server
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("DINO_STORAGE_PATIENCE", "5")
    now, said = [0.0], list[str]()

    def sleep(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(s3, "time", SimpleNamespace(monotonic=lambda: now[0], sleep=sleep))
    with pytest.raises(TrainerError, match="did not answer") as caught:
        open_store(f"s3://{BUCKET}", said.append).read_bytes("x")
    assert caught.value.exit_code == 69
    assert any("Trying again in 1 s." in line for line in said)


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A server that accepts connections and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(16)
        yield listener.getsockname()[1]


def test_a_server_that_never_answers_is_unavailable_in_time(
    silent_port: int, monkeypatch: pytest.MonkeyPatch, s3_server: S3Server
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{silent_port}")
    monkeypatch.setenv("DINO_STORAGE_PATIENCE", "1")
    monkeypatch.setattr(s3, "_SHORTEST", 1.0)  # for once it counts
    started = time.monotonic()
    with pytest.raises(TrainerError, match="did not answer") as caught:
        open_store(f"s3://{BUCKET}").read_bytes("x")
    assert caught.value.exit_code == 69
    assert time.monotonic() - started < 50, "what botocore waits by itself is longer"


def test_an_upload_outlasts_a_server_that_restarts(
    own_s3_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is started once the wait for it has been said."""
    monkeypatch.setenv("DINO_STORAGE_PATIENCE", str(LONG))
    path = tmp_path / "checkpoint"
    path.write_bytes(os.urandom(LARGE))
    starting: list[threading.Thread] = []

    def say(_: str) -> None:
        if not starting:
            starting.append(threading.Thread(target=own_s3_server.start))
            starting[0].start()

    own_s3_server.stop()
    stored = open_store(f"s3://{BUCKET}", say).upload(path, "checkpoint")
    starting[0].join()
    found = own_s3_server.client().head_object(Bucket=BUCKET, Key="checkpoint")
    assert found["ContentLength"] == LARGE
    assert found["Metadata"]["sha256"] == stored.sha256


def test_a_server_that_goes_away_during_an_upload(
    own_s3_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The upload starts over once the server is back, and the object is whole."""
    monkeypatch.setenv("DINO_STORAGE_PATIENCE", str(LONG))
    path = tmp_path / "checkpoint"
    path.write_bytes(os.urandom(3 * LARGE))
    gone = threading.Event()
    threads: list[threading.Timer] = []

    def moved(_: int) -> None:
        if not gone.is_set():
            gone.set()
            own_s3_server.stop()
            threads.append(threading.Timer(2, own_s3_server.start))
            threads[0].start()

    open_store(f"s3://{BUCKET}").upload(path, "checkpoint", moved)
    threads[0].join()
    back = tmp_path / "back"
    own_s3_server.client().download_file(BUCKET, "checkpoint", str(back))
    assert back.read_bytes() == path.read_bytes()


def test_credentials_are_never_in_a_message(
    s3_server: S3Server, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("DINO_STORAGE_PATIENCE", "0")
    with pytest.raises(TrainerError) as caught:
        open_store(f"s3://{BUCKET}").read_bytes("x")
    written = "".join(capfd.readouterr()) + caught.value.message + caught.value.remedy
    assert SECRET_KEY not in written
    assert ACCESS_KEY not in written


BAD_URIS = {
    "aws://bucket/x": "Use s3://",
    "gs://bucket/x": "Use s3://",
    "s3://": "names no bucket",
    "s3:///key": "names no bucket",
}


@pytest.mark.parametrize("uri", BAD_URIS)
def test_uris_that_cannot_be_opened(uri: str) -> None:
    with pytest.raises(TrainerError) as caught:
        open_store(uri)
    assert caught.value.exit_code == 64
    assert BAD_URIS[uri] in caught.value.message + caught.value.remedy


BAD_SETTINGS = {
    "AWS_ENDPOINT_URL_S3": "minio:9000",
    "DINO_S3_PATH_STYLE": "yes",
    "DINO_STORAGE_PATIENCE": "a while",
}


@pytest.mark.parametrize("name", BAD_SETTINGS)
def test_settings_that_are_not_of_their_form(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, BAD_SETTINGS[name])
    with pytest.raises(TrainerError, match=name) as caught:
        open_store("s3://bucket")
    assert caught.value.exit_code == 64


def test_split() -> None:
    assert split("s3://bucket/a/b.json") == ("s3://bucket/a", "b.json")
    assert split("s3://bucket/b.json") == ("s3://bucket", "b.json")
    assert split("b.json") == (".", "b.json")
    assert split("/b.json") == ("/", "b.json")
    for uri in ("s3://bucket", "folder/"):
        with pytest.raises(TrainerError, match="names no file"):
            split(uri)


def test_a_failed_write_leaves_the_old_content(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    store.write_bytes(b"old", "x")
    with pytest.raises(TrainerError):
        store.upload(tmp_path / "missing", "x")
    assert store.read_bytes("x") == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_local_work_needs_no_boto3() -> None:
    """A laptop run must not pay for importing it."""
    code = (
        "import sys; from dino_trainer.storage.opening import open_store; open_store('/tmp');"
        "assert 'boto3' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def _forget_clients() -> None:
    """Clients keep the credentials that they were made with."""
    s3._client.cache_clear()
