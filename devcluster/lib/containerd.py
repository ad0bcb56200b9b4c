"""containerd's client: the few things that are asked of it."""

from __future__ import annotations

import subprocess
from pathlib import Path

from lib.say import ClusterError

# A short path that a reboot clears: unix sockets allow about a hundred characters.
RUNTIME = Path("/run/dino-devcluster")
SOCKET = RUNTIME / "containerd.sock"
PATIENT = ("--connect-timeout", "10m")  # without a word it is 10 s, which a busy machine exceeds


class Containerd:
    """The node's containerd, in Kubernetes' namespace."""

    def run(self, *arguments: str, given: bytes = b"") -> str:
        """Run the client with some input, and return what it prints."""
        command = ["ctr", "--address", str(SOCKET), "--namespace", "k8s.io", *PATIENT, *arguments]
        done = subprocess.run(command, input=given, capture_output=True, check=False)
        if done.returncode != 0:
            said = done.stderr.decode(errors="replace").strip()
            raise ClusterError(f"`ctr {' '.join(arguments)}` failed: {said}")
        return done.stdout.decode()

    def snapshots(self) -> set[str]:
        """The names of all unpacked layers."""
        lines = self.run("snapshots", "list").splitlines()[1:]
        return {line.split()[0] for line in lines if line.split()}

    def images(self) -> dict[str, str]:
        """The names of all images, and the digest of each; one may have several names."""
        rows = (line.split() for line in self.run("images", "list").splitlines()[1:])
        return {row[0]: row[2] for row in rows if row}

    def running_images(self) -> set[str]:
        """The names of the images that containers run now."""
        tasks = (line.split() for line in self.run("tasks", "list").splitlines()[1:])
        running = {row[0] for row in tasks if row and row[-1] == "RUNNING"}
        rows = (line.split() for line in self.run("containers", "list").splitlines()[1:])
        return {row[1] for row in rows if row and row[0] in running}

    def remove_images(self, names: list[str]) -> None:
        """Forget names; layers that no other image has go at once."""
        if names:
            self.run("images", "remove", "--sync", *names)

    def has_image(self, name: str) -> bool:
        """Whether there is an image of this name."""
        return name in self.run("images", "list", "-q", f"name=={name}").split()
