"""Ends what a node leaves behind, whoever was killed before: processes, mounts, control groups."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

from lib import network
from lib.containerd import RUNTIME, SOCKET
from lib.health import listens
from lib.node import CGROUP, CNI_NETWORK
from lib.paths import Instance
from lib.processes import END, RunningProcess, end_all, start_time, stop
from lib.say import ClusterError, say

CGROUP_MOUNT = Path("/sys/fs/cgroup")
CNI_RESULTS = Path("/var/lib/cni/results")
CONTAINER_LOGS = Path("/var/log/containers")


def node(instance: Instance) -> None:
    """Leave no container, mount, interface or rule of this node. Images and objects stay.

    Raises ClusterError when the node on this machine is that of another state folder: there is
    one bridge, one control group and one runtime folder for all of them.
    """
    stop(instance, ["containerd"])
    if listens(SOCKET)():
        raise ClusterError(
            "A dev cluster with another DINO_DEVCLUSTER_HOME runs on this machine: end it with "
            "that setting first."
        )
    kill_containers()
    unmount(mounts_under((RUNTIME, instance.root)))
    forget_sockets()
    shutil.rmtree(RUNTIME, ignore_errors=True)
    remove_cgroups()
    remove_stray_files(instance)
    network.down()


def kill_containers() -> None:
    """Kill every process in the node's control groups, and the shims that would report on them."""
    for _ in range(50):  # a process may fork between the look and the signal
        found = {*shims(), *processes_in(cgroup_folders())}
        running = [RunningProcess(pid, started) for pid in found if (started := start_time(pid))]
        if not running:
            return
        for process in running:
            process.send(signal.SIGKILL)
        end_all(running, grace=5)


def shims() -> list[int]:
    """The shim processes of our containerd: their command line names its socket."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"containerd-shim" in words[0] and str(SOCKET).encode() in words:
            found.append(int(folder.name))
    return found


def cgroup_folders() -> list[Path]:
    """The node's control group in every hierarchy there is (version 1, 2, or both)."""
    places = [CGROUP_MOUNT, *CGROUP_MOUNT.glob("*/")]
    return [place / CGROUP for place in places if (place / CGROUP).is_dir()]


def processes_in(folders: Iterable[Path]) -> set[int]:
    """All processes of some control groups and those below them."""
    found: set[int] = set()
    for folder in folders:
        for file in (folder / "cgroup.procs", *folder.rglob("cgroup.procs")):
            try:
                found.update(int(line) for line in file.read_text().split())
            except OSError:
                continue
    return found


def remove_cgroups() -> None:
    """Remove the node's control groups, the innermost first. An ended process leaves them late."""
    deadline = time.monotonic() + END
    while folders := cgroup_folders():
        for top in folders:
            for folder in (*sorted((p for p in top.rglob("*/")), reverse=True), top):
                try:
                    folder.rmdir()
                except OSError:
                    continue
        if time.monotonic() > deadline:
            say(f"The control groups {', '.join(map(str, folders))} are in use and stay.")
            return
        time.sleep(0.02)


def mounts_under(places: Iterable[Path]) -> list[str]:
    """Mount points inside some folders, the innermost first."""
    return mount_points(Path("/proc/self/mountinfo").read_text(), [str(place) for place in places])


def mount_points(mountinfo: str, places: list[str]) -> list[str]:
    """The same from the text of /proc/<pid>/mountinfo, in which blanks are written as \\040."""
    found = []
    for line in mountinfo.splitlines():
        path = line.split()[4].encode().decode("unicode_escape")
        if any(path.startswith(place + "/") for place in places):
            found.append(path)
    return found[::-1]  # the later mount lies on or in the earlier


def unmount(paths: list[str]) -> None:
    """Detach mounts, even those still in use by a process that is just ending."""
    if paths:
        subprocess.run(["umount", "--lazy", *paths], capture_output=True, check=False)


def forget_sockets() -> None:
    """Remove the sockets of our shims, which lie in a folder that all containerds share."""
    for file in RUNTIME.glob("state/io.containerd.runtime.v2.task/*/*/address"):
        try:
            Path(file.read_text().strip().removeprefix("unix://")).unlink(missing_ok=True)
        except OSError:
            continue


def remove_stray_files(instance: Instance) -> None:
    """Remove what the CNI library and the kubelet write outside the state folder."""
    for path in CNI_RESULTS.glob(f"{CNI_NETWORK}-*") if CNI_RESULTS.exists() else ():
        path.unlink(missing_ok=True)
    for path in CONTAINER_LOGS.glob("*.log") if CONTAINER_LOGS.exists() else ():
        if path.is_symlink() and os.readlink(path).startswith(str(instance.root)):
            path.unlink(missing_ok=True)
