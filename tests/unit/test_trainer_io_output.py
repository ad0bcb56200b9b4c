"""Results folders, local and on a real S3 server: nothing is lost, nothing damaged is trusted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dino_api.experiment import ExperimentSpec
from dino_api.names import MANIFEST_FILE, Action
from dino_trainer.errors import TrainerError
from dino_trainer.results.output import Output
from dino_trainer.spec.sections import output_folder
from tests.unit.durability import Place
from tests.unit.s3_server import BUCKET, S3Server

pytestmark = pytest.mark.usefixtures("silent_meters")


def save(output: Output, name: str, data: bytes) -> None:
    """As an action does."""
    (output.dir / name).write_bytes(data)
    output.publish(name)


def test_what_was_published_is_fetched_by_the_next_run(place: Place) -> None:
    output = place.open()
    (output.dir / "a.pth").write_bytes(b"weights")
    stored = output.publish("a.pth")
    assert stored.uri == output.uri("a.pth") == f"{place.results_dir}/train/a.pth"
    assert stored.bytes == 7
    assert place.read("a.pth") == b"weights"
    again = place.open()
    path = again.fetch("a.pth")
    assert path == again.dir / "a.pth"
    assert path.read_bytes() == b"weights"
    assert again.published() == {"a.pth": stored}
    assert again.exists("a.pth")


def test_what_is_not_there_is_none(place: Place) -> None:
    output = place.open()
    assert output.fetch("a.pth") is None
    assert not output.exists("a.pth")
    assert output.published() == {}


def test_the_manifest_has_size_and_digest(place: Place) -> None:
    save(place.open(), "a.pth", b"weights")
    entry = json.loads(place.read(MANIFEST_FILE))["files"]["a.pth"]
    assert entry["bytes"] == 7
    assert len(entry["sha256"]) == 64


def test_a_newer_file_replaces_the_older(place: Place) -> None:
    output = place.open()
    save(output, "a.pth", b"one")
    save(output, "a.pth", b"two!")
    path = place.open().fetch("a.pth")
    assert path is not None
    assert path.read_bytes() == b"two!"


@pytest.mark.parametrize("data", [b"", b"weight", b"WEIGHTS"], ids=["empty", "short", "changed"])
def test_a_damaged_file_is_not_used_and_is_reported(data: bytes, place: Place) -> None:
    save(place.open(), "a.pth", b"weights")
    place.write("a.pth", data)
    said: list[str] = []
    assert place.open(said).fetch("a.pth") is None
    assert len(said) == 1
    assert "a.pth differs from what was published" in said[0]


def test_a_run_killed_between_payload_and_manifest_loses_nothing(place: Place) -> None:
    """The newer payload is whole; the manifest still describes the one before."""
    output = place.open()
    save(output, "a.pth", b"one")
    before = place.read(MANIFEST_FILE)
    save(output, "a.pth", b"two!")
    place.write(MANIFEST_FILE, before)
    said: list[str] = []
    path = place.open(said).fetch("a.pth")
    assert path is not None
    assert path.read_bytes() == b"two!"
    assert said == []


def test_a_file_that_was_put_there_by_hand_is_taken(place: Place) -> None:
    place.open()
    place.write("a.pth", b"theirs")
    path = place.open().fetch("a.pth")
    assert path is not None
    assert path.read_bytes() == b"theirs"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{}",
        b'{"files": 3}',
        b'{"files": {"a.pth": 3}}',
        b'{"files": {"a.pth": {}}}',
        b'{"files": {"a.pth": {"sha256": 1, "bytes": 7}}}',
        b'{"files": {"a.pth": {"sha256": "1", "bytes": "many"}}}',
        b'{"files": {}, "specDigest": []}',
    ],
)
def test_a_damaged_manifest_loses_nothing(content: bytes, place: Place) -> None:
    save(place.open(), "a.pth", b"weights")
    place.write(MANIFEST_FILE, content)
    output = place.open()
    assert output.fetch("a.pth") is not None
    save(output, "b.pth", b"more")
    assert "b.pth" in json.loads(place.read(MANIFEST_FILE))["files"]


def test_another_experiment_is_refused_and_changes_nothing(place: Place) -> None:
    output = place.open()
    output.claim("digest-one-of-many")
    save(output, "dino_model_latest.pth", b"weights")
    before = place.read(MANIFEST_FILE)
    with pytest.raises(TrainerError, match="results of another experiment") as caught:
        place.open().claim("digest-two-of-many")
    assert caught.value.exit_code == 64
    assert "another output" in caught.value.remedy
    assert "name it as train.resume_training_checkpoint_path" in caught.value.remedy
    assert place.read(MANIFEST_FILE) == before
    place.open().claim("digest-one-of-many")


def test_a_failed_attempt_without_checkpoint_does_not_own_the_place(place: Place) -> None:
    output = place.open()
    output.claim("digest one")
    save(output, "result.json", b"{}")
    corrected = place.open()
    corrected.claim("digest two")
    save(corrected, "dino_model_latest.pth", b"weights")
    assert json.loads(place.read(MANIFEST_FILE))["specDigest"] == "digest two"
    assert set(place.open().published()) == {"dino_model_latest.pth"}


def test_what_a_failed_attempt_left_out_is_not_said_of_another_spec(place: Place) -> None:
    """Which may leave nothing out, and then writes no list."""
    name, output = "skipped_train_data_sources.json", place.open()
    output.claim("digest one")
    save(output, name, b"{}")
    place.open().claim("digest one")
    assert place.open().exists(name)
    place.open().claim("digest two")
    assert not place.open().exists(name)


def test_a_failed_upload_keeps_the_file_and_says_where(
    own_s3_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DINO_STORAGE_PATIENCE", "1")
    output = Output(f"s3://{BUCKET}/x/train", tmp_path, lambda _: None)
    output.claim("digest")
    (output.dir / "a.pth").write_bytes(b"weights")
    own_s3_server.stop()
    with pytest.raises(TrainerError, match=f"a.pth is kept at {output.dir}") as caught:
        output.publish("a.pth")
    assert caught.value.exit_code == 69
    assert (output.dir / "a.pth").read_bytes() == b"weights"
    own_s3_server.start()
    output.publish("a.pth")
    assert output.exists("a.pth")


def test_two_results_dirs_never_share_local_files(s3_server: S3Server, tmp_path: Path) -> None:
    base = f"s3://{BUCKET}/{tmp_path.name}"
    one, two = (Output(f"{base}/{name}/train", tmp_path) for name in "ab")
    assert one.dir != two.dir


def test_a_results_dir_of_its_own_is_used_as_it_is(tmp_path: Path) -> None:
    spec = ExperimentSpec.model_validate(
        {"results_dir": str(tmp_path), "evaluate": {"results_dir": f"{tmp_path}/here/"}}
    )
    folders = [output_folder(spec, action) for action in (Action.TRAIN, Action.EVALUATE)]
    assert folders == [f"{tmp_path}/train", f"{tmp_path}/here"]
    assert Output(f"{tmp_path}/here/", tmp_path).dir == tmp_path / "here"


def test_without_a_results_dir(tmp_path: Path) -> None:
    with pytest.raises(TrainerError, match="results_dir is not set") as caught:
        Output(output_folder(ExperimentSpec(), Action.TRAIN), tmp_path)
    assert caught.value.exit_code == 64


def test_a_results_dir_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("")
    with pytest.raises(TrainerError, match="x") as caught:
        Output(str(tmp_path / "x" / "train"), tmp_path)
    assert caught.value.exit_code in (66, 69, 77)
