"""Brings an instance up from whatever state it is in, and down."""

from __future__ import annotations

import os
import shutil
import socket

from lib import build, certs, cleanup, control_plane, doctor, network, node
from lib.containerd import SOCKET
from lib.health import KubectlError, answers, kubectl, listens, node_is_ready
from lib.lock import locked
from lib.paths import API_ONLY, FULL, NODE_NAME, PLAYED, Instance
from lib.patience import wait_for
from lib.processes import (
    Service,
    is_running,
    recorded,
    start,
    started_at,
    stop,
    wait_healthy,
)
from lib.say import ClusterError, say, stage

CONTROL_PLANE = ("kube-scheduler", "kube-controller-manager", "kube-apiserver", "etcd")
NODE = ("coredns", "kube-proxy", "kubelet")


def up(instance: Instance) -> None:
    """Build what is missing, start what does not run, and wait until it works."""
    doctor.check_platform(node=instance.has_node)
    doctor.ensure_packages(doctor.NODE_NEEDS if instance.has_node else doctor.CONTROL_PLANE_NEEDS)
    build.ensure(build.KUBE, *((build.PAUSE,) if instance.has_node else ()))
    with locked(instance.name):
        if works(instance):
            say(f"The cluster is up already: {instance.server}.")
        else:
            with stage(f"Starting the {label(instance)}", "5 s"):
                bring_up(instance)
    say(f"export KUBECONFIG={instance.kubeconfig}")


def works(instance: Instance) -> bool:
    """Whether every process runs and the API server answers."""
    return runs(instance) and answers(f"{instance.server}/readyz")()


def runs(instance: Instance) -> bool:
    """Whether every process runs; the API server may be too busy to answer at once."""
    names = CONTROL_PLANE + ((*NODE, "containerd") if instance.has_node else ())
    return all(is_running(instance, name) for name in names)


def bring_up(instance: Instance) -> None:
    """Start in the order of need; what does not need each other starts side by side."""
    check_ports(instance)
    if instance.has_node and not is_running(instance, "containerd"):
        stop(instance, NODE)
        cleanup.node(instance)
    certs.ensure(instance)
    store, server = control_plane.etcd(instance), control_plane.apiserver(instance)
    runtime = []
    if instance.has_node:
        network.up()
        runtime = [node.containerd(instance)]
    start_all(instance, [store, *runtime])
    start(instance, server)
    if instance.has_node:
        node.load_pause()
    wait_healthy(instance, [server])
    rest = [control_plane.controller_manager(instance), control_plane.scheduler(instance)]
    if instance.has_node:
        node.apply_manifests(instance)
        rest += [node.kubelet(instance), node.kube_proxy(instance), node.coredns(instance)]
    start_all(instance, rest)
    wait_usable(instance)


def start_all(instance: Instance, services: list[Service]) -> None:
    """Start some services side by side and wait until all of them work."""
    for service in services:
        start(instance, service)
    wait_healthy(instance, services)


def wait_usable(instance: Instance) -> None:
    """Wait for what pods need: the default service account, and a node that is ready."""
    wait_for("the default service account", lambda: has_service_account(instance))
    if instance.has_node:
        # Where the kubelet ran on, its last heartbeat may be minutes old.
        since = started_at(instance, "kubelet")
        wait_for(f"node {NODE_NAME} to be ready", lambda: node_is_ready(instance, NODE_NAME, since))


def has_service_account(instance: Instance) -> bool:
    """Whether the controller manager has given the default namespace its account."""
    try:
        kubectl(instance, "get", "serviceaccount", "default", "-n", "default")
    except KubectlError:
        return False
    return True


def check_ports(instance: Instance) -> None:
    """Refuse, by name, a port that somebody else's process holds.

    One of ours that was killed holds it until the last of its threads has ended.
    """
    for name, port in instance.ports.of_programs(node=instance.has_node):
        if is_running(instance, name):
            continue
        before = recorded(instance, name)
        if before:
            wait_for(f"the process {before.pid}, {name}, to be gone", before.gone)
        if is_taken(port):
            raise ClusterError(
                f"Port {port}, which {name} needs, is taken by another process (perhaps a dev "
                "cluster with another DINO_DEVCLUSTER_HOME): end that one first."
            )


def is_taken(port: int) -> bool:
    """Whether some process listens on a TCP port, on whatever address."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return True
    return False


def down(instance: Instance, *, purge: bool) -> None:
    """End all of an instance's processes and undo what it did to the machine."""
    if not left_anything(instance):
        return
    with locked(instance.name), stage(f"Ending the {label(instance)}", "5 s"):
        if instance.has_node:
            stop(instance, NODE)
            cleanup.node(instance)
        # The API server would wait for its watchers; all it knows is in etcd.
        stop(instance, CONTROL_PLANE[:-1], grace=1.5)
        stop(instance, CONTROL_PLANE[-1:])
        if purge:
            drop_state(instance)


def left_anything(instance: Instance) -> bool:
    """Whether an instance was ever up, here or in a state folder that somebody deleted since."""
    if instance.run.exists():
        return True
    ours_to_clean = os.geteuid() == 0 and network.BEFORE.exists() and not listens(SOCKET)()
    return instance.has_node and ours_to_clean


def drop_state(instance: Instance) -> None:
    """Forget all objects, volumes and certificates. Programs and images stay."""
    for path in instance.root.iterdir() if instance.root.exists() else ():
        if path.name not in {"images", "containerd"}:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def label(instance: Instance) -> str:
    """How messages call an instance."""
    if instance.has_node:
        return "cluster"
    return "control plane" if instance.works_on_jobs else "control plane of played Jobs"


def instances() -> tuple[Instance, ...]:
    """The whole cluster, the control plane alone, and the one whose Jobs are played."""
    return (FULL, API_ONLY, PLAYED)
