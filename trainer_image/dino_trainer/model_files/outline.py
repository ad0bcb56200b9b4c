"""What the file of a model says of itself, read without torch and without its weights.

So the preflight knows a model before anything is asked for that could run it: of a checkpoint in
S3 it reads some hundred kilobytes. Nothing that a file names is imported or called.
"""

from __future__ import annotations

import json
import lzma
import pickle
import struct
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from io import SEEK_CUR, BytesIO
from typing import Any, BinaryIO

from pydantic import ValidationError

from dino_api import formats
from dino_api.experiment import ExperimentSpec
from dino_api.names import FailureReason
from dino_api.result import MOST_CLASSES, ModelFile
from dino_trainer.errors import TrainerError, invalid_spec
from dino_trainer.model_files.graph_metadata import GraphMetadata
from dino_trainer.model_files.info import ModelInfo
from dino_trainer.model_files.naming import ENGINE_METADATA_SUFFIX
from dino_trainer.storage.stored_file import open_stored
from dino_trainer.unpickler import FrugalUnpickler

_OTHER = "Use it with the release that made it, or train again."
# Of what stands beside the weights; that of a training with its optimiser takes half a megabyte.
# What is made of it takes fifty times as much memory, if it means to.
_MOST = 8 << 20
_UNREADABLE = (
    AttributeError,
    EOFError,
    IndexError,
    KeyError,
    MemoryError,
    OSError,
    OverflowError,
    RuntimeError,
    TypeError,
    ValueError,
    pickle.UnpicklingError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
)
# Of ONNX's ModelProto, and the parts of each: key and value.
_METADATA_PROPS, _KEY, _VALUE = 14, 1, 2


def outline_of(uri: str) -> ModelInfo | None:
    """What the model at `uri` says of itself; None where nothing is there that does.

    Of that, and of why, whoever opens the model speaks. Raises TrainerError: StorageUnavailable.
    """
    kind = formats.format_of(uri)
    if kind is None:
        return None
    try:
        with open_stored(f"{uri}{ENGINE_METADATA_SUFFIX}" if kind == "engine" else uri) as file:
            return READERS[kind](file, ModelFile(uri=uri, format=kind))
    except TrainerError as error:
        if error.reason == FailureReason.STORAGE_UNAVAILABLE:
            raise
        return None
    except _UNREADABLE:
        return None


def own_spec(content: Mapping[str, Any], uri: str) -> tuple[ExperimentSpec, tuple[str, ...]]:
    """The spec and the class names in the content of a checkpoint of ours.

    Raises:
        TrainerError: InvalidSpec where another release wrote it, whose keys differ.
    """
    names = _own_names(content, uri)
    # What other actions were told then is nothing to this one.
    keys = content["spec"] if isinstance(content["spec"], Mapping) else {}
    parts = {name: keys.get(name) for name in ("model", "dataset", "train")}
    kept = {name: {} if part is None else part for name, part in parts.items()}
    try:
        spec = ExperimentSpec.model_validate(kept)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise invalid_spec(
            f"{uri} was made by another release: its {key} cannot be read ({first['msg']}).",
            _OTHER,
        ) from error
    return with_classes(spec, len(names)), names


def _own_names(content: Mapping[str, Any], uri: str) -> tuple[str, ...]:
    names = content.get("class_names")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise invalid_spec(
            f"{uri} was made by another release: its class_names are no list of names.", _OTHER
        )
    if len(names) > MOST_CLASSES:
        raise invalid_spec(
            f"{uri} has {len(names):,} classes, of {MOST_CLASSES:,} at most.", _OTHER
        )
    return tuple(names)


def with_classes(spec: ExperimentSpec, count: int) -> ExperimentSpec:
    """The spec of a model of so many classes."""
    dataset = spec.dataset.model_copy(update={"num_classes": count})
    return spec.model_copy(update={"dataset": dataset})


def _of_checkpoint(file: BinaryIO, model: ModelFile) -> ModelInfo | None:
    with zipfile.ZipFile(file) as archive:
        [inner] = [one for one in archive.infolist() if one.filename.endswith("/data.pkl")]
        if inner.file_size > _MOST:
            return None
        content = _Words(BytesIO(archive.read(inner))).load()
    if not isinstance(content, dict) or "spec" not in content:
        return None
    spec, names = own_spec(content, model.uri)
    precision = formats.INT8 if formats.PACKED in content else spec.train.precision
    precise = model.model_copy(update={"precision": precision})
    return ModelInfo(precise, spec, names, None, None, spec.model.num_select)


class _Placeholder:
    """Stands for tensors, and for all that is no plain value."""

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def __setstate__(self, _: Any) -> None: ...

    def __setitem__(self, _: Any, __: Any) -> None: ...

    def append(self, _: Any) -> None:
        """As a list takes one more."""

    add = extend = append


class _Words(FrugalUnpickler):
    """Reads plain values; finds nothing, and so calls nothing, but their containers."""

    def find_class(self, module: str, name: str, /) -> Any:
        """Never imports."""
        return OrderedDict if (module, name) == ("collections", "OrderedDict") else _Placeholder

    def persistent_load(self, _: Any, /) -> Any:
        """The numbers of a tensor stay where they are."""
        return None


def _of_onnx(file: BinaryIO, model: ModelFile) -> ModelInfo:
    props = {}
    for field, part in _fields(file, {_METADATA_PROPS}):
        assert field == _METADATA_PROPS
        pair = dict(_fields(BytesIO(part), {_KEY, _VALUE}))
        props[pair[_KEY].decode()] = pair.get(_VALUE, b"").decode()
    return GraphMetadata.from_props(props, model.uri).info(model)


def _fields(file: BinaryIO, wanted: set[int]) -> Iterator[tuple[int, bytes]]:
    """Number and content of a message's parts that are wanted; the others are leapt over.

    Raises ValueError for what is no protobuf.
    """
    while (tag := _varint(file)) is not None:
        field, kind = tag >> 3, tag & 7
        size = {1: 8, 5: 4}.get(kind, 0)
        if kind in (0, 2):
            size = _varint(file) or 0
        elif not size:
            raise ValueError("no protobuf")
        if kind == 2 and field in wanted:
            if size > _MOST:
                raise ValueError("no metadata is so large")
            yield field, file.read(size)
        elif kind:
            file.seek(size, SEEK_CUR)


def _varint(file: BinaryIO) -> int | None:
    """The next number; None at the end."""
    value = shift = 0
    while byte := file.read(1):
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
        shift += 7
        if shift > 63:
            break
    if byte or shift:
        raise ValueError("no protobuf")
    return None


def _of_engine(file: BinaryIO, model: ModelFile) -> ModelInfo:
    content = json.loads(file.read(_MOST))
    props = {name: json.dumps(value) for name, value in content["props"].items()}
    return GraphMetadata.from_props(props, model.uri).info(model)


READERS: Mapping[formats.Format, Callable[[BinaryIO, ModelFile], ModelInfo | None]] = {
    "checkpoint": _of_checkpoint,
    "onnx": _of_onnx,
    "engine": _of_engine,
}
