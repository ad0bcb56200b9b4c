"""Images: building them with buildah and giving them to the node's containerd."""

from __future__ import annotations

import hashlib
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

from lib import archive, share, storage
from lib.containerd import SOCKET, Containerd
from lib.doctor import IMAGE_NEEDS, check_platform, ensure_packages
from lib.lock import locked
from lib.paths import home
from lib.say import ClusterError, say, stage, tail

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
BASE_IMAGE = "localhost/dino-base:bookworm"
BASE_PACKAGES = "python3,python3-venv,ca-certificates"
MIRROR = "http://deb.debian.org/debian"


def load_program(image: str, binary: Path, path: str) -> None:
    """Make an image of one static program and nothing else, and give it to containerd."""
    client = Containerd()
    if not client.has_image(image):
        architecture = ARCHITECTURES.get(platform.machine(), platform.machine())
        given = archive.of_program(image, binary, path, architecture)
        client.run("images", "import", "-", given=given)


def load(name: str) -> None:
    """Give an image that buildah has to containerd, sending only the layers it lacks."""
    check_platform(node=True)
    ensure_packages(IMAGE_NEEDS)
    if not SOCKET.exists():
        raise ClusterError("The cluster is not up: run `devcluster/cluster up` first.")
    client = Containerd()
    with locked("images"):
        image = storage.find(storage.graph_root(), name)
        layers = share.missing(client, image)
        size = sum(layer.size for layer in layers) / 1e6
        what = f"Loading {image.name}: {len(layers)} of {len(image.layers)} layers, {size:.0f} MB"
        with stage(what, f"{1 + size / 200:.0f} s"):
            share.load(client, image)


def build_image(
    name: str, context: Path, dockerfile: Path | None, build_args: list[str], *, quiet: bool
) -> None:
    """Build an image with buildah, as root without a daemon, reusing cached layers."""
    check_platform(node=True)
    ensure_packages(IMAGE_NEEDS)
    if not context.is_dir():
        raise ClusterError(f"The build context {context} is not a folder.")
    command = ["buildah", "bud", "--isolation", "chroot", "--layers", "--format", "oci"]
    # RUN lines that fetch must trust what this machine trusts.
    command += ["--volume", "/etc/ssl/certs:/etc/ssl/certs:ro"]
    command += [word for pair in build_args for word in ("--build-arg", pair)]
    command += ["-f", str(dockerfile)] if dockerfile else []
    command += ["-t", name, str(context)]
    with stage(f"Building the image {name}", "seconds when only our code changed, else minutes"):
        run_logged(command, home() / "images" / f"build-{name.replace('/', '_')}.log", quiet=quiet)


def base_image() -> None:
    """Make the base image of our Dockerfiles: Debian's smallest system with Python."""
    check_platform(node=True)
    ensure_packages(IMAGE_NEEDS)
    recipe = f"{MIRROR} bookworm minbase {BASE_PACKAGES} 1"
    label = f"dino.base={hashlib.sha256(recipe.encode()).hexdigest()[:16]}"
    with locked("base-image"):
        if buildah("images", "-q", "--filter", f"label={label}", BASE_IMAGE):
            say(f"The base image is there already: {BASE_IMAGE}")
            return
        with stage(f"Making the base image {BASE_IMAGE} with debootstrap", "30 s"):
            make_base_image(label)


def make_base_image(label: str) -> None:
    """debootstrap into a folder, which becomes the image's only layer."""
    log = home() / "images" / "base-image.log"
    with tempfile.TemporaryDirectory(prefix="dino-base-", dir=_image_folder()) as folder:
        root = Path(folder, "root")
        command = ["debootstrap", "--variant=minbase", f"--include={BASE_PACKAGES}"]
        run_logged([*command, "bookworm", str(root), MIRROR], log, quiet=True)
        for leftover in ("var/cache/apt/archives", "var/lib/apt/lists", "var/log"):
            shutil.rmtree(root / leftover, ignore_errors=True)
            (root / leftover).mkdir(parents=True)
        dockerfile = Path(folder, "Dockerfile")
        dockerfile.write_text(f'FROM scratch\nCOPY root /\nLABEL {label}\nCMD ["/bin/bash"]\n')
        build = ["buildah", "bud", "--isolation", "chroot", "--format", "oci", "-t", BASE_IMAGE]
        run_logged([*build, "-f", str(dockerfile), folder], log, quiet=True)


def _image_folder() -> Path:
    folder = home() / "images"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def buildah(*arguments: str) -> str:
    """Run buildah and return what it prints; nothing when it fails, as for an unknown image."""
    done = subprocess.run(["buildah", *arguments], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def run_logged(command: list[str], log: Path, *, quiet: bool) -> None:
    """Run a command with its output in a log, or on the terminal. Raises with the log's end."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "w") as file:
        output = file if quiet else None
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False
        )
    if done.returncode != 0:
        said = f" Its log, {log}, ends with:\n{tail(str(log))}" if quiet else ""
        raise ClusterError(f"`{' '.join(command)}` failed.{said}")
