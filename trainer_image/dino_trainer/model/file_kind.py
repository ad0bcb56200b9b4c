"""What a file is by its content: what is given for a checkpoint is often something else.

A format of models that is a ZIP archive is told from others in `_zip`.
"""

from __future__ import annotations

import re
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dino_api.formats import CALLED, Format
from dino_api.reported import without_middle
from dino_trainer import first_bytes
from dino_trainer.first_bytes import COMPRESSED, HEAD, Signature

Reader = Literal["torch", "pickle", "safetensors", ""]
"""Who reads it: an archive of torch, pickled data (torch before 1.6, and others), or nobody."""

_WHOLE = "Copy or download it again, and compare its size with the original's."
_UNPACK = "Unpack it, and name the file of weights within."
_LFS_SIZE = re.compile(rb"\nsize (\d{1,15})\s*$")
# ONNX: ir_version, then the producer, the opset or the graph. Other protobufs begin otherwise.
_ONNX = re.compile(rb"\x08[\x01-\x20](?:[\x12\x1a\x22\x28\x32\x3a\x42\x72])", re.DOTALL)
_ONNX_REMEDY = (
    "Name it where ONNX files are taken (such as evaluate.onnx_file), or name the checkpoint that "
    "it was exported from."
)
_ENGINE_REMEDY = (
    "Name it where engines are taken (such as evaluate.trt_engine), or name the checkpoint that it "
    "was built from."
)
_UNKNOWN = "of no kind that is known here: it may be encrypted or damaged"
ENCRYPTED = (
    "a model that TAO has encrypted with a key",
    "Save it without a key in TAO (train or export again without encryption_key and -k), or take "
    "the unencrypted .pth of the same training.",
)
_WEIGHTS = "Name the file of weights itself."
_INFLATED = "an archive that unpacks to"
_LEAST, _TIMES = 256 << 20, 64
_CHECKPOINT = "Name a checkpoint."
_REMEDIES = {
    Signature.LFS: "Run `git lfs pull` in its repository, or download the file itself.",
    Signature.HTML: "Open the address in a browser: it may ask for a login or a confirmation, or "
    "name another address. Download the file itself.",
    Signature.XML: "Download the file itself.",
    Signature.JSON: _WEIGHTS,
    Signature.TEXT: _WEIGHTS,
    Signature.EMPTY_ZIP: _WHOLE,
    Signature.HDF5: "Its network is not DINO for PyTorch: name a .pth of one.",
    Signature.ENGINE: _ENGINE_REMEDY,
    Signature.NUMPY: "Save a dictionary of tensors by torch.save instead.",
    Signature.GGUF: "Name a checkpoint of a DINO detector.",
    Signature.APPLE_DOUBLE: "Name the file without ._ before its name.",
    **dict.fromkeys(COMPRESSED, _UNPACK),
}
_MORE = {
    Signature.HTML: ": what a server answers in place of a file",
    Signature.JSON: ": a server's answer, a configuration, or the index of a model in parts",
}


@dataclass(frozen=True)
class FileKind:
    """What a file is.

    reader: who can read it; empty for what is no checkpoint. what, remedy: parts of a sentence.
    exported: its format where it is a model that other keys of a spec name.
    """

    reader: Reader
    what: str = ""
    remedy: str = ""
    exported: Format | None = None

    @property
    def format(self) -> Format | None:
        """The format of models that it is of; None for what is none."""
        return "checkpoint" if self.reader else self.exported

    @property
    def unknown(self) -> bool:
        """Whether the content says nothing."""
        return self.what == _UNKNOWN

    @property
    def is_inflated(self) -> bool:
        """Whether its content is of many more bytes than itself."""
        return self.what.startswith(_INFLATED)


def kind_of_file(path: Path) -> FileKind:
    """Tells it by the first bytes, and for archives by what is in them. Raises OSError."""
    with path.open("rb") as file:
        head = file.read(HEAD)
    if not head:
        return FileKind("", "empty", _WHOLE)
    kind = first_bytes.kind_of_bytes(head)
    if kind is None:
        return _binary(path, head)
    if kind is Signature.ZIP:
        return _zip(path)
    what = _pointer(head) if kind is Signature.LFS else f"{kind}{_MORE.get(kind, '')}"
    exported: Format | None = "engine" if kind is Signature.ENGINE else None
    return FileKind("", what, _REMEDIES.get(kind, _CHECKPOINT), exported)


def _pointer(head: bytes) -> str:
    size = _LFS_SIZE.search(head)
    return f"{Signature.LFS}{f' for {int(size[1]):,} bytes' if size else ''}, not the file itself"


def most_within(path: Path) -> int:
    """How many bytes a file of weights may come to: numbers are hardly ever packed, nor said twice.

    More is only there to fill the memory.
    """
    return max(_LEAST, _TIMES * path.stat().st_size)


def refuse_inflated(path: Path) -> None:
    """Refuses a ZIP archive whose members come to much more than itself. Raises ValueError."""
    kind = kind_of_file(path)
    if kind.is_inflated:
        raise ValueError(f"it is {kind.what}")


def _zip(path: Path) -> FileKind:
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, ArithmeticError, EOFError, OSError, RuntimeError, ValueError):
        return FileKind(
            "", "cut off or damaged: it begins as an archive, and its end is missing", _WHOLE
        )
    names = [each.filename for each in members]
    size = sum(each.file_size for each in members)
    if size > most_within(path):
        what = f"{_INFLATED} {size:,} bytes, of {path.stat().st_size:,}"
        return FileKind("", what, _WHOLE)
    inner = {name.partition("/")[2] for name in names}
    if "constants.pkl" in inner:
        remedy = "Save the weights alone: torch.save(model.state_dict(), FILE)."
        return FileKind("", "a TorchScript program", remedy)
    if "data.pkl" in inner:
        return FileKind("torch")
    if names and all(name.endswith(".npy") for name in names):
        return FileKind(
            "", "an archive of NumPy arrays", "Save a dictionary of tensors by torch.save instead."
        )
    return FileKind("", f"a zip archive of other files ({_listed(names)})", _UNPACK)


def _listed(names: list[str]) -> str:
    shown = ", ".join(without_middle(name, 60) for name in names[:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown or "none"


def _binary(path: Path, head: bytes) -> FileKind:
    if _is_safetensors(path, head):
        return FileKind("safetensors")
    if head[:1] == b"\x80" and head[1:2] <= b"\x05":
        return FileKind("pickle")
    if _ONNX.match(head):
        return FileKind("", CALLED["onnx"], _ONNX_REMEDY, "onnx")
    if head[4:8] == b"TFL3":
        return FileKind("", "a TensorFlow Lite file", "Name a checkpoint of PyTorch.")
    if not any(head):
        return FileKind("", "full of zero bytes: its copy or download was never finished", _WHOLE)
    if _is_tar(path):
        return FileKind("", "a tar archive", _UNPACK)
    if path.suffix.lower() in (".tlt", ".etlt", ".hdf5", ".h5"):
        return FileKind("", *ENCRYPTED)
    return FileKind("", _UNKNOWN, _WHOLE)


def _is_tar(path: Path) -> bool:
    """Of broken headers TarFile lets out what their numbers lead to."""
    try:
        return tarfile.is_tarfile(path)
    except (ArithmeticError, EOFError, LookupError, RuntimeError, ValueError):
        return False


def _is_safetensors(path: Path, head: bytes) -> bool:
    """Eight bytes of a length, then a JSON text of that length within the file."""
    length = int.from_bytes(head[:8], "little")
    return head[8:9] == b"{" and 2 <= length <= max(path.stat().st_size, 1 << 20)
