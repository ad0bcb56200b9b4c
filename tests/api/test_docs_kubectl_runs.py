"""The terminal runs of docs/kubectl-dino.md, each run again on a real API server.

`make record` writes them anew, as they are said now. Times, ages and sizes are not compared, as
they are others every time; what `validate` and `from-tao` say is compared to the letter in
tests/unit/test_docs_kubectl.py.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import kubernetes
import pytest

from dino_api import rfc3339
from dino_api.failures import by_reason
from dino_api.names import Env, FailureReason, Label
from dino_operator.kubectl import main, parser, status
from tests import statuses
from tests.api.admission_cases import changed
from tests.api.clients import DinoJobs

PAGE = Path(__file__).parents[2] / "docs" / "kubectl-dino.md"
RUN = re.compile(r"^(\$ kubectl dino ((\w[\w-]*) ?.*)\n)((?:(?!\$ |```).*\n)*)", re.MULTILINE)
OFFLINE = ("validate", "from-tao")
RECORD = "DINO_RECORD"
NOT_RUN = {
    "render": "two hundred lines of YAML",
    "logs": "recorded in docs/tutorial.md, with real pods",
    "completion": "a script",
}
"""Commands without a run on that page, and why."""
DATA = {"numClasses": 4, "images": 1200, "classNames": ["", "cell"], "warnings": []}
CURVE = [{"epoch": n, "mAP50": v} for n, v in enumerate((0.02, 0.11, 0.3, 0.52, 0.66, 0.64), 1)]
ENV = ("spec.podTemplate.env", [{"name": "WANDB_API_KEY", "value": "local-0123456789abcdef"}])
Said = Callable[[str], str]


def told(phase: str, minutes: float, start: datetime, **more: Any) -> dict[str, Any]:
    """A status whose data was checked soon after the job was applied, and that ended then."""
    made = statuses.told(phase, data=("DataChecked", "1200 images, 4 classes", True), **more)
    for each in made["conditions"]:
        after = 1.5 if each["type"] == "DataReady" else minutes
        each["lastTransitionTime"] = rfc3339.text(start + timedelta(minutes=after))
    return made


def stage(jobs: DinoJobs) -> datetime:
    """`broken` has failed, `cells` trains, `digits` is complete. Returns when they were applied."""
    spec = (("spec.experiment.train.optim.lr", 0.0001), ("spec.experiment.train.num_epochs", 16))
    for name in ("broken", "cells", "digits"):
        where = ("spec.output.uri", f"s3://photos/results/{name}")
        own = (ENV,) if name == "cells" else ()
        made = jobs.create(changed(("metadata.name", name), where, *spec, *own))
    start = rfc3339.parse(made["metadata"]["creationTimestamp"])
    nan = "The loss became nan at step 310 of epoch 2."
    jobs.patch_status(
        "broken",
        {
            **told("Failed", 34, start, failed=("Diverged", nan, True)),
            "attempts": 1,
            "failure": {
                "reason": FailureReason.DIVERGED.value,
                "message": nan,
                "remedy": by_reason(FailureReason.DIVERGED).remedy,
            },
            "checkpoint": {"uri": "s3://photos/results/broken/train/dino_model_best.pth"},
        },
    )
    progress = {
        "percent": 38,
        "epoch": 6,
        "etaSeconds": 4920,
        "updatedAt": rfc3339.text(start + timedelta(minutes=50)),
        "curve": CURVE,
    }
    running = told("Running", 3, start, running=("Started", "pod cells-train-1-x7k2p runs", True))
    jobs.patch_status("cells", {**running, "attempts": 1, "progress": progress})
    done = {"metrics": {"mAP": 0.52, "mAP50": 0.7514}, "progress": statuses.ALL, "dataset": DATA}
    complete = ("Completed", "mAP50 0.7514; results are in s3://photos/results/digits/train", True)
    jobs.patch_status("digits", {**told("Complete", 48, start, complete=complete), **done})
    return start


def beside(jobs: DinoJobs, client: kubernetes.client.ApiClient) -> None:
    """What the operator makes for `cells`: a ConfigMap, a Job, which the controller gives a pod."""
    uid, core = jobs.get("cells")["metadata"]["uid"], kubernetes.client.CoreV1Api(client)
    labels = {
        Label.JOB_UID.value: uid,
        Label.ACTION.value: "train",
        Label.ATTEMPT.value: "1",
    }
    meta = {"labels": labels}
    data = {"spec.yaml": "train: {num_epochs: 16}\n"}
    config = {"metadata": {"name": "cells-train-5f0d9a31", **meta}, "data": data}
    core.create_namespaced_config_map(jobs.namespace, config)
    pod = {"containers": [{"name": "trainer", "image": "x"}], "restartPolicy": "Never"}
    job = {
        "metadata": {"name": "cells-train-1", **meta},
        "spec": {"suspend": True, "template": {"metadata": meta, "spec": pod}},
    }
    kubernetes.client.BatchV1Api(client).create_namespaced_job(jobs.namespace, job)


@pytest.fixture
def said(
    dinojobs: DinoJobs,
    kubeconfig: Path,
    api_client: kubernetes.client.ApiClient,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> Said:
    """Called with a command's words: what a terminal shows, fifty minutes after all was applied."""
    start = stage(dinojobs)
    beside(dinojobs, api_client)

    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
            return start + timedelta(minutes=50)

    monkeypatch.setattr(status, "datetime", Clock)
    monkeypatch.chdir(tmp_path)
    for name in (*Env, "AWS_PROFILE"):
        monkeypatch.delenv(str(name), raising=False)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")

    def run(words: str) -> str:
        scope = ["--kubeconfig", str(kubeconfig), "-n", dinojobs.namespace]
        main([*shlex.split(words), *scope])
        out, err = capsys.readouterr()
        shown = out + err.replace("kubectl-dino: ", "")
        return shown.replace(dinojobs.namespace, "team")

    return run


def comparable(text: str) -> str:
    """Without what differs from run to run."""
    for what, word in (
        (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "TIME"),
        (r"\d{8}T\d{6}Z", "STAMP"),
        (r"(?m)\d+$", "NUMBER"),
        (r"\b\d+ values", "NUMBER values"),
        (r"\b(?:\d+[dhms]){1,2}\b", "SPAN"),
        (r"(?m)^  not there: (?:logs|operator)/.*\n|  (?:logs|operator)/.*\n", ""),
        (r"(?m)^  not there: the operator's pods: .*\n", ""),
        (r" {2,}", "  "),
    ):
        text = re.sub(what, word, text)
    return text


def runs(page: str) -> list[tuple[str, str]]:
    """The words and what is shown of each command that asks a cluster."""
    found = RUN.findall(page)
    return [(words, shown) for _, words, verb, shown in found if verb not in OFFLINE]


def test_the_runs_of_the_page_are_what_is_said_today(said: Said) -> None:
    page = PAGE.read_text()
    today = {words: said(words) for words, _ in runs(page)}
    if os.environ.get(RECORD):
        PAGE.write_text(RUN.sub(lambda run: run[1] + today.get(run[2], run[4]), page))
        page = PAGE.read_text()
    for words, shown in runs(page):
        assert comparable(today[words]) == comparable(shown), words


def test_every_command_has_a_run_or_a_reason() -> None:
    commands: Any = next(each for each in parser({})._actions if each.dest == "command")
    shown = {verb for _, _, verb, _ in RUN.findall(PAGE.read_text())}
    assert set(commands.choices) == shown | set(NOT_RUN)
    assert not shown & set(NOT_RUN)
