"""A containerd and a buildah storage of a test's own, and small images that share layers.

Its collector runs after every change by itself, and synchronously before every command that a load
gives: what holds only as long as no collection comes in between does not hold here.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from lib import archive, containerd, images, share, storage
from lib.containerd import Containerd
from lib.health import listens

SECONDS = 600.0  # to start, on however busy a machine
CONFIG = """\
version = 2
root = "{folder}/home/containerd"
state = "{folder}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.aufs"]
[grpc]
address = "{folder}/socket"
[plugins."io.containerd.gc.v1.scheduler"]
pause_threshold = 0.5
deletion_threshold = 1
mutation_threshold = 1
schedule_delay = "0s"
startup_delay = "0s"
"""
STORAGE = """\
[storage]
driver = "overlay"
graphroot = "{folder}/buildah"
runroot = "{folder}/buildah-run"
"""


class Collecting(Containerd):
    """A client that has everything collected before each of its commands.

    `before` is called then, too, with the command's number: what happens at just that point.
    """

    before: Callable[[int], None] = staticmethod(lambda number: None)

    def __init__(self) -> None:
        super().__init__()
        self.number = 0

    def run(self, *arguments: str, given: bytes = b"") -> str:
        """Collect, then run the client."""
        self.before(self.number)
        collect()
        self.number += 1
        return super().run(*arguments, given=given)


def collect() -> None:
    """Remove an unrelated image and wait until the collector has swept all that nothing holds.

    Its blobs are swept with it: so is every file that no record of containerd names.
    """
    name = f"localhost/unrelated:{uuid.uuid4().hex}"
    config = archive.encode({"architecture": name, "rootfs": {"type": "layers", "diff_ids": []}})
    unrelated = storage.Image(name, config, ())
    client = Containerd()
    client.run("images", "import", "--no-unpack", "-", given=archive.of_names(unrelated))
    client.run("images", "remove", "--sync", name)


@dataclass
class Workshop:
    """Both stores, and what the images are made of: files by image."""

    folder: Path
    files: dict[str, dict[str, bytes]] = field(default_factory=dict)

    def build(self, name: str, base: str, **files: bytes) -> None:
        """Build an image by buildah: a layer for each file, over the layers of another image."""
        context = self.folder / "context"
        context.mkdir()
        copies = "".join(f"COPY {file} /{file}\n" for file in files)
        (context / "Dockerfile").write_text(f"FROM {base}\n{copies}")
        for file, content in files.items():
            (context / file).write_bytes(content)
        command = ["buildah", "bud", "--isolation", "chroot", "--layers", "--format", "oci"]
        ran = subprocess.run([*command, "-t", name, context], capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr
        shutil.rmtree(context)
        self.files[name] = {**self.files.get(base, {}), **files}

    def check(self, *names: str) -> None:
        """Fail unless those images are whole: blobs as their digests say, and files as built.

        They are on the disk once: as links to those of buildah.
        """
        client = Containerd()
        assert set(names) <= client.images().keys()
        for digest in contents():
            blob = subprocess.run(ctr("content", "get", digest), capture_output=True, check=True)
            assert f"sha256:{hashlib.sha256(blob.stdout).hexdigest()}" == digest
        for name in names:
            image = storage.find(storage.graph_root(), name)
            assert self.read(image) == self.files[name]
            for layer in image.layers:
                assert all(file.stat().st_nlink > 1 for file in layer.folder.iterdir())

    def read(self, image: storage.Image) -> dict[str, bytes]:
        """The files of a container's snapshot of an image, which is made and taken away."""
        top = share.chain_ids([layer.digest for layer in image.layers])[-1]
        client, place = Containerd(), self.folder / "mounted"
        place.mkdir()
        said = client.run("snapshots", "prepare", "--mounts", "container", top)
        (mount,) = ({k.lower(): v for k, v in one.items()} for one in json.loads(said))
        options = ",".join(mount["options"])
        subprocess.run(
            ["mount", "-t", mount["type"], mount["source"], place, "-o", options], check=True
        )
        try:
            return {path.name: path.read_bytes() for path in place.iterdir()}
        finally:
            subprocess.run(["umount", place], check=True)
            place.rmdir()
            client.run("snapshots", "remove", "container")

    def forget(self) -> None:
        """Remove every image, and fail if anything stays in containerd's stores."""
        client = Containerd()
        client.remove_images(list(client.images()))
        collect()
        assert client.snapshots() == set()
        assert contents() == set()


def contents() -> set[str]:
    """The digests of all blobs."""
    return set(Containerd().run("content", "list", "-q").split())


def ctr(*arguments: str) -> list[str]:
    """The client's command line, for what is no text."""
    return ["ctr", "--address", str(containerd.SOCKET), "--namespace", "k8s.io", *arguments]


@contextmanager
def opened(patch: pytest.MonkeyPatch) -> Iterator[Workshop]:
    """A workshop whose images `lib.images` loads, until the block ends."""
    # A short path: unix sockets allow about a hundred characters.
    with tempfile.TemporaryDirectory(prefix="dino-load-") as name:
        folder = Path(name)
        (folder / "storage.conf").write_text(STORAGE.format(folder=folder))
        patch.setenv("CONTAINERS_STORAGE_CONF", str(folder / "storage.conf"))
        patch.setenv("DINO_DEVCLUSTER_HOME", str(folder / "home"))
        for module in (containerd, images):
            patch.setattr(module, "SOCKET", folder / "socket")
        patch.setattr(images, "Containerd", Collecting)
        with running(folder):
            yield Workshop(folder)


@contextmanager
def running(folder: Path) -> Iterator[None]:
    """A containerd that runs while the block does."""
    config = folder / "containerd.toml"
    config.write_text(CONFIG.format(folder=folder))
    with open(folder / "log", "w") as log:
        process = subprocess.Popen(["containerd", "--config", config], stdout=log, stderr=log)
    try:
        deadline, answers = time.monotonic() + SECONDS, listens(folder / "socket")
        while not answers():
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait()
