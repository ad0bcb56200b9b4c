"""What a release is made by: workflows, labels of images, and the list of what is in them."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart.conftest import ROOT
from tests.chart.test_images import DOCKERFILES, instructions, locked_for, only_gpu
from tests.chart.test_version import VERSION

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PINNED = re.compile(r"[\w-]+/[\w-]+@[0-9a-f]{40}")
ASKED = {
    "audit.yml": {"contents": "read"},
    "ci.yml": {"contents": "read"},
    "image.yml": {"contents": "read"},
    "release.yml": {"contents": "read", "packages": "write"},
}
"""Every permission that any job of a workflow may have."""
LABELS = ("title", "description", "licenses", "version", "revision", "source")

Workflow = dict[str, Any]


@pytest.fixture(params=WORKFLOWS, ids=lambda path: path.name)
def path(request: pytest.FixtureRequest) -> Path:
    return Path(request.param)


@pytest.fixture
def workflow(path: Path) -> Workflow:
    return dict(yaml.safe_load(path.read_text()))


def steps(workflow: Workflow) -> list[Workflow]:
    return [step for job in workflow["jobs"].values() for step in job.get("steps", [])]


def test_there_are_these() -> None:
    assert [path.name for path in WORKFLOWS] == sorted(ASKED)


def test_actions_of_others_are_pinned_by_commit(path: Path, workflow: Workflow) -> None:
    used = [step["uses"] for step in steps(workflow) if "uses" in step]
    assert used
    assert [each for each in used if not PINNED.fullmatch(each)] == []
    lines = [line for line in path.read_text().splitlines() if "uses: actions/" in line]
    assert all(re.search(r"# v\d+\.\d+\.\d+$", line) for line in lines), "the version for people"


def test_permissions_are_the_least(path: Path, workflow: Workflow) -> None:
    assert workflow["permissions"] == {"contents": "read"}
    asked = dict(workflow["permissions"])
    for job in workflow["jobs"].values():
        asked |= job.get("permissions", {})
    assert asked == ASKED[path.name]
    checkouts = [s for s in steps(workflow) if s.get("uses", "").startswith("actions/checkout@")]
    assert all(each["with"] == {"persist-credentials": False} for each in checkouts)


def test_no_expression_stands_in_a_script(workflow: Workflow) -> None:
    """The name of a tag or a branch would be run: scripts get them as variables."""
    scripts = [step["run"] for step in steps(workflow) if "run" in step]
    assert scripts
    assert not [each for each in scripts if "${{" in each]


def test_what_scripts_call_is_there(workflow: Workflow) -> None:
    scripts = "\n".join(step["run"] for step in steps(workflow) if "run" in step)
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.M))
    assert set(re.findall(r"make ([a-z]\w*)$", scripts, re.M)) <= targets
    named = re.findall(r"[\w.-]+(?:/[\w.-]+)*/(?:Dockerfile|dino-operator(?= --)|run)\b", scripts)
    assert [each for each in named if not (ROOT / each).exists()] == []


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_scripts_are_bash(path: Path) -> None:
    for step in steps(yaml.safe_load(path.read_text())):
        if "run" in step:
            done = subprocess.run(
                ["bash", "-n"], input=step["run"], capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr


def test_ci_is_what_ci_runs() -> None:
    (job,) = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"].values()
    room, script = [step["run"] for step in job["steps"] if "run" in step]
    assert room.startswith("sudo rm -rf /usr/share/dotnet ")
    assert script.endswith("bash .ci/run")


def test_what_is_installed_and_who_runs_it_are_audited_each_week() -> None:
    """New advisories come without a commit; what asks for them is of a fixed version."""
    workflow = yaml.safe_load((ROOT / ".github/workflows/audit.yml").read_text())
    events = workflow[True]
    assert len(events["schedule"]) == 1
    for event in ("push", "pull_request"):
        assert {"uv.lock", ".github/workflows/*"} <= set(events[event]["paths"])
    assert [step["run"] for step in steps(workflow) if "run" in step] == ["make audit"]
    recipe = subprocess.run(
        ["make", "-n", "audit"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert re.search(r" tool run pip-audit==\d+\.\d+\.\d+ .*--require-hashes .*--strict\n", recipe)
    assert re.search(r" tool run zizmor==\d+\.\d+\.\d+ .*\.github/workflows", recipe)
    assert "--frozen --all-extras" in recipe


def test_nothing_is_published_before_the_tests_have_passed() -> None:
    jobs = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text())["jobs"]
    assert jobs["publish"]["needs"] == "test"
    assert jobs["test"] == {"uses": "$/.github/workflows/ci.yml"}


def checked(tag: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """The release's step that compares the tag with the version."""
    jobs = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text())["jobs"]
    (script,) = [
        s["run"] for s in jobs["publish"]["steps"] if s.get("name", "").startswith("The tag")
    ]
    env = {**os.environ, "TAG": tag, "OWNER": "Some-Team", "GITHUB_ENV": str(folder / "env")}
    return subprocess.run(
        ["bash", "-e", "-c", script], cwd=ROOT, env=env, capture_output=True, text=True, check=False
    )


def test_a_tag_of_another_version_publishes_nothing(tmp_path: Path) -> None:
    done = checked("v99.0.0", tmp_path)
    assert done.returncode == 1
    assert f"the tag is v99.0.0 and pyproject.toml has version {VERSION}" in done.stderr
    assert checked(f"v{VERSION}", tmp_path).returncode == 0
    told = (tmp_path / "env").read_text().splitlines()
    assert told == [f"VERSION={VERSION}", "REGISTRY=ghcr.io/some-team"]


@pytest.mark.parametrize("path", DOCKERFILES)
def test_images_say_what_they_are(path: str) -> None:
    (words,) = [words for name, words in instructions(path) if name == "LABEL"]
    pairs = re.findall(r'org\.opencontainers\.image\.(\w+)="([^"]*)"', words)
    found = dict(pairs)
    assert tuple(found) == LABELS
    arguments = {words.partition("=")[0] for name, words in instructions(path) if name == "ARG"}
    for label in ("version", "revision", "source"):
        assert found[label] == f"${{{label.upper()}}}"
        assert label.upper() in arguments
    release = (ROOT / ".github/workflows/release.yml").read_text()
    assert all(f'--build-arg "{label.upper()}=' in release for label in LABELS[3:])


def test_both_images_of_the_trainer_are_published() -> None:
    release = (ROOT / ".github/workflows/release.yml").read_text()
    built = re.findall(r' build (\S+) "([\w-]+):\$VERSION(\S*)"(.*)', release)
    assert built == [
        ("operator/Dockerfile", "dino-operator", "", ""),
        ("trainer_image/Dockerfile", "dino-trainer", "", ""),
        ("trainer_image/Dockerfile", "dino-trainer", "-cpu", " --build-arg DEVICE=cpu"),
    ]


SAID = """#!/bin/sh
echo "$(basename "$0") $*" >>"$CALLS"
case "$*" in *--tag*"$FAILS"*) exit 1 ;; esac
"""
NEXT = "1.2.3"
IMAGES = (f"dino-operator:{NEXT}", f"dino-trainer:{NEXT}", f"dino-trainer:{NEXT}-cpu")


def released(folder: Path, fails: str) -> tuple[int, list[str]]:
    """What the scripts after the one that signs in call, until one fails; and how that ended."""
    (folder / "bin").mkdir(parents=True)
    for name in ("docker", "helm"):
        (folder / "bin" / name).write_text(SAID)
        (folder / "bin" / name).chmod(0o755)
    values = folder / "charts" / "dino-operator" / "values.yaml"
    values.parent.mkdir(parents=True)
    values.write_text(f"image: localhost/dino-operator:{NEXT}\n")
    env = {
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "CALLS": str(folder / "calls"),
        "FAILS": fails, "REGISTRY": "ghcr.io/some-team", "VERSION": NEXT, "GITHUB_SHA": "abc",
        "GITHUB_SERVER_URL": "https://github.com", "GITHUB_REPOSITORY": "some-team/dino",
    }  # fmt: skip
    jobs = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text())["jobs"]
    scripts = [step["run"] for step in jobs["publish"]["steps"] if "run" in step]
    scripts = [each for each in scripts if not each.startswith("sudo ")]  # makes room on a runner
    (signs_in,) = [place for place, each in enumerate(scripts) if "docker login" in each]
    for script in scripts[signs_in + 1 :]:
        done = subprocess.run(["bash", "-e", "-c", script], cwd=folder, env=env, check=False)
        if done.returncode != 0:
            break
    return done.returncode, (folder / "calls").read_text().splitlines()


def test_nothing_is_published_before_everything_is_built(tmp_path: Path) -> None:
    code, calls = released(tmp_path / "all", fails="nothing")
    assert code == 0
    pushes = [each for each in calls if " push " in each]
    assert calls[-len(pushes) :] == pushes, "all else comes first"
    assert pushes == [
        *(f"docker push ghcr.io/some-team/{image}" for image in IMAGES),
        f"helm push build/dino-operator-{NEXT}.tgz oci://ghcr.io/some-team/charts",
    ]
    for number, image in enumerate(IMAGES):
        code, calls = released(tmp_path / str(number), fails=f"{image} --build-arg")
        assert code == 1
        assert not [each for each in calls if " push " in each]


def test_the_image_for_gpus_is_built_by_a_workflow_of_its_own() -> None:
    """No test builds it: each week, and when what it is made of changes."""
    workflow = yaml.safe_load((ROOT / ".github/workflows/image.yml").read_text())
    events = workflow[True]  # what YAML 1.1 reads of `on`
    assert len(events["schedule"]) == 1
    for event in ("push", "pull_request"):
        assert {"uv.lock", "trainer_image/*"} <= set(events[event]["paths"])
    scripts = [step["run"] for step in steps(workflow) if "run" in step]
    (build,) = [each for each in scripts if each.startswith("docker build ")]
    assert "--file trainer_image/Dockerfile --build-arg DEVICE=gpu " in build


def test_the_list_of_what_is_in_an_image_is_that_of_the_lock_file() -> None:
    done = subprocess.run(["make", "sbom"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    without = {"operator": set[str](), "trainer": set[str](), "trainer-cpu": set(only_gpu())}
    for part, pruned in without.items():
        found = json.loads((ROOT / f"build/sbom/dino-{part}.cdx.json").read_text())
        assert (found["bomFormat"], found["specVersion"]) == ("CycloneDX", "1.5")
        assert found["metadata"]["component"]["version"] == VERSION
        names = {each["name"] for each in found["components"]}
        assert names >= locked_for(part.removesuffix("-cpu")) - pruned, part
        assert not names & pruned
        assert "pytest" not in names
        assert all(each["purl"].startswith("pkg:pypi/") for each in found["components"])
