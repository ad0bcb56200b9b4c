"""What is known of an engine, in a JSON file beside it: `dino_model.engine.json`.

TensorRT's own format holds none of it but a name, and a file with anything before or after the
engine would not load elsewhere. The name inside says which JSON file belongs to an engine.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dino_api.result import ModelFile
from dino_trainer.errors import invalid_spec
from dino_trainer.model_files.graph_metadata import GraphMetadata
from dino_trainer.model_files.naming import ENGINE_METADATA_SUFFIX
from dino_trainer.tensorrt.gpu import EngineGpu

ENGINE_SCHEMA = 1
_AGAIN = "Build the engine again with `dino gen_trt_engine`, from its ONNX file, on such a GPU."


@dataclass(frozen=True)
class OnnxSource:
    """The ONNX file that an engine was built from."""

    uri: str
    sha256: str | None
    precision: str | None


@dataclass(frozen=True)
class EngineMetadata:
    """The metadata of an engine; see the module.

    precision: fp32, fp16 or int8. tensorrt, driver, cuda: versions. gpu, capability, memory: of the
    GPU that it was built on. batch: smallest, tuned for, largest. workspace: bytes. props: the ONNX
    file's own metadata, which says what the model is. latency: rows of `latency.Timing`.
    comparison: with the ONNX file, as in the job's status.
    """

    precision: str
    tensorrt: str
    gpu: str
    capability: str
    memory: int
    driver: str | None
    cuda: str | None
    onnx: OnnxSource
    batch: tuple[int, int, int]
    workspace: int
    props: Mapping[str, str]
    latency: list[dict[str, float]] = field(default_factory=list)
    comparison: dict[str, object] | None = None

    @property
    def name(self) -> str:
        """The name that the engine itself carries."""
        return f"dino {self.precision} onnx-sha256:{self.onnx.sha256}"

    def to_json(self) -> str:
        """The file's text."""
        content = asdict(self)
        content["props"] = {name: json.loads(value) for name, value in self.props.items()}
        return json.dumps({"schema": ENGINE_SCHEMA, **content}, indent=2, ensure_ascii=False) + "\n"

    def model(self, where: str) -> GraphMetadata:
        """What the model is. Raises InvalidSpec where that cannot be read."""
        return GraphMetadata.from_props(self.props, where)


def read(path: Path, file: ModelFile) -> EngineMetadata:
    """The metadata of the engine `file`, from the JSON file at `path`.

    Raises TrainerError: InvalidSpec where it is not there or cannot be read.
    """
    where = f"{file.uri}{ENGINE_METADATA_SUFFIX}"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content.pop("schema") != ENGINE_SCHEMA:
            raise ValueError("it has another schema")
        return _from_content(content)
    except FileNotFoundError as error:
        raise invalid_spec(
            f"{where} is not there: without it nobody knows what the engine {file.uri} detects and "
            "how its images are prepared.",
            "Keep both files of `dino gen_trt_engine` together.",
        ) from error
    except (
        AttributeError,
        KeyError,
        OSError,
        RecursionError,
        TypeError,
        ValueError,
    ) as error:
        raise invalid_spec(
            f"{where} is no description of an engine that this release can read ({error}).", _AGAIN
        ) from error


def _from_content(content: dict[str, Any]) -> EngineMetadata:
    low, tuned, high = content.pop("batch")
    props = {name: json.dumps(value) for name, value in content.pop("props").items()}
    source = OnnxSource(**content.pop("onnx"))
    return EngineMetadata(**content, onnx=source, batch=(low, tuned, high), props=props)


def check_here(metadata: EngineMetadata, gpu: EngineGpu, tensorrt: str, uri: str) -> None:
    """Refuses an engine of another GPU or TensorRT version, which would not load, or be slow.

    Raises TrainerError: InvalidSpec naming both.
    """
    if metadata.tensorrt != tensorrt:
        raise invalid_spec(
            f"{uri} was built by TensorRT {metadata.tensorrt}, and this is {tensorrt}: engines run "
            "with the very version that built them.",
            f"Use the image that built it, or: {_AGAIN}",
        )
    if (metadata.gpu, metadata.capability) != (gpu.name, gpu.capability):
        raise invalid_spec(
            f"{uri} was built on {metadata.gpu} (compute capability {metadata.capability}), and "
            f"this is {gpu.name} ({gpu.capability}): engines run on the kind of GPU that built "
            "them.",
            f"Run it on a node with {metadata.gpu} (spec.podTemplate.nodeSelector), or: {_AGAIN}",
        )
