"""Results folders, local and on S3, that a test can look into and damage."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from threading import Event
from typing import Any

from dino_trainer.results.output import Output
from tests.unit.s3_proxy import S3Proxy
from tests.unit.s3_server import BUCKET, S3Server


class Place:
    """A results_dir, and a way to look at and damage what lies there without the trainer.

    proxy: what the trainer's requests go through, if anything.
    """

    proxy: S3Proxy

    def __init__(self, results_dir: str, tmp_path: Path, server: S3Server | None) -> None:
        self.results_dir, self._tmp, self._server = results_dir, tmp_path, server
        self._runs = 0

    def open(self, said: list[str] | None = None, stop: Event | None = None) -> Output:
        """As a new pod would: with an empty disk of its own."""
        self._runs += 1
        lines: list[str] = [] if said is None else said
        work = self._tmp / f"work{self._runs}"
        return Output(f"{self.results_dir}/train", work, lines.append, stop=stop)

    def hold(self, name: str) -> None:
        """Uploads of this file wait in the proxy from now on."""
        self.proxy.hold(name)

    def read(self, name: str) -> bytes:
        if self._server is None:
            return Path(self.results_dir, "train", name).read_bytes()
        found = self._server.client().get_object(Bucket=BUCKET, Key=self._key(name))
        return bytes(found["Body"].read())

    def write(self, name: str, data: bytes | None, **extra: Any) -> None:
        """Another content, or none at all. On S3 what lies beside the content stays as it was."""
        if self._server is None:
            self._write_local(Path(self.results_dir, "train", name), data)
            return
        client, key = self._server.client(), self._key(name)
        if data is None:
            client.delete_object(Bucket=BUCKET, Key=key)
            return
        with suppress(client.exceptions.ClientError):
            extra = {"Metadata": client.head_object(Bucket=BUCKET, Key=key)["Metadata"], **extra}
        client.put_object(Bucket=BUCKET, Key=key, Body=data, **extra)

    def _write_local(self, path: Path, data: bytes | None) -> None:
        if data is None:
            path.unlink()
            return
        times = path.stat() if path.exists() else None
        path.write_bytes(data)
        if times:
            # As a failing disk does: the content changes and nothing else.
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))

    def _key(self, name: str) -> str:
        return f"{self.results_dir.removeprefix(f's3://{BUCKET}/')}/train/{name}"


def said_by(lines: list[str], words: str) -> bool:
    """Whether a line holds these words."""
    return any(words in line for line in lines)
