"""Gives containerd the layers that buildah has by hard links instead of copies.

Both keep a layer as a folder of the same form (overlay file systems' whiteouts included), and
neither ever writes to the files of a finished layer. So 6 GB of torch arrive in seconds and lie on
the disk once; `buildah push` to an archive and `ctr images import` take 7 times as long for 456 MB,
and the disk twice more. A layer's tar file, which nobody reads again after unpacking, is left out,
as after a pull with containerd's setting `discard_unpacked_layers`. The price is that an image
cannot be exported from the dev cluster's containerd; buildah still has it.

containerd's garbage collector may run at any time, and takes what nothing refers to. So every layer
carries the label that keeps it, from before it is whole until the image refers to it.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

from lib import archive
from lib.containerd import Containerd
from lib.say import ClusterError, say
from lib.storage import Image, Layer

# What carries this label is never collected. ctr puts it on what it prepares and commits.
HELD = "containerd.io/gc.root"
UNFINISHED = "dino-load-"
COPY = ("--archive", "--no-target-directory")
LINK = f"""
while mountpoint --quiet "$1"; do umount --lazy "$1" || exit; done
exec cp {" ".join(COPY)} --link "$2" "$3"
"""


def load(client: Containerd, image: Image) -> None:
    """Give containerd an image that buildah has. Doing it twice changes nothing.

    One load at a time (`images.load` holds a lock): labels and unfinished layers that it finds are
    those of a load that was interrupted, and it goes on from there.
    """
    chain = chain_ids([layer.digest for layer in image.layers])
    for name in client.snapshots():
        if name.startswith(UNFINISHED):
            client.run("snapshots", "remove", name)
    for layer, name, parent in zip(image.layers, chain, ["", *chain], strict=False):
        if not hold(client, name):
            share_folder(client, layer, name, parent)
    client.run("images", "import", "-", given=archive.of_names(image))
    for name in chain:  # from here on the image holds them, and they go when it goes
        client.run("snapshots", "label", name, f"{HELD}=")


def hold(client: Containerd, name: str) -> bool:
    """Keep an unpacked layer from the garbage collector. False when containerd has none."""
    try:
        client.run("snapshots", "label", name, f"{HELD}=loading")
    except ClusterError as error:
        if "not found" in str(error):
            return False
        raise
    return True


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
    active = UNFINISHED + layer.id
    above = [parent] if parent else []
    mounts = json.loads(client.run("snapshots", "prepare", "--mounts", active, *above))
    copy_linked(layer.folder, Path(writable_folder(mounts)), layer.root / "overlay")
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


def copy_linked(source: Path, target: Path, mounted: Path) -> None:
    """Link a folder's files into another, or copy them where they cannot be linked.

    While any buildah works, it has its storage mounted upon itself, and across two mounts nothing
    can be linked, even of one file system. So `mounted` is taken off, in a mount namespace that
    nobody else sees.
    """
    link = ("unshare", "--mount", "sh", "-c", LINK, "sh", str(mounted))
    copy = ("cp", *COPY, "--reflink=auto")
    said = []
    for how, command in (("cp --link", link), ("cp --reflink=auto", copy)):
        done = subprocess.run([*command, source, target], capture_output=True, check=False)
        if done.returncode == 0:
            return
        said.append(f"{how}: {first_line(done.stderr)}")
        say(f"  {source}: {said[-1]}")
        for left in target.iterdir():  # the next try would take links that are there for its source
            shutil.rmtree(left) if left.is_dir() and not left.is_symlink() else left.unlink()
    raise ClusterError(f"A layer could not be copied: {'; '.join(said)}")


def first_line(stderr: bytes) -> str:
    """What went wrong first: the rest follows from it."""
    return next(iter(stderr.decode(errors="replace").strip().splitlines()), "no word")
