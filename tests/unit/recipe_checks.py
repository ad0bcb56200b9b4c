"""What works once a recipe of `recipes.py` was carried out; run on a copy of the sources.

    PYTHONPATH=api:operator:trainer_image:ROOT python -m tests.unit.recipe_checks NAME

in the folder of the copy. Ends with 0 where all of it does.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import yaml

import dino_api
import dino_operator
import dino_trainer
from dino_api import failures
from dino_api.generate.crd import AUTOML, crd
from dino_api.generate.files import files
from dino_api.loading import load
from dino_api.names import Action
from dino_operator.plan.job.decide import plan
from dino_operator.plan.model import Plan
from dino_operator.plan.observed.resource import DinoJob
from dino_operator.plan.rendered import spec_file
from dino_trainer.command.cli import main
from dino_trainer.command.help_texts import action_epilog
from dino_trainer.errors import failure_of
from tests.builders import JobBuilder, Object, a_child, a_job, a_pod, around, later
from tests.unit.plan_actions import job_to
from tests.unit.plan_cases import SETTINGS

COPY = Path.cwd()


def planned(job: JobBuilder) -> Plan:
    return plan(job.obj(), around(), later(60), SETTINGS)


def of_kind(done: Plan, kind: str) -> Object:
    (made,) = (each for each in done.creates if each["kind"] == kind)
    return made


def container(done: Plan) -> Object:
    (only,) = of_kind(done, "Job")["spec"]["template"]["spec"]["containers"]
    return dict(only)


def read(job: JobBuilder) -> Object:
    return dict(spec_file.read_spec(DinoJob(job.obj())).mapping)


def ran(spec: Object, *words: str) -> int:
    """The trainer's command in this folder, with that spec."""
    os.environ["DINO_WORK_DIR"] = str(COPY / "work")
    (COPY / "spec.yaml").write_text(json.dumps({"results_dir": str(COPY / "out"), **spec}))
    return main([words[0], "-e", str(COPY / "spec.yaml"), *words[1:]])


def action() -> None:
    """A DinoJob runs it in a pod, and so does the command."""
    job = a_job().spec(action="benchmark", parent={"uri": "s3://models/some.onnx"})
    job.experiment(benchmark={"repeats": 7}).thing["spec"].pop("datasets")
    assert container(planned(job))["command"][:2] == ["dino", "benchmark"]
    assert read(job)["benchmark"] == {"repeats": 7, "onnx_file": "s3://models/some.onnx"}
    template = yaml.safe_load(files()["schemas/spec_template_benchmark.yaml"])
    assert load(template, action=Action("benchmark"))[0].model_fields_set >= {"benchmark"}
    model = {"benchmark": {"checkpoint": "some.pth"}}
    assert ran(model, "benchmark", "benchmark.repeats=3") == 0
    assert "Measured 3 times." in (COPY / "out/benchmark/status.json").read_text()


def model_format() -> None:
    """A DinoJob reads such a file, an action that cannot says why, and the trainer opens it."""
    job = job_to("evaluate").spec(parent={"uri": "s3://models/some.xyz"}).experiment()
    assert read(job)["evaluate"]["xyz_file"] == "s3://models/some.xyz"
    refused = planned(job_to("export").spec(parent={"uri": "s3://models/some.xyz"})).status
    assert "spec.parent.uri is an XYZ file: name the training that" in str(refused)
    assert "|xyz)" in json.dumps(crd())
    (COPY / "model.xyz").write_bytes(b"XYZ1\x00")
    model = {"infer_data_sources": {"image_dir": [str(COPY)], "classmap": str(COPY / "names")}}
    (COPY / "names").write_text("a\n")
    assert ran({"dataset": model}, "inference", "inference.xyz_file=model.xyz") == 64
    assert "was opened as an XYZ file" in (COPY / "out/inference/result.json").read_text()


class LicenseError(Exception):
    """Of a library."""


def failure() -> None:
    """What the trainer sees stands in status.failure, and in its help."""
    seen = failure_of(LicenseError("in May"))
    rule = failures.by_exit_code(81)
    assert rule is not None
    assert seen.exit_code == 81
    job = job_to("evaluate").status({"attempts": 1})
    job.condition("DataReady", reason="DataChecked")
    child = a_child(job, "evaluate").failed()
    message = {"schema": 1, "action": "evaluate", "failure": seen.as_failure().to_dict()}
    pod = a_pod(child).exited(81, message=message)
    done = plan(job.obj(), around((child.obj(),), (pod.obj(),)), later(60), SETTINGS)
    assert done.status is not None
    assert done.status["failure"] == {
        "reason": "LicenseExpired",
        "message": "The licence ended in May.",
        "remedy": "Renew the licence.",
        "exitCode": 81,
    }
    assert "81  LicenseExpired: the licence of the weights" in action_epilog(Action.TRAIN)


def of_template() -> set[str]:
    """Fields that the template of a search has in the CRD."""
    (version,) = crd(AUTOML)["spec"]["versions"]
    spec = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
    return set(spec["properties"]["template"]["properties"])


def field() -> None:
    """The pod has it, and a search that runs in the job's place is none the wiser."""
    job = a_job().spec(note="mine")
    variables = container(planned(job))["env"]
    assert {"name": "DINO_NOTE", "value": "mine"} in variables
    search = of_kind(planned(a_job().spec(note="mine").searched()), "DinoAutoML")["spec"]
    assert search["template"].keys() <= of_template()
    assert "note is immutable" in json.dumps(crd())


if __name__ == "__main__":
    for each in (dino_api, dino_operator, dino_trainer):
        assert Path(str(each.__file__)).is_relative_to(COPY), each.__file__
    globals()[sys.argv[1]]()
