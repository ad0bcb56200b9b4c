"""JSON and its like, whole as a text, with other values in it than are wanted."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dino_api.loading import load
from dino_api.problem import SpecErrors
from tests.fuzz import seeds
from tests.fuzz.harness import ends, fuzzed
from tests.fuzz.readers import READERS
from tests.fuzz.spoiling import as_json, others, texts, values
from tests.fuzz.words import looked_at

SHALLOW = ("katib", "notes")
"""An answer of the API server, and so what is in it, was read before: `answer` has its depth."""
_PIECES = st.sampled_from(
    [
        "a", "b: ", "- ", "\n", "  ", "{", "}", "[", "]", ", ", ": ", "&x ", "*x", "<<: ", "!!int ",
        "!!binary ", "!<t> ", "|\n", ">-\n ", '"', "'", "\\U", "FFFFFFFF", "%YAML 1.", "9" * 4400,
        "---\n", "...\n", "? ", "0x", "1e999", ".nan", "2026-01-01", "#", "${", "}", "\t", "\ufeff",
    ]
)  # fmt: skip


_SAID = (
    "exit code " + "9" * 5000, "Unschedulable", "0/3 nodes are available: ", "OOMKilled",
    "ImagePullBackOff", "CrashLoopBackOff", "exceeded quota: , used: , limited: ", "memory",
    "LocalQueue x doesn't exist", "ErrImagePull: ErrImagePull: ", "Job reason: ",
    "DisruptionTarget",
)  # fmt: skip


@pytest.mark.parametrize("name", seeds.DOCUMENTS)
@fuzzed(40)
@given(data=st.data())
def test_other_values(name: str, data: st.DataObject, folder: Path) -> None:
    changed = data.draw(others(seeds.document(name), deeper=name not in SHALLOW))
    reader = READERS[name]
    with ends(*reader.named):
        reader.read(as_json(changed), folder)


@fuzzed(60)
@given(pieces=st.lists(_PIECES, max_size=24))
def test_scraps_of_yaml(pieces: list[str], folder: Path) -> None:
    content = "".join(pieces).encode(errors="surrogatepass")
    for name in ("spec", "manifest"):
        with ends(*READERS[name].named):
            READERS[name].read(content, folder)


@fuzzed(60)
@given(
    mapping=others(seeds.SPEC, deeper=False),
    overrides=st.lists(
        st.one_of(texts, st.tuples(st.sampled_from(["train.optim.lr", "a.b", "~x"]), texts)),
        max_size=3,
    ),
)
def test_experiments_and_overrides(mapping: object, overrides: list[object]) -> None:
    """As the operator has them, of a DinoJob, and as a command line does."""
    said = [each if isinstance(each, str) else "=".join(each) for each in overrides]  # type: ignore[arg-type]
    with ends(SpecErrors):
        load(mapping, said)  # type: ignore[arg-type]


@fuzzed(40)
@given(whole=others(seeds.document("message"), deeper=True), at=st.integers(0, 4096), more=texts)
def test_last_words_that_are_cut(whole: object, at: int, more: str, folder: Path) -> None:
    content = as_json(whole)[:at] + more.encode(errors="surrogatepass")
    with ends():
        READERS["message"].read(content, folder)


@fuzzed(30)
@given(data=st.data())
def test_words_of_the_cluster(data: st.DataObject) -> None:
    """What a kubelet, a scheduler or a webhook says may be any text."""
    words = [data.draw(st.one_of(texts, st.sampled_from(_SAID))) for _ in range(6)]
    with ends():
        looked_at(words)


@fuzzed(40)
@given(document=values)
def test_anything_for_a_manifest(document: object, folder: Path) -> None:
    for content in (as_json(document), as_json({"kind": "List", "items": document})):
        with ends(*READERS["manifest"].named):
            READERS["manifest"].read(content, folder)
