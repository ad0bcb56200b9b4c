"""What was found once: each file of `corpus`, by the reader that it is named after.

A text `@deep-N@` in it stands for N levels of brackets: nothing is kept that another program could
be harmed by.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.harness import ends
from tests.fuzz.readers import READERS
from tests.fuzz.spoiling import DEEP, DEPTHS

CORPUS = Path(__file__).parent / "corpus"
FILES = sorted(path for path in CORPUS.glob("*/*") if path.is_file())


def test_every_file_has_a_reader() -> None:
    assert FILES
    assert {path.parent.name for path in FILES} <= READERS.keys()


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_it_ends_in_words(path: Path, folder: Path) -> None:
    content = path.read_bytes()
    for depth in DEPTHS:
        written = f'"{DEEP.format(depth)}"'.encode()
        content = content.replace(written, b"[" * depth + b"]" * depth)
    reader = READERS[path.parent.name]
    with ends(*reader.named):
        reader.read(content, folder)
