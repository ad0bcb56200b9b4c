"""The project's own images on the dev cluster: their names say what they were built from.

python -m demo.images        builds and loads both, and prints their names
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).parents[1]
CLUSTER = ROOT / "devcluster" / "cluster"
BASE_IMAGE = "localhost/dino-base:bookworm"  # what `devcluster/cluster base-image` makes
SHARED = ("pyproject.toml", "uv.lock", ".dockerignore", "api/dino_api")


@dataclass(frozen=True)
class ImageBuild:
    """One image: its repository and what decides its content, relative to the checkout."""

    repository: str
    dockerfile: str
    sources: tuple[str, ...]
    arguments: tuple[str, ...] = ()  # of the build, beside those of every image

    @cached_property
    def name(self) -> str:
        """Repository and tag. The tag is a digest of the sources: new code, new name, so that Helm
        sees a change and an unchanged image is not loaded again."""
        digest = hashlib.sha256("\0".join(self.arguments).encode())
        for path in sorted(p for s in (*SHARED, *self.sources) for p in files(ROOT / s)):
            digest.update(str(path.relative_to(ROOT)).encode() + b"\0")
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        return f"{self.repository}:src-{digest.hexdigest()[:12]}"

    def build_command(self) -> list[str]:
        """The command that builds it; seconds when only our code changed."""
        return [
            str(CLUSTER), "build-image", self.name, str(ROOT),
            "--file", str(ROOT / self.dockerfile),
            "--build-arg", f"BASE_IMAGE={BASE_IMAGE}",
            "--build-arg", f"VERSION={version()}",
            *(word for argument in self.arguments for word in ("--build-arg", argument)),
        ]  # fmt: skip

    def load_command(self) -> list[str]:
        return [str(CLUSTER), "load", self.name]

    def prune_command(self) -> list[str]:
        """The command that forgets what was built from earlier sources, but the last of it."""
        return [str(CLUSTER), "prune", self.name]


OPERATOR = ImageBuild(
    "localhost/dino-operator",
    "operator/Dockerfile",
    ("operator/Dockerfile", "operator/dino_operator"),
)
TRAINER = ImageBuild(
    "localhost/dino-trainer",
    "trainer_image/Dockerfile",
    ("trainer_image",),
    ("DEVICE=cpu",),  # the node has no GPU
)


def version() -> str:
    """The project's version."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return str(project["version"])


def files(path: Path) -> list[Path]:
    """A file, or every source file below a folder."""
    if path.is_file():
        return [path]
    return [
        p
        for p in path.rglob("*")
        if p.is_file() and "__pycache__" not in p.parts and p.suffix != ".pyc"
    ]


def main() -> int:
    """Build and load both, one after the other. Returns the exit status of what failed first."""
    if os.environ.get("CLUSTER") == "current":
        print("With CLUSTER=current, build and push both images as README.md says", file=sys.stderr)
        return 1
    commands = [[str(CLUSTER), "base-image"]]
    for image in (OPERATOR, TRAINER):
        commands += [image.build_command(), image.load_command(), image.prune_command()]
    for command in commands:
        done = subprocess.run(command, check=False, stdout=sys.stderr, env=dict(os.environ))
        if done.returncode != 0:
            return done.returncode
    print(OPERATOR.name, TRAINER.name, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
