"""The API server's audit log: what the tested operators asked for, and by whose leave."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.api.clients import HOME
from tests.api.operator_cluster import ACCOUNT, WRITES

VARIABLE = "DINO_TEST_AUDIT_LOG"
"""Where the log of another API server lies."""
SINCE = "DINO_TEST_AUDIT_SINCE"
"""The log's size before an earlier run of tests that this run is the end of (make test-api)."""
OURS = "system:serviceaccount:"


@dataclass(frozen=True)
class Request:
    """What was asked for, once for all requests that are alike. name: empty without one."""

    group: str
    resource: str
    verb: str
    name: str
    allowed: bool

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}.{self.group or 'core'} {self.name}".rstrip()


def log() -> Path:
    """The audit log of the API server that these tests start, or of yours."""
    return Path(os.environ.get(VARIABLE) or HOME / "api" / "logs" / "audit.log")


def size() -> int:
    """How much is in it by now; 0 where there is none."""
    return log().stat().st_size if log().exists() else 0


def _lines(since: int) -> Iterator[bytes]:
    """What was logged after it had that size.

    The API server begins another file where one is full, and keeps the one before under a name
    with the time. Fails where that is gone.
    """
    files = [log()] if log().exists() else []
    if size() < since:
        before = sorted(log().parent.glob(f"{log().stem}-*{log().suffix}"))[-1:]
        kept = before and before[0].stat().st_size >= since
        assert kept, f"{log()} was begun anew while the tests ran"
        files = [*before, *files]
    for file in files:
        with file.open("rb") as text:
            text.seek(since if file is files[0] else 0)
            yield from text


def requests(since: int) -> set[Request]:
    """All requests of operators for objects that were logged after it had that size."""
    return {found for line in _lines(since) for found in _request(line)}


def _request(line: bytes) -> Iterator[Request]:
    """One, unless the line is of somebody else, or of no object."""
    if f":{ACCOUNT}".encode() not in line:
        return
    entry: dict[str, Any] = json.loads(line)
    about, who = entry.get("objectRef"), entry["user"]["username"]
    if not about or not who.startswith(OURS) or not who.endswith(f":{ACCOUNT}"):
        return
    resource = "/".join(filter(None, (about["resource"], about.get("subresource"))))
    decision = entry.get("annotations", {}).get("authorization.k8s.io/decision")
    name = about.get("name", "")
    yield Request(about.get("apiGroup", ""), resource, entry["verb"], name, decision == "allow")


def writes(since: int, namespace: str) -> list[str]:
    """What the operator of that namespace wrote after the log had that size, but its Lease."""
    found = []
    for line in _lines(since):
        entry: dict[str, Any] = json.loads(line)
        about = entry.get("objectRef") or {}
        ours = entry["user"]["username"] == f"{OURS}{namespace}:{ACCOUNT}"
        if ours and entry["verb"] in WRITES and about.get("resource") != "leases":
            found.append(f"{entry['verb']} {about.get('resource')} {about.get('name', '')}")
    return found
