"""Questions to the cluster's processes that are answered by yes or no."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from lib.paths import Instance, program
from lib.patience import wait_for
from lib.say import ClusterError

ANSWER = 20.0  # seconds for an answer; where nobody listens there is none to wait for
# What kubectl and the API server say when one of them, or etcd, has too little time.
BUSY = (
    "i/o timeout",
    "handshake timeout",
    "Client.Timeout",
    "return a response in the time allotted",
    "deadline exceeded",
    "connection reset by peer",
    "unexpected EOF",
    "unable to handle the request",
    "etcdserver: ",
    "Too Many Requests",
)

# Health endpoints of the controller manager and the scheduler show certificates they made up
# themselves; nothing is believed that could not be believed without a certificate.
UNVERIFIED = ssl.create_default_context()
UNVERIFIED.check_hostname = False
UNVERIFIED.verify_mode = ssl.CERT_NONE


def answers(url: str) -> Callable[[], bool]:
    """Whether a GET of a health URL returns 200."""
    # The machine's proxy settings are not for addresses of the machine itself.
    handlers = (urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=UNVERIFIED))
    opener = urllib.request.build_opener(*handlers)

    def ask() -> bool:
        try:
            with opener.open(url, timeout=ANSWER) as reply:
                return bool(reply.status == 200)
        except (OSError, urllib.error.URLError, http.client.HTTPException):
            return False

    return ask


def listens(path: Path) -> Callable[[], bool]:
    """Whether something accepts connections on a unix socket."""

    def ask() -> bool:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(ANSWER)
            try:
                client.connect(str(path))
            except OSError:
                return False
        return True

    return ask


class KubectlError(ClusterError):
    """The API server's no, in its own words."""


def kubectl(instance: Instance, *arguments: str, given: str | None = None) -> str:
    """Run kubectl as the administrator and return what it prints.

    A server that is too busy to answer is asked again: a command must be one that can be repeated.
    Raises KubectlError with what it said else.
    """
    command = [str(program("kubectl")), "--kubeconfig", str(instance.kubeconfig), *arguments]
    done = subprocess.CompletedProcess[str](command, 0, "", "")

    def answered() -> bool:
        nonlocal done
        done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
        return done.returncode == 0 or not is_busy(done.stderr)

    wait_for(f"`kubectl {arguments[0]}`", answered, seen=lambda: done.stderr.strip())
    if done.returncode != 0:
        raise KubectlError(f"`kubectl {' '.join(arguments)}` failed: {done.stderr.strip()}")
    return done.stdout


def is_busy(error: str) -> bool:
    """Whether kubectl's complaint is about a server that did not answer in its time."""
    return any(sign in error for sign in BUSY)


def node_is_ready(instance: Instance, name: str, since: float) -> bool:
    """Whether the kubelet started at `since` (seconds of the epoch) has called its node ready.

    The heartbeat must be younger than that start: a node whose machine lost its power still
    reads Ready for a while.
    """
    try:
        node = json.loads(kubectl(instance, "get", "node", name, "-o", "json"))
    except KubectlError:
        return False
    for condition in node["status"].get("conditions", ()):
        if condition["type"] == "Ready":
            beat = time.strptime(condition["lastHeartbeatTime"], "%Y-%m-%dT%H:%M:%SZ")
            return condition["status"] == "True" and _epoch(beat) >= int(since)
    return False


def _epoch(moment: time.struct_time) -> float:
    import calendar

    return float(calendar.timegm(moment))
