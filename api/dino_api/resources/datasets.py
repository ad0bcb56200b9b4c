"""The data of a job: what each action reads, by URI."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, JsonValue

from dino_api.actions import DatasetSplit
from dino_api.base import NOT_BLANK, SHORT, URI, Camel

ImageForm = Literal["coco", "coco_raw"]
_FORMAT = (
    "coco (default): images are one archive. coco_raw: single files in a folder, slower to fetch."
)
_IMAGES = "Archive or folder below uri. Default: images.tar.gz (coco), images (coco_raw)."
ARCHIVE, FOLDER = "images.tar.gz", "images"
"""Names of the images below uri, where none is given: packed, and as single files."""
# The API server's alone: an object that it took before it asked for this can still be read.
_NOT_EMPTY: dict[str, JsonValue] = {"minItems": 1}


class DatasetSource(Camel):
    """One dataset: images and a COCO annotation file under one URI."""

    uri: str = Field(
        max_length=URI,
        description="Folder of images and annotations, such as s3://bucket/train. Required.",
    )
    format: ImageForm = Field("coco", description=_FORMAT)
    images: str | None = Field(None, max_length=SHORT, description=_IMAGES)
    annotations: str = Field(
        "annotations.json",
        max_length=SHORT,
        json_schema_extra=NOT_BLANK,
        description="COCO annotation file below uri. Default: annotations.json.",
    )

    def image_dir(self) -> str:
        """URI of the archive or folder of images."""
        return _image_dir(self)

    def json_file(self) -> str:
        """URI of the annotation file."""
        return f"{self.uri.rstrip('/')}/{self.annotations}"


def _image_dir(source: DatasetSource | InferenceSource) -> str:
    name = source.images or (ARCHIVE if source.format == "coco" else FOLDER)
    return f"{source.uri.rstrip('/')}/{name}"


class InferenceSource(Camel):
    """Images without annotations, and the names of the classes."""

    uri: str = Field(
        max_length=URI,
        description="Folder of images and classmap. Required.",
    )
    format: ImageForm = Field("coco", description=_FORMAT)
    images: str | None = Field(None, max_length=SHORT, description=_IMAGES)
    classmap: str = Field(
        max_length=SHORT,
        json_schema_extra=NOT_BLANK,
        description="Text file below uri with one class name a line. Required.",
    )

    def image_dir(self) -> str:
        """URI of the archive or folder of images."""
        return _image_dir(self)

    def classmap_file(self) -> str:
        """URI of the file of class names."""
        return f"{self.uri.rstrip('/')}/{self.classmap}"


class Datasets(Camel):
    """The data of the job: what its action reads, and nothing else."""

    train: list[DatasetSource] = Field(
        default_factory=list,
        max_length=32,
        json_schema_extra=_NOT_EMPTY,
        description="Training data; several sources are joined. For train and distill.",
    )
    validation: list[DatasetSource] = Field(
        default_factory=list,
        max_length=32,
        json_schema_extra=_NOT_EMPTY,
        description="Data that training is validated on. For train and distill.",
    )
    test: list[DatasetSource] = Field(
        default_factory=list,
        max_length=32,
        json_schema_extra=_NOT_EMPTY,
        description="Data that evaluate scores; optional for export, gen_trt_engine and quantize, "
        "which compare the model that they made on it.",
    )
    calibration: list[DatasetSource] = Field(
        default_factory=list,
        max_length=32,
        json_schema_extra=_NOT_EMPTY,
        description="Images that quantize, and gen_trt_engine with data_type INT8, take value "
        "ranges from.",
    )
    inference: InferenceSource | None = Field(
        None, description="Images that inference runs on, and their class names."
    )

    def of(self, part: DatasetSplit) -> list[DatasetSource] | InferenceSource | None:
        """What is given of a part of the data; empty or None where nothing is."""
        given: list[DatasetSource] | InferenceSource | None = getattr(self, part)
        return given
