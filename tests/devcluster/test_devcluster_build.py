"""Which binary belongs to which sources, and what the command line says where it cannot work."""

import os
import re
import shutil
import stat
from pathlib import Path

import pytest
from lib import build, cli, current, doctor
from lib.build import KUBE, PROGRAMS, Program, forget_old, link, pinned
from lib.say import ClusterError

SENTENCES = {
    "a Mac": ("darwin", 0, "", r"runs on Linux only: use kind .*CLUSTER=current\."),
    "not Debian": ("linux", 0, 'ID=fedora\nID_LIKE="rhel"', r"needs Debian 12 .*CLUSTER=current"),
    "not root": ("linux", 1000, "ID=debian", r"needs root: .*CLUSTER=current\."),
}


@pytest.mark.parametrize("case", SENTENCES)
def test_where_it_cannot_run_one_sentence_says_what_to_do(
    case: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    platform, user, release, wanted = SENTENCES[case]
    monkeypatch.setattr("sys.platform", platform)
    monkeypatch.setattr(os, "geteuid", lambda: user)
    monkeypatch.setattr(doctor, "_os_release", lambda: release)
    monkeypatch.delenv("CLUSTER", raising=False)
    assert cli.main(["up"]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    with pytest.raises(ClusterError, match=wanted):
        doctor.check_platform(node=True)


@pytest.mark.parametrize("release", ["ID=debian", 'ID=ubuntu\nID_LIKE="debian"'])
def test_debian_and_its_like_are_fine_for_root(
    release: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(doctor, "_os_release", lambda: release)
    doctor.check_platform(node=True)


def test_the_control_plane_alone_needs_neither_root_nor_debian(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(doctor, "_os_release", lambda: "ID=fedora")
    doctor.check_platform(node=False)


@pytest.mark.parametrize(
    ("mode", "right"),
    [
        (stat.S_IFCHR | 0o666, True),
        (stat.S_IFCHR | 0o777, True),
        (stat.S_IFCHR | 0o755, False),
        (stat.S_IFREG | 0o666, False),
    ],
)
def test_a_build_needs_a_null_device_that_everyone_may_write(mode: int, right: bool) -> None:
    assert doctor.is_open_device(mode) is right


def test_a_null_device_that_is_a_file_is_named_with_the_remedy(tmp_path: Path) -> None:
    doctor.check_null_device(Path(os.devnull))
    (tmp_path / "null").touch()
    with pytest.raises(ClusterError, match=r"null is not a device .*`rm -f .*mknod -m 666 "):
        doctor.check_null_device(tmp_path / "null")


def test_packages_are_missed_by_what_they_bring() -> None:
    needs = {"sh": "dash", "no-such-program": "left-pad", "/no/such/file": "right-pad"}
    assert doctor.missing_packages(needs) == ["left-pad", "right-pad"]


def test_a_clone_finds_what_was_built_and_an_edit_does_not(tmp_path: Path) -> None:
    clone = tmp_path / "kube"
    shutil.copytree(KUBE.source, clone)
    program = _at(clone)
    assert program.key() == KUBE.key()
    (clone / "README").write_text("no part of the program")
    assert program.key() == KUBE.key()
    (clone / "main.go").write_text((clone / "main.go").read_text() + "\n// edited\n")
    assert program.key() != KUBE.key()


def _at(folder: Path) -> Program:
    class Moved(Program):
        @property
        def source(self) -> Path:
            return folder

    return Moved("kube", (), "")


def test_versions_are_pinned_and_stamped_in() -> None:
    version = pinned(KUBE.source, "k8s.io/kubernetes")
    assert version is not None
    assert version.startswith("v1.34.")
    assert f"component-base/version.gitVersion={version}" in KUBE.ldflags()
    assert pinned(KUBE.source, "example.com/no/such/module") is None


def test_every_module_has_its_checksums() -> None:
    for program in PROGRAMS:
        needs_sums = "require" in (program.source / "go.mod").read_text()
        assert (program.source / "go.sum").exists() == needs_sums, program.name


def test_names_point_at_the_newest_binary(state: Path) -> None:
    program = Program("pause", ("pause", "hold"), "")
    link(program)
    link(program)
    for name in program.links:
        assert os.readlink(state / "bin" / name) == f"../programs/pause-{program.key()}"


def test_two_binaries_of_a_program_are_kept(state: Path) -> None:
    folder = state / "programs"
    folder.mkdir(parents=True)
    for age, letter in enumerate("abc"):
        path = folder / f"pause-{letter * 16}"
        path.write_text("")
        os.utime(path, (1000 - age, 1000 - age))
    forget_old(build.PAUSE)
    assert sorted(path.name[6] for path in folder.iterdir()) == ["a", "b"]


def test_without_go_a_sentence_says_where_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ClusterError, match=r"needs Go 1\.25 or newer.*go\.dev/dl"):
        build.check_go()


def test_an_old_go_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _program(tmp_path / "go", "echo go version go1.19.8 linux/amd64")
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    with pytest.raises(ClusterError, match=r"go1\.19\.8"):
        build.check_go()


def _program(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_current_uses_the_users_cluster_and_starts_nothing(
    state: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    version = '{"serverVersion": {"gitVersion": "v1.33.1"}}'
    _program(tmp_path / "kubectl", f"[ $1 = version ] && echo '{version}' || echo theirs")
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    monkeypatch.setenv("CLUSTER", "current")
    assert cli.main(["up"]) == 0
    assert "Using your cluster: Kubernetes v1.33.1, context theirs." in capsys.readouterr().err
    assert not state.exists()


def test_current_that_does_not_answer_ends_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _program(tmp_path / "kubectl", "echo dial tcp: connection refused >&2; exit 1")
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    with pytest.raises(ClusterError, match=r"reaches no cluster \(dial tcp: connection refused\)"):
        current.check()


@pytest.mark.parametrize("command", [["down"], ["load", "x"], ["prune", "x"], ["s3"]])
def test_current_refuses_what_would_change_this_machine(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CLUSTER", "current")
    assert cli.main(command) == 1
    assert f"`cluster {command[0]}` works on the dev cluster" in capsys.readouterr().err


def test_an_unknown_choice_of_cluster_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLUSTER", "kind")
    with pytest.raises(ClusterError, match="CLUSTER=kind is not known"):
        current.chosen()


@pytest.mark.parametrize(
    "flags, ended",
    [
        ([], ["node", "api", "played"]),
        (["--control-plane-only"], ["api"]),
        (["--played-jobs"], ["played"]),
    ],
)
def test_down_ends_everything_unless_told_otherwise(
    flags: list[str], ended: list[str], state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    monkeypatch.delenv("CLUSTER", raising=False)
    monkeypatch.setattr(cli.up, "down", lambda instance, *, purge: seen.append(instance.name))
    assert cli.main(["down", *flags]) == 0
    assert seen == ended


def test_down_of_what_was_never_up_does_nothing(
    state: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli.up.network, "BEFORE", state / "before.json")
    monkeypatch.delenv("CLUSTER", raising=False)
    assert cli.main(["down"]) == 0
    assert capsys.readouterr().err == ""
    assert not state.exists()


def test_a_full_disk_is_a_sentence(
    state: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(instance: object) -> None:
        with open("/dev/full", "w") as file:
            file.write("x")

    monkeypatch.delenv("CLUSTER", raising=False)
    monkeypatch.setattr(cli.up, "up", full)
    assert cli.main(["up"]) == 1
    said = capsys.readouterr().err
    assert f"The disk of {state} is full: make room, or set DINO_DEVCLUSTER_HOME" in said


def test_help_teaches_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    names = "up down status load prune build env logs base-image s3"
    for command in names.split():
        assert re.search(rf"^    {command}\s+\w", said, re.M), command


def test_a_log_that_is_not_there_names_those_that_are(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = state / "node" / "logs"
    folder.mkdir(parents=True)
    (folder / "kubelet.log").write_text("ready\n")
    assert cli.main(["logs", "kublet"]) == 1
    assert "no log of kublet. There are: kubelet." in capsys.readouterr().err
    assert cli.main(["logs", "kubelet"]) == 0
    assert "ready" in capsys.readouterr().out


def test_the_compiler_collects_less_often_unless_somebody_has_said_how_often() -> None:
    assert build.build_environment({"PATH": "/bin"}) == {
        "PATH": "/bin", "CGO_ENABLED": "0", "GOGC": "400", "GOMEMLIMIT": "1GiB",
    }  # fmt: skip
    assert build.build_environment({"GOGC": "50"})["GOGC"] == "50"
