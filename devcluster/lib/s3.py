"""The S3 server: versitygw as a pod, reachable from pods and from this machine."""

from __future__ import annotations

import base64
import json
import secrets
import string
from dataclasses import asdict, dataclass
from pathlib import Path

from lib import build, images
from lib.health import answers, kubectl
from lib.lock import locked
from lib.paths import CLUSTER_DOMAIN, FULL, MANIFESTS
from lib.patience import wait_for
from lib.say import ClusterError, say, stage
from lib.up import runs

NAMESPACE = "dino-s3"
SERVICE = "s3"
SECRET = "s3-credentials"
PORT = 9000
BUCKET = "dino"  # of the examples
REGION = "us-east-1"
LETTERS = string.ascii_letters + string.digits


@dataclass(frozen=True)
class Endpoint:
    """How to reach the server: `endpoint` from this machine, `inside` from pods."""

    endpoint: str
    inside: str
    region: str
    accessKey: str
    secretKey: str


def up(*, as_json: bool) -> None:
    """Start the server, wait until it answers, and print where it is."""
    if not runs(FULL):
        raise ClusterError("The cluster is not up: run `devcluster/cluster up` first.")
    build.ensure(build.S3)
    image = f"localhost/dino-s3:{build.S3.key()}"
    with locked("s3"), stage("Starting the S3 server", "5 s"):
        wait_for("the API server", answers(f"{FULL.server}/readyz"))
        images.load_program(image, build.S3.binary, "/s3")
        apply(image)
        make_bucket(FULL.root / "s3")
        found = describe()
        wait_for("the S3 server", answers(f"{found.endpoint}/healthz"), pods)
    show(found, as_json=as_json)


def pods() -> str:
    """The state of the server's pods in one line."""
    rows = kubectl(FULL, "get", "pods", "-n", NAMESPACE, "--no-headers").splitlines()
    return "; ".join(" ".join(row.split()[:3]) for row in rows)


def apply(image: str) -> None:
    """Apply the manifest, and keys unless there are some."""
    text = (MANIFESTS / "s3.yaml").read_text().replace("IMAGE", image)
    text = text.replace("FOLDER", str(FULL.root / "s3"))
    kubectl(FULL, "apply", "--server-side", "--force-conflicts", "-f", "-", given=text)
    if not credentials():
        make_credentials()


def make_credentials() -> None:
    """Draw new keys. They are for this machine's dev cluster only."""
    values = {
        "AWS_ACCESS_KEY_ID": "dino" + "".join(secrets.choice(LETTERS) for _ in range(12)),
        "AWS_SECRET_ACCESS_KEY": "".join(secrets.choice(LETTERS) for _ in range(40)),
    }
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": SECRET, "namespace": NAMESPACE},
        "stringData": values,
    }
    kubectl(FULL, "create", "-f", "-", given=json.dumps(secret))


def make_bucket(folder: Path) -> None:
    """The bucket to which the examples point. To the server every folder there is one."""
    (folder / BUCKET).mkdir(parents=True, exist_ok=True)


def credentials() -> dict[str, str]:
    """The server's keys, empty when it was never started."""
    command = ("get", "secret", SECRET, "-n", NAMESPACE, "-o", "json", "--ignore-not-found")
    said = kubectl(FULL, *command)
    data = json.loads(said)["data"] if said.strip() else {}
    return {name: base64.b64decode(value).decode() for name, value in data.items()}


def describe() -> Endpoint:
    """Where the server is and its keys. The Service's address works from this machine too."""
    address = kubectl(
        FULL, "get", "service", SERVICE, "-n", NAMESPACE, "-o", "jsonpath={.spec.clusterIP}"
    )
    keys = credentials()
    return Endpoint(
        endpoint=f"http://{address}:{PORT}",
        inside=f"http://{SERVICE}.{NAMESPACE}.svc.{CLUSTER_DOMAIN}:{PORT}",
        region=REGION,
        accessKey=keys["AWS_ACCESS_KEY_ID"],
        secretKey=keys["AWS_SECRET_ACCESS_KEY"],
    )


def show(found: Endpoint, *, as_json: bool) -> None:
    """Print the endpoint as JSON, or as shell lines that any S3 client understands."""
    if as_json:
        print(json.dumps(asdict(found)))
        return
    print(f"export AWS_ENDPOINT_URL_S3={found.endpoint}   # from pods: {found.inside}")
    print(f"export AWS_REGION={found.region}")
    print(f"export AWS_ACCESS_KEY_ID={found.accessKey}")
    print(f"export AWS_SECRET_ACCESS_KEY={found.secretKey}")
    say(f"The keys lie in Secret {SECRET} of namespace {NAMESPACE}.")
    say(f"Buckets are addressed by path; the examples' bucket, {BUCKET}, is there.")
