"""What a file is by its content: what is given for a checkpoint is often something else."""

from __future__ import annotations

import re
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Reader = Literal["torch", "pickle", "safetensors", ""]
"""Who reads it: an archive of torch, pickled data (torch before 1.6, and others), or nobody."""

HEAD = 512
_WHOLE = "Copy or download it again, and compare its size with the original's."
_UNPACK = "Unpack it, and name the file of weights within."
_LFS = re.compile(rb"version https://git-lfs\.github\.com/spec/.*?(?:size (\d+)|$)", re.DOTALL)
_HTML = re.compile(rb"\s*(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html|head|body)\b", re.I | re.DOTALL)
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
_ONNX_FILE, _ENGINE_FILE = "an ONNX file", "a TensorRT engine"
MODELS = {_ONNX_FILE: "onnx", _ENGINE_FILE: "engine"}
"""Kinds that other keys of a spec name."""
ENCRYPTED = (
    "a model that TAO has encrypted with a key",
    "Save it without a key in TAO (train or export again without encryption_key and -k), or take "
    "the unencrypted .pth of the same training.",
)
_MAGIC: tuple[tuple[bytes, str, str], ...] = (
    (
        b"\x89HDF\r\n\x1a\n",
        "an HDF5 file, as Keras and TAO's TensorFlow networks write it",
        "Its network is not DINO for PyTorch: name a .pth of one.",
    ),
    (b"ftrt", _ENGINE_FILE, _ENGINE_REMEDY),
    (b"ptrt", _ENGINE_FILE, _ENGINE_REMEDY),
    (b"\x1f\x8b", "compressed with gzip", _UNPACK),
    (b"BZh", "compressed with bzip2", _UNPACK),
    (b"\xfd7zXZ\x00", "compressed with xz", _UNPACK),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd", _UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", _UNPACK),
    (b"Rar!", "a RAR archive", _UNPACK),
    (b"\x93NUMPY", "a NumPy array", "Save a dictionary of tensors by torch.save instead."),
    (b"GGUF", "a GGUF file of a language model", "Name a checkpoint of a DINO detector."),
    (b"\x89PNG", "a picture", "Name a checkpoint."),
    (b"\xff\xd8\xff", "a picture", "Name a checkpoint."),
    (b"%PDF", "a PDF document", "Name a checkpoint."),
    (b"\x7fELF", "a program", "Name a checkpoint."),
    (
        b"\x00\x05\x16\x07",
        "what macOS puts beside a file (its name begins with ._)",
        "Name the file without ._ before its name.",
    ),
)


@dataclass(frozen=True)
class FileKind:
    """reader: who can read it; empty for what is no checkpoint. what, remedy: sentence's parts."""

    reader: Reader
    what: str = ""
    remedy: str = ""

    @property
    def unknown(self) -> bool:
        """Whether the content says nothing."""
        return self.what == _UNKNOWN


def kind_of(path: Path) -> FileKind:
    """By the first bytes, and for archives by what is in them. Raises OSError."""
    with path.open("rb") as file:
        head = file.read(HEAD)
    if not head:
        return FileKind("", "empty", _WHOLE)
    for begins, what, remedy in _MAGIC:
        if head.startswith(begins):
            return FileKind("", what, remedy)
    if head.startswith(b"PK\x03\x04"):
        return _zip(path)
    return _text(head) or _binary(path, head)


def _zip(path: Path) -> FileKind:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError):
        return FileKind(
            "", "cut off or damaged: it begins as an archive, and its end is missing", _WHOLE
        )
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
    shown = ", ".join(name[:60] for name in names[:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown or "none"


def _text(head: bytes) -> FileKind | None:
    """What can be read as text; a mark of the byte order before it does not matter."""
    if lfs := _LFS.match(head):
        size = f" for {int(lfs[1]):,} bytes" if lfs[1] else ""
        return FileKind(
            "",
            f"a Git LFS pointer{size}, not the file itself",
            "Run `git lfs pull` in its repository, or download the file itself.",
        )
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if _HTML.match(start):
        return FileKind(
            "",
            "an HTML page: what a server answers in place of a file",
            "Open the address in a browser: it may ask for a login or a confirmation, or name "
            "another address. Download the file itself.",
        )
    if start.startswith((b"<?xml", b"<Error")):
        return FileKind(
            "", "an XML text, as object stores answer with an error", "Download the file itself."
        )
    if start.startswith((b"{", b"[")) and _is_text(head):
        return FileKind(
            "",
            "a JSON text: a server's answer, a configuration, or the index of a model in parts",
            "Name the file of weights itself.",
        )
    if _is_text(head):
        return FileKind("", "a text", "Name the file of weights itself.")
    return None


def _is_text(head: bytes) -> bool:
    """Whether it is printable; of a longer file the last character may be cut."""
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        if len(head) < HEAD or error.start < len(head) - 4:
            return False
        text = head[: error.start].decode("utf-8")
    return all(each.isprintable() or each in "\t\r\n\f" for each in text)


def _binary(path: Path, head: bytes) -> FileKind:
    if _is_safetensors(path, head):
        return FileKind("safetensors")
    if head[:1] == b"\x80" and head[1:2] <= b"\x05":
        return FileKind("pickle")
    if _ONNX.match(head):
        return FileKind("", _ONNX_FILE, _ONNX_REMEDY)
    if head[4:8] == b"TFL3":
        return FileKind("", "a TensorFlow Lite file", "Name a checkpoint of PyTorch.")
    if not any(head):
        return FileKind("", "full of zero bytes: its copy or download was never finished", _WHOLE)
    if tarfile.is_tarfile(path):
        return FileKind("", "a tar archive", _UNPACK)
    if path.suffix.lower() in (".tlt", ".etlt", ".hdf5", ".h5"):
        return FileKind("", *ENCRYPTED)
    return FileKind("", _UNKNOWN, _WHOLE)


def _is_safetensors(path: Path, head: bytes) -> bool:
    """Eight bytes of a length, then a JSON text of that length within the file."""
    length = int.from_bytes(head[:8], "little")
    return head[8:9] == b"{" and 2 <= length <= max(path.stat().st_size, 1 << 20)
