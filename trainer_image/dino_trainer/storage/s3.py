"""S3 by boto3: settings from the environment, patience with a server that is away, plain errors.

Credentials are read by boto3 from the environment (or the pod's role) and never printed.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import boto3
from boto3.s3.transfer import TransferConfig, create_transfer_manager
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from s3transfer.exceptions import RetriesExceededError

from dino_api.names import Env, FailureReason
from dino_trainer.errors import TrainerError, invalid_spec
from dino_trainer.storage import s3_region
from dino_trainer.storage.files import named, replacing, sha256_of
from dino_trainer.storage.s3_errors import OUT_OF_RANGE, code_of, translate
from dino_trainer.storage.s3_settings import S3Settings
from dino_trainer.storage.store import (
    Moved,
    SameAgainError,
    Say,
    StoredFile,
    StoreEntry,
    changed,
    not_that_part,
)

if TYPE_CHECKING:
    from dino_trainer.storage.s3_types import (
        Body,
        Future,
        HeadObjectOutput,
        ListObjectsOutput,
        S3Client,
        Transfers,
    )

_PART = 16 * 1024 * 1024
# The memory of a piece is used again for the next; that of a whole part would be asked for anew.
_PIECE = 1024 * 1024
_TRANSFER = TransferConfig(multipart_threshold=_PART, multipart_chunksize=_PART, max_concurrency=8)
# What the server copies by itself goes in one request, which S3 allows up to 5 GB.
_COPY = TransferConfig(multipart_threshold=4 << 30, multipart_chunksize=512 << 20)
_CONNECTIONS = 32
# Seconds that an answer may take, however little patience there is.
_SHORTEST = 1.0
T = TypeVar("T")


@lru_cache(maxsize=4)
def _client(settings: S3Settings) -> S3Client:
    """One client for all threads and stores: a client costs 0.1 s and owns the connections."""
    wait = max(_SHORTEST, min(60.0, settings.patience))
    config = Config(
        connect_timeout=min(10.0, wait),
        read_timeout=wait,
        max_pool_connections=_CONNECTIONS,
        # Two quick tries here; `_patiently` waits between further ones and says so.
        retries={"mode": "standard", "total_max_attempts": 2},
        s3={"addressing_style": "path" if settings.path_style else "auto"},
        # Older S3 servers refuse the checksum trailers that boto3 would add; we keep our own.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    client: S3Client = boto3.session.Session().client(
        "s3", endpoint_url=settings.endpoint, region_name=settings.region, config=config
    )
    s3_region.watch(client)
    return client


def open_s3(uri: str, say: Say, settings: S3Settings | None = None) -> S3Store:
    """The store at `s3://bucket[/prefix]`. Raises InvalidSpec for a URI without a bucket."""
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    if not bucket:
        raise invalid_spec(f"{uri} names no bucket.", "Write s3://bucket/path.")
    return S3Store(bucket, prefix.strip("/"), settings or S3Settings.from_env(), say)


class _Count:
    """A subscriber of a transfer: s3transfer calls the methods that one has."""

    def __init__(self, moved: Moved) -> None:
        self._moved = moved

    def on_progress(self, bytes_transferred: int, **_: object) -> None:
        self._moved(bytes_transferred)


class _SignOfLife:
    """A subscriber, too. at: when bytes moved last, by the monotonic clock; 0 where none did."""

    at = 0.0

    def on_progress(self, **_: object) -> None:
        self.at = time.monotonic()


class S3Store:
    """The objects of one bucket under one prefix. Safe to use from several threads."""

    def __init__(self, bucket: str, prefix: str, settings: S3Settings, say: Say) -> None:
        self.bucket = bucket
        self.prefix = f"{prefix}/" if prefix else ""
        self._settings = settings
        self._say = say
        self._hopeless_until = 0.0

    def uri(self, key: str) -> str:
        return f"s3://{self.bucket}/{self.prefix}{key}"

    def head(self, key: str) -> StoreEntry | None:
        head = self._head(key)
        if head is None:
            return None
        return StoreEntry(key, head["ContentLength"], head["ETag"].strip('"'))

    def exists(self, key: str) -> bool:
        return self._head(key) is not None

    def read_bytes(self, key: str) -> bytes:
        return self._patiently(
            key, lambda s3: s3.get_object(Bucket=self.bucket, Key=self.prefix + key)["Body"].read()
        )

    def read_part(self, entry: StoreEntry, start: int, end: int) -> list[bytes]:
        return list(self.stream(entry, start, end))

    def stream(self, entry: StoreEntry, start: int, end: int) -> Iterator[bytes]:
        body: Body | None = None

        def piece_of(s3: S3Client) -> bytes:
            nonlocal body
            asked, body = body or self._open(s3, entry, start, end), None
            piece = asked.read(min(_PIECE, end - start))  # a body may have more than was asked for
            body = asked  # else it broke off, and the rest is asked for anew
            return piece

        try:
            while start < end and (piece := self._patiently(entry.key, piece_of)):
                start += len(piece)
                yield piece
        finally:
            if body:
                body.close()

    def _open(self, s3: S3Client, entry: StoreEntry, start: int, end: int) -> Body:
        span = f"bytes={start}-{end - 1}"
        try:
            answer = s3.get_object(Bucket=self.bucket, Key=self.prefix + entry.key, Range=span)
        except ClientError as error:
            if code_of(error) != OUT_OF_RANGE:
                raise
            raise changed(self.uri(entry.key)) from error  # it has become shorter
        if answer["ETag"].strip('"') != entry.etag:
            answer["Body"].close()
            raise changed(self.uri(entry.key))
        if start and not answer.get("ContentRange", "").startswith(f"bytes {start}-"):
            answer["Body"].close()
            raise not_that_part(self.uri(entry.key), span)
        return answer["Body"]

    def write_bytes(self, data: bytes, key: str) -> StoredFile:
        digest = hashlib.sha256(data).hexdigest()
        name = self.prefix + key
        self._patiently(
            key,
            lambda s3: s3.put_object(
                Bucket=self.bucket, Key=name, Body=data, Metadata={"sha256": digest}
            ),
        )
        return StoredFile(self.uri(key), digest, len(data))

    def download(self, key: str, path: Path, progress: Moved | None = None) -> None:
        with named(path), replacing(path) as aside:
            self._transfer(
                key,
                progress,
                lambda manager, name, watch: manager.download(
                    self.bucket, name, str(aside), subscribers=watch
                ),
            )

    def upload(self, path: Path, key: str, progress: Moved | None = None) -> StoredFile:
        with named(path):
            stored = StoredFile(self.uri(key), sha256_of(path), path.stat().st_size)
            extra = {"Metadata": {"sha256": stored.sha256}}
            self._transfer(
                key,
                progress,
                lambda manager, name, watch: manager.upload(
                    str(path), self.bucket, name, extra_args=extra, subscribers=watch
                ),
            )
        return stored

    def copy(self, key: str, to: str) -> None:
        source = {"Bucket": self.bucket, "Key": self.prefix + key}
        # A copy in parts would leave the metadata behind.
        digest = {"sha256": self.digest_of(key) or ""}
        extra = {"Metadata": digest, "MetadataDirective": "REPLACE"}
        self._transfer(
            to,
            None,
            lambda manager, name, _: manager.copy(source, self.bucket, name, extra_args=extra),
            _COPY,
        )

    def remove(self, key: str) -> None:
        self._patiently(key, lambda s3: s3.delete_object(Bucket=self.bucket, Key=self.prefix + key))

    def digest_of(self, key: str) -> str | None:
        head = self._head(key)
        return (head.get("Metadata", {}).get("sha256") or None) if head else None

    def hurry(self) -> None:
        self._hopeless_until = math.inf

    def list(self, prefix: str = "") -> Iterator[StoreEntry]:
        token: dict[str, str] = {}
        while True:
            page = self._page(prefix, token)
            for item in page.get("Contents", ()):
                key = item["Key"].removeprefix(self.prefix)
                yield StoreEntry(key, item["Size"], item["ETag"].strip('"'))
            if not page.get("IsTruncated"):
                return
            token = {"ContinuationToken": page["NextContinuationToken"]}

    def _page(self, prefix: str, token: dict[str, str]) -> ListObjectsOutput:
        def ask(s3: S3Client) -> ListObjectsOutput:
            return s3.list_objects_v2(Bucket=self.bucket, Prefix=self.prefix + prefix, **token)

        return self._patiently(prefix, ask)

    def _head(self, key: str) -> HeadObjectOutput | None:
        try:
            return self._patiently(
                key, lambda s3: s3.head_object(Bucket=self.bucket, Key=self.prefix + key)
            )
        except TrainerError as error:
            if error.reason == FailureReason.INPUT_NOT_FOUND:
                return None
            raise

    def _transfer(
        self,
        key: str,
        moved: Moved | None,
        start: Callable[[Transfers, str, Sequence[_Count | _SignOfLife]], Future],
        config: TransferConfig = _TRANSFER,
    ) -> None:
        """Runs one managed transfer: large files go in parts, side by side."""
        life = _SignOfLife()
        watch: list[_Count | _SignOfLife] = [life]
        if moved:
            watch.append(_Count(moved))

        def once(s3: S3Client) -> None:
            with create_transfer_manager(s3, config) as manager:
                start(manager, self.prefix + key, watch).result()

        self._patiently(key, once, life)

    def _patiently(
        self, key: str, ask: Callable[[S3Client], T], life: _SignOfLife | None = None
    ) -> T:
        """Asks again while the server is away, up to the settings' patience.

        A checkpoint is worth waiting for: a server that restarts is back within seconds. But what
        was given up a moment ago is not waited for again, so that a run ends soon after.

        life: of a transfer, which may take longer than that before it fails for the first time: the
        server was there as long as bytes moved.
        """
        patience = self._settings.patience
        deadline = time.monotonic() + patience
        wait = 1.0
        while True:
            try:
                return self._ask(key, ask)
            except TrainerError as error:
                away = error.reason == FailureReason.STORAGE_UNAVAILABLE
                if not away or isinstance(error, SameAgainError):
                    raise
                now = time.monotonic()
                if now < self._hopeless_until:
                    raise
                if life:
                    deadline, life = max(deadline, life.at + patience), None
                if now + wait > deadline:
                    self._hopeless_until = now + patience
                    raise
                self._say(f"{error.message} Trying again in {wait:.0f} s.")
            time.sleep(wait)
            wait = min(2 * wait, 8.0)

    def _ask(self, key: str, ask: Callable[[S3Client], T]) -> T:
        try:
            try:
                answer = ask(_client(self._settings))
            except ClientError as error:
                if not s3_region.says_nothing(error):
                    raise
                self._ask_aloud(key, error)
                answer = ask(_client(self._settings))
        except (ClientError, BotoCoreError, RetriesExceededError) as error:
            raise translate(error, self.uri(key), self._settings) from error
        self._name_region()
        return answer

    def _ask_aloud(self, key: str, mute: ClientError) -> None:
        """Asks for the first byte of what a HEAD was refused for: the refusal has words then.

        Raises ClientError. Returns where it is not refused, as in a region that the answer named.
        """
        try:
            _client(self._settings).get_object(
                Bucket=self.bucket, Key=self.prefix + key, Range="bytes=0-0"
            )
        except ClientError as error:
            if code_of(error) != OUT_OF_RANGE:  # an empty object
                raise error from mute

    def _name_region(self) -> None:
        """boto3 heals a wrong region in silence, at twice the requests."""
        if region := s3_region.moved_to(_client(self._settings), self.bucket):
            self._say(
                f"Warning: bucket {self.bucket} is in region {region}, and "
                f"{self._settings.region} was asked. Set spec.storage.region ({Env.S3_REGION}) to "
                f"{region}."
            )
