"""The command lines of etcd, the API server, the controller manager and the scheduler."""

from __future__ import annotations

from lib.health import answers
from lib.paths import MANIFESTS, POD_CIDR, SERVICE_CIDR, Instance, program
from lib.processes import Service


def etcd(instance: Instance) -> Service:
    """The store. It does not fsync: a power cut may cost a dev cluster, in exchange for speed."""
    pki, ports = instance.pki, instance.ports
    client, peer = (f"https://127.0.0.1:{port}" for port in (ports.etcd, ports.etcd_peer))
    flags = {
        "name": "dino",
        "data-dir": instance.root / "etcd",
        "listen-client-urls": client,
        "advertise-client-urls": client,
        "listen-peer-urls": peer,
        "initial-advertise-peer-urls": peer,
        "initial-cluster": f"dino={peer}",
        "listen-metrics-urls": f"http://127.0.0.1:{ports.etcd_metrics}",
        "cert-file": pki / "etcd.crt",
        "key-file": pki / "etcd.key",
        "trusted-ca-file": pki / "ca.crt",
        "client-cert-auth": "true",
        "peer-cert-file": pki / "etcd.crt",
        "peer-key-file": pki / "etcd.key",
        "peer-trusted-ca-file": pki / "ca.crt",
        "peer-client-cert-auth": "true",
        "unsafe-no-fsync": "true",
        "auto-compaction-retention": "1h",
        "log-level": "warn",
    }
    return Service(
        "etcd", command("etcd", flags), answers(f"http://127.0.0.1:{ports.etcd_metrics}/health")
    )


def apiserver(instance: Instance) -> Service:
    """The API server as kubeadm sets it up: default admission, Node and RBAC authorizers."""
    pki, ports = instance.pki, instance.ports
    flags = {
        "bind-address": instance.address,
        "advertise-address": instance.address,
        "secure-port": ports.api,
        "etcd-servers": f"https://127.0.0.1:{ports.etcd}",
        "etcd-cafile": pki / "ca.crt",
        "etcd-certfile": pki / "apiserver.crt",
        "etcd-keyfile": pki / "apiserver.key",
        "client-ca-file": pki / "ca.crt",
        "tls-cert-file": pki / "apiserver.crt",
        "tls-private-key-file": pki / "apiserver.key",
        "cert-dir": pki,
        "authorization-mode": "Node,RBAC",
        "enable-admission-plugins": "NodeRestriction",
        "service-cluster-ip-range": SERVICE_CIDR,
        "service-account-issuer": "https://kubernetes.default.svc.cluster.local",
        "service-account-key-file": pki / "sa.pub",
        "service-account-signing-key-file": pki / "sa.key",
        "kubelet-certificate-authority": pki / "ca.crt",
        "kubelet-client-certificate": pki / "apiserver-kubelet.crt",
        "kubelet-client-key": pki / "apiserver-kubelet.key",
        "kubelet-preferred-address-types": "InternalIP",
        "requestheader-client-ca-file": pki / "front-proxy-ca.crt",
        "requestheader-allowed-names": "front-proxy-client",
        "requestheader-extra-headers-prefix": "X-Remote-Extra-",
        "requestheader-group-headers": "X-Remote-Group",
        "requestheader-username-headers": "X-Remote-User",
        "proxy-client-cert-file": pki / "front-proxy.crt",
        "proxy-client-key-file": pki / "front-proxy.key",
        # Webhooks and aggregated APIs are reached at pods, since the server has no kube-proxy.
        "enable-aggregator-routing": "true",
        "shutdown-delay-duration": "0s",
    }
    if not instance.has_node:
        # Nothing could reach a loopback address by the `kubernetes` Service.
        flags["endpoint-reconciler-type"] = "none"
        flags |= {
            "audit-policy-file": MANIFESTS / "audit-policy.yaml",
            "audit-log-path": instance.logs / "audit.log",
            "audit-log-maxsize": 500,  # MB
            "audit-log-maxbackup": 1,
        }
    return Service(
        "kube-apiserver", command("kube-apiserver", flags), answers(f"{instance.server}/readyz")
    )


def controller_manager(instance: Instance) -> Service:
    """All default controllers: garbage collection, Jobs, TTL after finished, namespaces, ..."""
    pki, port = instance.pki, instance.ports.controllers
    config = pki / "kube-controller-manager.kubeconfig"
    flags = {
        "kubeconfig": config,
        "authentication-kubeconfig": config,
        "authorization-kubeconfig": config,
        "bind-address": "127.0.0.1",
        "secure-port": port,
        "leader-elect": "false",
        "root-ca-file": pki / "ca.crt",
        "service-account-private-key-file": pki / "sa.key",
        "use-service-account-credentials": "true",
        "cluster-signing-cert-file": pki / "ca.crt",
        "cluster-signing-key-file": pki / "ca.key",
        "cluster-cidr": POD_CIDR,
        "kube-api-qps": "100",
        "kube-api-burst": "200",
    }
    if not instance.works_on_jobs:
        flags["controllers"] = "*,-job-controller"
    return Service(
        "kube-controller-manager",
        command("kube-controller-manager", flags),
        answers(f"https://127.0.0.1:{port}/healthz"),
    )


def scheduler(instance: Instance) -> Service:
    """The default scheduler."""
    config, port = instance.pki / "kube-scheduler.kubeconfig", instance.ports.scheduler
    flags = {
        "kubeconfig": config,
        "authentication-kubeconfig": config,
        "authorization-kubeconfig": config,
        "bind-address": "127.0.0.1",
        "secure-port": port,
        "leader-elect": "false",
        "kube-api-qps": "100",
        "kube-api-burst": "200",
    }
    return Service(
        "kube-scheduler",
        command("kube-scheduler", flags),
        answers(f"https://127.0.0.1:{port}/healthz"),
    )


def command(name: str, flags: dict[str, object]) -> list[str]:
    """A command line of --flag=value."""
    return [str(program(name)), *(f"--{flag}={value}" for flag, value in flags.items())]
