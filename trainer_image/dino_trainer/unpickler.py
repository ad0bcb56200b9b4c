"""Python's reader of pickles as it is written in Python: its memory is in proportion to the file.

The one in C makes room for as many objects to come back to as the highest number that a file
names, and a damaged file names any. Readers of strangers' files are made of this one.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable
from typing import Any, ClassVar


class FrugalUnpickler(pickle._Unpickler):
    """Says by `find_class` and `persistent_load`, as Python's does, what a file may have."""

    read: Callable[[int], bytes]
    append: Callable[[Any], None]
    dispatch: ClassVar[dict[int, Callable[..., Any]]] = dict(pickle._Unpickler.dispatch)

    def load_bytearray8(self) -> None:
        """Reads so many bytes before there is room for them."""
        (size,) = struct.unpack("<Q", self.read(8))
        self.append(bytearray(self.read(size)))

    dispatch[pickle.BYTEARRAY8[0]] = load_bytearray8
