"""Writes `status.progress` of the job's own resource, from inside its pod.

Server-side apply under our own field manager, with the pod's own token; RBAC and an admission
policy allow this pod that one field and nothing else. A thread of its own does it, at most every
10 seconds, and every minute in the end; a newer value replaces one that still waits. A push that
fails costs nothing: the result travels another way.
"""

from __future__ import annotations

import http.client
import json
import os
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlencode

from dino_api import names
from dino_api.names import Env
from dino_api.result import Progress
from dino_trainer.storage.store import Say

_SECONDS = 10.0
_MOST_SECONDS = 60.0
_SHARE = 0.01
_TIMEOUT = 10.0
# The operator names this pod as the reporter only once it has seen it run: the first pushes may be
# refused for that reason alone.
_SILENT_FAILURES = 3
_CONTENT_TYPE = "application/apply-patch+yaml"


@dataclass(frozen=True)
class Target:
    """The resource of this pod, and how to reach its API server over TLS."""

    host: str
    port: int
    token_dir: Path
    namespace: str
    name: str

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ) -> Target | None:
        """The resource to report to; None outside a pod that the operator made."""
        needed = (Env.JOB_NAME, Env.JOB_NAMESPACE, Env.TOKEN_DIR)
        values = [env.get(name, "") for name in (*needed, "KUBERNETES_SERVICE_HOST")]
        if not all(values):
            return None
        name, namespace, token_dir, host = values
        port = int(env.get("KUBERNETES_SERVICE_PORT", "443"))
        return cls(host, port, Path(token_dir), namespace, name)

    @property
    def path(self) -> str:
        """Path and query of the resource's status."""
        query = urlencode({"fieldManager": names.PROGRESS_FIELD_MANAGER, "force": "true"})
        return (
            f"/apis/{names.API_VERSION}/namespaces/{quote(self.namespace)}/{names.PLURAL}/"
            f"{quote(self.name)}/status?{query}"
        )

    def body(self, progress: Progress) -> bytes:
        """The apply configuration. Writing to a namesake is refused: it has another reporter."""
        document = {
            "apiVersion": names.API_VERSION,
            "kind": names.KIND,
            "metadata": {"name": self.name, "namespace": self.namespace},
            "status": {"progress": progress.to_dict()},
        }
        return json.dumps(document).encode()


class PushError(Exception):
    """The API server did not take a value."""


def push(target: Target, progress: Progress, timeout: float = _TIMEOUT) -> None:
    """One server-side apply. Raises PushError.

    Token and CA are read each time: kubelet replaces both while the pod runs.
    """
    try:
        token = (target.token_dir / names.TOKEN_FILE).read_text().strip()
        trust = ssl.create_default_context(cafile=str(target.token_dir / names.CA_FILE))
        server = http.client.HTTPSConnection(
            target.host, target.port, timeout=timeout, context=trust
        )
        try:
            headers = {"Authorization": f"Bearer {token}", "Content-Type": _CONTENT_TYPE}
            server.request("PATCH", target.path, target.body(progress), headers)
            answer = server.getresponse()
            text = answer.read(2000).decode(errors="replace")
        finally:
            server.close()
    except (OSError, http.client.HTTPException) as error:
        raise PushError(f"{type(error).__name__}: {error}") from error
    if answer.status >= 300:
        raise PushError(f"{answer.status} {answer.reason}: {_message(text)}")


def _message(text: str) -> str:
    try:
        return str(json.loads(text)["message"])
    except (KeyError, RecursionError, TypeError, ValueError):
        return text[:200]


def interval(age: float, least: float = _SECONDS) -> float:
    """Seconds between two pushes of a pod that has run for so many.

    A hundredth of them, at least `least` and at most a minute: who waits for a training of a day
    misses nothing, and a thousand such trainings leave the API server in peace.
    """
    return max(least, min(_SHARE * age, _MOST_SECONDS))


class ProgressPush:
    """The thread. `offer` never waits; `close` sends what is left, waiting for at most one push."""

    def __init__(self, target: Target, say: Say, seconds: float = _SECONDS) -> None:
        self._target, self._say, self._seconds = target, say, seconds
        self._started = time.monotonic()
        self._changed = threading.Condition()
        self._waiting: Progress | None = None
        self._closing = False
        self._failures = 0
        self._logged = False
        self._thread = threading.Thread(target=self._run, name="progress-push", daemon=True)
        self._thread.start()

    def offer(self, progress: Progress) -> None:
        """Takes the newest position; an older one that was not sent yet is forgotten."""
        with self._changed:
            self._waiting = progress
            self._changed.notify()

    def close(self) -> None:
        """Sends the last value now, without waiting for the interval."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(2 * _TIMEOUT)

    def _run(self) -> None:
        earliest = 0.0
        while (progress := self._next(earliest)) is not None:
            now = time.monotonic()
            earliest = now + interval(now - self._started, self._seconds)
            self._push(progress)

    def _next(self, earliest: float) -> Progress | None:
        """Waits for a value and for its time; None once all is sent and closing."""
        with self._changed:
            while not self._closing:
                wait = earliest - time.monotonic()
                if self._waiting is not None and wait <= 0:
                    break
                self._changed.wait(None if self._waiting is None else wait)
            progress, self._waiting = self._waiting, None
            return progress

    def _push(self, progress: Progress) -> None:
        try:
            push(self._target, progress)
            self._failures = 0
        except PushError as error:
            self._failures += 1
            if not self._logged and (self._closing or self._failures >= _SILENT_FAILURES):
                self._logged = True
                self._say(f"Progress cannot be written to the resource ({error}); going on.")
