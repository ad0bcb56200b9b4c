"""Files that are whole as files, and say odd things: headers of archives, pickles, graphs."""

from __future__ import annotations

import json
import struct
import tarfile
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dino_api.formats import PACKED
from dino_api.reported import sound
from dino_runtime import NotADetector
from dino_runtime.exported_file import described
from dino_trainer.errors import TrainerError
from dino_trainer.model_files.graph_metadata import KEY_PREFIX, GraphMetadata
from dino_trainer.model_files.int8_weights import read_int8_weights
from tests.fuzz import seeds
from tests.fuzz.harness import ends, fuzzed
from tests.fuzz.readers import READERS, packed
from tests.fuzz.spoiling import Draw, as_json, others, texts

BLOCK, CHECKSUM = 512, slice(148, 156)

# ---- archives -----------------------------------------------------------------------------------

_KINDS = st.sampled_from([b"0", b"\0", b"1", b"2", b"5", b"7", b"L", b"K", b"S", b"x", b"g", b"Z"])
_TEXTS = texts.map(lambda text: sound(text).replace("\0", ""))
_NAMES = st.one_of(
    _TEXTS,
    st.sampled_from(["images/1.jpg", "images", "a/../b", "./a", "/a", "..", "a/b/c/d/e", "a//b"]),
    st.integers(1, 3000).map(lambda depth: "d/" * depth + "1.jpg"),
)
_PAX = st.dictionaries(
    st.sampled_from(
        ["path", "linkpath", "size", "mtime", "uid", "hdrcharset", "GNU.sparse.major",
         "GNU.sparse.minor", "GNU.sparse.size", "GNU.sparse.map", "GNU.sparse.name",
         "GNU.sparse.realsize", "GNU.sparse.numblocks", "comment"]
    ),
    st.one_of(
        _TEXTS, st.sampled_from(["0", "1", "-1", "5", "BINARY", "1,2,x", "1e999", "9" * 5000])
    ),
    max_size=4,
)  # fmt: skip
_FIELDS = {"name": (0, 100), "mode": (100, 108), "size": (124, 136), "type": (156, 157),
           "magic": (257, 265), "prefix": (345, 500), "sparse": (386, 495)}  # fmt: skip


@st.composite
def members(draw: Draw) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(draw(_NAMES))
    info.type, info.pax_headers = draw(_KINDS), draw(_PAX)
    info.linkname = draw(_NAMES)
    return info, draw(st.binary(max_size=40))


def summed(content: bytearray, at: int) -> None:
    """Gives the header there the checksum that it should have."""
    header = content[at : at + BLOCK]
    header[CHECKSUM] = b" " * 8
    content[at + CHECKSUM.start : at + CHECKSUM.stop] = b"%06o\0 " % sum(header)


@fuzzed(60)
@given(inside=st.lists(members(), min_size=1, max_size=4), how=st.sampled_from(["w", "w:gz"]))
def test_archives_of_odd_members(
    inside: list[tuple[tarfile.TarInfo, bytes]], how: str, folder: Path
) -> None:
    reader = READERS["archive"]
    content = packed(inside, how)
    with ends(*reader.named):
        reader.read(content, folder)


@fuzzed(60)
@given(data=st.data())
def test_archives_of_odd_headers(data: st.DataObject, folder: Path) -> None:
    """With the right checksum: else the header is not looked at."""
    content = bytearray(data.draw(st.sampled_from(seeds.files("archive")[:2])))
    for _ in range(data.draw(st.integers(1, 3))):
        at = BLOCK * data.draw(st.integers(0, len(content) // BLOCK - 1))
        start, end = _FIELDS[data.draw(st.sampled_from(sorted(_FIELDS)))]
        odd = data.draw(st.one_of(_KINDS, st.binary(max_size=12), st.just(b"\x80" + b"\xff" * 8)))
        content[at + start : at + end] = odd[: end - start].ljust(end - start, b"\0")
        summed(content, at)
    with ends(*READERS["archive"].named):
        READERS["archive"].read(bytes(content), folder)


# ---- checkpoints --------------------------------------------------------------------------------

_KEYS = st.sampled_from(
    ["model", "state_dict", "ema", "a", "b", "optimizer", "spec", "class_names"]
)


@st.composite
def references(draw: Draw) -> dict[str, Any]:
    """Mappings that refer to one another in any way, also to themselves."""
    nodes: list[dict[str, Any]] = [{} for _ in range(draw(st.integers(1, 6)))]
    rest = (
        torch.ones(2),
        torch.ones(1).expand(1 << 40),
        torch.tensor(1),
        1,
        "x",
        [1],
        None,
        ("a",),
    )
    parts = st.integers(0, len(nodes) + len(rest) - 1)
    for node in nodes:
        for key in draw(st.lists(_KEYS, max_size=4)):
            at = draw(parts)
            node[key] = nodes[at] if at < len(nodes) else rest[at - len(nodes)]
    return nodes[0]


def doubled(levels: int, within: Any) -> dict[str, Any]:
    """A mapping that holds the one below it twice."""
    made = {"t": within}
    for _ in range(levels):
        made = {"a": made, "b": made}
    return {"model": made}


@fuzzed(60)
@given(content=references(), new=st.booleans())
def test_checkpoints_that_refer_to_themselves(
    content: dict[str, Any], new: bool, folder: Path
) -> None:
    file = seeds._saved(content, _use_new_zipfile_serialization=new)
    for name in ("weights", "checkpoint"):
        with ends(*READERS[name].named):
            READERS[name].read(file, folder)


@pytest.mark.parametrize("within", [torch.ones(1), 1], ids=["a tensor", "no tensor"])
@pytest.mark.parametrize("levels", [3, 16, 40, 90])
def test_a_checkpoint_that_grows_with_each_level(levels: int, within: Any, folder: Path) -> None:
    """A file of a few hundred bytes, and 2^90 ways through it."""
    file = seeds._saved(doubled(levels, within))
    for name in ("weights", "checkpoint"):
        with ends(*READERS[name].named):
            READERS[name].read(file, folder)


@pytest.mark.parametrize("levels", [10, 60, 300, 900, 5000])
@pytest.mark.parametrize("key", [b"model", b"other"])
def test_a_deep_pickle(levels: int, key: bytes, folder: Path) -> None:
    named = b"X" + struct.pack("<I", len(key)) + key
    content = b"\x80\x02" + (b"}" + named) * levels + b"}" + b"s" * levels + b"."
    with ends(*READERS["weights"].named):
        READERS["weights"].read(content, folder)


@fuzzed(40)
@given(header=others({"a": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}}))
def test_headers_of_safetensors(header: Any, folder: Path) -> None:
    said = as_json(header)
    with ends(*READERS["weights"].named):
        READERS["weights"].read(len(said).to_bytes(8, "little") + said + bytes(16), folder)


_TENSORS = st.sampled_from(
    [
        torch.ones(3, 2, dtype=torch.int8), torch.ones(3), torch.ones(3, 2), torch.tensor(1),
        torch.ones(3, 2, dtype=torch.int8).to_sparse(), torch.ones(3).to_sparse(),
        torch.ones(1, 1, dtype=torch.int8).expand(3, 1 << 40), torch.ones(1).expand(1 << 40),
        torch.zeros(0), torch.zeros(0, 3, dtype=torch.int8),
    ]
)  # fmt: skip
_PART = st.one_of(st.dictionaries(st.sampled_from("ab"), _TENSORS, max_size=2), texts, st.none())


@fuzzed(60)
@given(codes=_PART, scales=_PART, kept=_PART)
def test_weights_in_int8(codes: Any, scales: Any, kept: Any) -> None:
    with ends(ValueError):
        read_int8_weights({PACKED: {"codes": codes, "scales": scales, "kept": kept}}).state()


# ---- graphs -------------------------------------------------------------------------------------


def _props() -> dict[str, Any]:
    (whole,) = seeds.files("onnx_outline")
    pairs = onnx.load_from_string(whole).metadata_props
    return {one.key.removeprefix(KEY_PREFIX): json.loads(one.value) for one in pairs}


@fuzzed(100)
@given(said=others(_props()))
def test_metadata_of_graphs(said: Any) -> None:
    said = said if isinstance(said, dict) else {"schema": said}
    props = {f"{KEY_PREFIX}{key}": as_json(each).decode() for key, each in said.items()}
    with ends(TrainerError):
        GraphMetadata.from_props(props, "model.onnx")
    with ends(NotADetector):
        described(props, "model.onnx")


@fuzzed(25)
@given(said=others(_props(), deeper=False), data=st.data())
def test_graphs_under_other_metadata(said: Any, data: st.DataObject, folder: Path) -> None:
    (whole,) = seeds.files("onnx_outline")
    model = onnx.load_from_string(whole)
    del model.metadata_props[:]
    said = said if isinstance(said, dict) else {}
    props = {sound(f"{KEY_PREFIX}{key}"): as_json(each).decode() for key, each in said.items()}
    onnx.helper.set_model_props(model, props)
    _change(data.draw, model.graph)
    for name in ("onnx", "onnx_outline"):
        with ends(*READERS[name].named):
            READERS[name].read(model.SerializeToString(), folder)


def _change(draw: Any, graph: onnx.GraphProto) -> None:
    """Other names and shapes of what goes in and comes out."""
    kind = draw(st.sampled_from(["nothing", "name", "sides", "fewer sides", "no side", "more"]))
    place = draw(st.sampled_from([*graph.input, *graph.output]))
    sides = place.type.tensor_type.shape.dim
    if kind == "name":
        place.name = "other"
    elif kind == "sides":
        sides[draw(st.integers(0, len(sides) - 1))].dim_value = draw(st.integers(-1, 2**40))
    elif kind == "fewer sides":
        del sides[-1]
    elif kind == "no side":
        place.type.tensor_type.ClearField("shape")
    elif kind == "more":
        graph.output.append(place)
