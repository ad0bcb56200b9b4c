"""The object store as the demo sees it from this machine."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from demo.errors import DemoError


@dataclass(frozen=True)
class DemoStorage:
    """Where the store is.

    `endpoint` is how this machine reaches it, `inside` how pods do; empty means Amazon S3.
    """

    endpoint: str
    inside: str
    region: str
    path_style: bool
    access_key: str
    secret_key: str = field(repr=False)
    bucket: str

    def client(self, *, attempts: int = 8, patience: float = 60) -> Any:
        """A boto3 client; the caller's proxies and profiles play no part.

        attempts: of a request. patience: seconds for an answer; for a connection 10 at most.
        """
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint or None,
            region_name=self.region,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            config=Config(
                s3={"addressing_style": "path" if self.path_style else "auto"},
                retries={"max_attempts": attempts, "mode": "standard"},
                connect_timeout=min(10, patience),
                read_timeout=patience,
                proxies={} if self.endpoint.startswith("http://") else None,
            ),
        )

    def uri(self, key: str) -> str:
        return f"s3://{self.bucket}/{key}"


def make_bucket(storage: DemoStorage) -> None:
    """Create the bucket unless it is there. Raises DemoError with the store's answer."""
    client = storage.client()
    try:
        if storage.bucket not in {b["Name"] for b in client.list_buckets()["Buckets"]}:
            client.create_bucket(Bucket=storage.bucket)
    except (BotoCoreError, ClientError) as error:
        raise DemoError(f"the bucket {storage.bucket} cannot be made: {error}") from error


def upload(storage: DemoStorage, folder: Path, key: str) -> int:
    """Copy a folder's files to below `key`.

    Returns bytes. Raises DemoError with the store's answer.
    """
    client, total = storage.client(), 0
    try:
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            client.upload_file(str(path), storage.bucket, f"{key}/{path.relative_to(folder)}")
            total += path.stat().st_size
    except (BotoCoreError, ClientError, boto3.exceptions.Boto3Error) as error:
        raise DemoError(f"the upload of {folder} to {storage.uri(key)} failed: {error}") from error
    return total


def clear(storage: DemoStorage, key: str) -> None:
    """Delete everything below `key`, so that a training starts anew.

    Raises DemoError with the store's answer.
    """
    client = storage.client()
    try:
        for page in client.get_paginator("list_objects_v2").paginate(
            Bucket=storage.bucket, Prefix=f"{key}/"
        ):
            for found in page.get("Contents", ()):
                client.delete_object(Bucket=storage.bucket, Key=found["Key"])
    except (BotoCoreError, ClientError) as error:
        raise DemoError(f"{storage.uri(key)} cannot be cleared: {error}") from error


def download(storage: DemoStorage, uri: str, path: Path) -> None:
    """Fetch one object of an s3:// URI. Raises DemoError with the store's answer."""
    where = urlsplit(uri)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        storage.client().download_file(where.netloc, where.path.lstrip("/"), str(path))
    except (BotoCoreError, ClientError) as error:
        raise DemoError(f"{uri} cannot be fetched: {error}") from error
