"""`kubectl-dino render`: what would be made, and sentences about what cannot be."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from dino_api.kubectl_yaml.reader import read_all
from dino_operator.kubectl import main
from dino_operator.plan.search.trials import dinojobs
from tests.patience import LONG
from tests.unit.katib_cases import LR, NAME, QUERIES, a_search

Object = dict[str, Any]
DATA = {"train": [{"uri": "s3://data/train"}], "validation": [{"uri": "s3://data/val"}]}


def a_job(**spec: Any) -> Object:
    return {
        "apiVersion": "dino-operator.io/v1alpha1",
        "kind": "DinoJob",
        "metadata": {"name": "x"},
        "spec": {"action": "train", "datasets": DATA, "output": {"uri": "s3://results/x"}, **spec},
    }


class Command:
    """The command with a manifest on standard input."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.monkeypatch, self.capsys = monkeypatch, capsys

    def __call__(self, manifest: Any, *options: str, status: int = 0) -> list[Object]:
        text = manifest if isinstance(manifest, str) else yaml.safe_dump(manifest)
        self.monkeypatch.setattr(sys, "stdin", io.StringIO(text))
        assert main(["render", "-f", "-", *options]) == status
        out, self.said = self.capsys.readouterr()
        return list(yaml.safe_load_all(out))


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(monkeypatch, capsys)


def named(objects: list[Object], kind: str) -> list[str]:
    return [each["metadata"]["name"] for each in objects if each["kind"] == kind]


def test_a_job_that_trains_at_once(command: Command) -> None:
    made = command(a_job(automlPolicy="Disabled"), "--trainer-image", "mine:3")
    assert named(made, "Job") == ["x-preflight-1", "x-train-1"]
    assert [each["kind"] for each in made[:3]] == ["ServiceAccount", "RoleBinding", "ConfigMap"]
    pod = made[-1]["spec"]["template"]["spec"]
    assert pod["containers"][0]["image"] == "mine:3"
    assert "s3://data/train" in made[2]["data"]["spec.yaml"]


def test_a_job_that_is_searched_for(command: Command) -> None:
    made = command(a_job())
    assert made[0]["kind"] == "DinoAutoML"
    assert named(made, "DinoJob") == ["x-trial-0", "x-trial-1"]
    assert "automlPolicy is Auto" in command.said
    assert "shown is Embedded" in command.said
    assert named(command(a_job(), "--no-automl"), "Job") == ["x-preflight-1", "x-train-1"]


def after(action: str, uri: str, **spec: Any) -> Object:
    """A DinoJob that goes on from a file."""
    made = a_job(action=action, parent={"uri": uri}, **spec)
    if "datasets" not in spec:
        del made["spec"]["datasets"]
    return made


def test_what_comes_after_training(command: Command) -> None:
    """Never a search; without data, no check of any; an engine's pod in its own image."""
    images = ("--trainer-image", "mine:3", "--tensorrt-image", "mine:3-tensorrt")
    made = command(after("gen_trt_engine", "s3://data/m.onnx"), *images)
    assert named(made, "Job") == ["x-gen-trt-engine-1"]
    pod = made[-1]["spec"]["template"]["spec"]["containers"][0]
    assert (pod["image"], pod["command"][1]) == ("mine:3-tensorrt", "gen_trt_engine")
    assert "onnx_file: " in made[2]["data"]["spec.yaml"]
    data = {"test": [{"uri": "s3://data/test"}]}
    made = command(after("evaluate", "s3://data/m.pth", datasets=data), *images)
    assert named(made, "Job") == ["x-preflight-1", "x-evaluate-1"]
    assert "DinoAutoML" not in [each["kind"] for each in made]
    command(after("quantize", "s3://data/m.pth", datasets={"calibration": data["test"]}), status=64)
    assert (
        "spec.parent.uri: parent.uri must be an ONNX file (.onnx) for gen_trt_engine"
        in command.said
    )
    command(after("evaluate", "s3://data/m.pth"), status=64)
    assert "spec.datasets.test: datasets.test must be given for evaluate" in command.said


def test_an_embedded_search(command: Command) -> None:
    """The first trials and what is made of each; only the first one checks the data."""
    made = command(a_search(parallelTrials=3), "--engine", "Embedded")
    assert named(made, "DinoJob") == ["tune-trial-0", "tune-trial-1", "tune-trial-2"]
    jobs = named(made, "Job")
    assert jobs == ["tune-trial-0-preflight-1", *(f"tune-trial-{n}-train-1" for n in range(3))]
    (first, second, _) = (each for each in made if each["kind"] == "DinoJob")
    assert "optim" not in first["spec"]["experiment"].get("train", {})
    assert 1e-5 <= second["spec"]["experiment"]["train"]["optim"]["lr"] <= 5e-4
    assert len(named(made, "ServiceAccount")) == 1
    assert "the first 3 are shown" in command.said


def test_a_search_on_katib(command: Command) -> None:
    """The baseline beside the Experiment, whose texts stay texts through YAML."""
    made = command(a_search(engine="Auto"), "--engine", "Katib")
    assert named(made, "DinoJob") == ["tune-trial-0"]
    assert named(made, "Experiment") == [NAME]
    spec = made[-1]["spec"]
    assert spec["parameters"][0]["feasibleSpace"]["min"] == "0.00001"
    assert spec["maxTrialCount"] == 4
    (argument,) = spec["trialTemplate"]["trialSpec"]["spec"]["template"]["spec"]["containers"][0][
        "args"
    ]
    assert argument.startswith("{ trap")
    assert argument.endswith("(exit $r); }")


def test_trials_are_those_of_the_operator(command: Command) -> None:
    from tests.unit.katib_cases import a_view

    (first, *_) = (
        each for each in command(a_search(), "--engine", "Embedded") if each["kind"] == "DinoJob"
    )
    assert first == json.loads(json.dumps(dinojobs.render(a_view(), 0, {})))


def test_several_manifests_and_lists(command: Command) -> None:
    one = a_job(automlPolicy="Disabled")
    two = {**one, "metadata": {"name": "z"}}
    both = f"{yaml.safe_dump(one)}---\n{yaml.safe_dump({'kind': 'List', 'items': [two]})}"
    made = command(both)
    assert named(made, "Job") == ["x-preflight-1", "x-train-1", "z-preflight-1", "z-train-1"]
    assert len(named(made, "ServiceAccount")) == 1


def test_numbers_are_read_as_kubectl_reads_them(command: Command) -> None:
    spec = "train: {num_epochs: 1e1, optim: {lr: 1e-4}}"
    text = yaml.safe_dump(a_job(automlPolicy="Disabled", experiment={"HERE": 1}))
    text = text.replace("HERE: 1", spec)
    made = command(
        f"{text}  runPolicy: {{activeDeadlineSeconds: 1e3, suspend: }}\n  queueName: ~\n"
    )
    read = yaml.safe_load(named_one(made, "ConfigMap")["data"]["spec.yaml"])["train"]
    assert (read["num_epochs"], read["optim"]["lr"]) == (10, 0.0001)
    assert made[-1]["spec"]["activeDeadlineSeconds"] == 1000


def named_one(objects: list[Object], kind: str) -> Object:
    (found,) = (each for each in objects if each["kind"] == kind)
    return found


def test_what_is_printed_is_read_again_by_kubectl_as_it_was_meant(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """PyYAML prints 1e3 and y bare, which are texts to it."""
    manifest = a_job(automlPolicy="Disabled", podTemplate={"labels": {"a": "1e3", "b": "y"}})
    manifest["metadata"]["name"] = "1e3"
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(manifest)))
    assert main(["render", "-f", "-"]) == 0
    made = read_all(capsys.readouterr().out)
    labels = made[-1]["spec"]["template"]["metadata"]["labels"]
    assert (labels["a"], labels["b"]) == ("1e3", "y")
    assert labels["dino-operator.io/job"] == "1e3"


@pytest.mark.parametrize(
    "manifest, said",
    [
        ("a: [", "is not YAML"),
        ("", "holds no manifest"),
        ("- 1", "It is no manifest"),
        ({"apiVersion": "v1", "kind": "Pod"}, "kind 'Pod' of apiVersion 'v1'"),
        ({**a_job(), "metadata": {}}, "metadata.name is missing"),
        ({**a_job(), "spec": None}, "spec is missing"),
        ({**a_job(), "metadata": {"name": True}}, "metadata.name: must be text (given true). YAML"),
        (a_job(automlPolicy=None), "spec.automlPolicy: has no value, and means Auto where it is"),
        (
            a_job(automlPolicy=False),
            "spec.automlPolicy: must be text (given false). YAML reads yes",
        ),
        (
            a_job(experiment={"train": {"num_epochs": "10"}}),
            'spec.experiment.train.num_epochs: must be a whole number (given "10"). It is text: '
            "write 10, without quotes.",
        ),
        (a_job(runPolicy={"maxRetries": "3"}), "spec.runPolicy.maxRetries: must be a whole number"),
        (a_job(resources={"cpu": "2x"}), 'spec.resources.cpu: Invalid value: "2x": should match'),
        ("a: 1\na: 2\n", "is not YAML: the key 'a' stands twice at line 2, column 1."),
        (a_job(datasest=DATA), "spec.datasest is unknown. Did you mean spec.datasets?"),
        (
            a_job(experiment={"train": {"optim": {"lrr": 1}}}),
            "spec.experiment.train.optim.lrr is unknown",
        ),
        (a_job(action="fly"), "spec.action"),
        (
            a_job(automlPolicy="Disabled", experiment={"model": {"num_queries": -1}}),
            "spec.experiment.model.num_queries",
        ),
        (
            a_search(search=[{**LR, "min": 1}]),
            "spec.search[0].min: min must be less than max",
        ),
        (
            a_search(algorithm={"name": "cmaes"}, search=[LR, QUERIES]),
            "spec.algorithm: algorithm must be tpe or random with engine Katib",
        ),
    ],
)
def test_bad_input_ends_in_a_sentence(command: Command, manifest: Any, said: str) -> None:
    assert command(manifest, status=64) == []
    assert said in command.said
    assert "Traceback" not in command.said


def test_what_katib_cannot_run_is_refused_where_it_is_asked_for(command: Command) -> None:
    search = a_search(engine="Auto", algorithm={"name": "cmaes"}, search=[LR, QUERIES])
    command(search, "--engine", "Katib", status=64)
    assert "spec.engine: Katib cannot run this search: Katib's cmaes" in command.said


def test_the_smoke_profile(command: Command) -> None:
    """Where neither data nor classes are given, as in the cluster."""
    bare = a_job()
    del bare["spec"]["datasets"]
    profile = '{"trainUri": "s3://smoke/train", "validationUri": "s3://smoke/val", "maxTrials": 4}'
    made = command(bare, "--automl-profile", profile)
    texts = [each["data"]["spec.yaml"] for each in made if each["kind"] == "ConfigMap"]
    assert all("s3://smoke/train" in text for text in texts)
    assert "Of 4 trials" in command.said


def test_a_parent_is_named_and_not_guessed(command: Command) -> None:
    command(a_job(automlPolicy="Disabled", parent={"name": "base"}))
    assert "DinoJob base leaves is not known here" in command.said


def test_a_missing_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["render", "-f", "/nowhere.yaml"]) == 66
    assert "/nowhere.yaml cannot be read: No such file" in capsys.readouterr().err


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["render", "--help"])
    assert ended.value.code == 0
    told = capsys.readouterr().out
    for part in ("examples:", "--engine", "--trainer-image", "DINO_S3_ENDPOINT", "Exit code 64"):
        assert part in told
    with pytest.raises(SystemExit) as ended:
        main(["render", "--engine", "Ray", "-f", "-"])
    assert ended.value.code == 64


def test_it_is_a_plugin_of_kubectl() -> None:
    """kubectl takes programs of that name on the PATH."""
    program = Path(sys.executable).with_name("kubectl-dino")
    told = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=LONG)
    assert told.returncode == 0
    assert told.stdout.strip()


def test_examples_can_be_rendered(command: Command) -> None:
    for path in sorted(Path(__file__).parents[2].glob("examples/*.yaml")):
        if "kind: Dino" in path.read_text():
            assert command(path.read_text())
