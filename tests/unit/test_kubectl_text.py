"""What `kubectl dino` makes of resources: tables, timelines, curves, edits, differences."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import yaml

from dino_api.names import KUEUE_QUEUE_LABEL, Label
from dino_operator.kubectl import again, diff, job_text, policy
from dino_operator.kubectl.ending import CommandExit
from dino_operator.kubectl.terminal import table
from tests import statuses
from tests.builders import Object, at, later
from tests.unit.kubectl_resources import a_job, a_search

CURVE = [{"epoch": n, "mAP50": value} for n, value in ((1, 0.1), (2, 0.62), (3, 0.5))]
RUNNING = {
    **statuses.RUNNING,
    "progress": {
        "percent": 40,
        "epoch": 3,
        "etaSeconds": 600,
        "updatedAt": at(0),
        "curve": CURVE,
    },
}


ROWS: dict[str, tuple[Object, list[str]]] = {
    "nobody has looked yet": (a_job(), ["cells", "train", "Pending", "", "", "", "", "", "1m40s"]),
    "checking": (
        a_job(statuses.CHECKING),
        ["cells", "train", "Preparing", "Checking", "", "", "", "1", "1m40s"],
    ),
    "running": (
        a_job(RUNNING),
        [
            "cells",
            "train",
            "Running",
            "Started",
            "[#####.......] 40%",
            "8m20s",
            "0.6200",
            "1",
            "1m40s",
        ],
    ),
    "complete": (
        a_job(statuses.COMPLETE),
        [
            "cells",
            "train",
            "Complete",
            "Finished",
            "[############] 100%",
            "",
            "0.7500",
            "1",
            "1m40s",
        ],
    ),
    "failed": (
        a_job(
            {
                **statuses.told("Failed", failed=("Diverged", "nan", True)),
                "failure": {"reason": "Diverged", "message": "nan"},
            }
        ),
        ["cells", "train", "Failed", "Diverged", "", "", "", "1", "1m40s"],
    ),
    "a search": (
        a_search({"phase": "Running", "trials": {"display": "3/20"}, "best": {"mAP50": 0.5}}),
        ["cells", "search", "Running", "", "3/20", "", "0.5000", "", "1m40s"],
    ),
}


@pytest.mark.parametrize(("resource", "cells"), ROWS.values(), ids=ROWS.keys())
def test_a_line_of_the_table(resource: Object, cells: list[str]) -> None:
    assert list(job_text.row(resource, later(100))) == cells


def test_a_line_of_all_namespaces() -> None:
    assert job_text.row(a_job(), later(0), namespaced=True)[0] == "team/cells"


@pytest.mark.parametrize(
    "seconds, text",
    [
        (0, "0s"),
        (-3, "0s"),
        (42, "42s"),
        (185, "3m5s"),
        (3600, "1h"),
        (7620, "2h7m"),
        (93600, "1d2h"),
    ],
)
def test_spans_are_written_as_kubectl_does(seconds: float, text: str) -> None:
    assert job_text.span(seconds) == text


def test_columns_are_aligned() -> None:
    assert table([("A", "B"), ("long", "x"), ("s", "")]) == "A      B\nlong   x\ns"


def test_a_job_from_its_beginning_to_its_end() -> None:
    lines = list(job_text.timeline(a_job(statuses.COMPLETE), later(100)))
    assert lines[0] == ("DinoJob team/cells: Complete, [############] 100%, best mAP50 0.7500")
    times = [line.split("  ")[1] for line in lines[1:] if line.startswith("  2")]
    assert times == sorted(times)
    assert "  2026-01-01 12:00:00  applied" in lines
    assert "  2026-01-01 12:00:05  first pod of the action started" in lines
    assert f"  2026-01-01 12:01:00  Complete (Completed): {statuses.DONE}" in lines
    assert "  checkpoint s3://results/x/train/best.pth" in lines
    assert not any("NotFinished" in line for line in lines)


def test_the_way_from_the_queue_to_the_end() -> None:
    """As Jobs, pods and events tell it, which say more than the conditions that are left."""
    labels = {Label.ACTION.value: "train", Label.ATTEMPT.value: "1"}
    waiting = {**labels, Label.ATTEMPT.value: "2", KUEUE_QUEUE_LABEL: "team-a"}
    jobs = (
        {"metadata": {"name": "cells-train-1", "creationTimestamp": at(2), "labels": labels}},
        {
            "metadata": {"name": "cells-train-2", "creationTimestamp": at(31), "labels": waiting},
            "status": {"startTime": at(35)},
        },
    )
    ended = {"exitCode": 71, "reason": "Error", "startedAt": at(5), "finishedAt": at(30)}
    pod = {
        "metadata": {"name": "cells-train-1-a"},
        "spec": {"nodeName": "gpu-1"},
        "status": {
            "conditions": [
                {"type": "PodScheduled", "status": "True", "lastTransitionTime": at(3)},
                {"type": "Ready", "status": "True", "lastTransitionTime": at(6)},
            ],
            "containerStatuses": [{"name": "trainer", "state": {"terminated": ended}}],
        },
    }
    events = tuple(
        {"reason": reason, "message": message, "lastTimestamp": at(30)}
        for reason, message in (("AttemptFailed", "attempt 2 follows"), ("Completed", "twice"))
    )
    around = job_text.RelatedObjects(jobs, (pod,), events)
    lines = list(job_text.timeline(a_job(statuses.COMPLETE), later(100), around))
    told = [line[22:].strip() for line in lines if line.startswith("  2026")]
    assert told == [
        "applied",
        f"DataReady (DataChecked): {statuses.GOOD}",
        "train, attempt 1: queued (Job cells-train-1)",
        "pod cells-train-1-a placed on gpu-1",
        "pod cells-train-1-a runs",
        "pod cells-train-1-a ended (exit code 71, Error)",
        "AttemptFailed: attempt 2 follows",
        "train, attempt 2: queued in team-a (Job cells-train-2)",
        "train, attempt 2: admitted by team-a",
        f"Complete (Completed): {statuses.DONE}",
        "ended",
    ]


def test_a_job_that_failed_says_what_to_do() -> None:
    failure = {"reason": "Diverged", "message": "The loss is nan.", "remedy": "Lower the rate."}
    status = {**statuses.told("Failed", failed=("Diverged", "", True)), "failure": failure}
    text = "\n".join(job_text.timeline(a_job(status), later(100)))
    assert "failure   Diverged: The loss is nan." in text
    assert "remedy    Lower the rate." in text


def test_a_curve() -> None:
    lines = list(job_text.curve(a_job(RUNNING)))
    assert lines[0] == "mAP50 ▁█▆ best 0.6200"
    assert lines[2] == f"     epoch 2  0.6200  {'#' * 25}  <- best"
    assert list(job_text.curve(a_job())) == ["There is no validation yet."]
    trials = [{"number": 0, "mAP50": 0.3}, {"number": 1}]
    assert "trial 0" in list(job_text.curve(a_search({"history": trials})))[1]


EDITS: dict[str, tuple[str, Object, Object]] = {
    "suspend": ("suspend", a_job(RUNNING), {"spec": {"runPolicy": {"suspend": True}}}),
    "suspend what is": ("suspend", a_job(runPolicy={"suspend": True}), {}),
    "resume": (
        "resume",
        a_job(runPolicy={"suspend": True}),
        {"spec": {"runPolicy": {"suspend": False}}},
    ),
    "resume what runs": ("resume", a_job(RUNNING), {}),
    "stop": ("stop", a_job(RUNNING), {"spec": {"runPolicy": {"stop": True}}}),
    "suspend a search": ("suspend", a_search(), {"spec": {"suspend": True}}),
}


@pytest.mark.parametrize(("verb", "resource", "patch"), EDITS.values(), ids=EDITS.keys())
def test_an_edit(verb: str, resource: Object, patch: Object) -> None:
    assert policy.edit(verb, resource) == patch


@pytest.mark.parametrize(
    "verb, resource, said",
    [
        ("suspend", a_job(statuses.COMPLETE), "has ended (Complete): there is nothing to suspend"),
        ("stop", a_search(), "A search cannot be stopped for good"),
    ],
)
def test_an_edit_that_makes_no_sense(verb: str, resource: Object, said: str) -> None:
    with pytest.raises(CommandExit) as ended:
        policy.edit(verb, resource)
    assert ended.value.status == 64
    assert said in str(ended.value)


def test_the_difference_of_two_jobs() -> None:
    one = a_job(statuses.COMPLETE)
    other = a_job(
        {**statuses.COMPLETE, "metrics": {"mAP": 0.5, "mAP50": 0.8}},
        "cells-2",
        experiment={"train": {"num_epochs": 24, "optim": {"lr": 0.1}}},
    )
    assert list(diff.differences(one, other)) == [
        ("spec.experiment.train.num_epochs", 12, 24),
        ("spec.experiment.train.optim.lr", None, 0.1),
        ("spec.output.uri", "s3://results/cells", "s3://results/cells-2"),
        ("status.metrics.mAP50", 0.75, 0.8),
    ]
    assert list(diff.differences(one, copy.deepcopy(one))) == []


def test_again_goes_on_from_the_best_checkpoint_with_other_values() -> None:
    old = a_job(statuses.COMPLETE, runPolicy={"stop": True, "maxRetries": 1})
    made = again.next_job(old, "cells-2", ["train.optim.lr=5e-5", "spec.resources.gpus=4"])
    assert made["metadata"] == {"name": "cells-2", "namespace": "team"}
    spec = made["spec"]
    assert spec["parent"] == {"name": "cells"}
    assert spec["automlPolicy"] == "Disabled"
    assert spec["experiment"]["train"] == {"num_epochs": 12, "optim": {"lr": 5e-5}}
    assert spec["resources"] == {"gpus": 4}
    assert spec["runPolicy"] == {"maxRetries": 1}
    assert spec["output"]["uri"] == "s3://results/cells-2"
    assert old["spec"]["runPolicy"]["stop"] is True
    assert "parent" not in again.next_job(old, "cells-2", from_scratch=True)["spec"]


def test_again_of_a_failed_job_names_the_file_that_it_left() -> None:
    status = {
        **statuses.told("Failed", failed=("Diverged", "", True)),
        "checkpoint": {"uri": "s3://results/cells/train/best.pth"},
    }
    made = again.next_job(a_job(status), "cells-2")
    assert made["spec"]["parent"] == {"uri": "s3://results/cells/train/best.pth"}
    nothing = {key: value for key, value in status.items() if key != "checkpoint"}
    assert "parent" not in again.next_job(a_job(nothing), "cells-2")["spec"]


@pytest.mark.parametrize(
    "old, changes, said",
    [
        (a_job(RUNNING), [], "has not ended: kubectl dino stop cells"),
        (a_search(statuses.COMPLETE), [], "spec.warmStartFrom"),
        (a_job(statuses.COMPLETE, action="export", datasets={}), [], "spec.parent.uri=s3://"),
        (a_job(statuses.COMPLETE), ["train.num_epoch=3"], "Did you mean spec.experiment.train"),
        (a_job(statuses.COMPLETE), ["train.num_epochs"], "the form key=value"),
        (a_job(statuses.COMPLETE), ["train.num_epochs=0"], "greater than or equal to 1"),
    ],
)
def test_again_that_makes_no_sense(old: Object, changes: list[str], said: str) -> None:
    with pytest.raises(CommandExit) as ended:
        again.next_job(old, "cells-2", changes)
    assert ended.value.status == 64
    assert said in str(ended.value)


def test_names_that_follow() -> None:
    assert again.next_name("cells", {"cells"}) == "cells-2"
    assert again.next_name("cells-2", {"cells", "cells-2", "cells-3"}) == "cells-4"


def test_help_teaches_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    from dino_operator.kubectl import main, parser

    commands = next(each for each in parser({})._actions if each.dest == "command").choices
    assert len(commands) >= 11
    for name in commands:
        with pytest.raises(SystemExit) as ended:
            main([name, "--help"])
        assert ended.value.code == 0
        assert "examples:" in capsys.readouterr().out, name
    with pytest.raises(SystemExit) as ended:
        main(["stauts"])
    assert ended.value.code == 64


def test_without_a_cluster_it_ends_in_a_sentence(
    capsys: pytest.CaptureFixture[str], tmp_path: Any
) -> None:
    from dino_operator.kubectl import main

    assert main(["status", "--kubeconfig", str(tmp_path / "none")]) == 69
    assert "There is no cluster to ask" in capsys.readouterr().err
    user = {"name": "u", "user": {"token": "t"}}
    away = {"name": "c", "cluster": {"server": "http://127.0.0.1:9"}}
    context = {"name": "x", "context": {"cluster": "c", "user": "u"}}
    held = {"clusters": [away], "users": [user], "contexts": [context], "current-context": "x"}
    (tmp_path / "away").write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "Config", **held}))
    assert main(["status", "--kubeconfig", str(tmp_path / "away")]) == 69
    assert "The API server cannot be reached" in capsys.readouterr().err
