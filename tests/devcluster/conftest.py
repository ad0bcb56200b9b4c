"""Makes the dev cluster's modules importable, and gives each test a state folder of its own."""

import sys
from pathlib import Path

import pytest

DEVCLUSTER = Path(__file__).parents[2] / "devcluster"
sys.path.insert(0, str(DEVCLUSTER))


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty state folder."""
    folder = tmp_path / "state"
    monkeypatch.setenv("DINO_DEVCLUSTER_HOME", str(folder))
    return folder
