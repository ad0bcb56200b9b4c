"""Image archives in the OCI layout, as `ctr images import` reads them."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import BinaryIO

from lib.storage import Image

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
Described = list[dict[str, object]]


def of_names(image: Image) -> bytes:
    """An archive of an image without its layers, which the reader has already."""
    output = io.BytesIO()
    layers = [describe(LAYER, layer.digest, layer.size) for layer in image.layers]
    write_index(output, image.name, image.config, layers)
    finish(output)
    return output.getvalue()


def of_program(name: str, binary: Path, path: str, architecture: str) -> bytes:
    """An archive of an image that holds one static program, run as a user that is not root."""
    layer, output = io.BytesIO(), io.BytesIO()
    write_file(layer, path.lstrip("/"), binary.read_bytes(), mode=0o755)
    finish(layer)
    content = layer.getvalue()
    config = encode(
        {
            "architecture": architecture,
            "os": "linux",
            "config": {"Entrypoint": [path], "User": "65532:65532"},
            "rootfs": {"type": "layers", "diff_ids": [digest(content)]},
            "history": [{"created_by": "dino-devcluster"}],
        }
    )
    write_index(output, name, config, [describe(LAYER, digest(content), len(content))])
    write_file(output, blob(digest(content)), content)
    finish(output)
    return output.getvalue()


def write_index(output: BinaryIO, name: str, config: bytes, layers: Described) -> None:
    """Write the layout's marker, the configuration, the manifest and the index that names it."""
    manifest = encode(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": describe(CONFIG, digest(config), len(config)),
            "layers": layers,
        }
    )
    named = {
        **describe(MANIFEST, digest(manifest), len(manifest)),
        "annotations": {"io.containerd.image.name": name},
    }
    write_file(output, "oci-layout", encode({"imageLayoutVersion": "1.0.0"}))
    write_file(output, "index.json", encode({"schemaVersion": 2, "manifests": [named]}))
    for content in (config, manifest):
        write_file(output, blob(digest(content)), content)


def write_file(output: BinaryIO, name: str, content: bytes, mode: int = 0o644) -> None:
    """Write one file of a tar archive."""
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    padding = bytes(-len(content) % tarfile.BLOCKSIZE)
    output.write(entry.tobuf(tarfile.GNU_FORMAT) + content + padding)


def finish(output: BinaryIO) -> None:
    """Write the end of a tar archive."""
    output.write(bytes(2 * tarfile.BLOCKSIZE))


def describe(media_type: str, name: str, size: int) -> dict[str, object]:
    """What a manifest says of a blob."""
    return {"mediaType": media_type, "digest": name, "size": size}


def blob(name: str) -> str:
    """Where a blob lies in the layout."""
    return f"blobs/{name.replace(':', '/')}"


def digest(content: bytes) -> str:
    """A content's name in an image."""
    return "sha256:" + hashlib.sha256(content).hexdigest()


def encode(value: object) -> bytes:
    """JSON without blanks, the same each time."""
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()
