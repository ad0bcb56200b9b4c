"""The checkpoint before the latest, uploads beside the training, and what a failed one costs."""

from __future__ import annotations

import os
from pathlib import Path
from threading import Event

import pytest

from dino_api.names import MANIFEST_FILE
from dino_trainer.errors import TrainerError
from dino_trainer.model_files import checkpoint
from dino_trainer.model_files.checkpoint import BEST, LATEST, PREVIOUS
from dino_trainer.results import output as output_module
from dino_trainer.results.output import Output
from tests.patience import LONG
from tests.unit.durability import Place, said_by


def save(output: Output, step: int) -> None:
    """As the training does."""
    folder = output.dir
    checkpoint.write({"step": step, "ballast": "x" * 5000}, folder / LATEST, folder / PREVIOUS)
    output.publish_soon(LATEST, PREVIOUS)


def step_of(path: Path | None) -> int | None:
    return None if path is None else checkpoint.read(path)["step"]


def steps(output: Output) -> tuple[int | None, int | None]:
    """Of the latest checkpoint and of the one before, as the next run finds them."""
    return step_of(output.fetch(LATEST)), step_of(output.fetch(PREVIOUS))


def test_the_one_before_is_kept(place: Place) -> None:
    output = place.open()
    for step in (1, 2, 3):
        save(output, step)
        output.settle()
    assert steps(place.open()) == (3, 2)
    listed = place.open().published()
    assert listed[LATEST].sha256 != listed[PREVIOUS].sha256
    output.remove(PREVIOUS)
    output.settle()
    assert steps(place.open()) == (3, None)
    assert set(place.open().published()) == {LATEST}


DAMAGE = {
    "a truncated upload": lambda data: data[:3000],
    "nothing of it": lambda _: b"",
    "a changed byte": lambda data: data[:2000] + bytes([data[2000] ^ 1]) + data[2001:],
    "a missing object": lambda _: None,
}


@pytest.mark.parametrize("case", DAMAGE)
def test_what_is_damaged_gives_way_and_never_replaces_the_whole(case: str, place: Place) -> None:
    output = place.open()
    for step in (1, 2):
        save(output, step)
        output.settle()
    place.write(LATEST, DAMAGE[case](place.read(LATEST)))
    said: list[str] = []
    output = place.open(said)
    assert steps(output) == (None, 1)
    assert said_by(said, LATEST)
    save(output, 3)
    output.settle()
    assert steps(place.open()) == (3, 1)


def test_names_may_hold_folders(place: Place) -> None:
    output = place.open()
    (output.dir / "tensorboard").mkdir()
    for content in ("one", "one and two"):
        (output.dir / "tensorboard" / "events.1").write_text(content)
        output.offer("tensorboard/events.1")
    output.settle()
    path = place.open().fetch("tensorboard/events.1")
    assert path is not None
    assert path.read_text() == "one and two"


def test_what_was_removed_is_gone_here_and_there(place: Place) -> None:
    output = place.open()
    (output.dir / "model_epoch_001.pth").write_bytes(b"weights")
    output.publish_soon("model_epoch_001.pth")
    output.remove("model_epoch_001.pth")
    output.remove("never_there.pth")
    output.settle()
    assert not output.exists("model_epoch_001.pth")
    assert not (output.dir / "model_epoch_001.pth").exists()
    assert place.open().published() == {}


def test_a_slow_server_gets_the_newest_alone(slow_place: Place) -> None:
    """What is sent is what the file was; what never went out is dropped."""
    output = slow_place.open()
    save(output, 1)
    assert slow_place.proxy.holding.wait(LONG)
    for step in (2, 3, 4):
        (output.dir / BEST).write_bytes(bytes([step]))
        output.publish_soon(BEST)
        save(output, step)
    assert len(list((output.dir / ".uploads").iterdir())) == 3
    slow_place.proxy.release()
    output.settle()
    assert slow_place.read(BEST) == bytes([4])
    assert steps(slow_place.open()) in ((4, 1), (4, None)), "the first may have been outdated"
    assert list((output.dir / ".uploads").iterdir()) == []


def test_a_small_file_is_sent_as_it_was_offered(slow_place: Place) -> None:
    output = slow_place.open()
    save(output, 1)
    with (output.dir / "status.json").open("w") as file:
        file.write("one\n")
        file.flush()
        output.offer("status.json")
        file.write("half a li")
    slow_place.proxy.release()
    output.settle()
    assert slow_place.read("status.json") == b"one\n"


def test_without_hard_links_a_copy_is_sent(
    slow_place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    slow_place.proxy.release()
    output = slow_place.open()
    save(output, 1)
    output.settle()
    assert steps(slow_place.open()) == (1, None)


def test_a_failed_upload_is_raised_at_the_next_save(
    slow_place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DINO_STORAGE_PATIENCE", "0")
    output = slow_place.open()
    output.claim("digest")
    slow_place.proxy.refusing.set()
    save(output, 1)
    for again in (output.settle, lambda: save(output, 2)):
        with pytest.raises(TrainerError, match=f"{LATEST} is kept at {output.dir}") as caught:
            again()
        assert caught.value.exit_code == 69
    assert step_of(output.dir / LATEST) == 2


def test_nothing_newer_is_sent_after_a_failure(
    slow_place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A latest checkpoint beside an older best than it knows of would end in the wrong best."""
    monkeypatch.setenv("DINO_STORAGE_PATIENCE", "0")
    slow_place.hold(BEST)
    output = slow_place.open()
    output.claim("digest")
    (output.dir / BEST).write_bytes(b"weights")
    output.publish_soon(BEST)
    assert slow_place.proxy.holding.wait(LONG)
    save(output, 1)
    slow_place.proxy.refusing.set()
    slow_place.proxy.release()
    with pytest.raises(TrainerError, match=BEST):
        output.settle()
    slow_place.proxy.refusing.clear()
    assert slow_place.open().published() == {}


def test_a_small_file_that_cannot_be_sent_costs_nothing(
    slow_place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DINO_STORAGE_PATIENCE", "0")
    said: list[str] = []
    output = slow_place.open(said)
    output.claim("digest")
    slow_place.proxy.refusing.set()
    (output.dir / "status.json").write_text("{}")
    output.offer("status.json")
    output.settle()
    assert said_by(said, "status.json is not published")
    assert output.finish() == ""


def test_a_stop_leaves_an_upload_that_hangs(
    slow_place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output_module, "STOP_SECONDS", 0.3)
    stop = Event()
    output = slow_place.open(stop=stop)
    save(output, 1)
    assert slow_place.proxy.holding.wait(LONG)
    stop.set()
    with pytest.raises(TrainerError, match=f"Stopped before {LATEST} was published") as caught:
        output.settle()
    assert caught.value.reason == "Preempted"
    assert f"{LATEST} could not be published within" in output.finish()
    assert output.stuck


def test_a_manifest_that_is_lost_loses_no_checkpoint(s3_place: Place) -> None:
    """Each object proves itself, also where it was copied by the server."""
    output = s3_place.open()
    for step in (1, 2):
        save(output, step)
        output.settle()
    s3_place.write(MANIFEST_FILE, b"{")
    s3_place.write(LATEST, b"cut", Metadata={"sha256": "0" * 64})
    assert steps(s3_place.open()) == (None, 1)


def test_a_server_that_cannot_copy_costs_the_one_before(
    s3_place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dino_trainer.storage.s3 import S3Store

    def copy(self: S3Store, key: str, to: str) -> None:
        raise TrainerError("AccessDenied", f"no copy of {key}.")

    monkeypatch.setattr(S3Store, "copy", copy)
    said: list[str] = []
    output = s3_place.open(said)
    for step in (1, 2):
        save(output, step)
        output.settle()
    assert said_by(said, f"The {LATEST} before this one is not kept: no copy of {LATEST}.")
    assert steps(s3_place.open()) == (2, None)


def test_a_copy_in_parts_proves_itself_too(
    s3_place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dino_trainer.storage import s3

    parts = s3.TransferConfig(multipart_threshold=5 << 20, multipart_chunksize=5 << 20)
    monkeypatch.setattr(s3, "_COPY", parts)
    output, content = s3_place.open(), os.urandom(12 << 20)
    for data in (content, b"newer"):
        (output.dir / LATEST).write_bytes(data)
        output.publish(LATEST, PREVIOUS)
    s3_place.write(MANIFEST_FILE, b"{")
    path = s3_place.open().fetch(PREVIOUS)
    assert path is not None
    assert path.read_bytes() == content
    s3_place.write(PREVIOUS, content[:-1])
    assert s3_place.open().fetch(PREVIOUS) is None
