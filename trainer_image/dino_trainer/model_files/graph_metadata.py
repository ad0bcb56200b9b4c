"""What an exported graph says about itself.

An ONNX file has it in its ``metadata_props``, an engine in the file beside it.

Keys start with ``dino.``; every value is JSON. Whoever runs the file needs nothing else: the class
names, how pixels are prepared, and the spec of the model, without where its data lay.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, ValidationError

from dino_api.experiment import ExperimentSpec
from dino_api.formats import INT8
from dino_api.reported import shortened
from dino_api.result import MOST_CLASSES, ModelFile
from dino_trainer.errors import invalid_spec
from dino_trainer.model_files.info import ModelInfo

GRAPH_SCHEMA = 1
KEY_PREFIX = "dino."
# What `dino quantize` did to the file, and therein: that its weights have headroom, so that every
# CPU computes the same.
NOTE = f"{KEY_PREFIX}quantization"
HEADROOM = "headroom"
Variant = Literal["raw", "end_to_end"]
Side = Annotated[int, Field(gt=0, le=1 << 16)]
"""Of the images that a graph takes, in pixels."""
# What the two graphs call their input and outputs.
RAW_INPUT = END_TO_END_INPUT = "inputs"
RAW_OUTPUTS = ("pred_logits", "pred_boxes")
END_TO_END_OUTPUTS = ("boxes", "scores", "labels")
_SECTIONS = ("model", "dataset", "train")
_REMEDY = "Name a file that `dino export` or `dino quantize` of this release made."


class _Content(BaseModel):
    """The values, by their keys; what another program wrote may be anything."""

    spec: ExperimentSpec
    class_names: tuple[str, ...] = Field(max_length=MOST_CLASSES)
    input_size: tuple[Side, Side]
    batch_size: Annotated[int, Field(gt=0)] | None
    num_select: int = Field(gt=0)
    variant: Variant
    precision: str
    checkpoint_sha256: str | None
    quantization: dict[str, Any] = Field(default_factory=dict)


@dataclass(frozen=True)
class GraphMetadata:
    """The metadata. ``input_size`` is (height, width); ``batch_size`` None leaves it open.

    ``headroom``: the INT8 weights of a quantized file are computed with exactly by every CPU.
    """

    spec: ExperimentSpec
    class_names: tuple[str, ...]
    input_size: tuple[int, int]
    batch_size: int | None
    num_select: int
    variant: Variant
    precision: str
    checkpoint_sha256: str | None
    headroom: bool = False

    @property
    def cut_off(self) -> bool:
        """Whether ONNX Runtime, unless asked to be exact, cuts sums off on x86 without VNNI."""
        return self.precision == INT8 and not self.headroom

    def to_props(self) -> dict[str, str]:
        """Strings for ``metadata_props``."""
        augmentation = self.spec.dataset.augmentation
        content = {
            "schema": GRAPH_SCHEMA,
            "spec": _structure(self.spec),
            "class_names": self.class_names,
            "input_size": self.input_size,
            "batch_size": self.batch_size,
            "preprocessing": {
                "channels": "RGB",
                "mean": augmentation.input_mean,
                "std": augmentation.input_std,
                "scale": 1 / 255,
            },
            "num_select": self.num_select,
            "variant": self.variant,
            "precision": self.precision,
            "checkpoint_sha256": self.checkpoint_sha256,
        }
        return {KEY_PREFIX + name: json.dumps(value) for name, value in content.items()}

    @classmethod
    def from_props(cls, props: Mapping[str, str], where: str) -> GraphMetadata:
        """Read them from the file that ``where`` names.

        Raises:
            TrainerError: InvalidSpec where there are none, or those of another release.
        """
        if KEY_PREFIX + "schema" not in props:
            raise invalid_spec(
                f"{where} is an ONNX file without the metadata of `dino export`: what it detects "
                "and how its input is prepared is not known.",
                _REMEDY,
            )
        try:
            content = {
                name.removeprefix(KEY_PREFIX): json.loads(value)
                for name, value in props.items()
                if name.startswith(KEY_PREFIX)
            }
            return cls._from_content(content)
        except (ValueError, RecursionError) as error:
            raise invalid_spec(
                f"{where} has metadata that cannot be read ({_why(error)}); its schema is "
                f"{shortened(props[KEY_PREFIX + 'schema'], 40)}, and {GRAPH_SCHEMA} is known here.",
                _REMEDY,
            ) from error

    @classmethod
    def _from_content(cls, content: Mapping[str, Any]) -> GraphMetadata:
        if content["schema"] != GRAPH_SCHEMA:
            raise ValueError("another schema")
        read = _Content.model_validate(content)
        return cls(
            spec=read.spec,
            class_names=read.class_names,
            input_size=read.input_size,
            batch_size=read.batch_size,
            num_select=read.num_select,
            variant=read.variant,
            precision=read.precision,
            checkpoint_sha256=read.checkpoint_sha256,
            headroom=read.quantization.get(HEADROOM) is True,
        )

    def info(self, file: ModelFile) -> ModelInfo:
        """What `Detector.info` says of the file."""
        return ModelInfo(
            file=file.model_copy(update={"precision": self.precision}),
            spec=self.spec,
            class_names=self.class_names,
            input_size=self.input_size,
            batch_size=self.batch_size,
            num_select=self.num_select,
        )


def _why(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{KEY_PREFIX}{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return shortened((str(error).splitlines() or [type(error).__name__])[0], 200)


def _structure(spec: ExperimentSpec) -> dict[str, Any]:
    """The sections that say what the model is; no paths, which are its owner's business."""
    content = spec.model_dump(mode="json", include=set(_SECTIONS))
    for section in content.values():
        for name in [name for name in section if name.endswith(("_data_sources", "_path", "_dir"))]:
            del section[name]
    return content
