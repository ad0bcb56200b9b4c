"""What the trainer reports: progress while it runs, and the result at the end.

The result travels through the pod's termination message (`message`) and, whole, as `result.json`
beside the artifacts. Status of the resource is made of the same models.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, PrivateAttr, ValidationError, model_validator

from dino_api import message, metric
from dino_api.base import NAME, REPORTED_URI, SHORT, TEXT, URI
from dino_api.formats import Format
from dino_api.names import Action, Stage
from dino_api.reported import ReportPart

TERMINATION_LIMIT = message.LIMIT
SCHEMA_VERSION = 1

MOST_CLASSES = 20_000
"""Of a model: what a status, a checkpoint and an exported file hold the names of."""
MOST_WARNINGS, MOST_ARTIFACTS = 100, 64
Line = Annotated[str, Field(max_length=URI)]
ModelFormat = Annotated[Format, Field(description="What kind of file it is; engine: TensorRT.")]
Sha256 = Annotated[str | None, Field(max_length=64, description="SHA-256 of the file, in hex.")]
FileSize = Annotated[int | None, Field(ge=0, description="Size of the file.")]
MeanAP = Annotated[float | None, Field(description="AP averaged over IoU 0.50 to 0.95.")]
MeanAP50 = Annotated[float | None, Field(description="AP at IoU 0.50.")]


class Metrics(ReportPart):
    """The 12 COCO statistics of the validation set, 0..1; -1 where nothing of that kind exists."""

    mAP: MeanAP = None
    mAP50: MeanAP50 = None
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

    def rounded(self) -> Metrics:
        """The metrics as a status and tables have them."""
        pairs = self.model_dump(exclude_none=True).items()
        return Metrics(**{name: metric.rounded(value) for name, value in pairs})


class Validation(ReportPart):
    """One point of the learning curve."""

    epoch: int = Field(ge=0, description="Epochs finished.")
    mAP50: float = Field(description="Validation mAP50 after them.")


class Progress(ReportPart):
    """Where a running job is. Written by the pod itself, at most every 10 seconds."""

    epoch: int | None = Field(None, ge=0, description="Epochs finished.")
    epochs: int | None = Field(None, ge=0, description="Epochs in all.")
    step: int | None = Field(None, ge=0, description="Optimiser steps finished.")
    steps: int | None = Field(None, ge=0, description="Optimiser steps in all.")
    percent: int | None = Field(None, ge=0, le=100, description="Finished share, in percent.")
    display: str | None = Field(None, max_length=NAME, description="Percent as printed: 37%.")
    eta_seconds: int | None = Field(None, ge=0, description="Seconds left, as of updatedAt.")
    staging_seconds: float | None = Field(
        None, ge=0, description="Seconds that the pod took to bring its data here."
    )
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

    @classmethod
    def cut(cls, name: str, items: list[Any], most: int) -> list[Any]:
        """The latest validations."""
        return items[-most:]

    @model_validator(mode="after")
    def _fill_display(self) -> Progress:
        if self.display is None and self.percent is not None:
            self.display = f"{self.percent}%"
        return self


class Checkpoint(ReportPart):
    """The checkpoint that a later job starts from."""

    uri: str = Field(max_length=REPORTED_URI, description="The checkpoint that validated best.")
    latest_uri: str | None = Field(
        None, max_length=REPORTED_URI, description="The newest checkpoint."
    )
    epoch: int | None = Field(None, ge=0, description="The epoch after which it was saved.")
    metric: float | None = Field(None, description="Its validation mAP.")
    sha256: Sha256 = None
    bytes: FileSize = None


class ModelFile(ReportPart):
    """One file of a model, in the form that a later job goes on from."""

    uri: str = Field(max_length=REPORTED_URI, description="Where it lies.")
    format: ModelFormat
    precision: str | None = Field(
        None, max_length=NAME, description="Number format: fp32, fp16, bf16 or int8."
    )
    sha256: Sha256 = None
    bytes: FileSize = None


class ScoredModel(ReportPart):
    """One of two models that were run on the same images."""

    format: ModelFormat
    precision: str | None = Field(None, max_length=NAME, description="Number format.")
    mAP: MeanAP = None
    mAP50: MeanAP50 = None
    latency_ms: float | None = Field(
        None, ge=0, description="Median milliseconds of one image at batch 1."
    )
    bytes: FileSize = None


class ModelComparison(ReportPart):
    """The model that was made beside the one that it was made from, on the same images."""

    reference: ScoredModel = Field(description="The model that was given.")
    candidate: ScoredModel = Field(description="The model that was made.")
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
    max_detections: int | None = Field(
        None, ge=1, description="Detections of a class in an image that were scored."
    )


class Artifact(ReportPart):
    """One published file."""

    name: str = Field(max_length=SHORT, description="File name, unique in the job.")
    uri: str = Field(max_length=REPORTED_URI, description="Where it lies.")
    sha256: Sha256 = None
    bytes: FileSize = None


class Dataset(ReportPart):
    """What the trainer found in the data."""

    num_classes: int | None = Field(None, ge=1, description="Largest category id plus one.")
    images: int | None = Field(None, ge=0, description="Images.")
    annotations: int | None = Field(None, ge=0, description="Boxes.")
    class_names: list[Line] = Field(
        default_factory=list,
        max_length=MOST_CLASSES,
        description="Names by category id; empty for ids not in use.",
    )
    digest: str | None = Field(None, max_length=128, description="Digest of images and boxes.")
    warnings: list[Line] = Field(
        default_factory=list,
        max_length=MOST_WARNINGS,
        description="What is odd about the data and was not an error.",
    )

    @classmethod
    def fitted(cls, data: dict[str, Any]) -> dict[str, Any]:
        """Says in the warnings where names are left out."""
        names = data.get("class_names") or data.get("classNames") or ()
        warnings = data.get("warnings", [])
        if not (isinstance(names, list | tuple) and isinstance(warnings, list | tuple)):
            return super().fitted(data)  # no report of ours, and refused
        if len(names) > MOST_CLASSES:
            warning = f"{len(names)} classes: the names of the first {MOST_CLASSES} are kept"
            data = {**data, "warnings": [warning, *warnings]}
        return super().fitted(data)

    @classmethod
    def cut(cls, name: str, items: list[Any], most: int) -> list[Any]:
        """Says how many warnings are left out."""
        if name != "warnings":
            return super().cut(name, items, most)
        return [*items[: most - 1], message.left_out(len(items) - most + 1)]


class Failure(ReportPart):
    """Why the job, or its latest attempt, failed."""

    reason: str = Field(max_length=SHORT, description="One word; the failure catalogue has all.")
    message: str = Field(max_length=TEXT, description="What happened, and where.")
    remedy: str | None = Field(None, max_length=TEXT, description="What to do about it.")
    exit_code: int | None = Field(None, description="The trainer's exit code.")


class Result(ReportPart):
    """The end of one attempt, in one object."""

    schema_version: int = Field(SCHEMA_VERSION, alias="schema")
    action: Action | Stage = Action.TRAIN
    spec_digest: str | None = None
    note: str | None = Field(None, description="What is special about the end, in a sentence.")
    metrics: Metrics | None = None
    checkpoint: Checkpoint | None = None
    model: ModelFile | None = None
    comparison: ModelComparison | None = None
    artifacts: list[Artifact] = Field(default_factory=list)
    dataset: Dataset | None = None
    failure: Failure | None = None
    curve: list[Validation] | None = None
    folder: str | None = Field(None, description="Where result.json lies.")
    source_digest: str | None = Field(
        None,
        description="Of the model file that was given. Once another lies there, the result is "
        "outdated. Only in result.json.",
    )

    _lost: frozenset[str] = PrivateAttr(default=frozenset())
    _shortened: frozenset[str] = PrivateAttr(default=frozenset())

    @property
    def lost(self) -> frozenset[str]:
        """Members, by wire names, that a termination message held and that were cut from it."""
        return self._lost

    @property
    def shortened(self) -> frozenset[str]:
        """Members of which the message held more than is left."""
        return self._shortened

    def to_termination_message(self) -> str:
        """Two lines of JSON, of at most 4096 bytes, of which the first suffices: `message`."""
        full = self.to_dict()
        full.pop("sourceDigest", None)
        return message.write(full)

    @classmethod
    def from_termination_message(cls, text: str) -> Result | None:
        """What is left of a result in a termination message, or None where the pod left something
        else. Also reads `result.json`."""
        reading = message.read(text)
        if reading is None:
            return None
        known, lost = {}, set(reading.lost)
        for name, value in reading.members.items():
            try:
                cls.model_validate({name: value})
            except ValidationError:  # cut, or of another release
                if "schema" not in reading.members:
                    return None
                lost.add(name)
            else:
                known[name] = value
        result = cls.model_validate(known)
        result._lost, result._shortened = frozenset(lost), reading.shortened
        return result
