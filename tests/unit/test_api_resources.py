"""Reading resources, resolving the pod's spec, and the result's way through 4096 bytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from dino_api.base import SHORT, URI
from dino_api.loading import load
from dino_api.names import Action
from dino_api.resources.dinojob import DinoJob, resolve
from dino_api.resources.status import DinoJobStatus
from dino_api.result import (
    MOST_CLASSES,
    TERMINATION_LIMIT,
    Artifact,
    Checkpoint,
    Dataset,
    Failure,
    Metrics,
    ModelComparison,
    ModelFile,
    Progress,
    Result,
    ScoredModel,
)

CHART_VALUES = Path(__file__).parents[2] / "charts" / "dino-operator" / "values.schema.json"


def a_job(**spec: Any) -> DinoJob:
    base = {
        "action": "train",
        "automlPolicy": "Disabled",
        "datasets": {"train": [{"uri": "s3://b/train/"}]},
        "output": {"uri": "s3://b/out"},
    }
    return DinoJob.model_validate({"metadata": {"name": "x"}, "spec": base | spec})


def test_a_resource_asks_for_no_more_classes_than_a_model_may_name() -> None:
    assert resolve(a_job(numClasses=MOST_CLASSES))["dataset"]["num_classes"] == MOST_CLASSES
    with pytest.raises(ValidationError, match="numClasses"):
        a_job(numClasses=MOST_CLASSES + 1)
    profile = json.loads(CHART_VALUES.read_text())["properties"]["automl"]["properties"]["profile"]
    assert profile["properties"]["numClasses"]["maximum"] == MOST_CLASSES


def test_the_resolved_spec_is_the_user_s_with_what_the_resource_decides() -> None:
    job = a_job(
        experiment={"train": {"num_epochs": 2}},
        numClasses=4,
        resources={"gpus": 0},
        datasets={
            "train": [{"uri": "s3://b/t"}, {"uri": "s3://b/u", "format": "coco_raw"}],
            "validation": [{"uri": "s3://b/v", "images": "v.tgz", "annotations": "v.json"}],
        },
    )
    assert resolve(job) == {
        "dataset": {
            "train_data_sources": [
                {"image_dir": "s3://b/t/images.tar.gz", "json_file": "s3://b/t/annotations.json"},
                {"image_dir": "s3://b/u/images", "json_file": "s3://b/u/annotations.json"},
            ],
            "val_data_sources": [
                {"image_dir": "s3://b/v/v.tgz", "json_file": "s3://b/v/v.json"},
            ],
            "num_classes": 4,
        },
        "train": {"num_epochs": 2, "num_gpus": 0},
        "results_dir": "s3://b/out",
    }


def test_validation_left_out_is_the_training_data_and_defaults_are_not_written() -> None:
    job = a_job()
    resolved = resolve(job)
    dataset = resolved["dataset"]
    assert dataset["val_data_sources"] == dataset["train_data_sources"]
    assert dataset["train_data_sources"][0]["image_dir"] == "s3://b/train/images.tar.gz"
    assert resolved["train"] == {"num_gpus": 1}
    assert "num_classes" not in dataset
    assert job.spec.experiment == {}
    load(resolved)


DATA = {"uri": "s3://b/d"}
SOURCE = [{"image_dir": "s3://b/d/images.tar.gz", "json_file": "s3://b/d/annotations.json"}]
RESOLVED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "evaluate": (
        {"datasets": {"test": [DATA]}, "resources": {"gpus": 0, "processes": 2}},
        {
            "dataset": {"test_data_sources": SOURCE},
            "evaluate": {"num_gpus": 0, "num_processes": 2},
        },
    ),
    "inference": (
        {
            "datasets": {"inference": {"uri": "s3://b/new", "format": "coco_raw", "classmap": "c"}},
            "experiment": {"inference": {"conf_threshold": 0.3}},
            "resources": {"gpus": 0, "nodes": 4, "processes": 2},
        },
        {
            "dataset": {
                "infer_data_sources": {
                    "image_dir": ["s3://b/new/images"],
                    "classmap": "s3://b/new/c",
                }
            },
            "inference": {
                "conf_threshold": 0.3,
                "num_gpus": 0,
                "num_nodes": 4,
                "num_processes": 2,
            },
        },
    ),
    "export": ({"datasets": None, "resources": {"gpus": 0}}, {}),
    "gen_trt_engine": ({"datasets": None, "numClasses": 4}, {"dataset": {"num_classes": 4}}),
    "quantize": (
        {"datasets": {"calibration": [DATA], "test": [DATA]}},
        {
            "dataset": {
                "test_data_sources": SOURCE,
                "quant_calibration_data_sources": SOURCE,
            }
        },
    ),
    "distill": (
        {"datasets": {"train": [DATA], "validation": [DATA]}, "resources": {"nodes": 2}},
        {
            "dataset": {"train_data_sources": SOURCE, "val_data_sources": SOURCE},
            "train": {"num_gpus": 1, "num_nodes": 2},
        },
    ),
}


@pytest.mark.parametrize("action", RESOLVED)
def test_each_action_gets_its_data_and_its_processes(action: str) -> None:
    spec, wanted = RESOLVED[action]
    resolved = resolve(a_job(action=action, **spec))
    assert resolved == wanted | {"results_dir": "s3://b/out"}
    load(resolved, action=Action(action))


def test_a_training_without_data_is_a_sentence() -> None:
    with pytest.raises(ValueError, match=r"spec\.datasets\.train is missing"):
        resolve(a_job(datasets=None))


def test_quantities_may_be_numbers_and_newer_fields_are_ignored() -> None:
    job = a_job(resources={"cpu": 2, "memory": "4Gi", "later": 1}, soon={"x": 1})
    assert job.spec.resources.cpu == "2"
    assert job.spec.run_policy.max_retries == 3
    assert job.spec.resources.gpus == 1


def test_status_goes_out_in_camel_case_and_finds_its_conditions() -> None:
    status = DinoJobStatus.model_validate(
        {"conditions": [{"type": "Complete", "status": "True", "reason": "Completed"}]}
    )
    found = status.condition("Complete")
    assert found is not None
    assert found.reason == "Completed"
    assert status.condition("Failed") is None
    assert DinoJobStatus(observed_generation=3).to_dict()["observedGeneration"] == 3


def test_progress_prints_percent_and_metrics_keep_coco_s_order() -> None:
    assert Progress(percent=37, eta_seconds=9).to_dict() == {
        "percent": 37,
        "display": "37%",
        "etaSeconds": 9,
    }
    metrics = Metrics.from_coco([n / 100 for n in range(12)])
    assert (metrics.mAP, metrics.mAP50, metrics.mAPSmall) == (0.0, 0.01, 0.03)
    assert (metrics.AR1, metrics.AR100, metrics.ARLarge) == (0.06, 0.08, 0.11)
    assert Metrics(mAP=0.123456).rounded().to_dict() == {"mAP": 0.1235}
    with pytest.raises(ValueError, match="longer than argument"):
        Metrics.from_coco([0.1] * 13)


def full_result(**parts: Any) -> Result:
    return Result(
        metrics=Metrics(mAP=0.5, mAP50=0.7),
        checkpoint=Checkpoint(uri="s3://b/best.pth", sha256="0" * 64, epoch=3),
        **parts,
    )


LONG: dict[str, dict[str, Any]] = {
    "nothing long": {},
    "many artifacts": {"artifacts": [Artifact(name="a", uri="s3://" + "x" * 99)] * 60},
    "many names": {"dataset": Dataset(class_names=["name" * 9] * 500, warnings=["w" * 99] * 90)},
    "a long failure": {
        "failure": Failure(reason="InternalError", message="\u20ac" * 4000, remedy="r" * 4000)
    },
}


@pytest.mark.parametrize("parts", LONG.values(), ids=LONG.keys())
def test_a_result_survives_the_termination_message(parts: dict[str, Any]) -> None:
    result = full_result(**parts)
    text = result.to_termination_message()
    assert len(text.encode()) <= TERMINATION_LIMIT
    back = Result.from_termination_message(text)
    assert back is not None
    assert back.metrics == result.metrics
    assert back.checkpoint == result.checkpoint
    if result.failure:
        assert back.failure is not None
        assert back.failure.reason == result.failure.reason
        assert back.failure.message.startswith("\u20ac\u20ac")
    assert json.loads(text.partition("\n")[0])["schema"] == 1


def test_the_comparison_of_a_gate_survives_the_longest_uris_and_messages() -> None:
    """It is what a failed gate is about."""
    long = "s3://" + "x" * 1019
    result = full_result(
        model=ModelFile(uri=long, format="onnx", precision="int8", sha256="0" * 64, bytes=5),
        comparison=ModelComparison(
            reference=ScoredModel(format="onnx", mAP=0.5, latency_ms=90.5),
            candidate=ScoredModel(format="onnx", precision="int8", mAP=0.4),
            images=72,
            matched=0.91,
            loss=0.1,
            max_loss=0.005,
        ),
        failure=Failure(reason="GateFailed", message="\u20ac" * 4000, remedy="r" * 4000),
    )
    assert result.checkpoint is not None
    result.checkpoint.uri = result.checkpoint.latest_uri = long
    text = result.to_termination_message()
    assert len(text.encode()) <= TERMINATION_LIMIT
    back = Result.from_termination_message(text)
    assert back is not None
    assert (back.metrics, back.comparison, back.model) == (
        result.metrics,
        result.comparison,
        result.model,
    )
    assert back.failure is not None
    assert back.failure.reason == "GateFailed"
    assert json.loads(text.splitlines()[-1])["comparison"]["candidate"] == {
        "format": "onnx",
        "precision": "int8",
        "mAP": 0.4,
    }


@pytest.mark.parametrize("text", ["", "Traceback ...", "[]", '{"metrics": 3}', "null"])
def test_another_message_is_no_result(text: str) -> None:
    assert Result.from_termination_message(text) is None


def test_paths_below_the_longest_uris_are_taken() -> None:
    """What the CRD lets in is not refused for a key of the experiment that nobody wrote."""
    longest = f"s3://b/{'x' * (URI - 7)}"
    source = {"uri": longest, "images": "i" * SHORT, "annotations": "a" * SHORT}
    job = a_job(datasets={"train": [source]}, output={"uri": longest})
    spec, _ = load(resolve(job))
    assert len(spec.dataset.train_data_sources[0].image_dir) == URI + 1 + SHORT
    pictures = {"uri": longest, "images": "i" * SHORT, "classmap": "c" * SHORT}
    job = a_job(action="inference", datasets={"inference": pictures}, output={"uri": longest})
    load(resolve(job), action=Action.INFERENCE)
