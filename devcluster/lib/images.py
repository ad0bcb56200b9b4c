"""Images: building them with buildah and giving them to the node's containerd."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import subprocess
import tarfile
from pathlib import Path

from lib.say import ClusterError

SOCKET = Path("/run/dino-devcluster/containerd.sock")
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def ctr(*arguments: str, given: bytes | None = None) -> str:
    """Run containerd's client in Kubernetes' namespace."""
    command = ["ctr", "--address", str(SOCKET), "--namespace", "k8s.io", *arguments]
    done = subprocess.run(command, input=given, capture_output=True, check=False)
    if done.returncode != 0:
        raise ClusterError(f"`{' '.join(command)}` failed: {done.stderr.decode().strip()}")
    return done.stdout.decode()


def has(image: str) -> bool:
    """Whether containerd has an image of this name."""
    return image in ctr("images", "list", "-q", f"name=={image}").split()


def load_program(image: str, binary: Path, path: str) -> None:
    """Make an image of one static program and nothing else, and give it to containerd."""
    ctr("images", "import", "-", given=program_archive(image, binary, path))


def program_archive(image: str, binary: Path, path: str) -> bytes:
    """A docker-archive whose one layer holds one program, run as a user that is not root."""
    layer = _tar({path.lstrip("/"): (binary.read_bytes(), 0o755)})
    config = {
        "architecture": ARCHITECTURES.get(platform.machine(), platform.machine()),
        "os": "linux",
        "config": {"Entrypoint": [path], "User": "65532:65532"},
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(layer).hexdigest()]},
        "history": [{"created_by": "dino-devcluster"}],
    }
    manifest = [{"Config": "config.json", "RepoTags": [image], "Layers": ["layer.tar"]}]
    return _tar(
        {
            "layer.tar": (layer, 0o644),
            "config.json": (json.dumps(config).encode(), 0o644),
            "manifest.json": (json.dumps(manifest).encode(), 0o644),
        }
    )


def _tar(files: dict[str, tuple[bytes, int]]) -> bytes:
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w") as archive:
        for name, (content, mode) in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), mode
            archive.addfile(entry, io.BytesIO(content))
    return output.getvalue()
