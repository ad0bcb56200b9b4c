"""One version: that of pyproject.toml. Chart, images and documents have no other."""

from __future__ import annotations

import re
import subprocess
import tomllib
from collections.abc import Callable

import pytest
import yaml

from charts import generate
from tests.chart.conftest import CHART, ROOT, Objects

VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
OURS = re.compile(r"dino-(?:operator|trainer):(\d+\.\d+\.\d+)")


def test_the_charts_and_its_images_are_that(render: Callable[..., Objects]) -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (VERSION, VERSION)
    (deployment,) = [one for one in render() if one["kind"] == "Deployment"]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    trainer = next(one for one in container["env"] if one["name"] == "DINO_TRAINER_IMAGE")
    assert {OURS.search(text)[1] for text in (container["image"], trainer["value"])} == {VERSION}  # type: ignore[index]


def test_a_new_version_is_written_by_the_generator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generate.tomllib, "loads", lambda _: {"project": {"version": "9.8.7"}})
    chart = yaml.safe_load(generate.chart_file())
    assert (chart["version"], chart["appVersion"]) == ("9.8.7", "9.8.7")
    assert "Version-9.8.7-informational" in generate.readme()


def test_whatever_names_an_image_of_a_release_names_this_one() -> None:
    files = subprocess.run(
        ["git", "grep", "-lE", "dino-(operator|trainer):[0-9]", "--", ".", ":!CHANGELOG.md"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert "operator/Dockerfile" in files
    named = {(path, each) for path in files for each in OURS.findall((ROOT / path).read_text())}
    assert {each for _, each in named} == {VERSION}, named
