"""Pickles of strangers: what they are read into, and the memory that this takes."""

from __future__ import annotations

import io
import pickle
import struct
import tracemalloc
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest

from dino_trainer.model import inert
from dino_trainer.model_files.outline import _Words
from dino_trainer.unpickler import FrugalUnpickler

MANY = 2_000_000
"""Harmless: Python's reader in C would make room of 32 MB for it."""
READERS = {
    "any": FrugalUnpickler,
    "what stands beside the weights": _Words,
    "weights": lambda file: inert._Unpickler(file, lambda *_: inert._Storage(bytearray(), None)),  # type: ignore[arg-type]
}
readers = pytest.mark.parametrize("reader", READERS.values(), ids=READERS)


def peak(reader: Any, content: bytes) -> tuple[Any, int]:
    """What was read, or the error, and the most bytes that it took."""
    tracemalloc.start()
    try:
        return reader(io.BytesIO(content)).load(), tracemalloc.get_traced_memory()[1]
    except (EOFError, pickle.UnpicklingError, ValueError) as error:
        return error, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@readers
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_it_reads_what_python_writes(reader: Any, protocol: int) -> None:
    one = [1, -(2**70), 0.5, "text", "ä", b"bytes", None, True]
    content = {"a": one, "again": one, "nested": ({"b": [()]},), "ordered": OrderedDict(x=1)}
    if protocol < 3:
        one.remove(b"bytes")  # by these the function is named that makes them of a text
    found = reader(io.BytesIO(pickle.dumps(content, protocol))).load()
    assert found == content
    assert found["again"] is found["a"]


@readers
def test_a_high_number_of_what_was_read_takes_no_room(reader: Any) -> None:
    """As a byte that was changed leaves it."""
    content = pickle.NONE + pickle.LONG_BINPUT + struct.pack("<I", MANY) + pickle.STOP
    found, taken = peak(reader, content)
    assert found is None
    assert taken < MANY


@readers
def test_bytes_that_are_not_there_take_no_room(reader: Any) -> None:
    for kind in (pickle.BYTEARRAY8, pickle.BINBYTES8):
        content = pickle.PROTO + b"\5" + kind + struct.pack("<Q", 2**24) + b"few"
        found, taken = peak(reader, content)
        assert isinstance(found, EOFError)
        assert taken < 2**20


def test_what_is_said_of_byte_arrays_is_read() -> None:
    content = pickle.dumps(bytearray(b"some"), 5)
    assert FrugalUnpickler(io.BytesIO(content)).load() == bytearray(b"some")


def test_no_reader_of_files_is_of_another_kind() -> None:
    sources = Path(inert.__file__).parents[1]
    wrong = [
        path.name
        for path in sources.rglob("*.py")
        if path.name != "unpickler.py"
        and any(word in path.read_text() for word in ("pickle.Unpickler", "pickle.load"))
    ]
    assert wrong == []
