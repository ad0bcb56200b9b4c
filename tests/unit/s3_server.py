"""A real S3 server (versitygw, built by the dev cluster) on a loopback port, for tests."""

from __future__ import annotations

import http.client
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from tests.patience import LONG, Patience

DEVCLUSTER = Path(__file__).resolve().parents[2] / "devcluster"
BUCKET = "data"
ACCESS_KEY = "reader-and-writer"
# Long enough not to appear anywhere by chance: tests look for it in logs.
SECRET_KEY = "never-to-be-printed-5f1c"


def build() -> Path:
    """The server's binary, built if it is not there yet: a minute, and Go, once per machine."""
    code = "from lib.build import S3, ensure; ensure(S3); print(S3.binary)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=DEVCLUSTER,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return Path(done.stdout.splitlines()[-1])


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class S3Server:
    """One server over one folder; `stop` and `start` keep port and objects."""

    def __init__(self, binary: Path, folder: Path) -> None:
        self.port = free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self._binary, self._folder = binary, folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def env(self) -> dict[str, str]:
        """What the trainer's pod would have in its environment."""
        return {
            "AWS_ENDPOINT_URL_S3": self.endpoint,
            "AWS_REGION": "us-east-1",
            "DINO_S3_PATH_STYLE": "true",
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        }

    def client(self) -> Any:
        """A client of our own, so that no test checks the trainer with the trainer."""
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
            config=Config(s3={"addressing_style": "path"}),
        )

    def start(self) -> None:
        """Returns once the server answers."""
        self._folder.mkdir(parents=True, exist_ok=True)
        keys = {"ROOT_ACCESS_KEY": ACCESS_KEY, "ROOT_SECRET_KEY": SECRET_KEY}
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(self._binary), str(self._folder), f"127.0.0.1:{self.port}"],
                env={**os.environ, **keys},
                stdout=log,
                stderr=log,
            )
        waiting = Patience(60)
        while waiting.lasts():
            if self._answers():
                return
            time.sleep(0.1)
        raise RuntimeError((self._folder / "log").read_text())

    def stop(self) -> None:
        """The server is gone; its objects stay."""
        if self._process:
            # At once: a polite stop would first answer what is under way.
            self._process.kill()
            self._process.wait(LONG)
            self._process = None

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("GET", "/healthz")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()


def missing() -> str:
    """Why the server cannot be had on this machine; empty if it can."""
    return "" if shutil.which("go") or _built() else "the S3 server needs Go to be built"


def _built() -> bool:
    home = os.environ.get("DINO_DEVCLUSTER_HOME") or Path.home() / ".cache" / "dino-devcluster"
    return Path(home, "bin", "s3").exists()
