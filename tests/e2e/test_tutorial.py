"""docs/tutorial.md on the dev cluster, word for word: from the clone to an ONNX file.

With DINO_RECORD=1 what the page shows is written anew, as it is said now.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest

from demo import storage
from demo.cluster import PATIENCE
from demo.digits import NAMES
from tests.e2e.jobs import Lab
from tests.e2e.shared import one_at_a_time, run_folder
from tests.pages import Block, Shell, assert_shown, blocks, environment, recorded

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "tutorial.md"
NAMESPACE = PREFIX = "tutorial"
LEAST = 0.4
"""mAP50 of training and evaluation; they reached 0.63."""
RECORD = "DINO_RECORD"

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.level0,
    pytest.mark.skipif(
        os.environ.get("CLUSTER") == "current",
        reason="the page brings up the dev cluster, and CLUSTER=current is yours",
    ),
]


def clean(lab: Lab) -> None:
    """Take away what the page makes."""
    gone = ("--ignore-not-found", f"--timeout={PATIENCE}")
    lab.kubectl("delete", "namespace", NAMESPACE, *gone)
    storage.clear(lab.storage, PREFIX)


@pytest.fixture
def terminal(lab: Lab, tmp_path: Path) -> Iterator[Shell]:
    """A reader's, in the clone."""
    clean(lab)
    env = environment(keep=("DINO_DEVCLUSTER_HOME",)) | {"TMPDIR": str(tmp_path)}
    yield Shell(ROOT, env, tmp_path / "notes")
    clean(lab)


def turn(block: Block, run: Path) -> AbstractContextManager[None]:
    """Other tests' processes bring up the same release: Helm refuses two at once."""
    return one_at_a_time(run, "lab") if "helm" in block.text else nullcontext()


def test_the_page_leads_to_a_model(
    terminal: Shell, tmp_path_factory: pytest.TempPathFactory
) -> None:
    run, said, answers = run_folder(tmp_path_factory), "", list[str]()
    for block in blocks(PAGE.read_text()):
        if block.file:
            (terminal.folder / block.file).write_text(block.text)
        elif block.language == "text":
            answers.append(said)
        else:
            with turn(block, run):
                said = terminal.run(block.text)
    if os.environ.get(RECORD):
        PAGE.write_text(recorded(PAGE.read_text(), answers))
    texts = [block.text for block in blocks(PAGE.read_text()) if block.language == "text"]
    for text, answer in zip(texts, answers, strict=True):
        assert_shown(text, answer)

    table = next(each for each in answers if "digits-export" in each and "MAP50" in each)
    scores = [float(number) for number in re.findall(r"100% +(\d\.\d+)", table)]
    assert len(scores) == 2, "of the training and the evaluation"
    assert min(scores) >= LEAST
    page = (terminal.folder / "digits-evaluate-evaluate-report.html").read_text()
    assert all(name in page for name in NAMES)
    picture = (terminal.folder / "digits-train-validation.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
