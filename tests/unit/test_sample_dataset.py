"""`make sample-dataset`: digits on a real S3 server, where the printed datasets find them."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from demo import sample
from dino_trainer.storage.opening import open_store
from tests.unit.durability import Place

FEW = {"train": 3, "val": 2, "test": 1}


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample, "WITH_TEST", FEW)


def test_what_it_prints_is_where_the_data_is(
    s3_place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sample.main([s3_place.results_dir]) == 0
    told = yaml.safe_load(capsys.readouterr().out.partition("spec.datasets:\n")[2])
    assert told == {
        "train": [{"uri": f"{s3_place.results_dir}/train"}],
        "validation": [{"uri": f"{s3_place.results_dir}/val"}],
        "test": [{"uri": f"{s3_place.results_dir}/test"}],
    }
    for (source,) in told.values():
        kept = {entry.key for entry in open_store(source["uri"]).list()}
        assert kept == {"images.tar.gz", "annotations.json"}


def test_a_store_that_refuses_ends_in_a_sentence(
    s3_place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    del s3_place
    assert sample.main(["s3://no-such-bucket/digits"]) == 66
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert "no-such-bucket" in said
    assert "Traceback" not in said


def test_a_folder_does_as_well(tmp_path: Path) -> None:
    assert sample.main([str(tmp_path)]) == 0
    assert {path.name for path in tmp_path.iterdir()} == set(FEW)
