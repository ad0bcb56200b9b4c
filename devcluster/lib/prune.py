"""Takes away the images of earlier sources: each change of the dependencies costs gigabytes."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Collection, Iterable, Mapping

from lib import storage
from lib.containerd import SOCKET, Containerd
from lib.lock import locked
from lib.say import say

# What demo/images.py names images by; any other tag is somebody's own.
OURS = re.compile(r"src-[0-9a-f]{12}")


def prune(current: str) -> None:
    """Forget the earlier tags of an image, in buildah's storage and on the node.

    Those that `outdated` chooses. What cannot be removed is said and stays.
    """
    root = storage.graph_root()
    with locked("images"):
        client = Containerd() if SOCKET.exists() else None
        loaded = client.images() if client else {}
        running = client.running_images() if client else set()
        built = storage.made(root)
        names = outdated(storage.full_name(current), built, loaded, running)
        before = storage.layer_sizes(root)
        done = [name for name in names if _forget(client, name, built, loaded)]
        if client and done:
            client.remove_images(orphans(loaded, done))
    if done:
        gone = before.keys() - storage.layer_sizes(root).keys()
        size = sum(before[layer] for layer in gone) / 1e6
        say(f"Forgot {len(done)} earlier images of {current.rpartition(':')[0]}: {size:.0f} MB.")


def outdated(
    current: str, built: Mapping[str, str], loaded: Iterable[str], running: Collection[str]
) -> list[str]:
    """The names to forget: tags of the same repository that were made from other sources.

    The newest of them stays, to go back to, and so does what a container runs.

    Args:
        current: the full name of the image in use; nothing is chosen unless its tag is of ours.
        built: the names that buildah has, and when each image was made (RFC 3339).
        loaded: the names that the node has.
        running: those that a container runs now.
    """
    repository, _, tag = current.rpartition(":")
    if not OURS.fullmatch(tag):
        return []
    known = {name for name in (*built, *loaded) if _is_of(repository, name)} - {current}
    newest = sorted(known & built.keys(), key=lambda name: (built[name], name))[-1:]
    return sorted(known - {*newest, *running})


def _is_of(repository: str, name: str) -> bool:
    theirs, _, tag = name.rpartition(":")
    return theirs == repository and OURS.fullmatch(tag) is not None


def orphans(loaded: Mapping[str, str], forgotten: Collection[str]) -> list[str]:
    """The names by digest that the kubelet's side of containerd gave to forgotten images.

    loaded: the names that the node had, and each one's digest.
    """
    gone = {loaded[name] for name in forgotten if name in loaded}
    named = (name for name in loaded if not name.startswith("sha256:") and name not in forgotten)
    gone -= {loaded[name] for name in named}
    return [name for name in loaded if name.startswith("sha256:") and loaded[name] in gone]


def _forget(
    client: Containerd | None, name: str, built: Collection[str], loaded: Collection[str]
) -> bool:
    """Whether it is gone from both."""
    if name in built:
        done = subprocess.run(["buildah", "rmi", name], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            say(f"{name} stays in buildah's storage: {done.stderr.strip()}")
            return False
    if client and name in loaded:
        client.remove_images([name])
    return True
