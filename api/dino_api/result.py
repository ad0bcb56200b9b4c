"""What the trainer reports: progress while it runs, and the result at the end.

The result travels through the pod's termination message (4096 bytes at most) and, whole, as
`result.json` beside the artifacts. Status of the resource is made of the same models.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from dino_api.base import NAME, SHORT, TEXT, URI, Camel
from dino_api.names import Action, Stage

TERMINATION_LIMIT = 4096
SCHEMA_VERSION = 1

_WARNINGS, _WARNING = 12, 120
Line = Annotated[str, Field(max_length=URI)]


class Metrics(Camel):
    """The 12 COCO statistics of the validation set, 0..1; -1 where nothing of that kind exists."""

    mAP: float | None = Field(None, description="AP averaged over IoU 0.50 to 0.95.")
    mAP50: float | None = Field(None, description="AP at IoU 0.50.")
    mAP75: float | None = Field(None, description="AP at IoU 0.75.")
    mAPSmall: float | None = Field(None, description="AP of boxes under 32 x 32 pixels.")
    mAPMedium: float | None = Field(None, description="AP of boxes of 32 x 32 to 96 x 96 pixels.")
    mAPLarge: float | None = Field(None, description="AP of boxes over 96 x 96 pixels.")
    AR1: float | None = Field(None, alias="AR1", description="Recall at 1 detection an image.")
    AR10: float | None = Field(None, alias="AR10", description="Recall at 10 detections an image.")
    AR100: float | None = Field(None, alias="AR100", description="Recall at 100 detections.")
    ARSmall: float | None = Field(None, alias="ARSmall", description="AR100 of small boxes.")
    ARMedium: float | None = Field(None, alias="ARMedium", description="AR100 of medium boxes.")
    ARLarge: float | None = Field(None, alias="ARLarge", description="AR100 of large boxes.")

    @classmethod
    def from_coco(cls, stats: Any) -> Metrics:
        """From pycocotools' 12 statistics in their order. Raises ValueError on another count."""
        values = [float(value) for value in stats]
        return cls(**dict(zip(cls.model_fields, values, strict=True)))

    def rounded(self, digits: int = 4) -> Metrics:
        """For status and tables: four digits say all that one validation run knows."""
        pairs = self.model_dump(exclude_none=True).items()
        return Metrics(**{name: round(value, digits) for name, value in pairs})


class Validation(Camel):
    """One point of the learning curve."""

    epoch: int = Field(ge=0, description="Epochs finished.")
    mAP50: float = Field(description="Validation mAP50 after them.")


class Progress(Camel):
    """Where a running job is. Written by the pod itself, at most every 10 seconds."""

    epoch: int | None = Field(None, ge=0, description="Epochs finished.")
    epochs: int | None = Field(None, ge=0, description="Epochs in all.")
    step: int | None = Field(None, ge=0, description="Optimiser steps finished.")
    steps: int | None = Field(None, ge=0, description="Optimiser steps in all.")
    percent: int | None = Field(None, ge=0, le=100, description="Finished share, in percent.")
    display: str | None = Field(None, max_length=NAME, description="Percent as printed: 37%.")
    eta_seconds: int | None = Field(None, ge=0, description="Seconds left, as of updatedAt.")
    loss: float | None = Field(None, description="Total training loss, smoothed.")
    distillation_loss: float | None = Field(
        None, description="What of the loss comes from the teacher."
    )
    learning_rate: float | None = Field(None, description="Learning rate of the transformer.")
    images_per_second: float | None = Field(None, description="Images trained on a second.")
    mAP: float | None = Field(None, description="The last validation's mAP.")
    mAP50: float | None = Field(None, description="The last validation's mAP50.")
    curve: list[Validation] | None = Field(
        None, max_length=200, description="The latest 200 validations."
    )
    updated_at: str | None = Field(None, max_length=NAME, description="RFC 3339 time of writing.")

    @model_validator(mode="after")
    def _fill_display(self) -> Progress:
        if self.display is None and self.percent is not None:
            self.display = f"{self.percent}%"
        return self


class Checkpoint(Camel):
    """The checkpoint that a later job starts from."""

    uri: str = Field(max_length=URI, description="The checkpoint that validated best.")
    latest_uri: str | None = Field(None, max_length=URI, description="The newest checkpoint.")
    epoch: int | None = Field(None, ge=0, description="The epoch after which it was saved.")
    metric: float | None = Field(None, description="Its validation mAP.")
    sha256: str | None = Field(None, max_length=64, description="SHA-256 of the file, in hex.")
    bytes: int | None = Field(None, ge=0, description="Size of the file.")


class ModelFile(Camel):
    """One file of a model, in the form that a later job goes on from."""

    uri: str = Field(max_length=URI, description="Where it lies.")
    format: Literal["checkpoint", "onnx", "engine"] = Field(
        description="checkpoint (.pth, .tlt), onnx, or engine (TensorRT)."
    )
    precision: str | None = Field(
        None, max_length=NAME, description="Number format: fp32, fp16, bf16 or int8."
    )
    sha256: str | None = Field(None, max_length=64, description="SHA-256 of the file, in hex.")
    bytes: int | None = Field(None, ge=0, description="Size of the file.")


class Scored(Camel):
    """One of two models that were run on the same images."""

    format: Literal["checkpoint", "onnx", "engine"] = Field(
        description="checkpoint, onnx or engine."
    )
    precision: str | None = Field(None, max_length=NAME, description="Number format.")
    mAP: float | None = Field(None, description="AP averaged over IoU 0.50 to 0.95.")
    mAP50: float | None = Field(None, description="AP at IoU 0.50.")
    latency_ms: float | None = Field(
        None, ge=0, description="Median milliseconds of one image at batch 1."
    )
    bytes: int | None = Field(None, ge=0, description="Size of the file.")


class Comparison(Camel):
    """The model that was made beside the one that it was made from, on the same images."""

    reference: Scored = Field(description="The model that was given.")
    candidate: Scored = Field(description="The model that was made.")
    images: int | None = Field(None, ge=0, description="Images that both were run on.")
    matched: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Share of the reference's detections, weighted by score, that the candidate "
        "has too: of the same class, at IoU 0.9.",
    )
    loss: float | None = Field(None, description="mAP of the reference minus the candidate's.")
    max_loss: float | None = Field(None, description="The largest loss that the gate allows.")


class Artifact(Camel):
    """One published file."""

    name: str = Field(max_length=SHORT, description="File name, unique in the job.")
    uri: str = Field(max_length=URI, description="Where it lies.")
    sha256: str | None = Field(None, max_length=64, description="SHA-256 of the file, in hex.")
    bytes: int | None = Field(None, ge=0, description="Size of the file.")


class Dataset(Camel):
    """What the trainer found in the data."""

    num_classes: int | None = Field(None, ge=1, description="Largest category id plus one.")
    images: int | None = Field(None, ge=0, description="Images.")
    annotations: int | None = Field(None, ge=0, description="Boxes.")
    class_names: list[Line] = Field(
        default_factory=list,
        max_length=1000,
        description="Names by category id; empty for ids not in use.",
    )
    digest: str | None = Field(None, max_length=128, description="Digest of images and boxes.")
    warnings: list[Line] = Field(
        default_factory=list,
        max_length=100,
        description="What is odd about the data and was not an error.",
    )


class Failure(Camel):
    """Why the job, or its latest attempt, failed."""

    reason: str = Field(max_length=SHORT, description="One word; the failure catalogue has all.")
    message: str = Field(max_length=TEXT, description="What happened, and where.")
    remedy: str | None = Field(None, max_length=TEXT, description="What to do about it.")
    exit_code: int | None = Field(None, description="The trainer's exit code.")


class Result(Camel):
    """The end of one attempt, in one object."""

    schema_version: int = Field(SCHEMA_VERSION, alias="schema")
    action: Action | Stage = Action.TRAIN
    spec_digest: str | None = None
    note: str | None = Field(None, description="What is special about the end, in a sentence.")
    metrics: Metrics | None = None
    checkpoint: Checkpoint | None = None
    model: ModelFile | None = None
    comparison: Comparison | None = None
    artifacts: list[Artifact] = Field(default_factory=list)
    dataset: Dataset | None = None
    failure: Failure | None = None
    curve: list[Validation] | None = None
    source_digest: str | None = Field(
        None,
        description="Of the model file that was given. Once another lies there, the result is "
        "outdated. Only in result.json.",
    )

    def to_termination_message(self) -> str:
        """JSON of at most 4096 bytes.

        Leaves out, as far as it must: class names, the learning curve, all but the start of
        warnings, artifacts, what else is known of the data, the end of long messages, and all but
        metrics, comparison and model. `result.json` has it all.
        """
        full = self.to_dict()
        full.pop("sourceDigest", None)
        steps = (
            _as_is,
            _no_names,
            _no_curve,
            _few_warnings,
            _no_artifacts,
            _no_dataset,
            _short_failure,
            _numbers,
        )
        for shorten in steps:
            full = shorten(full)
            text = _compact(full)
            if len(text.encode()) <= TERMINATION_LIMIT:
                return text
        return _compact({name: full[name] for name in ("schema", "action") if name in full})

    @classmethod
    def from_termination_message(cls, text: str) -> Result | None:
        """The result in a termination message, or None where the pod left something else."""
        try:
            return cls.model_validate(json.loads(text))
        except (ValueError, ValidationError):
            return None


def _compact(value: dict[str, Any]) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _as_is(value: dict[str, Any]) -> dict[str, Any]:
    return value


def _no_names(value: dict[str, Any]) -> dict[str, Any]:
    dataset = value.get("dataset")
    return {**value, "dataset": {**dataset, "classNames": []}} if dataset else value


def _no_curve(value: dict[str, Any]) -> dict[str, Any]:
    return {name: part for name, part in value.items() if name != "curve"}


def _few_warnings(value: dict[str, Any]) -> dict[str, Any]:
    dataset = value.get("dataset")
    if not dataset:
        return value
    said = dataset.get("warnings", [])
    cut = [text if len(text) <= _WARNING else f"{text[: _WARNING - 1]}…" for text in said]
    more = [f"and {len(cut) - _WARNINGS} more, in the report"] if len(cut) > _WARNINGS else []
    return {**value, "dataset": {**dataset, "warnings": cut[:_WARNINGS] + more}}


def _no_artifacts(value: dict[str, Any]) -> dict[str, Any]:
    return {**value, "artifacts": []}


def _no_dataset(value: dict[str, Any]) -> dict[str, Any]:
    return {name: part for name, part in value.items() if name not in ("dataset", "artifacts")}


def _numbers(value: dict[str, Any]) -> dict[str, Any]:
    """With the checkpoint alone where nothing else says what a later job goes on from."""
    kept = {"schema", "action", "metrics", "comparison", "failure"}
    kept |= {"model" if "model" in value else "checkpoint"}
    left = {name: part for name, part in value.items() if name in kept}
    if "failure" in left:
        left["failure"] = {
            k: v[:80] if isinstance(v, str) else v for k, v in left["failure"].items()
        }
    return left


def _short_failure(value: dict[str, Any]) -> dict[str, Any]:
    """Cuts text to 300 characters: up to 4 bytes each, three of them fit beside the rest."""
    failure = value.get("failure")
    if not failure:
        return value
    cut = {k: v[:300] if isinstance(v, str) else v for k, v in failure.items()}
    return {**value, "failure": cut}
