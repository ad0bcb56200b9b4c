"""What is wrong with a resolved spec is said of the field that users wrote."""

from __future__ import annotations

from typing import Any

import pytest

from dino_operator.plan.job.decide import plan
from dino_operator.plan.observed.resource import DinoJob
from dino_operator.plan.rendered.spec_file import InvalidSpec, read_spec
from tests.builders import JobBuilder, a_job, around, later
from tests.unit.plan_actions import job_to
from tests.unit.plan_cases import SETTINGS


def problems_of(job: JobBuilder) -> list[str]:
    with pytest.raises(InvalidSpec) as caught:
        read_spec(DinoJob(job.obj()))
    return caught.value.problems


FOLLOWED = (
    "has a reference, ${…}, which is followed in spec.experiment alone (given {}). Write out what "
    "it stands for."
)
SOURCE = {"uri": "s3://data/${model.backbone}", "images": "i", "annotations": "a"}
SPECS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "an output": (
        {"output": {"uri": "s3://results/${model.backbone}"}},
        ['spec.output.uri: has (given "s3://results/${model.backbone}")'],
    ),
    "a folder of data": (
        {"datasets": {"train": [SOURCE], "validation": [{"uri": "s3://data/val"}]}},
        [
            'spec.datasets.train[0]: has (given "s3://data/${model.backbone}/i")',
            'spec.datasets.train[0]: has (given "s3://data/${model.backbone}/a")',
        ],
    ),
}


@pytest.mark.parametrize(("spec", "said"), SPECS.values(), ids=SPECS.keys())
def test_a_reference_is_followed_in_the_experiment_alone(
    spec: dict[str, Any], said: list[str]
) -> None:
    """The trainer followed it, and the operator looked for results where it was not."""
    found = problems_of(a_job().spec(**spec))
    whole = [
        each.replace("has (given ", FOLLOWED.partition("(given ")[0] + "(given ") for each in said
    ]
    assert found == [f"{each}. Write out what it stands for." for each in whole]


def test_in_the_experiment_it_is_followed() -> None:
    job = a_job()
    job.thing["spec"]["experiment"]["model"]["pretrained_backbone_path"] = (
        "s3://w/${model.backbone}"
    )
    assert "s3://w/${model.backbone}" in read_spec(DinoJob(job.obj())).content


def test_a_placeholder_is_said_of_the_field_that_has_it() -> None:
    [said] = problems_of(a_job().spec(output={"uri": "s3://results/{{ name }}"}))
    assert said.startswith("spec.output.uri: ")


@pytest.mark.parametrize("action", ["train", "evaluate"])
def test_a_file_that_nobody_knows_ends_the_job(action: str) -> None:
    """An older CRD took it, and no plan came to an end: KeyError."""
    job = job_to(action).spec(parent={"uri": "s3://results/model.zip"})
    told = plan(job.obj(), around(), later(0), SETTINGS)
    assert told.status is not None
    assert told.status["failure"]["message"] == (
        "spec.parent.uri: must end in .pth, .tlt, .ckpt, .pt, .bin, .pkl, .safetensors, .onnx, "
        '.engine, by which the kind of model is known (given "s3://results/model.zip"). Give the '
        "model its ending, or name the job that left it in spec.parent.name."
    )


def test_a_spec_is_resolved_once_whatever_becomes_of_the_job() -> None:
    """Each write gave it another version, and each plan that asked resolved it anew."""
    first = read_spec(DinoJob(a_job().status({"phase": "Queued"}).obj()))
    later_on = a_job().status({"phase": "Running", "attempts": 1}).generation(2)
    later_on.meta["resourceVersion"] = "99"
    assert read_spec(DinoJob(later_on.obj())) is first
    assert read_spec(DinoJob(a_job().spec(numClasses=7).obj())) is not first


def test_what_a_parent_left_is_resolved_anew() -> None:
    """It comes to stand in the status after the spec was looked at without it."""
    job = job_to("evaluate").spec(parent={"name": "base"})
    for name in ("a", "b"):
        model = {"uri": f"s3://results/{name}.pth", "format": "checkpoint"}
        resolved = read_spec(DinoJob(job.status({"inherited": {"model": model}}).obj()))
        assert resolved.mapping["evaluate"]["checkpoint"] == model["uri"]
