"""Certificates and kubeconfigs, by the openssl command line: one authority per instance."""

from __future__ import annotations

import base64
import subprocess
from dataclasses import dataclass
from pathlib import Path

from lib.paths import (
    BRIDGE_ADDRESS,
    CLUSTER_DOMAIN,
    FIRST_SERVICE_ADDRESS,
    NODE_NAME,
    Instance,
)
from lib.say import ClusterError

DAYS = "3650"
CONFIG = """\
[req]
distinguished_name = name
prompt = no
[name]
[ca]
basicConstraints = critical,CA:true
keyUsage = critical,keyCertSign,cRLSign,digitalSignature
subjectKeyIdentifier = hash
[leaf]
basicConstraints = critical,CA:false
keyUsage = critical,digitalSignature,keyEncipherment
extendedKeyUsage = serverAuth,clientAuth
authorityKeyIdentifier = keyid
"""


@dataclass(frozen=True)
class Leaf:
    """One certificate: who it is (common name, group) and the addresses it serves."""

    file: str
    name: str
    group: str = ""
    addresses: tuple[str, ...] = ()
    authority: str = "ca"

    @property
    def subject(self) -> str:
        return (f"/O={self.group}" if self.group else "") + f"/CN={self.name}"


SERVER_ADDRESSES = (
    "DNS:localhost",
    "DNS:kubernetes",
    "DNS:kubernetes.default",
    "DNS:kubernetes.default.svc",
    f"DNS:kubernetes.default.svc.{CLUSTER_DOMAIN}",
    "IP:127.0.0.1",
    f"IP:{BRIDGE_ADDRESS}",
    f"IP:{FIRST_SERVICE_ADDRESS}",
)

CONTROL_PLANE = (
    Leaf("apiserver", "kube-apiserver", addresses=SERVER_ADDRESSES),
    Leaf("etcd", "etcd", addresses=("DNS:localhost", "IP:127.0.0.1")),
    Leaf("apiserver-kubelet", "kube-apiserver-kubelet-client", "system:masters"),
    Leaf("front-proxy", "front-proxy-client", authority="front-proxy-ca"),
    Leaf("admin", "dino-admin", "system:masters"),
    Leaf("kube-controller-manager", "system:kube-controller-manager"),
    Leaf("kube-scheduler", "system:kube-scheduler"),
)
NODE = (
    Leaf(
        "kubelet",
        f"system:node:{NODE_NAME}",
        "system:nodes",
        (f"DNS:{NODE_NAME}", f"IP:{BRIDGE_ADDRESS}", "IP:127.0.0.1"),
    ),
    Leaf("kube-proxy", "system:kube-proxy"),
    Leaf("coredns", "dino:coredns"),
)
KUBECONFIGS = ("admin", "kube-controller-manager", "kube-scheduler")
NODE_KUBECONFIGS = ("kubelet", "kube-proxy", "coredns")


def ensure(instance: Instance) -> None:
    """Make what is missing: authorities, leaves, the service account key, kubeconfigs."""
    done = instance.pki / "complete"
    if done.exists():
        return
    instance.pki.mkdir(parents=True, exist_ok=True)
    instance.root.chmod(0o700)
    (instance.pki / "openssl.cnf").write_text(CONFIG)
    for authority in ("ca", "front-proxy-ca"):
        make_authority(instance.pki, authority)
    for leaf in CONTROL_PLANE + (NODE if instance.has_node else ()):
        make_leaf(instance.pki, leaf)
    openssl("genrsa", "-out", str(instance.pki / "sa.key"), "2048")
    openssl("rsa", "-in", f"{instance.pki}/sa.key", "-pubout", "-out", f"{instance.pki}/sa.pub")
    for user in KUBECONFIGS + (NODE_KUBECONFIGS if instance.has_node else ()):
        path = instance.kubeconfig if user == "admin" else instance.pki / f"{user}.kubeconfig"
        write_private(path, kubeconfig(instance, user))
    done.touch()


def make_authority(folder: Path, name: str) -> None:
    """A self-signed authority: <name>.crt and <name>.key."""
    openssl("req", "-x509", "-new", *_key(folder, name), "-subj", f"/CN=dino-devcluster-{name}",
            "-config", f"{folder}/openssl.cnf", "-extensions", "ca", "-days", DAYS,
            "-out", f"{folder}/{name}.crt")  # fmt: skip


def make_leaf(folder: Path, leaf: Leaf) -> None:
    """A certificate signed by one of the authorities."""
    names = ["-addext", f"subjectAltName={','.join(leaf.addresses)}"] if leaf.addresses else []
    openssl("req", "-x509", "-new", *_key(folder, leaf.file), "-subj", leaf.subject,
            "-CA", f"{folder}/{leaf.authority}.crt", "-CAkey", f"{folder}/{leaf.authority}.key",
            "-config", f"{folder}/openssl.cnf", "-extensions", "leaf", *names, "-days", DAYS,
            "-out", f"{folder}/{leaf.file}.crt")  # fmt: skip
    (folder / f"{leaf.file}.key").chmod(0o600)


def _key(folder: Path, name: str) -> tuple[str, ...]:
    return ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-keyout", f"{folder}/{name}.key")  # fmt: skip


def openssl(*arguments: str) -> None:
    """Run openssl, or say what it said."""
    done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ClusterError(f"openssl {arguments[0]} failed: {done.stderr.strip()}")


def kubeconfig(instance: Instance, user: str) -> str:
    """A kubeconfig that carries its certificates, so that it can be copied anywhere."""

    def encoded(file: str) -> str:
        return base64.b64encode((instance.pki / file).read_bytes()).decode()

    name = f"dino-{instance.name}"
    return f"""\
apiVersion: v1
kind: Config
current-context: {name}
contexts:
- name: {name}
  context: {{cluster: {name}, user: {user}}}
clusters:
- name: {name}
  cluster:
    server: {instance.server}
    certificate-authority-data: {encoded("ca.crt")}
users:
- name: {user}
  user:
    client-certificate-data: {encoded(f"{user}.crt")}
    client-key-data: {encoded(f"{user}.key")}
"""


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, and nobody half of it."""
    unfinished = path.with_name(f"{path.name}.new")
    unfinished.touch(mode=0o600)
    unfinished.write_text(text)
    unfinished.rename(path)
