"""What a file is by its first bytes: one table, and every reader says the same of a file."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from dino_trainer.data.decode import open_image
from dino_trainer.data.packing import other_by_content
from dino_trainer.errors import TrainerError
from dino_trainer.first_bytes import HEAD, PICTURES, Signature, is_text, kind_of_bytes
from dino_trainer.model import file_kind

BOM = b"\xef\xbb\xbf"
BEGINNINGS: dict[Signature, tuple[bytes, ...]] = {
    Signature.LFS: (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n",),
    Signature.HTML: (
        b"<!DOCTYPE html><p>", BOM + b"<HTML><BODY>404", b"\r\n <!-- a --><head>", b"<body>",
        b"<?xml version='1.0'?>\n<!DOCTYPE html PUBLIC",
    ),
    Signature.SVG: (b"<svg xmlns=", b"<?xml version='1.0'?>\n<!-- by hand -->\n<svg>",
               b"<?xml version='1.0'?><!DOCTYPE svg PUBLIC"),
    Signature.XML: (b"<?xml version='1.0'?><Error>", b"<Error><Code>",
               BOM + b"<?xml?><annotation>"),
    Signature.JSON: (b'{"a": 1}', b"[1, 2]", BOM + b"\n {}"),
    Signature.TEXT: (b"hello", "Häuser\r\n\t\f".encode(), BOM + b"hello"),
    Signature.ZIP: (b"PK\x03\x04\x14\0",), Signature.EMPTY_ZIP: (b"PK\x05\x06" + bytes(18),),
    Signature.GZIP: (b"\x1f\x8b\x08",), Signature.BZIP2: (b"BZh91AY",),
    Signature.XZ: (b"\xfd7zXZ\0\0",),
    Signature.ZSTD: (b"\x28\xb5\x2f\xfd\0",), Signature.SEVEN_ZIP: (b"7z\xbc\xaf\x27\x1c\0\x04",),
    Signature.RAR: (b"Rar!\x1a\x07\x01\0",), Signature.PNG: (b"\x89PNG\r\n\x1a\n",),
    Signature.JPEG: (b"\xff\xd8\xff\xe0",), Signature.GIF: (b"GIF89a", b"GIF87a"),
    Signature.PDF: (b"%PDF-1.7\n",), Signature.POSTSCRIPT: (b"%!PS-Adobe-3.0",),
    Signature.PROGRAM: (b"\x7fELF\x02",), Signature.HDF5: (b"\x89HDF\r\n\x1a\n",),
    Signature.ENGINE: (b"ftrt\0\0", b"ptrt\0\0"), Signature.NUMPY: (b"\x93NUMPY\x01\0v",),
    Signature.GGUF: (b"GGUF\x03\0\0\0",), Signature.APPLE_DOUBLE: (b"\0\x05\x16\x07\0\x02",),
}  # fmt: skip
CASES = [(kind, head) for kind, heads in BEGINNINGS.items() for head in heads]


def test_every_kind_is_shown() -> None:
    assert set(BEGINNINGS) == set(Signature)


@pytest.mark.parametrize("kind, head", CASES)
def test_what_it_is(kind: Signature, head: bytes) -> None:
    assert kind_of_bytes(head) is kind


@pytest.mark.parametrize("head", [b"", bytes(HEAD), b"\x80\x02}", bytes(range(128, 256)), BOM])
def test_what_is_in_no_table(head: bytes) -> None:
    assert kind_of_bytes(head) is None


@pytest.mark.parametrize("kind, head", CASES)
def test_each_reader_says_the_same(kind: Signature, head: bytes, tmp_path: Path) -> None:
    """A checkpoint, an archive, a picture: none of the three is what was asked for."""
    path = tmp_path / "x"
    path.write_bytes(head)
    archive = other_by_content("a.tar.gz", head)
    assert archive is not None
    assert f"a.tar.gz is {kind}" in archive.message
    assert archive.remedy
    found = file_kind.kind_of_file(path)
    assert (found.reader, bool(found.remedy)) == ("", True)
    if kind is not Signature.ZIP:  # whose names are looked at, too
        assert found.what.startswith(kind)
    with pytest.raises(TrainerError) as caught:
        open_image(path)
    said = "what follows is damaged" if kind in PICTURES else f"it is {kind}"
    assert said in caught.value.message


@pytest.mark.parametrize("sign", ["ü", "€", "𝄞"])
def test_the_last_character_of_a_head_may_be_cut(sign: str) -> None:
    raw = sign.encode()
    for kept in range(1, len(raw)):
        head = b"a" * (HEAD - kept) + raw[:kept]
        assert is_text(head)
        assert not is_text(head[1:]), "all of a file, and its end is no character"
        assert not is_text(raw[:kept] + b"a" * (HEAD - kept)), "within, nothing is cut"


@pytest.mark.parametrize("sign", [b"\0", b"\x1b", b"\x1c", b"\x7f", b"\xff"])
def test_what_cannot_be_printed_is_no_text(sign: bytes) -> None:
    assert is_text(b"plain")
    assert not is_text(b"plain" + sign)


def test_many_comments_cost_no_time() -> None:
    """Each more of them doubled it once: seventy would have taken longer than the universe has."""
    before = time.thread_time()
    assert kind_of_bytes((b"<!---->" * 80)[: HEAD - 2] + b"no") is Signature.TEXT
    assert time.thread_time() - before < 10
