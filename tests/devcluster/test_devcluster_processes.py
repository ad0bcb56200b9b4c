"""Processes are started, watched and ended by id and start time; locks die with their holder."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from lib.cleanup import mount_points
from lib.lock import locked
from lib.paths import Instance, Ports
from lib.processes import (
    Service,
    is_running,
    recorded,
    start,
    start_time,
    stop,
    wait_healthy,
)
from lib.say import ClusterError


@pytest.fixture
def instance(state: Path) -> Instance:
    return Instance("api", Ports(17000), "127.0.0.1")


def sleeper(name: str = "sleeper", script: str = "import time; time.sleep(60)") -> Service:
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
    start(instance, sleeper(script=deaf + "time.sleep(60)"))
    deadline = time.monotonic() + 60
    while "1" not in (instance.logs / "sleeper.log").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    stop(instance, ["sleeper"], grace=0.2)
    assert not is_running(instance, "sleeper")


def test_a_later_process_with_the_same_id_is_left_alone(instance: Instance) -> None:
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        instance.run.mkdir(parents=True)
        (instance.run / "etcd.pid").write_text(f"{other.pid} 12345")
        assert not is_running(instance, "etcd")
        stop(instance, ["etcd"])
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_a_service_that_ends_at_once_is_told_with_its_log(instance: Instance) -> None:
    service = sleeper(script="print('bind: address already in use')")
    start(instance, service)
    with pytest.raises(ClusterError, match=r"sleeper ended right after.*\n.*already in use"):
        wait_healthy(instance, [service], within=60)


def test_a_service_that_never_answers_is_told_after_a_while(instance: Instance) -> None:
    service = sleeper()
    start(instance, service)
    with pytest.raises(ClusterError, match="did not answer within"):
        wait_healthy(instance, [service], within=0.3)
    stop(instance, ["sleeper"])


def test_a_zombie_counts_as_ended() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    deadline = time.monotonic() + 60
    while start_time(child.pid) is not None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert start_time(child.pid) is None
    child.wait()


def test_a_second_use_ends_in_a_sentence(state: Path) -> None:
    with (
        locked("node"),
        pytest.raises(ClusterError, match=rf"process {os.getpid()}\) is working on the node"),
        locked("node"),
    ):
        raise AssertionError("two commands held one lock")


def test_a_lock_goes_with_its_killed_holder(state: Path) -> None:
    script = (
        f"import sys, time; sys.path[:0] = {sys.path!r}\n"
        "from lib.lock import locked\n"
        "with locked('node'):\n    print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(ClusterError), locked("node"):
        pass
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    holder.stdout.close()
    with locked("node"):
        pass


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
