"""Gives containerd the layers that buildah has by hard links instead of copies.

Both keep a layer as a folder of the same form (overlay file systems' whiteouts included), and
neither ever writes to the files of a finished layer. So 6 GB of torch arrive in seconds and lie on
the disk once. Besides the folder, containerd wants each layer's tar file, which nobody reads again
after unpacking: it gets an empty file of the right size. The price is that an image cannot be
exported from the dev cluster's containerd; buildah still has it.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from lib import archive
from lib.containerd import Containerd
from lib.say import ClusterError
from lib.storage import Image, Layer

# ctr protects what it makes from garbage collection by this label.
PROTECTED = "containerd.io/gc.root"


def load(client: Containerd, image: Image) -> None:
    """Give containerd an image that buildah has. Doing it twice changes nothing."""
    snapshots, contents = client.snapshots(), client.contents()
    chain = chain_ids([layer.digest for layer in image.layers])
    made = []
    for layer, name, parent in zip(image.layers, chain, ["", *chain], strict=False):
        if name not in snapshots:
            share_folder(client, layer, name, parent)
            made.append(name)
        if layer.digest not in contents:
            stand_in(client, layer)
    client.run("images", "import", "-", given=archive.of_names(image))
    for name in made:  # from here on the image holds them, and they go when it goes
        client.run("snapshots", "label", name, f"{PROTECTED}=")


def missing(client: Containerd, image: Image) -> list[Layer]:
    """The layers that containerd has not unpacked."""
    present = client.snapshots()
    chain = chain_ids([layer.digest for layer in image.layers])
    return [layer for layer, name in zip(image.layers, chain, strict=True) if name not in present]


def chain_ids(digests: list[str]) -> list[str]:
    """The names of the folders that some layers make one after the other (OCI's chain ids)."""
    chain: list[str] = []
    for name in digests:
        chain.append(archive.digest(f"{chain[-1]} {name}".encode()) if chain else name)
    return chain


def share_folder(client: Containerd, layer: Layer, name: str, parent: str) -> None:
    """Make a snapshot whose files are links to those of buildah's layer."""
    active = f"dino-load-{layer.id}"
    if active in client.snapshots():  # of a load that was interrupted
        client.run("snapshots", "remove", active)
    above = [parent] if parent else []
    mounts = json.loads(client.run("snapshots", "prepare", "--mounts", active, *above))
    copy_linked(layer.folder, Path(writable_folder(mounts)))
    client.run("snapshots", "commit", name, active)


def writable_folder(mounts: list[dict[str, object]]) -> str:
    """The folder of a fresh snapshot that takes its files."""
    mount = {key.lower(): value for key, value in mounts[0].items()}
    options = mount.get("options") or []
    assert isinstance(options, list)
    for option in options:
        if option.startswith("upperdir="):
            return str(option.removeprefix("upperdir="))
    return str(mount["source"])


def copy_linked(source: Path, target: Path) -> None:
    """Link a folder's files into another, or copy them where they lie on another file system."""
    for how in ("--link", "--reflink=auto"):
        command = ["cp", "--archive", "--force", how, "--no-target-directory"]
        done = subprocess.run([*command, source, target], capture_output=True, check=False)
        if done.returncode == 0:
            return
    raise ClusterError(f"A layer could not be copied: {done.stderr.decode().strip()}")


def stand_in(client: Containerd, layer: Layer) -> None:
    """Register a blob of the layer's digest and size whose file is empty (sparse)."""
    folder = client.root / "io.containerd.content.v1.content" / "blobs"
    path = folder / layer.digest.replace(":", "/")
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "wb") as file:
            file.truncate(layer.size)
    size, expected = ("--expected-size", str(layer.size)), ("--expected-digest", layer.digest)
    reference = f"layer-{layer.digest}"
    client.run("content", "ingest", *size, *expected, reference, given=path)
