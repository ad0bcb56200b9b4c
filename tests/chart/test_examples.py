"""Every file under examples/ is what it says it is: loaded, judged, and within the demo's reach."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from dino_api.experiment import load
from dino_api.names import API_VERSION, KIND
from dino_api.resources import DinoJob, resolve

EXAMPLES = Path(__file__).parents[2] / "examples"
FILES = sorted(EXAMPLES.glob("*.yaml"))
JOBS = [path for path in FILES if f"kind: {KIND}" in path.read_text()]


def read(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(path.read_text())
    return document


def ids(path: Path) -> str:
    return path.name


def test_there_are_examples() -> None:
    names = {path.name for path in JOBS}
    assert {"digits-train.yaml", "bccd-train.yaml", "gpu-train.yaml", "nodes-train.yaml"} <= names


@pytest.mark.parametrize("path", FILES, ids=ids)
def test_opens_with_the_command_that_runs_it(path: Path) -> None:
    first = path.read_text().splitlines()[0]
    assert first.startswith("# kubectl ")
    assert f"apply -f examples/{path.name}" in first


@pytest.mark.parametrize("path", JOBS, ids=ids)
def test_is_a_dinojob_without_problems_or_warnings(path: Path) -> None:
    document = read(path)
    assert (document["apiVersion"], document["kind"]) == (API_VERSION, KIND)
    _, problems = load(resolve(DinoJob.model_validate(document)))
    assert problems == []


@pytest.mark.parametrize("path", JOBS, ids=ids)
def test_has_no_key_that_the_resource_does_not_know(path: Path) -> None:
    """Reading a DinoJob is tolerant, so a misspelt key must be looked for."""
    document = read(path)
    model = DinoJob.model_validate(document)
    known = model.model_dump(by_alias=True)
    assert not unknown_keys(document["spec"], known["spec"], "spec")


def unknown_keys(given: Any, known: Any, path: str) -> list[str]:
    if isinstance(given, dict) and isinstance(known, dict) and path != "spec.experiment":
        found = [f"{path}.{key}" for key in given if key not in known]
        return found + [
            problem
            for key in given
            if key in known
            for problem in unknown_keys(given[key], known[key], f"{path}.{key}")
        ]
    return []


def test_the_secrets_keys_are_those_that_pods_read() -> None:
    secret = read(EXAMPLES / "s3-secret.yaml")
    assert secret["kind"] == "Secret"
    assert set(secret["stringData"]) == {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}


def test_outputs_differ() -> None:
    """A job resumes from its output: two that share one would fight."""
    outputs = [read(path)["spec"]["output"]["uri"] for path in JOBS]
    assert len(set(outputs)) == len(outputs)
