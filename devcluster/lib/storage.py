"""Reads what images buildah has, straight from its storage (containers/storage, driver overlay).

`buildah push` would write a whole image again, and compress it: minutes for torch. share.py says
what is done instead.
"""

from __future__ import annotations

import base64
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib.say import ClusterError

READS = 5


@dataclass(frozen=True)
class Layer:
    """One layer: its digest and size as an uncompressed tar file."""

    root: Path
    id: str
    digest: str
    size: int

    @property
    def folder(self) -> Path:
        """The layer's files, as an overlay file system takes them."""
        return self.root / "overlay" / self.id / "diff"


@dataclass(frozen=True)
class Image:
    """An image: its full name, its configuration as stored, and its layers, lowest first."""

    name: str
    config: bytes
    layers: tuple[Layer, ...]


def graph_root() -> Path:
    """Where buildah keeps its images. Raises ClusterError for a driver that is not overlay."""
    done = subprocess.run(["buildah", "info"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ClusterError(f"`buildah info` failed: {done.stderr.strip()}")
    store = json.loads(done.stdout)["store"]
    if store["GraphDriverName"] != "overlay":
        raise ClusterError(
            f"buildah stores images by the driver {store['GraphDriverName']}; loading needs "
            'driver = "overlay" in /etc/containers/storage.conf.'
        )
    return Path(store["GraphRoot"])


def find(root: Path, name: str) -> Image:
    """The image of a name, with localhost/ and :latest filled in as buildah does.

    Another buildah may write meanwhile: what does not fit together is read again.
    Raises ClusterError naming the images that there are.
    """
    for _ in range(READS):
        try:
            return _find(root, name)
        except (KeyError, FileNotFoundError):
            continue
    raise ClusterError(f"buildah's storage lacks a part of {name}: build it again.")


def _find(root: Path, name: str) -> Image:
    records: list[dict[str, Any]] = _read(root / "overlay-images" / "images.json")
    wanted = full_name(name)
    for record in records:
        if wanted in (record.get("names") or ()):
            return _image(root, wanted, record)
    known = sorted(name for record in records for name in record.get("names") or ())
    raise ClusterError(
        f"buildah has no image {wanted}. It has: {', '.join(known) or 'none'}. "
        "Build it by `devcluster/cluster build-image`."
    )


def made(root: Path) -> dict[str, str]:
    """The names of all images, and when each was made (RFC 3339, UTC)."""
    records: list[dict[str, Any]] = _read(root / "overlay-images" / "images.json")
    return {name: one.get("created", "") for one in records for name in one.get("names") or ()}


def layer_sizes(root: Path) -> dict[str, int]:
    """Bytes of every layer by its id."""
    layers: list[dict[str, Any]] = _read(root / "overlay-layers" / "layers.json")
    return {layer["id"]: layer.get("diff-size", 0) for layer in layers}


def full_name(name: str) -> str:
    """The name with its registry and tag: x becomes localhost/x:latest."""
    first, slash, _ = name.partition("/")
    if not slash or not ("." in first or ":" in first or first == "localhost"):
        name = f"localhost/{name}"
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"


def _image(root: Path, name: str, record: dict[str, Any]) -> Image:
    key = base64.b64encode(f"sha256:{record['id']}".encode()).decode()
    config = (root / "overlay-images" / record["id"] / f"={key}").read_bytes()
    by_id = {layer["id"]: layer for layer in _read(root / "overlay-layers" / "layers.json")}
    layers: list[Layer] = []
    current: str | None = record["layer"]
    while current:
        found = by_id[current]
        layers.append(Layer(root, current, found["diff-digest"], found["diff-size"]))
        current = found.get("parent")
    layers.reverse()
    if [layer.digest for layer in layers] != json.loads(config)["rootfs"]["diff_ids"]:
        raise ClusterError(f"buildah's records of {name} contradict each other: build it again.")
    return Image(name, config, tuple(layers))


def _read(path: Path) -> Any:
    return json.loads(path.read_text()) if path.exists() else []
