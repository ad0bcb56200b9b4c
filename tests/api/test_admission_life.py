"""What a real API server takes, keeps, lets edit and prints."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes.client import ApiException

from dino_api.base import note_of
from dino_api.experiment.paths import section_of, walk
from dino_api.experiment.spec import OTHER_SECTIONS
from tests.api.admission_cases import TRAIN, VALID, causes, changed, merge

ROOT = Path(__file__).resolve().parents[2]

EDITS: dict[str, tuple[str, Any]] = {
    "another rate": ("spec.experiment.train.optim.lr", 0.001),
    "another output": ("spec.output.uri", "s3://bucket/other"),
    "more data": ("spec.datasets.train", [{"uri": "s3://bucket/a"}, {"uri": "s3://bucket/b"}]),
    "another number of classes": ("spec.numClasses", 5),
    "classes where none were given": ("spec.numClasses", 4),
    "another GPU": ("spec.resources.gpus", 0),
    "another queue": ("spec.queueName", "gpus"),
    "another cache": ("spec.cache", {"claimName": "data"}),
    "another store": ("spec.storage", {"endpoint": "http://minio:9000"}),
    "another priority": ("spec.priorityClassName", "high"),
    "another node": ("spec.podTemplate.nodeSelector", {"disk": "ssd"}),
}


@pytest.mark.parametrize(("path", "value"), EDITS.values(), ids=EDITS.keys())
def test_an_immutable_field_cannot_be_edited(dinojobs: Any, path: str, value: Any) -> None:
    start = [] if "where none" in path else [("spec.resources.gpus", 1)]
    dinojobs.create(changed(*start))
    with pytest.raises(ApiException) as caught:
        dinojobs.patch("cells", merge(path, value))
    field = ".".join(path.split(".")[:2])
    [(where, message)] = causes(caught.value)
    assert where == field
    assert "is immutable" in message
    assert "only spec.runPolicy can be edited" in message


def test_a_field_cannot_be_removed_either(dinojobs: Any) -> None:
    dinojobs.create(changed(("spec.numClasses", 4)))
    with pytest.raises(ApiException, match="numClasses is immutable"):
        dinojobs.patch("cells", {"spec": {"numClasses": None}})


def test_run_policy_can_be_edited_and_suspend_toggled(dinojobs: Any) -> None:
    dinojobs.create(changed((f"{TRAIN}.num_epochs", 3)))
    for policy in ({"suspend": True}, {"suspend": False}, {"maxRetries": 9, "suspend": None}):
        dinojobs.patch("cells", {"spec": {"runPolicy": policy}})
    assert dinojobs.get("cells")["spec"]["runPolicy"] == {"maxRetries": 9}
    assert dinojobs.get("cells")["metadata"]["generation"] == 4


def test_status_is_its_own_subresource_and_metadata_can_change(dinojobs: Any) -> None:
    dinojobs.create(VALID)
    dinojobs.patch_status("cells", {"phase": "Running", "progress": {"percent": 3}})
    job = dinojobs.patch("cells", {"metadata": {"labels": {"a": "b"}}, "status": {"phase": "x"}})
    assert job["status"] == {"phase": "Running", "progress": {"percent": 3}}
    assert job["metadata"]["generation"] == 1


def live_experiment() -> dict[str, Any]:
    """Every key that the CRD takes, at its default or at an example of it."""
    examples = {
        "fixed_size": [480, 640],
        "zoom_crop": [0.7, 1.0],
        "eval_class_ids": [1],
        "pretrained_backbone_path": "s3://bucket/r50.pth",
        "input_width": 640,
        "input_height": 480,
        "color_map": {"a class": "red"},
        "backend_kwargs": {},
    }
    below = ("distill.bindings.", "distill.teacher.", "quantize.layers.")
    experiment: dict[str, Any] = {}
    for path, field in walk():
        if path[0] in OTHER_SECTIONS or note_of(field).resource or path[-1] == "fixed_random_crop":
            continue
        if section_of(field.annotation) is not None or "_data_sources" in ".".join(path):
            continue
        if ".".join(path).startswith(below):
            continue
        node = experiment
        for name in path[:-1]:
            node = node.setdefault(name, {})
        default = field.get_default(call_default_factory=True)
        node[path[-1]] = examples.get(path[-1], default)
    return experiment


def test_a_manifest_with_every_key_is_accepted_and_kept_as_written(dinojobs: Any) -> None:
    experiment = live_experiment()
    created = dinojobs.create(
        changed(
            ("spec.experiment", experiment),
            (
                "spec.experiment.distill.bindings",
                [{"student_module_name": "pred_logits", "teacher_module_name": "pred_logits"}],
            ),
            ("spec.numClasses", 4),
            ("spec.resources", {"gpus": 0, "cpu": 2, "memory": "4Gi"}),
            (
                "spec.storage",
                {"endpoint": "http://s3:7070", "region": "r", "pathStyle": True, "secretName": "s"},
            ),
            ("spec.runPolicy", {"suspend": True, "ttlSecondsAfterFinished": 0}),
            ("spec.podTemplate.tolerations", [{"key": "gpu", "operator": "Exists"}]),
            ("spec.podTemplate.env", [{"name": "NCCL_DEBUG", "value": "INFO"}]),
        )
    )
    binding = {"student_module_name": "pred_logits", "teacher_module_name": "pred_logits"}
    assert created["spec"]["experiment"] == experiment | {"distill": {"bindings": [binding]}}


def test_no_default_is_written_into_the_object(dinojobs: Any) -> None:
    assert dinojobs.create(VALID)["spec"] == VALID["spec"]


def examples() -> Iterator[Any]:
    for path in sorted((ROOT / "examples").glob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text()):
            if document and document.get("kind") == "DinoJob":
                yield pytest.param(document, id=path.name)


@pytest.mark.parametrize("manifest", list(examples()))
def test_an_example_is_accepted(kubectl: Any, manifest: dict[str, Any]) -> None:
    applied = kubectl.apply(manifest)
    assert applied.returncode == 0, applied.stderr


def test_the_crd_can_be_applied_client_side(cluster_kubectl: Any) -> None:
    applied = cluster_kubectl("apply", "--server-side=false", "-f", str(ROOT / "crds"))
    assert applied.returncode == 0, applied.stderr


EXPLAIN = {
    "spec.experiment.train.optim.lr": ("step size", "1e-5 to 1e-3", "Default: 0.0002"),
    "spec.experiment.train.optim.lr_scheduler": ("ENUM: MultiStep StepLR Linear", "Linear keeps"),
    "spec.experiment.model.clip_max_norm": ("No effect: clipping is set by", "A key of TAO"),
    "spec.runPolicy.suspend": ("stops the pod after a checkpoint",),
    "status.failure.remedy": ("What to do",),
    "spec.experiment.evaluate.checkpoint": ("Use spec.parent",),
    "spec.experiment.quantize.gate.max_loss": ("reason GateFailed", "Default: 0.005"),
    "spec.datasets.validation": ("Data that training is validated on",),
    "status.comparison.matched": ("Share of the reference's detections",),
}


@pytest.mark.parametrize(("path", "parts"), EXPLAIN.items(), ids=EXPLAIN.keys())
def test_explain_teaches(cluster_kubectl: Any, path: str, parts: tuple[str, ...]) -> None:
    explained = cluster_kubectl("explain", f"dinojob.{path}")
    text = " ".join(explained.stdout.split())
    assert not [part for part in parts if part not in text], text


def test_get_prints_the_columns_and_knows_the_short_names(kubectl: Any, dinojobs: Any) -> None:
    dinojobs.create(VALID)
    dinojobs.patch_status(
        "cells",
        {
            "phase": "Running",
            "attempts": 2,
            "gpus": 1,
            "progress": {"percent": 37, "display": "37%", "epoch": 3},
            "metrics": {"mAP50": 0.7123},
            "checkpoint": {"uri": "s3://bucket/best.pth"},
            "model": {"uri": "s3://bucket/dino_model.onnx", "format": "onnx"},
        },
    )
    head, row = kubectl("get", "dj").stdout.splitlines()
    columns = ["NAME", "ACTION", "PHASE", "REASON", "PROGRESS", "MAP50", "GPUS", "ATTEMPTS", "AGE"]
    assert head.split() == columns
    assert row.split()[:7] == ["cells", "train", "Running", "37%", "0.7123", "1", "2"]
    wide = kubectl("get", "dino", "-o", "wide").stdout
    assert "s3://bucket/best.pth" in wide
    assert "s3://bucket/dino_model.onnx" in wide
