"""Processes are started, watched and ended by id and start time; locks die with their holder."""

import fcntl
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from lib import patience
from lib.cleanup import mount_points
from lib.lock import locked
from lib.paths import Instance, Ports
from lib.patience import wait_for
from lib.processes import (
    RunningProcess,
    Service,
    is_running,
    recorded,
    start,
    start_time,
    started_at,
    stop,
    wait_healthy,
)
from lib.say import ClusterError


@pytest.fixture
def instance(state: Path) -> Instance:
    return Instance("api", Ports(17000), "127.0.0.1")


def sleeper(name: str = "sleeper", script: str = "import time; time.sleep(3600)") -> Service:
    return Service(name, [sys.executable, "-c", script], healthy=lambda: False)


def test_a_started_service_runs_until_it_is_stopped(instance: Instance) -> None:
    start(instance, sleeper())
    assert is_running(instance, "sleeper")
    stop(instance, ["sleeper"])
    assert not is_running(instance, "sleeper")
    assert recorded(instance, "sleeper") is None


def test_a_second_start_changes_nothing(instance: Instance) -> None:
    start(instance, sleeper())
    first = recorded(instance, "sleeper")
    start(instance, sleeper())
    assert recorded(instance, "sleeper") == first
    stop(instance, ["sleeper"])


def test_a_process_that_ignores_the_polite_signal_is_killed(instance: Instance) -> None:
    deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True); "
    start(instance, sleeper(script=deaf + "time.sleep(3600)"))
    while "1" not in (instance.logs / "sleeper.log").read_text():
        assert is_running(instance, "sleeper")
        time.sleep(0.02)
    stop(instance, ["sleeper"], grace=0.2)
    assert not is_running(instance, "sleeper")


def test_a_later_process_with_the_same_id_is_left_alone(instance: Instance) -> None:
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])
    try:
        instance.run.mkdir(parents=True)
        (instance.run / "etcd.pid").write_text(f"{other.pid} 12345")
        assert not is_running(instance, "etcd")
        stop(instance, ["etcd"])
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_a_service_that_came_too_soon_is_started_again(instance: Instance, tmp_path: Path) -> None:
    script = (
        f"import pathlib, time; tried = pathlib.Path({str(tmp_path)!r}, 'tried')\n"
        "if not tried.exists(): tried.touch(); raise SystemExit('runtime: not initialized yet')\n"
        "tried.with_name('ready').touch(); time.sleep(3600)"
    )
    ready = (tmp_path / "ready").exists
    service = replace(sleeper(script=script), healthy=ready, too_soon="not initialized yet")
    start(instance, service)
    wait_healthy(instance, [service])
    assert is_running(instance, "sleeper")
    stop(instance, ["sleeper"])


def test_a_service_that_ends_at_once_is_told_with_its_log(instance: Instance) -> None:
    service = sleeper(script="print('bind: address already in use')")
    start(instance, service)
    with pytest.raises(ClusterError, match=r"sleeper ended right after.*\n.*already in use"):
        wait_healthy(instance, [service])


def test_a_service_that_never_answers_is_told_after_a_while(instance: Instance) -> None:
    service = sleeper()
    start(instance, service)
    with pytest.raises(ClusterError, match=r"Waited 0 s for sleeper to answer: its log, "):
        wait_healthy(instance, [service], within=0.3)
    stop(instance, ["sleeper"])


def test_a_zombie_counts_as_ended() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    while start_time(child.pid) is not None:
        time.sleep(0.02)
    assert start_time(child.pid) is None
    child.wait()


def test_a_second_command_waits_for_the_first_and_says_so(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    order: list[str] = []

    def second() -> None:
        with locked("node"):
            order.append("second")

    with ThreadPoolExecutor(1) as pool:
        with locked("node"):
            waiting = pool.submit(second)
            said = ""
            while "Waiting" not in said:
                assert not waiting.done(), "two commands held one lock"
                said += capsys.readouterr().err
            order.append("first")
        waiting.result()
    assert order == ["first", "second"]
    assert f"another cluster command (process {os.getpid()}), which works on the node" in said


def test_a_lock_goes_with_its_killed_holder(state: Path) -> None:
    script = (
        f"import sys, time; sys.path[:0] = {sys.path!r}\n"
        "from lib.lock import locked\n"
        "with locked('node'):\n    print('held', flush=True); time.sleep(3600)"
    )
    holder = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with open(state / "locks" / "node") as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    holder.stdout.close()
    with locked("node"):
        pass


def test_what_is_waited_for_is_told_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(patience, "SILENCE", 0.0)
    answers = iter([False, False, True])
    wait_for("a pod", lambda: next(answers), seen=lambda: "s3 0/1 Pending")
    assert capsys.readouterr().err.count("waiting for a pod: s3 0/1 Pending\n") == 2


def test_what_never_comes_ends_in_what_to_do_next() -> None:
    with pytest.raises(ClusterError, match=r"Waited 0 s for a pod: .*cluster logs NAME"):
        wait_for("a pod", lambda: False, within=0.0)


def test_a_killed_process_is_there_until_its_last_thread_has_ended() -> None:
    script = (
        "import ctypes, threading, time\n"
        "threading.Thread(target=time.sleep, args=(3600,)).start()\n"
        "print('started', flush=True)\n"
        "ctypes.PyDLL(None).pthread_exit(None)  # of the first thread alone, as in a slow end"
    )
    child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    started = start_time(child.pid)
    assert started is not None
    process = RunningProcess(child.pid, started)
    assert child.stdout.readline() == "started\n"
    while process.alive():  # the first thread is on its way
        assert not process.gone()
    assert not process.gone()
    child.kill()
    child.wait()
    child.stdout.close()
    assert process.gone()
    process.send(signal.SIGKILL)  # which is too late, and no error


def test_a_kubelet_that_ran_on_was_started_when_it_was(instance: Instance) -> None:
    start(instance, sleeper("kubelet"))
    os.utime(instance.run / "kubelet.pid", (1000, 1000))
    start(instance, sleeper("kubelet"))  # which ran on while others were started again
    assert started_at(instance, "kubelet") == 1000
    stop(instance, ["kubelet"])


MOUNTINFO = r"""
22 1 254:0 / / rw - ext4 /dev/vda rw
30 22 0:30 / /state/node/kubelet/pods/u/volumes/tmp rw - tmpfs tmpfs rw
31 22 0:31 / /state/node-other/x rw - tmpfs tmpfs rw
32 22 0:32 / /run/dino/state/io/rootfs rw - overlay overlay rw
33 32 0:33 / /run/dino/state/io/rootfs/a\040b rw - tmpfs tmpfs rw
""".strip()


def test_mounts_are_found_innermost_first_and_only_ours() -> None:
    assert mount_points(MOUNTINFO, ["/state/node", "/run/dino"]) == [
        "/run/dino/state/io/rootfs/a b",
        "/run/dino/state/io/rootfs",
        "/state/node/kubelet/pods/u/volumes/tmp",
    ]
