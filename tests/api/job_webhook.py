"""Mutating webhooks for Jobs, served by the test itself: the API server calls them as any other.

Kueue's, as far as it concerns a Job: it adds the queue `default` to a Job that names none, or no
label where Kueue manages all Jobs, and suspends it. And a policy that has no Job suspended.
"""

from __future__ import annotations

import base64
import json
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import kubernetes

from tests.patience import LONG

Object = dict[str, Any]
QUEUE = "kueue.x-k8s.io/queue-name"
HERE = "127.0.0.1"


@contextmanager
def taking_jobs(
    client: kubernetes.client.ApiClient, namespace: str, folder: Path, queue: str
) -> Iterator[None]:
    """Suspends every new Job of that namespace. queue: the label that it adds; empty for none."""
    with _serving(client, namespace, folder, "CREATE", partial(_take, queue=queue)):
        yield


@contextmanager
def urging_jobs(
    client: kubernetes.client.ApiClient, namespace: str, folder: Path, labels: dict[str, str]
) -> Iterator[None]:
    """Has no Job of that namespace suspended that has these labels, whoever writes it."""
    with _serving(client, namespace, folder, "UPDATE", partial(_urge, labels=labels)):
        yield


@contextmanager
def _serving(
    client: kubernetes.client.ApiClient,
    namespace: str,
    folder: Path,
    operation: str,
    change: Callable[[Object], list[Object]],
) -> Iterator[None]:
    """change: the JSON patch of a Job."""
    folder.mkdir(parents=True, exist_ok=True)
    made = certificate(folder)
    server = ThreadingHTTPServer((HERE, 0), _handler(change))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made, folder / "key.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    admission = kubernetes.client.AdmissionregistrationV1Api(client)
    name = f"changes-jobs-{namespace}"
    bundle = base64.b64encode(made.read_bytes()).decode()
    admission.create_mutating_webhook_configuration(
        _configuration(name, namespace, operation, (server.server_address[1], bundle))
    )
    try:
        yield
    finally:
        admission.delete_mutating_webhook_configuration(name)
        server.shutdown()
        server.server_close()


def certificate(folder: Path) -> Path:
    """One for a server on this machine, cert.pem, which signs itself; its key is key.pem."""
    made = folder / "cert.pem"
    words = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=queue"]
    words += ["-addext", f"subjectAltName=IP:{HERE}", "-keyout", str(folder / "key.pem")]
    done = subprocess.run(
        ["openssl", *words, "-out", str(made)], capture_output=True, text=True, timeout=LONG
    )
    assert done.returncode == 0, done.stderr
    return made


def _configuration(name: str, namespace: str, operation: str, at: tuple[int, str]) -> Object:
    port, bundle = at
    rule = {"apiGroups": ["batch"], "apiVersions": ["v1"], "resources": ["jobs"]}
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": name},
        "webhooks": [
            {
                "name": "queue.example.com",
                "clientConfig": {"url": f"https://{HERE}:{port}/", "caBundle": bundle},
                "rules": [{**rule, "operations": [operation]}],
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
                "sideEffects": "None",
                "admissionReviewVersions": ["v1"],
                "failurePolicy": "Fail",
            }
        ],
    }


def _handler(change: Callable[[Object], list[Object]]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            asked = json.loads(self.rfile.read(length))["request"]
            patch = base64.b64encode(json.dumps(change(asked["object"])).encode()).decode()
            told = {"uid": asked["uid"], "allowed": True, "patchType": "JSONPatch", "patch": patch}
            kind = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}
            body = json.dumps({**kind, "response": told}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """It says nothing."""

    return Handler


def _take(job: Object, queue: str) -> list[Object]:
    patch: list[Object] = [{"op": "add", "path": "/spec/suspend", "value": True}]
    if queue and QUEUE not in job["metadata"].get("labels", {}):
        key = QUEUE.replace("/", "~1")
        patch.append({"op": "add", "path": f"/metadata/labels/{key}", "value": queue})
    return patch


def _urge(job: Object, labels: dict[str, str]) -> list[Object]:
    if not labels.items() <= job["metadata"].get("labels", {}).items():
        return []
    return [{"op": "add", "path": "/spec/suspend", "value": False}]
