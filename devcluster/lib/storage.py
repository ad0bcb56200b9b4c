"""Reads images out of buildah's storage (containers/storage, driver overlay).

`buildah push` would write the whole image again and compress it, minutes for torch; here a layer is streamed as
the very tar file it was made from: its headers are kept in <layer>.tar-split.gz, its files in the layer's folder.
"""

from __future__ import annotations

import base64
import gzip
import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from lib.say import ClusterError


@dataclass(frozen=True)
class Layer:
    """One layer: its digest and size as an uncompressed tar file."""

    root: Path
    id: str
    digest: str
    size: int

    def write(self, output: BinaryIO) -> None:
        """Write the layer's tar file."""
        folder = self.root / "overlay" / self.id / "diff"
        for piece in self._pieces():
            if piece["type"] == 2:  # headers and padding
                output.write(base64.b64decode(piece["payload"]))
            elif piece.get("size"):
                with open(folder / _name(piece), "rb") as file:
                    shutil.copyfileobj(file, output, 1 << 20)

    def _pieces(self) -> Iterator[dict[str, Any]]:
        path = self.root / "overlay-layers" / f"{self.id}.tar-split.gz"
        with gzip.open(path, "rt") as lines:
            yield from map(json.loads, lines)


def _name(piece: dict[str, Any]) -> str | bytes:
    """The file a piece stands for; names that are no UTF-8 are kept in base64."""
    name: str = piece["name"] if "name" in piece else _raw(piece["name_raw"])
    return name.lstrip("/")


def _raw(encoded: str) -> str:
    return base64.b64decode(encoded).decode("utf-8", "surrogateescape")


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

    Raises ClusterError naming the images that there are.
    """
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
