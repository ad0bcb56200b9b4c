"""The cache of staged data: shared by writers that may die, come at once, or run out of disk."""

from __future__ import annotations

import gzip
import hashlib
import io
import itertools
import json
import multiprocessing
import os
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ResponseStreamingError

from dino_trainer.data import lock as lock_module
from dino_trainer.data.archive import take_in
from dino_trainer.data.byte_streams import CHUNK, Fetch, FetchedInParts, GzipReader, ReadAhead
from dino_trainer.data.cache import DataCache
from dino_trainer.data.image_store import Member
from dino_trainer.data.lock import Lock
from dino_trainer.data.stage import stage
from dino_trainer.errors import TrainerError
from dino_trainer.storage.opening import open_store
from dino_trainer.storage.s3 import S3Store
from dino_trainer.storage.store import StoreEntry
from tests.patience import LONG, Patience
from tests.unit.coco_builders import Source, a_folder, an_archive, jpeg, pack
from tests.unit.s3_server import BUCKET, S3Server

pytestmark = pytest.mark.usefixtures("silent_meters")


def quiet(_: str) -> None:
    """Hears nothing."""


def write(into: Path) -> None:
    (into / "file").write_text("content")


def test_an_entry_is_built_once_by_whoever_comes_first(tmp_path: Path) -> None:
    log: list[str] = []
    said: list[str] = []

    def build(into: Path) -> None:
        log.append("built")
        waiting = Patience(60)
        while len(said) < 3 and waiting.lasts():  # until all others have come
            time.sleep(0.01)
        (into / "file").write_text("content")

    def job(_: int) -> str:
        entry = DataCache(tmp_path, said.append).once("objects/a", "it", build)
        return (entry / "file").read_text()

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(job, range(4))) == {"content"}
    assert log == ["built"]
    assert said == ["Another process is at it; waiting for it."] * 3
    assert left_over(tmp_path) == []


def left_over(root: Path) -> list[Path]:
    """Locks and half-written entries."""
    return [*root.glob("leases/*"), *root.glob("tmp/*"), *root.rglob("*.part")]


def test_a_writer_that_fails_leaves_nothing_and_the_next_one_writes(tmp_path: Path) -> None:
    cache = DataCache(tmp_path, quiet)

    def fail(into: Path) -> None:
        (into / "half").write_text("x")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        cache.once("objects/a", "it", fail)
    assert left_over(tmp_path) == []
    assert (cache.once("objects/a", "it", write) / "file").exists()


def killed(process: BaseProcess) -> None:
    process.kill()
    process.join()


def at_work(root: Path, host: str = "") -> BaseProcess:
    """A process that is at `objects/a`, on this machine or on another one."""

    def work() -> None:
        if host:
            socket.gethostname = lambda: host
        with DataCache(root, quiet).writing("objects/a", "it") as scratch:
            (scratch / "half").write_text("x")
            time.sleep(600)

    process = multiprocessing.get_context("fork").Process(target=work, daemon=True)
    process.start()
    while not list(root.glob("tmp/*/half")):
        time.sleep(0.01)
    return process


def test_a_dead_writer_on_this_machine_is_succeeded_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock_module, "STALE_SECONDS", LONG)
    killed(at_work(tmp_path))
    assert len(left_over(tmp_path)) == 2
    began = time.monotonic()
    DataCache(tmp_path, quiet).once("objects/a", "it", write)
    assert time.monotonic() - began < LONG / 2
    assert left_over(tmp_path) == [], "with what it left half done"


class WaiterClock:
    """The clock of who waits for the lock at `path`: a second passes from look to look.

    While `holder` lives, it has touched the lock in each of them, however slow the machine is. It
    is killed after ten; dead: the seconds since then.
    """

    def __init__(self, path: Path, holder: BaseProcess) -> None:
        self._path, self._holder = path, holder
        self._now, self.dead = 0.0, 0

    def monotonic(self) -> float:
        self._now += 1
        if self._now <= 10:
            self._wait_for_a_touch()
        else:
            killed(self._holder)
            self.dead += 1
        return self._now

    def _wait_for_a_touch(self) -> None:
        before, waiting = self._path.stat().st_mtime_ns, Patience(60)
        while self._path.stat().st_mtime_ns == before:
            assert waiting.lasts(), "it shows no life"
            time.sleep(0.01)


def test_a_writer_elsewhere_is_succeeded_once_it_shows_no_life(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock_module, "LOCK_BEAT_SECONDS", 0.1)
    monkeypatch.setattr(lock_module, "STALE_SECONDS", 3.0)
    monkeypatch.setattr(lock_module, "_POLL_SECONDS", 0.02)
    clock = WaiterClock(tmp_path / "leases" / "objects-a", at_work(tmp_path, "another-node"))
    monkeypatch.setattr("filelock._soft.time", clock)
    DataCache(tmp_path, quiet).once("objects/a", "it", write)
    assert clock.dead > 2, "not while it was alive, nor at once"
    assert left_over(tmp_path) == []


def test_a_holder_shows_life_and_gives_up_only_what_is_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock_module, "LOCK_BEAT_SECONDS", 0.02)
    lock = Lock(tmp_path / "lock", "it", quiet)
    lock.take()
    os.utime(lock.path, ns=(1, 1))
    waiting = Patience(60)
    while lock.path.stat().st_mtime_ns == 1:
        assert waiting.lasts(), "it shows no life"
        time.sleep(0.02)
    lock.path.unlink()
    lock.path.write_text("another's")
    lock.release()
    assert lock.path.exists()


def test_waiting_can_be_ended(tmp_path: Path) -> None:
    other = at_work(tmp_path)

    def stop(_: str) -> None:
        raise TrainerError("Preempted", "Stopped while staging the data.")

    with pytest.raises(TrainerError, match="Stopped"):
        DataCache(tmp_path, stop).once("objects/a", "it", write)
    killed(other)


def test_the_locks_of_earlier_releases_lie_elsewhere(tmp_path: Path) -> None:
    """filelock would take what they wrote for a broken lock after two seconds."""
    (tmp_path / "locks").mkdir()
    held = tmp_path / "locks" / "objects-a"
    held.write_text("other 1 another-node")
    DataCache(tmp_path, quiet).once("objects/a", "it", write)
    assert held.exists()


def test_a_note_that_is_no_json_is_no_note(tmp_path: Path) -> None:
    cache = DataCache(tmp_path, quiet)
    assert cache.note("a") is None
    cache.write_note("a", {"blake3": "x"})
    assert cache.note("a") == {"blake3": "x"}
    for damaged in ("", "{", "[1]"):
        (tmp_path / "notes" / "a.json").write_text(damaged)
        assert cache.note("a") is None


def _stage_in_a_process(root: str, archive: str, annotations: str, answer: str) -> None:
    [staged] = stage([Source(archive, annotations)], Path(root), quiet)
    Path(answer).write_text(json.dumps([str(staged.images), staged.digest]))


def test_processes_that_stage_one_archive_at_once_agree(tmp_path: Path) -> None:
    folder = a_folder(tmp_path / "data", 200)
    archive = an_archive(tmp_path / "images.tar.gz", count=200)
    answers = [tmp_path / f"answer{n}" for n in range(3)]
    context = multiprocessing.get_context("fork")
    jobs = [
        context.Process(
            target=_stage_in_a_process,
            args=(str(tmp_path / "w"), str(archive), f"{folder}/annotations.json", str(answer)),
        )
        for answer in answers
    ]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join(LONG)
        assert job.exitcode == 0
    [told] = {answer.read_text() for answer in answers}
    assert json.loads(told)[0] == f"images/ of {archive}"
    assert len([*(tmp_path / "w").glob("content/*")]) == 1
    [index] = (tmp_path / "w").glob("indexes/*")
    assert len(json.loads(index.read_text())["files"]) == 200
    assert left_over(tmp_path / "w") == []


def test_equal_archives_in_two_places_are_kept_once(tmp_path: Path) -> None:
    folder = a_folder(tmp_path / "data")
    first = an_archive(tmp_path / "a" / "images.tar.gz")
    second = tmp_path / "b" / "images.tar.gz"
    second.parent.mkdir()
    second.write_bytes(first.read_bytes())
    one, two = stage(
        [Source(str(path), f"{folder}/annotations.json") for path in (first, second)],
        tmp_path / "w",
        quiet,
    )
    assert one == two
    assert one.fixed
    assert len(list((tmp_path / "w" / "content").iterdir())) == 1


def test_a_changed_archive_leaves_readers_of_the_old_one_alone(tmp_path: Path) -> None:
    folder = a_folder(tmp_path / "data")
    archive = an_archive(tmp_path / "images.tar.gz")
    source = Source(str(archive), f"{folder}/annotations.json")
    [old] = stage([source], tmp_path / "w", quiet)
    archive.unlink()
    pack(archive, [("images/9.jpg", b"new")])
    [new] = stage([source], tmp_path / "w", quiet)
    assert new.digest != old.digest
    old_image, new_image = old.images.find("1.jpg"), new.images.find("9.jpg")
    assert old_image
    assert new_image
    assert old_image.read_bytes() == jpeg(40)
    assert new_image.read_bytes() == b"new"


def cut_tar(root: Path) -> None:
    [tar] = root.glob("content/*.tar")
    os.truncate(tar, tar.stat().st_size - 4096)


def cut_index(root: Path) -> None:
    [index] = root.glob("indexes/*.json")
    os.truncate(index, 0)


def lose_index(root: Path) -> None:
    [index] = root.glob("indexes/*.json")
    index.unlink()


@pytest.mark.parametrize("damage", [cut_tar, cut_index, lose_index])
def test_what_a_crash_cut_off_is_taken_in_again(
    damage: Callable[[Path], None], tmp_path: Path
) -> None:
    folder = a_folder(tmp_path / "data")
    archive = an_archive(tmp_path / "images.tar.gz")
    source = Source(str(archive), f"{folder}/annotations.json")
    [staged] = stage([source], tmp_path / "w", quiet)
    damage(tmp_path / "w")
    said: list[str] = []
    assert stage([source], tmp_path / "w", said.append) == [staged]
    assert len(said) == 1
    for n in (1, 2, 3):
        image = staged.images.find(f"{n}.jpg")
        assert image
        assert image.read_bytes() == jpeg(40 * n)


def test_jobs_share_the_folder_that_the_environment_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, s3_server: S3Server
) -> None:
    monkeypatch.setenv("DINO_CACHE_DIR", str(tmp_path / "cache"))
    folder, base = a_folder(tmp_path / "data"), f"s3://{BUCKET}/{tmp_path.name}"
    store = open_store(base)
    store.upload(an_archive(tmp_path / "i.tar.gz"), "i.tar.gz")
    store.upload(folder / "annotations.json", "a.json")
    source = Source(f"{base}/i.tar.gz", f"{base}/a.json")
    said: list[str] = []
    [first] = stage([source], tmp_path / "pod1", said.append)
    assert len(said) == 2
    [second] = stage([source], tmp_path / "pod2", said.append)
    assert len(said) == 2
    assert first == second
    image = second.images.find("1.jpg")
    assert isinstance(image, Member)
    assert image.tar.is_relative_to(tmp_path / "cache")
    assert not (tmp_path / "pod1").exists()


def test_an_escape_from_an_archive_on_s3_is_refused(tmp_path: Path, s3_server: S3Server) -> None:
    folder, base = a_folder(tmp_path / "data"), f"s3://{BUCKET}/{tmp_path.name}"
    evil = pack(tmp_path / "evil.tar.gz", [("images/1.jpg", b"x"), ("../../evil", b"evil")])
    open_store(base).upload(evil, "evil.tar.gz")
    with pytest.raises(TrainerError, match=r"'\.\./\.\./evil'.*leaves the folder") as caught:
        stage([Source(f"{base}/evil.tar.gz", f"{folder}/annotations.json")], tmp_path / "w", quiet)
    assert caught.value.exit_code == 65
    assert not list(tmp_path.rglob("evil"))
    assert left_over(tmp_path / "w") == []


def test_an_object_that_is_replaced_while_it_comes_is_noticed(
    tmp_path: Path, s3_server: S3Server
) -> None:
    store = open_store(f"s3://{BUCKET}/{tmp_path.name}")
    store.write_bytes(b"first content", "a")
    entry = store.head("a")
    assert entry is not None
    assert store.read_part(entry, 6, 13) == [b"content"]
    store.write_bytes(b"other content", "a")
    with pytest.raises(TrainerError, match="was replaced while it was downloaded") as caught:
        store.read_part(entry, 0, 5)
    assert caught.value.rule.retry == "counted"
    local = open_store(str(tmp_path))
    (tmp_path / "b").write_bytes(b"first content")
    entry = local.head("b")
    assert entry is not None
    assert local.read_part(entry, 6, 13) == [b"content"]
    (tmp_path / "b").write_bytes(b"longer content")
    with pytest.raises(TrainerError, match="was replaced"):
        local.read_part(entry, 0, 5)


def test_an_object_goes_on_where_it_broke_off(
    tmp_path: Path, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection breaks in the second piece; what came before is not read anew."""
    content = random.Random(0).randbytes(3 << 20)
    store = open_store(f"s3://{BUCKET}/{tmp_path.name}", quiet)
    store.write_bytes(content, "a")
    entry = store.head("a")
    assert entry is not None
    assert isinstance(store, S3Store)
    asked, plain = [], store._open

    def opened(s3: Any, entry: StoreEntry, start: int, end: int) -> Any:
        asked.append(start)
        body = plain(s3, entry, start, end)
        return Breaking(body) if len(asked) == 1 else body

    monkeypatch.setattr(store, "_open", opened)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    assert b"".join(store.stream(entry, 0, len(content))) == content
    assert asked == [0, 1 << 20]


def test_a_server_that_sends_the_whole_for_a_part_is_not_believed(
    tmp_path: Path, s3_server: S3Server
) -> None:
    """As behind a proxy that drops the Range header: the start would be put where the rest is."""
    store = open_store(f"s3://{BUCKET}/{tmp_path.name}", quiet)
    assert isinstance(store, S3Store)
    store.write_bytes(b"first content", "a")
    entry = store.head("a")
    assert entry is not None
    closed: list[bool] = []

    class Deaf:
        def get_object(self, **_: str) -> dict[str, Any]:
            body = SimpleNamespace(close=lambda: closed.append(True))
            return {"ETag": entry.etag, "Body": body}

    with pytest.raises(TrainerError, match=r"does not send the part of s3://.*\(bytes=6-12\)"):
        store._open(Deaf(), entry, 6, 13)  # type: ignore[arg-type]  # all that is asked of it
    assert closed == [True]
    store._open(Deaf(), entry, 0, 13)  # type: ignore[arg-type]


class Breaking:
    """A body whose connection breaks in its second piece."""

    def __init__(self, body: Any) -> None:
        self.body, self.pieces = body, 0

    def read(self, amt: int) -> bytes:
        self.pieces += 1
        if self.pieces > 1:
            self.body.close()
            raise ResponseStreamingError(error="reset by peer")
        return bytes(self.body.read(amt))


def in_pieces(content: bytes, asked: list[tuple[int, int]], piece: int = 100) -> Fetch:
    """What a store does, and notes what it is asked for."""

    def fetch(start: int, end: int) -> Iterator[bytes]:
        asked.append((start, end))
        for at in range(start, end, piece):
            yield content[at : min(at + piece, end)]

    return fetch


def all_of(stream: FetchedInParts, size: int = 333) -> bytes:
    return b"".join(iter(lambda: bytes(stream.read(size)), b""))


def test_a_fast_object_comes_by_one_request() -> None:
    content, asked = random.Random(0).randbytes(10_000), list[tuple[int, int]]()
    fetch = in_pieces(content, asked)
    with FetchedInParts(fetch, len(content), part=700, clock=lambda: 0.0) as stream:
        assert all_of(stream) == content
    assert asked == [(0, 10_000)]


def test_a_slow_object_comes_in_several_parts_at_a_time() -> None:
    """After the pieces that show it, in order however they arrive."""
    content, asked = random.Random(0).randbytes(10_000), list[tuple[int, int]]()
    plain = in_pieces(content, asked)

    def fetch(start: int, end: int) -> Iterator[bytes]:
        time.sleep(0.002 * (start % 3))
        yield from plain(start, end)

    clock = itertools.count()
    with FetchedInParts(
        fetch, len(content), part=700, window=5, clock=lambda: float(next(clock))
    ) as stream:
        assert all_of(stream) == content
    assert asked[0] == (0, 10_000)
    assert sorted(asked[1:]) == [(at, min(at + 700, 10_000)) for at in range(900, 10_000, 700)]


def test_an_object_that_becomes_slow_is_fetched_in_parts() -> None:
    content, asked = bytes(10_000), list[tuple[int, int]]()
    now = [0.0]

    def clock() -> float:
        now[0] += 1.0 if len(read) > 5000 else 0.0
        return now[0]

    read = bytearray()
    with FetchedInParts(in_pieces(content, asked), 10_000, part=700, clock=clock) as stream:
        while data := stream.read(100):
            read += data
    assert bytes(read) == content
    assert asked[0] == (0, 10_000)
    assert 5000 < asked[1][0] < 6500


@pytest.mark.parametrize("slow", [False, True])
def test_a_part_that_fails_ends_the_reading(slow: bool) -> None:
    plain = in_pieces(bytes(10_000), [])

    def fetch(start: int, end: int) -> Iterator[bytes]:
        for at, piece in zip(range(start, end, 100), plain(start, end), strict=True):
            if at >= 2900:
                raise TrainerError("StorageUnavailable", "away")
            yield piece

    clock = itertools.count()
    with FetchedInParts(fetch, 10_000, 500, clock=lambda: float(slow and next(clock))) as stream:
        assert [len(stream.read(100)) for _ in range(29)] == [100] * 29
        with pytest.raises(TrainerError, match="away"):
            stream.read(100)


def test_leaving_a_stream_drops_what_is_under_way() -> None:
    closed = []

    def fetch(start: int, end: int) -> Iterator[bytes]:
        try:
            for _ in range(start, end, 100):
                yield bytes(100)
        finally:
            closed.append((start, end))

    for clock in (lambda: 0.0, iter(range(10**6)).__next__):
        closed.clear()
        with FetchedInParts(fetch, 100_000, 500, clock=clock) as stream:
            for _ in range(30):
                assert len(stream.read(100)) == 100
        assert (0, 100_000) in closed
    assert not [one for one in threading.enumerate() if one.name.startswith("fetch")]


def test_a_pumped_stream_is_what_it_pumps() -> None:
    content = random.Random(0).randbytes(3 << 20)
    with ReadAhead(io.BytesIO(content)) as stream:
        assert b"".join(iter(lambda: bytes(stream.read(100_001)), b"")) == content
        assert stream.read(1) == b"", "at the end it stays there"


def test_a_pumped_stream_tells_errors_after_what_came_before_and_may_be_left() -> None:
    class Breaks(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(size) or self.fail()

        def fail(self) -> bytes:
            raise TrainerError("StorageUnavailable", "away")

    with ReadAhead(Breaks(bytes(1000))) as stream:
        assert stream.read(2000) == bytes(1000)
        for _ in range(2):
            with pytest.raises(TrainerError, match="away"):
                stream.read(1)
    before = set(threading.enumerate())  # some of which may end meanwhile: others' servers
    with ReadAhead(io.BytesIO(bytes(64 << 20))) as stream:
        assert len(stream.read(10)) == 10
    assert set(threading.enumerate()) <= before


@pytest.mark.parametrize("members", [1, 3])
@pytest.mark.parametrize("padding", [0, 5000])
def test_gzip_streams(members: int, padding: int) -> None:
    parts = [random.Random(n).randbytes(70_000) + bytes(3 << 20) for n in range(members)]
    packed = b"".join(gzip.compress(part, 1) for part in parts) + bytes(padding)
    stream = GzipReader(io.BytesIO(packed))
    digest = hashlib.sha256()
    while block := stream.read(100_000):
        assert len(block) <= 100_000
        digest.update(block)
    assert digest.digest() == hashlib.sha256(b"".join(parts)).digest()


def test_photographs_are_inflated_in_as_many_pieces_as_are_read() -> None:
    """What is left over of each would be a piece of its own, and wake the next thread twice."""
    # Random bytes would be stored; of these gzip saves a hundredth, as of a JPEG.
    content = random.Random(0).randbytes(3 << 20).translate(bytes(n % 240 for n in range(256)))
    asked: list[int] = []

    class Noting(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            data = super().read(size)
            asked.extend([1] if data else [])
            return data

    stream = GzipReader(Noting(gzip.compress(content, 6)))
    pieces = list(iter(lambda: bytes(stream.read(CHUNK)), b""))
    assert b"".join(pieces) == content
    assert len(pieces) <= len(asked)
    assert max(map(len, pieces)) <= CHUNK


@pytest.mark.parametrize("spoil", ["cut", "flip", "tail"])
def test_a_damaged_archive_that_comes_as_a_stream_is_refused(spoil: str, tmp_path: Path) -> None:
    content = bytearray(an_archive(tmp_path / "a.tar.gz", count=20).read_bytes())
    if spoil == "cut":
        del content[-200:]
    elif spoil == "flip":
        content[len(content) // 2] ^= 255
    else:
        content += b"something else"
    with (
        FetchedInParts(
            lambda start, end: iter([bytes(content[start:end])]), len(content), part=64
        ) as stream,
        pytest.raises(TrainerError, match="damaged or ends early") as caught,
    ):
        take_in(stream, tmp_path / "into", name="s3://b/a.tar.gz")
    assert caught.value.exit_code == 65
    assert "s3://b/a.tar.gz" in caught.value.message
    assert not (tmp_path / "into").exists()
