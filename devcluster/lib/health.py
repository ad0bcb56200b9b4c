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
            with opener.open(url, timeout=3) as reply:
                return bool(reply.status == 200)
        except (OSError, urllib.error.URLError, http.client.HTTPException):
            return False

    return ask


def listens(path: Path) -> Callable[[], bool]:
    """Whether something accepts connections on a unix socket."""

    def ask() -> bool:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(2)
            try:
                client.connect(str(path))
            except OSError:
                return False
        return True

    return ask


def kubectl(instance: Instance, *arguments: str, given: str | None = None) -> str:
    """Run kubectl as the administrator and return what it prints. Raises CalledProcessError."""
    command = [str(program("kubectl")), "--kubeconfig", str(instance.kubeconfig), *arguments]
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=True)
    return done.stdout


def node_is_ready(instance: Instance, name: str, since: float) -> bool:
    """Whether the kubelet started at `since` (seconds of the epoch) has called its node ready.

    The heartbeat must be younger than that start: a node whose machine lost its power still
    reads Ready for a while.
    """
    try:
        node = json.loads(kubectl(instance, "get", "node", name, "-o", "json"))
    except subprocess.CalledProcessError:
        return False
    for condition in node["status"].get("conditions", ()):
        if condition["type"] == "Ready":
            beat = time.strptime(condition["lastHeartbeatTime"], "%Y-%m-%dT%H:%M:%SZ")
            return condition["status"] == "True" and _epoch(beat) >= int(since)
    return False


def _epoch(moment: time.struct_time) -> float:
    import calendar

    return float(calendar.timegm(moment))
