"""What the Dockerfiles promise, read from them and from the lock file."""

from __future__ import annotations

import re
import subprocess
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from demo import images

ROOT = Path(__file__).parents[2]
DOCKERFILES = ("operator/Dockerfile", "trainer_image/Dockerfile")


def instructions(path: str) -> list[tuple[str, str]]:
    """Every instruction and its words, continuation lines joined."""
    text = (ROOT / path).read_text().replace("\\\n", " ")
    lines = (line.strip() for line in text.splitlines())
    return [
        (line.split(maxsplit=1)[0], line.split(maxsplit=1)[1])
        for line in lines
        if line and not line.startswith("#")
    ]


@pytest.mark.parametrize("path", DOCKERFILES)
def test_nothing_runs_as_root(path: str) -> None:
    assert [words for name, words in instructions(path) if name == "USER"] == ["65532:65532"]


@pytest.mark.parametrize("path", DOCKERFILES)
def test_the_base_is_an_argument(path: str) -> None:
    found = instructions(path)
    assert found[0] == ("ARG", "BASE_IMAGE=python:3.12-slim-bookworm")
    assert all(words.startswith("${BASE_IMAGE}") for name, words in found if name == "FROM")


@pytest.mark.parametrize("path", DOCKERFILES)
def test_our_code_comes_last(path: str) -> None:
    """So that a change of it rebuilds these layers only, and what is compiled of it."""
    found = instructions(path)
    first = next(
        place for place, (_, words) in enumerate(found) if words.startswith("api/dino_api")
    )
    assert [name for name, _ in found[first : first + 2]] == ["COPY", "COPY"]
    assert {name for name, _ in found[first + 2 :]} <= {"ENV", "RUN", "USER"}
    assert not any("dino_" in words for name, words in found[:first] if name == "COPY")


@pytest.mark.parametrize("path", DOCKERFILES)
def test_no_pod_compiles_our_modules(path: str) -> None:
    """Its root file system is read-only, so that each start would do it anew."""
    assert any(
        name == "RUN" and "-m compileall -q -j 0 /opt/dino" in words
        for name, words in instructions(path)[-3:]
    )


@pytest.mark.parametrize("path", DOCKERFILES)
def test_every_copied_path_is_in_the_context(path: str) -> None:
    """.dockerignore starts from nothing and lets in what is copied."""
    let_in = [
        line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"
    ]
    for name, words in instructions(path):
        if name == "COPY" and not words.startswith("--from"):
            for source in words.split()[:-1]:
                assert source in let_in, f"{source} is not in .dockerignore"
                assert (ROOT / source).exists()


def locked_for(extra: str) -> set[str]:
    """The packages that the lock file names for an extra."""
    lock = tomllib.loads((ROOT / "uv.lock").read_text())
    packages: dict[str, Any] = {package["name"]: package for package in lock["package"]}
    own = packages["dino-operator"]
    found: set[str] = set()
    waiting = [*own["dependencies"], *own["optional-dependencies"][extra]]
    while waiting:
        name = waiting.pop()["name"]
        if name not in found:
            found.add(name)
            waiting += packages[name].get("dependencies", [])
    return found


def only_gpu() -> list[str]:
    """The packages that the image for CPUs does without."""
    told = arguments_of("cpu").split()
    return [told[index + 1] for index, word in enumerate(told) if word == "--prune"]


def arguments_of(device: str) -> str:
    command = ["sh", str(ROOT / "trainer_image/packages.sh"), device]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


LINKED_WITH_TORCH = {
    "cuda-toolkit", "nvidia-cuda-cupti", "nvidia-cuda-runtime", "nvidia-cufile",
}  # fmt: skip
"""Of NVIDIA's, what torch's part for CPUs and Python's binding are linked with: 10 MB."""


def test_the_image_for_cpus_has_of_nvidias_packages_what_torch_cannot_load_without() -> None:
    """A package that a newer torch brings must be put on one of the two sides."""
    of_gpus = re.compile(r"nvidia-|cuda-|triton$")
    lock = tomllib.loads((ROOT / "uv.lock").read_text())
    named = {package["name"] for package in lock["package"] if of_gpus.match(package["name"])}
    assert named == set(only_gpu()) | LINKED_WITH_TORCH
    assert "--prune" not in arguments_of("gpu")


def test_an_image_is_for_gpus_or_for_cpus() -> None:
    done = subprocess.run(
        ["sh", str(ROOT / "trainer_image/packages.sh"), "tpu"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (64, "error: DEVICE is tpu: write gpu or cpu\n")


def test_the_demo_and_the_tests_on_the_cluster_use_the_image_for_cpus() -> None:
    assert "DEVICE=cpu" in images.TRAINER.build_command()
    assert "DEVICE=cpu" not in images.OPERATOR.build_command()


def test_what_an_image_is_built_with_is_in_its_tag() -> None:
    for_gpus = replace(images.TRAINER, arguments=("DEVICE=gpu",))
    assert for_gpus.name != images.TRAINER.name


def test_the_operators_image_has_no_torch() -> None:
    found = locked_for("operator")
    assert {"kopf", "kubernetes", "pydantic"} <= found
    assert not {"torch", "torchvision", "scipy", "pandas", "boto3"} & found


def test_the_trainers_image_has_no_kopf() -> None:
    found = locked_for("trainer")
    assert {"torch", "timm", "boto3"} <= found
    assert not {"kopf", "kubernetes"} & found


def test_a_users_cluster_gets_its_images_from_a_registry(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CLUSTER", "current")
    assert images.main() == 1
    assert "push both images as README.md says" in capsys.readouterr().err
