"""What others do to objects and uploads meanwhile, and a server that is asked too much."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dino_trainer.errors import TrainerError
from dino_trainer.storage import s3
from dino_trainer.storage.opening import open_store
from dino_trainer.storage.s3 import S3Store
from tests.patience import LONG
from tests.unit.s3_answers import S3Answer, S3Answers
from tests.unit.s3_server import BUCKET, S3Server

LARGE = 40 * 1024 * 1024


def quiet(_: str) -> None:
    """Says nothing."""


@pytest.fixture(autouse=True)
def _clients() -> Iterator[None]:
    """None of this module's servers and hooks afterwards."""
    yield
    s3._client.cache_clear()


def test_an_upload_that_is_cleaned_away_is_sent_again(
    s3_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bucket's rules, or an operator, abort uploads in parts that they take for left ones."""
    monkeypatch.setenv("DINO_STORAGE_PATIENCE", str(LONG))
    path, key = tmp_path / "checkpoint", f"{tmp_path.name}/checkpoint"
    path.write_bytes(os.urandom(LARGE))
    client, aborted = s3_server.client(), []

    def abort(**_: object) -> None:
        """Between the last part and the request that puts them together."""
        for one in client.list_multipart_uploads(Bucket=BUCKET).get("Uploads", ()):
            if one["Key"] == key and not aborted:
                aborted.append(one["UploadId"])
                client.abort_multipart_upload(Bucket=BUCKET, Key=key, UploadId=one["UploadId"])

    said: list[str] = []
    store = open_store(f"s3://{BUCKET}/{tmp_path.name}", said.append)
    assert isinstance(store, S3Store)
    s3._client.cache_clear()  # the hook goes with the client
    events: Any = s3._client(store._settings).meta.events
    events.register_first("before-call.s3.CompleteMultipartUpload", abort)
    stored = store.upload(path, "checkpoint")
    assert aborted
    assert client.head_object(Bucket=BUCKET, Key=key)["Metadata"]["sha256"] == stored.sha256
    [line] = said
    assert "answered NoSuchUpload for s3://" in line


ANSWERS = {
    "an upload that is gone": (S3Answer(404, "NoSuchUpload"), "answered NoSuchUpload for"),
    "another content than was begun with": (
        S3Answer(412, "PreconditionFailed"), "was replaced while it was downloaded",
    ),
    "another size than was begun with": (
        S3Answer(416, "InvalidRange"), "was replaced while it was downloaded",
    ),
    "a conflict": (S3Answer(409, "OperationAborted"), "answered OperationAborted for"),
    "a proxy's limit": (S3Answer(429, "RateLimited"), "answered RateLimited for"),
    "a proxy's timeout": (S3Answer(408, "Timeout"), "answered Timeout for"),
}  # fmt: skip


@pytest.mark.parametrize("answer, words", ANSWERS.values(), ids=ANSWERS)
def test_what_passes_is_no_fault_of_the_spec(
    answer: S3Answer, words: str, patient_s3: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such an answer ended the job for good: another attempt helps."""
    with S3Answers({"GET": answer}) as server:
        for name, value in {
            "AWS_ENDPOINT_URL_S3": server.endpoint,
            "AWS_REGION": "us-west-2",
            "AWS_ACCESS_KEY_ID": "a",
            "AWS_SECRET_ACCESS_KEY": "b",
            "DINO_S3_PATH_STYLE": "true",
            "DINO_STORAGE_PATIENCE": "0",
        }.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(TrainerError, match=words) as caught:
            open_store(f"s3://{BUCKET}", quiet).read_bytes("x")
    assert caught.value.reason == "StorageUnavailable"


@pytest.mark.parametrize("content", [b"other content", b"short", b""])
def test_what_was_replaced_is_not_waited_for(
    content: bytes, s3_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asking again brings the same answer, however long a server may be away."""
    monkeypatch.setenv("DINO_STORAGE_PATIENCE", "120")
    said: list[str] = []
    store = open_store(f"s3://{BUCKET}/{tmp_path.name}", said.append)
    store.write_bytes(b"first content", "a")
    entry = store.head("a")
    assert entry is not None
    store.write_bytes(content, "a")
    for start in (0, 6):
        with pytest.raises(TrainerError, match="was replaced while it was downloaded") as caught:
            store.read_part(entry, start, 13)
        assert caught.value.reason == "StorageUnavailable"
    assert said == []


def test_no_more_is_read_than_was_asked_for(s3_server: S3Server, tmp_path: Path) -> None:
    """Behind a proxy that drops the Range header, the start of a file came with all of it."""
    store = open_store(f"s3://{BUCKET}/{tmp_path.name}", quiet)
    assert isinstance(store, S3Store)
    store.write_bytes(b"first content", "a")
    entry = store.head("a")
    assert entry is not None
    client = s3._client(store._settings)

    class DeafClient:
        def get_object(self, Range: str, **more: Any) -> Any:  # boto3's name
            return client.get_object(**more)

    def deaf(*_: object) -> Any:
        return DeafClient()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(s3, "_client", deaf)
        patch.setattr(store, "_name_region", lambda: None)
        assert b"".join(store.read_part(entry, 0, 5)) == b"first"
