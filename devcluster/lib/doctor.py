"""Whether this machine can carry the dev cluster, and what it still needs."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

from lib.lock import locked
from lib.say import ClusterError, stage

ELSEWHERE = "use kind or any other cluster: set KUBECONFIG and CLUSTER=current"

# Program that must be in PATH (or file that must exist) -> Debian's package.
CONTROL_PLANE_NEEDS = {"openssl": "openssl"}
NODE_NEEDS = {
    "openssl": "openssl",
    "ip": "iproute2",
    "iptables": "iptables",
    "conntrack": "conntrack",
    "socat": "socat",
    "nsenter": "util-linux",
    "mount": "mount",
    "containerd": "containerd",
    "runc": "runc",
    "/usr/lib/cni/bridge": "containernetworking-plugins",
}
# A fresh machine upgrades itself in its first minutes: its lock is waited for, for an hour.
APT = ("-o", "DPkg::Lock::Timeout=3600", "-o", "Acquire::Retries=3")
IMAGE_NEEDS = {"buildah": "buildah", "debootstrap": "debootstrap"}


def check_platform(*, node: bool) -> None:
    """Raise ClusterError, in one sentence with the remedy, where the dev cluster cannot run."""
    if not sys.platform.startswith("linux"):
        raise ClusterError(f"The dev cluster runs on Linux only: {ELSEWHERE}.")
    if not node:
        return
    if not _is_debian(_os_release()):
        raise ClusterError(
            f"The dev cluster's node needs Debian 12 or newer (or Ubuntu), for its packages: "
            f"{ELSEWHERE}."
        )
    if os.geteuid() != 0:
        raise ClusterError(f"The dev cluster's node needs root: run it as root, or {ELSEWHERE}.")
    check_null_device(Path(os.devnull))


def check_null_device(path: Path) -> None:
    """Raise ClusterError where not every user may write to /dev/null.

    A build's container has this machine's. apt fetches as a user of its own there, and would say
    that no gpgv is installed.
    """
    if not is_open_device(path.stat().st_mode):
        raise ClusterError(
            f"{path} is not a device that every user may read and write: "
            f"`rm -f {path} && mknod -m 666 {path} c 1 3` makes it anew."
        )


def is_open_device(mode: int) -> bool:
    """Whether a file's st_mode is a character device's that everyone may read and write."""
    return stat.S_ISCHR(mode) and stat.S_IMODE(mode) & 0o666 == 0o666


def _os_release() -> str:
    path = Path("/etc/os-release")
    return path.read_text() if path.exists() else ""


def _is_debian(os_release: str) -> bool:
    """Whether /etc/os-release names Debian or a system that says it is like it."""
    for line in os_release.splitlines():
        key, _, value = line.partition("=")
        if key in {"ID", "ID_LIKE"} and "debian" in value.strip('"').split():
            return True
    return False


def missing_packages(needs: dict[str, str]) -> list[str]:
    """Debian's packages that are not there, by looking for what they bring."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    return sorted(
        {
            package
            for thing, package in needs.items()
            if not (os.path.exists(thing) if thing[0] == "/" else shutil.which(thing, path=path))
        }
    )


def ensure_packages(needs: dict[str, str]) -> None:
    """Install what is missing; nothing is fetched when all is there."""
    packages = missing_packages(needs)
    if not packages:
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise ClusterError(
            f"The packages {', '.join(packages)} are missing: install them, or {ELSEWHERE}."
        )
    with locked("packages"):
        install_packages(missing_packages(needs))


def install_packages(packages: list[str]) -> None:
    """apt-get install, with fresh lists of packages only when it fails with those there are."""
    if not packages:
        return
    with stage(f"Installing Debian's packages {', '.join(packages)}", "30 s"):
        install = ["apt-get", *APT, "install", "-y", "--no-install-recommends", *packages]
        if _quietly(install) is not None:
            # Most often the lists of packages are missing or old.
            _quietly(["apt-get", *APT, "update"])
            if (said := _quietly(install)) is not None:
                raise ClusterError(f"apt-get could not install {', '.join(packages)}:\n{said}")


def _quietly(command: list[str]) -> str | None:
    """Run a command; None when it succeeded, else the end of what it said."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return None if done.returncode == 0 else "\n".join(done.stdout.splitlines()[-8:])
