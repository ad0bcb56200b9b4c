"""`kubectl dino validate`: what is said of manifests, and how it ends."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from dino_operator.kubectl import main
from tests.api.admission_cases import GONE, changed
from tests.api.test_admission_search import SEARCH
from tests.patience import LONG
from tests.unit.coco_builders import a_folder

Object = dict[str, Any]
Said = tuple[int, str, str]


class Command:
    """The command with a file of manifests."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.file, self.capsys = folder / "manifests.yaml", capsys

    def __call__(self, manifests: list[Object], *options: str) -> Said:
        self.file.write_text(yaml.safe_dump_all(manifests))
        status = main(["validate", "-f", str(self.file), *options])
        out, err = self.capsys.readouterr()
        return status, out, err


@pytest.fixture
def command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(tmp_path, capsys)


def test_good_manifests_have_a_line_each(command: Command) -> None:
    status, out, err = command([changed(), SEARCH])
    assert (status, out) == (0, "DinoJob cells: valid\nDinoAutoML cells: valid\n")
    assert "Traceback" not in err


def test_every_manifest_is_judged_and_every_problem_said(command: Command) -> None:
    bad = changed(
        ("metadata.name", "bad"),
        ("spec.experiment.model.num_querys", 9),
        ("spec.output.uri", "/results"),
    )
    status, out, err = command([bad, changed()])
    assert (status, out) == (64, "DinoJob cells: valid\n")
    assert (
        "DinoJob bad: spec.experiment.model.num_querys is unknown. "
        "Did you mean spec.experiment.model.num_queries?" in err
    )
    assert "DinoJob bad: spec.output.uri: uri must be an s3:// URI with a bucket: write" in err


SAID: dict[str, tuple[Object, str]] = {
    "what render once accepted: a bundle of certificates": (
        changed(("spec.podTemplate.env", [{"name": "AWS_CA_BUNDLE", "value": "/ca.pem"}])),
        "spec.podTemplate.env[0].name: name must not begin with DINO_ or AWS_",
    ),
    "what render once accepted: no validation data": (
        changed(("spec.datasets.validation", GONE)),
        "spec.datasets.validation: datasets.validation must be given for train and distill",
    ),
    "what the operator refuses: a reference to nothing": (
        changed(("spec.experiment.train.pretrained_model_path", "s3://b/${model.nothing}")),
        "train.pretrained_model_path",
    ),
    "what the operator refuses: a null that means something else": (
        changed(("spec.automlPolicy", None)),
        "spec.automlPolicy: has no value, and means Auto",
    ),
}


@pytest.mark.parametrize(("manifest", "said"), SAID.values(), ids=SAID.keys())
@pytest.mark.parametrize("verb", ["validate", "render"])
def test_both_commands_refuse_alike(
    command: Command, verb: str, manifest: Object, said: str
) -> None:
    command.file.write_text(yaml.safe_dump(manifest))
    assert main([verb, "-f", str(command.file)]) == 64
    out, err = command.capsys.readouterr()
    assert out == ""
    assert said in err


def test_warnings_are_said_and_do_not_refuse(command: Command) -> None:
    doubtful = changed(("spec.experiment.model.dilation", True))
    status, _, err = command([doubtful])
    assert status == 0
    assert "DinoJob cells: warning: spec.experiment.model.dilation: this key has no effect" in err


@pytest.mark.parametrize("start", [{}, {"start": SEARCH}], ids=["job", "search"])
@pytest.mark.parametrize("key", ["num_epochs", "precision"])
def test_a_null_of_the_experiment_is_a_warning(command: Command, start: Object, key: str) -> None:
    where = "spec.template.experiment" if start else "spec.experiment"
    status, _, err = command([changed((f"{where}.train.{key}", None), **start)])
    assert status == 0
    said = f": warning: {where}.train.{key}: has no value (null), and is taken as left out."
    assert err.count(said) == 1


def test_a_training_from_random_numbers_is_said(command: Command) -> None:
    """Of a job, of what is searched, and not of one that has a parent."""
    for manifest in (changed(), changed(("spec.automlPolicy", "Auto")), SEARCH):
        status, _, err = command([manifest])
        assert status == 0
        assert "model.pretrained_backbone_path: is empty, so the backbone starts from" in err
    _, _, err = command([changed(("spec.parent", {"name": "base"}))])
    assert "random numbers" not in err


def test_as_data(command: Command) -> None:
    weights = ("spec.experiment.model.pretrained_backbone_path", "s3://photos/resnet50.pth")
    sound = changed(("spec.experiment.train.num_epochs", 12), weights)
    manifests = [sound, changed(("spec.action", "trian"))]
    status, out, _ = command(manifests, "-o", "json")
    good, bad = json.loads(out)
    assert status == 64
    assert good == {"manifest": "DinoJob cells", "valid": True, "problems": [], "warnings": []}
    assert bad["valid"] is False
    assert bad["problems"][0]["field"] == "spec.action"
    assert "Did you mean train?" in bad["problems"][0]["message"]
    assert yaml.safe_load(command(manifests, "-o", "yaml")[1]) == [good, bad]


@pytest.mark.parametrize(
    "text, status, said",
    [
        ("a: [", 64, "is not YAML"),
        ("", 64, "holds no manifest"),
        ("{kind: List, items: 5}", 64, "holds no manifest"),
        (None, 66, "cannot be read"),
    ],
)
def test_what_is_no_file_of_manifests(
    command: Command, text: str | None, status: int, said: str
) -> None:
    if text is not None:
        command.file.write_text(text)
    assert main(["validate", "-f", str(command.file)]) == status
    assert said in command.capsys.readouterr().err


def test_colours_are_for_terminals(command: Command) -> None:
    command.file.write_text(yaml.safe_dump(changed()))
    assert main(["validate", "-f", str(command.file)]) == 0
    assert "\x1b" not in command.capsys.readouterr().out


def in_the_shell(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dino_operator.kubectl", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=LONG)


def test_data_on_this_machine_is_looked_at(command: Command, tmp_path: Path) -> None:
    """Datasets of the URIs are found by the ends of their paths, archives also unpacked."""
    manifest = changed(
        ("spec.datasets.train.0.uri", "s3://bucket/cells/train"),
        ("spec.datasets.validation.0.uri", "s3://bucket/cells/val"),
    )
    command.file.write_text(yaml.safe_dump(manifest))
    for part, count in (("train", 5), ("val", 3)):
        a_folder(tmp_path / "data" / "cells" / part, count)
    ended = in_the_shell("validate", "-f", str(command.file), "--data", str(tmp_path / "data"))
    assert ended.returncode == 0, ended.stderr
    report = ended.stderr.split("Report: ")[1].split()[0]
    assert "<html" in Path(report).read_text()
    (tmp_path / "data" / "cells" / "val" / "annotations.json").write_text("{")
    ended = in_the_shell("validate", "-f", str(command.file), "--data", str(tmp_path / "data"))
    assert ended.returncode == 65
    assert "annotations" in ended.stderr


def test_data_that_is_not_there(command: Command, tmp_path: Path) -> None:
    status, _, err = command([changed()], "--data", str(tmp_path))
    assert status == 66
    assert "s3://bucket/train/images.tar.gz is not in" in err
    assert f"{tmp_path}/train/images.tar.gz" in err
