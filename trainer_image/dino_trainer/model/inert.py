"""Reads what a checkpoint says besides its tensors without importing or calling any of it.

`torch.load(weights_only=True)` refuses a file whole for one type that it does not know, and
checkpoints are full of them: Lightning's hold OmegaConf's, others Path, NumPy's numbers, datetime.
Here such a type becomes an `Inert` in its place. What a file names is looked up in `_KNOWN` alone,
so that nothing can be called but the few functions of this module, which make tensors and
containers. A file that names what runs programs is refused nevertheless, since no checkpoint needs
it.
"""

from __future__ import annotations

import io
import math
import pickle
import re
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from dino_trainer.unpickler import FrugalUnpickler

MAGIC = 0x1950A86A20F9469CFC6C
"""What files begin with that torch wrote before its version 1.6."""
_DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "UntypedStorage": torch.uint8,
}
_BY_NAME = {str(dtype).removeprefix("torch."): dtype for dtype in _DTYPES.values()}
_NUMPY = {
    **{f"f{size}": dtype for size, dtype in ((2, torch.float16), (4, torch.float32))},
    **{f"i{size}": dtype for size, dtype in ((1, torch.int8), (2, torch.int16))},
    "f8": torch.float64,
    "i4": torch.int32,
    "i8": torch.int64,
    "u1": torch.uint8,
    "b1": torch.bool,
}
_RUNS = re.compile(
    r"(?:os|posix|nt|posixpath|ntpath)\.(?:system|popen|exec\w*|spawn\w*|posix_spawn\w*|fork\w*|"
    r"remove|unlink|rmdir|removedirs|rename|kill|putenv)"
    r"|(?:subprocess|runpy|pty|importlib|ctypes|webbrowser|socket|shutil|commands|sys|code)\..*"
    r"|(?:builtins|__builtin__)\.(?:eval|exec|compile|open|__import__|execfile|input|breakpoint)"
)
_MOST = 1 << 40
# Modules and tensors. No network comes near: its modules would hold one another.
_MOST_PARTS = 50_000


class Dangerous(ValueError):
    """A file names something that runs programs. The message says what."""


class Inert:
    """Stands for an object of a type that is not known here: keeps what the file says about it.

    items: what was put into it as into a mapping. entries: as into a list or a set. state: what the
    object would have been restored from.
    """

    kind = ""

    def __init__(self, *args: Any, **_named: Any) -> None:
        self.args = args

    def __new__(cls, *args: Any, **_named: Any) -> Inert:
        """Without `__init__` where the file makes objects so."""
        made = super().__new__(cls)
        made.args, made.items, made.entries, made.state = args, {}, [], None
        return made

    args: tuple[Any, ...]
    items: dict[Any, Any]
    entries: list[Any]
    state: Any

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        self.items[key] = value

    def append(self, value: Any) -> None:
        """One more entry."""
        self.entries.append(value)

    add = append

    def mapping(self) -> Mapping[Any, Any]:
        """Its items or, of a module of torch, its tensors by their names."""
        if isinstance(self.state, Mapping) and "_modules" in self.state:
            return dict(_tensors_of(self))
        return self.items


def _tensors_of(module: Inert) -> list[tuple[str, Tensor]]:
    """The tensors of a module by their names, its own before those of the modules in it.

    Raises ValueError where there is no end of these, as of one that holds itself.
    """
    tensors: list[tuple[str, Tensor]] = []
    left: list[tuple[str, Any]] = [("", module)]
    seen = 0
    while left:
        prefix, each = left.pop()
        state = _map(each.state) if isinstance(each, Inert) else {}
        own = {**_map(state.get("_parameters")), **_map(state.get("_buffers"))}
        inner = _map(state.get("_modules"))
        seen += 1 + len(own) + len(inner)
        if seen > _MOST_PARTS:
            raise ValueError("its modules have no end")
        tensors += [(f"{prefix}{name}", v) for name, v in own.items() if isinstance(v, Tensor)]
        left += [(f"{prefix}{name}.", one) for name, one in reversed(list(inner.items()))]
    return tensors


def _map(value: Any) -> Mapping[Any, Any]:
    return value if isinstance(value, Mapping) else {}


class _Array(Inert):
    """An array of NumPy; becomes a tensor once all is read."""

    def tensor(self) -> Any:
        """The tensor, or the array as it is where its numbers are not torch's."""
        try:
            _version, shape, dtype, by_columns, raw = self.state
            order, code = dtype.state[1], str(dtype.args[0])
            if order == ">" or not isinstance(raw, bytes):
                return self
            flat = torch.frombuffer(bytearray(raw), dtype=_NUMPY[code])
            return (
                flat.view(shape[::-1]).permute(*range(len(shape))[::-1])
                if by_columns
                else (flat.view(shape))
            )
        except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError):
            return self


class _Maker:
    """One of the functions of this module, in place of what a file calls; cannot be changed."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[..., Any]) -> None:
        self._make = make

    def __call__(self, *args: Any) -> Any:
        """What the file asks for."""
        return self._make(*args)

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("a function has no state")


class _Storage:
    """The numbers of one or several tensors."""

    __slots__ = ("data", "dtype")

    def __init__(self, data: bytearray, dtype: torch.dtype) -> None:
        self.data, self.dtype = data, dtype


def _tensor(storage: _Storage, offset: int, size: Any, stride: Any, *_rest: Any) -> Tensor:
    return _strided(storage, storage.dtype, offset, size, stride)


def _tensor_v3(
    storage: _Storage,
    offset: int,
    size: Any,
    stride: Any,
    _grad: Any,
    _hooks: Any,
    dtype: Any,
    *_: Any,
) -> Tensor:
    return _strided(storage, dtype, offset, size, stride)


def _strided(storage: _Storage, dtype: torch.dtype, offset: int, size: Any, stride: Any) -> Tensor:
    if not math.prod(size):
        return torch.empty(tuple(size), dtype=dtype)
    flat = torch.frombuffer(storage.data, dtype=dtype)
    return flat.as_strided(tuple(size), tuple(stride), offset)


def _of_type(make: Any, _kind: Any, args: tuple[Any, ...], _state: Any) -> Any:
    if not isinstance(make, _Maker):
        raise pickle.UnpicklingError("a tensor is made by a function that is not known here")
    return make(*args)


def _encoded(text: str, encoding: str = "utf-8") -> bytes:
    if encoding not in ("latin1", "latin-1", "utf-8"):
        raise pickle.UnpicklingError("bytes are written in another encoding")
    return text.encode(encoding)


def _dictionary(*args: Any) -> dict[Any, Any]:
    """A defaultdict without its function, or a Counter with its counts."""
    return dict(args[0]) if args and isinstance(args[0], Mapping) else {}


_KNOWN: dict[str, Any] = {
    "torch._utils._rebuild_tensor": _Maker(_tensor),
    "torch._utils._rebuild_tensor_v2": _Maker(_tensor),
    "torch._utils._rebuild_tensor_v3": _Maker(_tensor_v3),
    "torch._utils._rebuild_parameter": _Maker(lambda data, *_: data),
    "torch._utils._rebuild_parameter_with_state": _Maker(lambda data, *_: data),
    "torch._tensor._rebuild_from_type_v2": _Maker(_of_type),
    "torch.Size": _Maker(lambda *args: tuple(*args)),
    "collections.OrderedDict": OrderedDict,
    "collections.defaultdict": _Maker(_dictionary),
    "collections.Counter": _Maker(_dictionary),
    "_codecs.encode": _Maker(_encoded),
    **{f"torch.{name}": dtype for name, dtype in _BY_NAME.items()},
    **{
        f"{module}.{kind.__name__}": kind
        for module in ("builtins", "__builtin__")
        for kind in (dict, list, tuple, set, frozenset, complex)
    },
}


class _Unpickler(FrugalUnpickler):
    """Finds nothing but what `_KNOWN` has, and stand-ins."""

    def __init__(self, file: Any, storage: Callable[[str, torch.dtype, int], _Storage]) -> None:
        # Of Python 2 every text has an encoding; others do not read it.
        super().__init__(file, encoding="latin1")
        self._storage = storage
        self._kinds: dict[str, type[Inert]] = {}

    def find_class(self, module: str, name: str, /) -> Any:
        """Never imports. Raises Dangerous for what runs programs."""
        path = f"{module}.{name}"
        if _RUNS.fullmatch(path):
            raise Dangerous(path)
        if path in _KNOWN:
            return _KNOWN[path]
        if path not in self._kinds:
            array = path.endswith("multiarray._reconstruct") and module.startswith("numpy.")
            base = _Array if array else Inert
            self._kinds[path] = type("Inert", (base,), {"kind": path})
        return self._kinds[path]

    def persistent_load(self, pid: Any, /) -> Any:
        """The numbers of a tensor; what else is stored apart is not looked at."""
        if not isinstance(pid, tuple) or len(pid) < 5 or pid[0] != "storage" or any(pid[5:]):
            raise pickle.UnpicklingError("something is stored apart that is no tensor")
        kind = getattr(pid[1], "kind", "").rpartition(".")[2]
        if kind not in _DTYPES or not isinstance(pid[4], int) or not 0 <= pid[4] < _MOST:
            raise pickle.UnpicklingError(f"tensors of {kind or 'another kind'} are not read")
        return self._storage(str(pid[2]), _DTYPES[kind], pid[4])


def read(path: Path, archive: bool) -> Any:
    """What a file of torch, or a pickle, holds, with `Inert` for what is not known here.

    archive: whether it is one of torch's zip archives.

    Raises:
        Dangerous: if it names what runs programs.
        Exception: whatever a damaged file leads to; `UNREADABLE` of weights.py has them.
    """
    if archive:
        return _plain(_of_archive(path), {})
    with path.open("rb") as file:
        return _plain(_of_stream(file, path.stat().st_size), {})


def _of_archive(path: Path) -> Any:
    with zipfile.ZipFile(path) as archive:
        record = next(name for name in archive.namelist() if name.partition("/")[2] == "data.pkl")
        root = record.partition("/")[0]
        if _is_big_endian(archive, root):
            raise ValueError("it was written on a machine of the other byte order")
        known: dict[str, _Storage] = {}

        def storage(key: str, dtype: torch.dtype, _numbers: int) -> _Storage:
            if key not in known:
                known[key] = _Storage(bytearray(archive.read(f"{root}/data/{key}")), dtype)
            return known[key]

        return _Unpickler(io.BytesIO(archive.read(record)), storage).load()


def _is_big_endian(archive: zipfile.ZipFile, root: str) -> bool:
    try:
        return archive.read(f"{root}/byteorder") == b"big"
    except KeyError:
        return False


def _of_stream(file: BinaryIO, size: int) -> Any:
    """Of torch before 1.6: a number, a version, the machine, the content, keys, then the numbers.

    Anything else is one pickled object.
    """
    known: dict[str, _Storage] = {}
    left = size

    def storage(key: str, dtype: torch.dtype, numbers: int) -> _Storage:
        nonlocal left
        if key not in known:
            left -= numbers * dtype.itemsize
            if left < 0:
                raise EOFError("it is shorter than its tensors")
            known[key] = _Storage(bytearray(numbers * dtype.itemsize), dtype)
        return known[key]

    first = _Unpickler(file, storage).load()
    if first != MAGIC:
        return first
    for _version_and_machine in range(2):
        _Unpickler(file, storage).load()
    content = _Unpickler(file, storage).load()
    for key in _Unpickler(file, storage).load():
        file.seek(8, io.SEEK_CUR)  # how many numbers, which the content said
        data = known[str(key)].data
        if file.readinto(data) != len(data):  # type: ignore[attr-defined]
            raise EOFError("it is shorter than its tensors")
    return content


def _plain(value: Any, known: dict[int, Any]) -> Any:
    """With arrays as tensors, in the mappings that weights are in.

    known: what became of each so far, by its id; a file may refer to one from many places.
    """
    if isinstance(value, _Array):
        return value.tensor()
    inner = value.mapping() if isinstance(value, Inert) else value
    if not isinstance(inner, Mapping) or not inner:
        return value
    if id(value) not in known:
        known[id(value)] = None  # in one that holds itself
        known[id(value)] = {key: _plain(each, known) for key, each in inner.items()}
    return known[id(value)]
