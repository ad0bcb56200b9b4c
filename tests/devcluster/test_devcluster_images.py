"""Images on their way from buildah's storage to containerd."""

import base64
import io
import json
import os
import shutil
import stat
import subprocess
import tarfile
from pathlib import Path

import pytest
from lib import archive, cleanup, prune, share, storage
from lib.say import ClusterError

NAMES = {
    "dino-trainer": "localhost/dino-trainer:latest",
    "dino-trainer:dev": "localhost/dino-trainer:dev",
    "localhost/dino-trainer": "localhost/dino-trainer:latest",
    "team/dino:1": "localhost/team/dino:1",
    "registry.example.com/dino": "registry.example.com/dino:latest",
    "registry:5000/dino": "registry:5000/dino:latest",
}


@pytest.mark.parametrize("given", NAMES)
def test_names_are_filled_in_as_buildah_does(given: str) -> None:
    assert storage.full_name(given) == NAMES[given]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A storage folder with one image of two layers, in the form that buildah keeps them."""
    layers = [
        {"id": "top", "parent": "low", "diff-digest": "sha256:bb", "diff-size": 2},
        {"id": "low", "diff-digest": "sha256:aa", "diff-size": 1},
    ]
    config = json.dumps({"rootfs": {"diff_ids": ["sha256:aa", "sha256:bb"]}})
    when = "2026-01-01T00:00:00Z"
    names = ["localhost/dino:1"]
    images = [{"id": "c0ffee", "names": names, "layer": "top", "created": when}, {"id": "unnamed"}]
    for name, content in (("overlay-layers/layers", layers), ("overlay-images/images", images)):
        path = tmp_path / f"{name}.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(content))
    key = base64.b64encode(b"sha256:c0ffee").decode()
    path = tmp_path / "overlay-images" / "c0ffee" / f"={key}"
    path.parent.mkdir()
    path.write_text(config)
    return tmp_path


def test_an_image_is_found_with_its_layers_lowest_first(store: Path) -> None:
    image = storage.find(store, "dino:1")
    assert [layer.digest for layer in image.layers] == ["sha256:aa", "sha256:bb"]
    assert image.layers[1].folder == store / "overlay" / "top" / "diff"


def test_an_unknown_image_names_those_there_are(store: Path) -> None:
    with pytest.raises(ClusterError, match=r"no image localhost/dono:1. It has: localhost/dino:1"):
        storage.find(store, "dono:1")


def test_records_that_contradict_each_other_are_refused(store: Path) -> None:
    path = store / "overlay-layers" / "layers.json"
    path.write_text(path.read_text().replace("sha256:bb", "sha256:cc"))
    with pytest.raises(ClusterError, match="contradict"):
        storage.find(store, "dino:1")


def test_an_image_that_another_buildah_replaces_meanwhile_is_read_again(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its record is read, then it is built anew and its old layers go, then the layers are read."""
    path = store / "overlay-images" / "images.json"
    before, read = path.read_text(), storage._read
    stale = [path]

    def replaced(file: Path) -> object:
        if file == path and stale:
            stale.pop()
            return json.loads(before.replace('"top"', '"gone"'))
        return read(file)

    monkeypatch.setattr(storage, "_read", replaced)
    assert len(storage.find(store, "dino:1").layers) == 2


def test_an_image_without_one_of_its_layers_is_refused(store: Path) -> None:
    path = store / "overlay-images" / "images.json"
    path.write_text(path.read_text().replace('"top"', '"gone"'))
    with pytest.raises(ClusterError, match="lacks a part of dino:1: build it again"):
        storage.find(store, "dino:1")


TRAINER = "localhost/dino-trainer"
BUILT = {
    f"{TRAINER}:src-00000000000a": "2026-01-04T00:00:00Z",  # in use, and built before all others
    f"{TRAINER}:src-00000000000b": "2026-01-05T00:00:00Z",
    f"{TRAINER}:src-00000000000c": "2026-01-06T00:00:00Z",
    f"{TRAINER}:src-00000000000d": "2026-01-07T00:00:00Z",
    f"{TRAINER}:dev": "2026-01-01T00:00:00Z",
    f"{TRAINER}-tensorrt:src-00000000000e": "2026-01-01T00:00:00Z",
    "localhost/dino-operator:src-00000000000f": "2026-01-01T00:00:00Z",
    "registry:5000/dino-trainer:src-00000000000b": "2026-01-01T00:00:00Z",
    "localhost/katib-controller:dev": "2026-01-01T00:00:00Z",
}
NODES_OWN = f"{TRAINER}:src-000000000010"  # buildah has forgotten it already


def test_earlier_images_of_one_repository_go_but_the_newest_and_what_runs() -> None:
    current, *_ = BUILT
    loaded = [current, f"{TRAINER}:src-00000000000b", NODES_OWN, "localhost/dino-s3:1234"]
    chosen = [f"{TRAINER}:src-00000000000b", f"{TRAINER}:src-00000000000c", NODES_OWN]
    assert prune.outdated(current, BUILT, loaded, set()) == chosen
    assert prune.outdated(current, BUILT, loaded, {chosen[0]}) == chosen[1:]
    assert prune.outdated(f"{TRAINER}:dev", BUILT, loaded, set()) == []
    assert prune.outdated(f"{TRAINER}:src-00000000000d", {}, [], set()) == []


def test_names_by_digest_go_with_the_last_name_of_an_image() -> None:
    loaded = {"a:1": "sha256:1", "sha256:x": "sha256:1", "b:2": "sha256:2", "sha256:y": "sha256:2"}
    assert prune.orphans(loaded, ["a:1"]) == ["sha256:x"]
    assert prune.orphans({**loaded, "theirs:1": "sha256:1"}, ["a:1"]) == []
    assert prune.orphans(loaded, []) == []


def test_buildahs_images_and_layers_are_listed(store: Path) -> None:
    assert storage.made(store) == {"localhost/dino:1": "2026-01-01T00:00:00Z"}
    assert storage.layer_sizes(store) == {"top": 2, "low": 1}


def test_chain_ids_follow_the_image_specification() -> None:
    low, high = "sha256:" + "a" * 64, "sha256:" + "b" * 64
    assert share.chain_ids([low]) == [low]
    assert share.chain_ids([low, high])[1] == archive.digest(f"{low} {high}".encode())


def test_the_folder_of_a_fresh_snapshot_is_the_upper_one() -> None:
    bind = [{"Type": "bind", "Source": "/snap/1/fs", "Options": ["rw", "rbind"]}]
    overlay = [
        {
            "Type": "overlay",
            "Source": "overlay",
            "Options": ["workdir=/snap/2/work", "upperdir=/snap/2/fs", "lowerdir=/snap/1/fs"],
        }
    ]
    assert share.writable_folder(bind) == "/snap/1/fs"
    assert share.writable_folder(overlay) == "/snap/2/fs"


@pytest.mark.skipif(os.geteuid() != 0, reason="a mount namespace is root's")
def test_layers_are_linked_with_all_they_carry(tmp_path: Path) -> None:
    source, target = tmp_path / "diff", tmp_path / "fs"
    (source / "bin").mkdir(parents=True)
    (source / "bin" / "python").write_text("program")
    (source / "bin" / "python").chmod(0o755)
    (source / "bin" / "py").symlink_to("python")
    (source / "bin").chmod(0o750)
    target.mkdir()
    share.copy_linked(source, target, tmp_path)
    assert (target / "bin" / "python").samefile(source / "bin" / "python")
    assert os.readlink(target / "bin" / "py") == "python"
    assert stat.S_IMODE((target / "bin").stat().st_mode) == 0o750


@pytest.mark.skipif(os.geteuid() != 0, reason="devices and trusted attributes are root's")
def test_whiteouts_of_overlay_file_systems_arrive(tmp_path: Path) -> None:
    source, target = tmp_path / "diff", tmp_path / "fs"
    (source / "opaque").mkdir(parents=True)
    os.setxattr(source / "opaque", "trusted.overlay.opaque", b"y")
    os.mknod(source / "gone", 0o600 | stat.S_IFCHR, os.makedev(0, 0))
    target.mkdir()
    share.copy_linked(source, target, tmp_path)
    assert stat.S_ISCHR((target / "gone").stat().st_mode)
    assert (target / "gone").stat().st_rdev == 0
    assert os.getxattr(target / "opaque", "trusted.overlay.opaque") == b"y"


# The real cp, which gives up after its work where it is to link, or always.
GIVES_UP = """#!/bin/sh
{cp} "$@"
case "$*" in *{when}*) echo "cp: Too many links" >&2; exit 1;; esac
"""


def _cp_that_gives_up(folder: Path, patch: pytest.MonkeyPatch, when: str) -> None:
    folder.mkdir()
    (folder / "cp").write_text(GIVES_UP.format(cp=shutil.which("cp"), when=when))
    (folder / "cp").chmod(0o755)
    patch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def _a_layer(folder: Path) -> tuple[Path, Path]:
    source, target = folder / "diff", folder / "fs"
    (source / "etc").mkdir(parents=True)
    (source / "etc" / "passwd").write_text("root")
    target.mkdir()
    return source, target


def test_a_link_that_fails_halfway_is_followed_by_a_whole_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = _a_layer(tmp_path)
    _cp_that_gives_up(tmp_path / "bin", monkeypatch, when="--link")
    share.copy_linked(source, target, tmp_path)
    assert (target / "etc" / "passwd").read_text() == "root"
    assert not (target / "etc" / "passwd").samefile(source / "etc" / "passwd")


@pytest.mark.skipif(os.geteuid() != 0, reason="a mount namespace is root's")
def test_a_layer_that_cannot_be_copied_says_what_went_wrong_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = _a_layer(tmp_path)
    _cp_that_gives_up(tmp_path / "bin", monkeypatch, when="--archive")
    with pytest.raises(ClusterError, match="cp --link: cp: Too many links; cp --reflink=auto"):
        share.copy_linked(source, target, tmp_path)
    assert (source / "etc" / "passwd").read_text() == "root"


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts are root's")
def test_layers_are_linked_while_another_buildah_has_its_storage_mounted(tmp_path: Path) -> None:
    store, target = tmp_path / "overlay", tmp_path / "fs"
    (store / "diff").mkdir(parents=True)
    (store / "diff" / "torch").write_text("6 GB")
    target.mkdir()
    for _ in range(2):  # two of them
        subprocess.run(["mount", "--bind", store, store], check=True)
    try:
        with pytest.raises(OSError, match="cross-device"):
            os.link(store / "diff" / "torch", tmp_path / "torch")
        share.copy_linked(store / "diff", target, store)
        assert str(store) in cleanup.mounts_under([tmp_path]), "for the others it still is"
    finally:
        subprocess.run(["umount", store, store], check=True)
    assert (target / "torch").samefile(store / "diff" / "torch")


@pytest.mark.skipif(os.geteuid() != 0, reason="a mount namespace is root's")
def test_a_layer_on_another_file_system_is_copied_whole_over_what_was_linked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, target = tmp_path / "diff", tmp_path / "fs"
    (source / "one").mkdir(parents=True)
    (source / "two").mkdir()
    (source / "two" / "file").write_text("two")
    target.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", source / "one"], check=True)
    try:
        (source / "one" / "file").write_text("one")
        share.copy_linked(source, target, tmp_path)
    finally:
        subprocess.run(["umount", source / "one"], check=True)
    assert f"{source}: cp --link: " in capsys.readouterr().err
    assert (target / "one" / "file").read_text() == "one"
    assert not (target / "two" / "file").samefile(source / "two" / "file")


def test_a_programs_image_is_whole_and_not_roots(tmp_path: Path) -> None:
    program = tmp_path / "s3"
    program.write_bytes(b"\x7fELF" + bytes(1000))
    blob = archive.of_program("localhost/dino-s3:1", program, "/s3", "amd64")
    with tarfile.open(fileobj=io.BytesIO(blob)) as tar:
        content = {member.name: _read(tar, member) for member in tar.getmembers()}
    for name, data in content.items():
        if name.startswith("blobs/"):
            assert archive.blob(archive.digest(data)) == name
    index = json.loads(content["index.json"])["manifests"][0]
    assert index["annotations"] == {"io.containerd.image.name": "localhost/dino-s3:1"}
    manifest = json.loads(content[archive.blob(index["digest"])])
    config = json.loads(content[archive.blob(manifest["config"]["digest"])])
    assert config["config"] == {"Entrypoint": ["/s3"], "User": "65532:65532"}
    assert config["rootfs"]["diff_ids"] == [manifest["layers"][0]["digest"]]
    layer = content[archive.blob(manifest["layers"][0]["digest"])]
    with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
        (member,) = tar.getmembers()
        assert (member.name, member.mode, _read(tar, member)) == ("s3", 0o755, program.read_bytes())


def _read(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    assert file is not None
    return file.read()
