"""How the demo runs its stages and what it shows."""

from __future__ import annotations

import io
import os
import re
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from demo import cluster, stages, training
from demo.cluster import DemoCluster, image_values
from demo.errors import DemoError
from demo.images import OPERATOR, TRAINER
from demo.plan import NEEDED, announce, current, dev
from demo.plan import training as training_step
from demo.screen import Screen, clock
from demo.stages import DemoStage, Run, Runner, StageTiming, Work, at_work, seconds_left, table
from tests.terminal import Terminal

PYTHON = sys.executable


def stage(name: str, run: Run, *needs: str) -> DemoStage:
    return DemoStage(name, "", 1, 1, run, needs)


def runner(tmp_path: Path, *stages: DemoStage) -> Runner:
    return Runner(stages, tmp_path, Screen(io.StringIO()))


def test_what_needs_nothing_runs_at_once_and_the_rest_in_order(tmp_path: Path) -> None:
    both = threading.Barrier(2, timeout=600)  # breaks if the two do not run side by side
    order: list[str] = []

    def meet(work: Work) -> None:
        both.wait()
        order.append("side by side")

    def last(work: Work) -> None:
        order.append("last")

    runner(tmp_path, stage("c", last, "a", "b"), stage("a", meet), stage("b", meet)).run()
    assert order == ["side by side", "side by side", "last"]


IN_A_SCRIPTS_BACKGROUND = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); "


@pytest.mark.parametrize("before", ["", IN_A_SCRIPTS_BACKGROUND])
def test_a_failure_ends_the_others_and_comes_out_as_it_was(
    before: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stages, "GRACE_SECONDS", 3600.0)
    sleeper = f"{before}import os, time; print(os.getpid(), flush=True); time.sleep(3600)"
    log = tmp_path / "long.log"

    def fail(work: Work) -> None:
        while not said_process(log):  # until the other one is at work
            time.sleep(0.01)
        raise DemoError("no", "less log")

    def long(work: Work) -> None:
        work.run([PYTHON, "-c", sleeper])

    never = stage("never", lambda work: pytest.fail("ran"), "fails")
    with pytest.raises(DemoError, match="no") as error:
        runner(tmp_path, stage("fails", fail), stage("long", long), never).run()
    assert error.value.look == "less log"
    with pytest.raises(ProcessLookupError):
        os.kill(int(said_process(log)), 0)


def said_process(log: Path) -> str:
    """The line of digits in a log."""
    lines = log.read_text().splitlines() if log.exists() else []
    return next((line for line in lines if line.isdigit()), "")


def test_a_stage_that_takes_longer_than_announced_shows_what_it_is_at(tmp_path: Path) -> None:
    work = Work("cluster", tmp_path / "log", threading.Event())
    work.log.write_text("x" * 100_000 + "\n  40 s waiting for node dino-node to be ready\n")
    cluster = DemoStage("cluster", "", 20, 8, lambda work: None)
    assert at_work(cluster, work, 19) == "cluster 19 s"
    late = at_work(cluster, work, 41)
    assert late == "cluster 41 s (40 s waiting for node dino-node to be ready)"


BUILDS = DemoStage("programs", "", 300, 1, lambda work: None)
NODE = DemoStage("cluster", "", 20, 8, lambda work: None, ("programs",))
DATA = DemoStage("dataset", "", 10, 10, lambda work: None)
TRAINS = DemoStage("training", "", 190, 190, lambda work: None, ("cluster", "dataset"))
LEFT = {
    "at the start, without caches": ({}, {"programs": 0.0, "dataset": 0.0}, 510),
    "in the middle of a stage": ({"dataset": 10.0}, {"programs": 100.0}, 410),
    "a stage that took long: there are no caches": ({"programs": 290.0}, {"dataset": 0.0}, 210),
    "one that took no time: there are caches": ({"programs": 1.0}, {"dataset": 0.0}, 200),
    "cached, and yet it takes long": ({"programs": 1.0}, {"cluster": 9.0}, 201),
    "longer than announced": ({}, {"programs": 400.0, "dataset": 1.0}, 211),
    "all but the last": ({"programs": 1.0, "cluster": 8.0, "dataset": 9.0}, {}, 190),
}


@pytest.mark.parametrize("case", LEFT)
def test_what_is_left_is_the_longest_chain_of_stages(case: str) -> None:
    ended, running, seconds = LEFT[case]
    assert seconds_left([TRAINS, NODE, BUILDS, DATA], ended, running) == seconds


def test_the_line_says_how_many_steps_are_done_and_what_is_left(tmp_path: Path) -> None:
    out = Terminal()

    def until_it_is_told(work: Work) -> None:
        while "at work: slow" not in out.getvalue():
            time.sleep(0.01)

    two = [stage("quick", lambda work: None), stage("slow", until_it_is_told, "quick")]
    then = DemoStage("training", "", 190, 190, lambda work: None, ("slow",))
    Runner(two, tmp_path, Screen(out), then).run()
    said = re.search(r"(.*)at work: slow \d+ s", out.getvalue())
    assert said
    assert said[1].endswith("] 1 of 3 steps done, about 3:11 left; ")


def test_what_is_seen_while_a_program_runs_is_in_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stages, "LOOK_SECONDS", 0.0)
    told = tmp_path / "told"

    def look() -> str:
        if told.exists():
            raise DemoError("a look that fails fails nothing")
        told.touch()
        return "dino-operator-1 0/1 ErrImagePull"

    work = Work("operator", tmp_path / "log", threading.Event())
    program = f"import os\nwhile not os.path.exists({str(told)!r}): pass"
    work.run([PYTHON, "-c", program], look=look)
    assert work.last_line() == "dino-operator-1 0/1 ErrImagePull"


def test_a_programs_failure_is_its_last_word_and_its_log(tmp_path: Path) -> None:
    program = "print('working'); print('error: the disk is full'); raise SystemExit(3)"
    failing = stage("my stage", lambda work: work.run([PYTHON, "-c", program]))
    with pytest.raises(DemoError, match="error: the disk is full") as error:
        runner(tmp_path, failing).run()
    assert error.value.look == f"less {tmp_path / 'my-stage.log'}"
    assert "working" in (tmp_path / "my-stage.log").read_text()


def test_a_failure_shows_what_the_program_said_before_its_last_word(tmp_path: Path) -> None:
    program = "print('apt: no gpgv'); print('x' * 999); print('error: build'); raise SystemExit(3)"
    failing = stage("build", lambda work: work.run([PYTHON, "-c", program]))
    with pytest.raises(DemoError) as error:
        runner(tmp_path, failing).run()
    first, *end = str(error.value).splitlines()
    assert first.endswith("failed: error: build")
    assert end == ["    apt: no gpgv", f"    {'x' * 200} …", "    error: build"]


def test_what_a_program_prints_can_be_read(tmp_path: Path) -> None:
    work = Work("x", tmp_path / "x.log", threading.Event())
    program = "import sys; print('value'); print('note', file=sys.stderr)"
    assert work.read([PYTHON, "-c", program]) == "value\n"
    assert "note" in work.log.read_text()


def test_an_unknown_need_is_a_mistake_of_ours(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="what is not there: b"):
        runner(tmp_path, stage("a", lambda work: None, "b"))


def test_the_table_has_every_stage_and_the_whole() -> None:
    text = table([StageTiming("second", 5.0, 65.0), StageTiming("first", 0.0, 10.0)])
    lines = [line.split() for line in text.splitlines()]
    assert lines[1] == ["first", "0:00", "10"]
    assert lines[2] == ["second", "0:05", "60"]
    assert lines[3][-1] == "65"


def test_a_terminal_has_one_line_that_is_written_over() -> None:
    out = Terminal()
    screen = Screen(out)
    screen.live("step 1")
    screen.live("step 2")
    screen.say("done")
    screen.live("")
    assert out.getvalue() == "step 1\r\x1b[2Kstep 2\r\x1b[2Kdone\nstep 2\r\x1b[2K"


def test_a_log_gets_plain_lines_now_and_then() -> None:
    out = io.StringIO()
    screen = Screen(out)
    for step in range(100):
        screen.live(f"step {step}")
    assert out.getvalue() == "step 0\n"


def test_clock() -> None:
    assert [clock(s) for s in (0, 75.9, 3600, -1)] == ["0:00", "1:15", "60:00", "0:00"]


def a_job(phase: str, **status: Any) -> dict[str, Any]:
    return {"metadata": {"name": "digits"}, "status": {"phase": phase, **status}}


LINES = {
    "not seen yet": ({"metadata": {}}, "Pending: the operator has not seen it yet"),
    "waits for a node": (
        a_job("Queued", conditions=[{"type": "Running", "status": "False", "message": "no GPU"}]),
        "Queued: no GPU",
    ),
    "no progress yet": (a_job("Running"), "Running: reading the data"),
    "in the middle": (
        a_job(
            "Running",
            progress={
                "epoch": 2,
                "epochs": 4,
                "step": 150,
                "steps": 400,
                "percent": 37.5,
                "loss": 5.123,
                "mAP50": 0.4117,
                "imagesPerSecond": 6.07,
                "etaSeconds": 151.0,
            },
        ),
        "Running  epoch 2/4  step 150/400  38 %  loss 5.12  mAP50 0.412  6.1 images/s  2:31 left",
    ),
    "nothing validated yet": (
        a_job("Running", progress={"epoch": 0, "epochs": 4, "loss": 20.0}),
        "Running  epoch 0/4  loss 20.00",
    ),
}


@pytest.mark.parametrize("case", LINES)
def test_one_line_says_where_the_job_is(case: str) -> None:
    job, line = LINES[case]
    assert training.line(job) == line


class FakeCluster(DemoCluster):
    """A cluster whose job goes through some states."""

    def __init__(self, *states: dict[str, Any]) -> None:
        super().__init__("kubectl", "helm", "/tmp/config")
        object.__setattr__(self, "states", list(states))

    def kubectl(self, *arguments: str, given: str | None = None) -> str:
        import json

        states = self.states  # type: ignore[attr-defined]
        return json.dumps(states.pop(0) if len(states) > 1 else states[0])


def true(kind: str, **more: str) -> list[dict[str, str]]:
    return [{"type": kind, "status": "True", **more}]


def follow(*states: dict[str, Any]) -> dict[str, Any]:
    screen = Screen(io.StringIO())
    return training.follow(FakeCluster(*states), "digits", screen, threading.Event())


def test_it_follows_to_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "POLL_SECONDS", 0.0)
    done = a_job("Complete", conditions=true("Complete"))
    assert follow({"metadata": {}}, a_job("Running"), done) == done


def test_a_failed_job_says_reason_message_and_remedy() -> None:
    failure = {"reason": "DiskFull", "message": "no space left", "remedy": "Give it more."}
    with pytest.raises(DemoError, match=r"DiskFull: no space left\. Give it more") as error:
        follow(a_job("Failed", conditions=true("Failed"), failure=failure))
    assert "logs -l dino-operator.io/job=digits" in error.value.look


def test_a_pod_that_never_starts_ends_the_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "START_SECONDS", -1.0)
    waiting = [{"type": "Running", "status": "False", "message": "0/1 nodes are available"}]
    with pytest.raises(DemoError, match="0/1 nodes are available") as error:
        follow(a_job("Queued", conditions=waiting))
    assert "describe dinojob" in error.value.look


def test_a_job_of_which_something_new_is_told_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = iter(range(0, 10_000, 100))
    monkeypatch.setattr(training, "time", SimpleNamespace(monotonic=lambda: next(now)))
    monkeypatch.setattr(training, "POLL_SECONDS", 0.0)
    monkeypatch.setattr(training, "START_SECONDS", 350.0)
    told = [
        a_job("Queued", conditions=[{"type": "Running", "status": "False", "message": f"{step}"}])
        for step in range(20)
    ]
    with pytest.raises(DemoError, match=r"no training pod runs, nothing new in 400 s: 19"):
        follow(*told)


BUSY_ONCE = """#!/bin/sh
[ -e "$0.asked" ] && { echo fine; exit; }
touch "$0.asked"
echo 'Unable to connect to the server: net/http: TLS handshake timeout' >&2
exit 1
"""


def kubectl(path: Path, script: str) -> DemoCluster:
    """A cluster whose kubectl is a shell script."""
    path.write_text(script)
    path.chmod(0o755)
    return DemoCluster(str(path), "helm", "")


def test_a_server_that_is_too_busy_is_asked_again(tmp_path: Path) -> None:
    assert kubectl(tmp_path / "kubectl", BUSY_ONCE).kubectl("get", "pods") == "fine\n"


@pytest.mark.parametrize("no", ["timed out waiting for the condition", "Error: NotFound"])
def test_an_answer_is_taken_at_once(
    no: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster.time, "sleep", lambda seconds: pytest.fail("asked again"))
    with pytest.raises(DemoError, match=no):
        kubectl(tmp_path / "kubectl", f"#!/bin/sh\necho '{no}' >&2; exit 1\n").kubectl("wait")


def test_the_plan_is_told_beforehand_and_fits_together(tmp_path: Path) -> None:
    demo, planned = dev(tmp_path, None)
    Runner(planned, tmp_path, Screen(io.StringIO()))  # knows every need
    text = announce(planned)
    assert all(stage.name in text for stage in [*planned, training_step(planned)])
    alone = {stage.name for stage in planned if not stage.needs}
    assert {"programs", "base image", "dataset"} <= alone
    assert demo.operator_image == OPERATOR.name


def test_a_users_cluster_needs_what_it_says(tmp_path: Path) -> None:
    with pytest.raises(DemoError) as error:
        current(tmp_path, None, {})
    assert all(name in str(error.value) for name in NEEDED)


def test_with_everything_named_nothing_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("demo.plan.DEV_HOME", tmp_path)  # whatever was built here, or was not
    (tmp_path / "bin").mkdir()
    for program in ("kubectl", "helm"):
        (tmp_path / "bin" / program).touch()
    env = dict.fromkeys(NEEDED, "x") | {"DINO_S3_ENDPOINT": "aws", "DINO_S3_BUCKET": "mine"}
    demo, stages = current(tmp_path, None, env)
    assert [stage.name for stage in stages] == ["cluster", "dataset", "upload", "operator"]
    assert demo.manifest["spec"]["output"]["uri"] == "s3://mine/results/digits"
    assert (demo.storage.endpoint, demo.storage.path_style) == ("", False)


IMAGES = {
    "localhost/x:src-1": {"repository": "localhost/x", "tag": "src-1"},
    "host:5000/x/y:1": {"repository": "host:5000/x/y", "tag": "1"},
    "host/x@sha256:ab": {"repository": "host/x", "tag": "sha256:ab"},
}


@pytest.mark.parametrize("reference", IMAGES)
def test_an_image_becomes_the_charts_values(reference: str) -> None:
    assert image_values(reference) == IMAGES[reference]


@pytest.mark.parametrize("reference", ["x", "host:5000/x"])
def test_an_image_without_a_tag_is_refused(reference: str) -> None:
    with pytest.raises(DemoError, match="has no tag"):
        image_values(reference)


def test_an_images_tag_follows_its_sources() -> None:
    assert TRAINER.name == TRAINER.name
    assert TRAINER.name.rpartition("-")[2] != OPERATOR.name.rpartition("-")[2]
