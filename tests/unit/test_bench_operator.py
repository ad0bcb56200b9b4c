"""The benches of the operator's scale count what they say, and their peer does what it should."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from dino_api import names
from dino_api.names import Action, Label, Stage
from dino_api.result import Result
from dino_operator.plan.observed.api_object import ApiObject
from tests import naive_operator
from tests.bench import operator_crowd as crowd
from tests.bench import operator_requests as requests
from tests.bench.job_player import complete, words
from tests.bench.operator_scale import Lived, without_data

USER = "system:serviceaccount:team:dino-operator"
JOBS = "/apis/batch/v1/namespaces/team/jobs"
PODS = "/api/v1/namespaces/team/pods?labelSelector=a%3Db%2Cdino-operator.io%2Fjob%3D"
AT = "2026-01-01T12:00:00Z"


def entry(verb: str, what: str, name: str = "", uri: str = "/", **more: Any) -> str:
    """A line of an audit log."""
    resource, _, sub = what.partition("/")
    about = {"resource": resource, "name": name} | ({"subresource": sub} if sub else {})
    line = {
        "stage": "ResponseComplete",
        "verb": verb,
        "user": {"username": USER},
        "objectRef": about,
        "requestURI": uri,
        "responseStatus": {"code": 201 if verb == "create" else 200},
    }
    return json.dumps(line | more)


LIFE = (
    entry("list", "pods", uri=PODS + "scale-1"),
    entry("list", "pods", uri=PODS + "scale-12&limit=500"),
    entry("list", "jobs", uri=JOBS + "?labelSelector=a%3Db%2Cjob+in+%28scale-1%2Cscale-12%29"),
    entry("list", "limitranges", uri="/api/v1/namespaces/team/limitranges"),
    entry("list", "limitranges", uri="/api/v1/namespaces/team/limitranges"),
    entry("create", "jobs", "scale-1-train-1", JOBS, responseStatus={"code": 409}),
    entry("create", "jobs", "scale-1-train-1", JOBS),
    entry("create", "jobs", "scale-12-train-1", JOBS),
    entry("patch", "dinojobs/status", "scale-1", "/scale-1/status"),
    entry("watch", "jobs", uri=JOBS),
    entry("create", "jobs", "scale-2-train-1", JOBS, user={"username": USER + "-2"}),
    entry("create", "jobs", "scale-3-train-1", JOBS, stage="ResponseStarted"),
)


@pytest.fixture
def lived(tmp_path: Path) -> Lived:
    """Two jobs, by a log that has more before it."""
    log = tmp_path / "audit.log"
    log.write_text(entry("create", "jobs", "scale-9-train-1", JOBS) + "\n")
    since = log.stat().st_size
    log.write_text(log.read_text() + "\n".join(LIFE) + "\n")
    return Lived(2, 4.0, 0.5, requests.by_job(requests.read(log, since, USER), "scale-"))


def test_requests_are_told_apart_by_the_job_that_they_are_about(lived: Lived) -> None:
    assert {name: len(some) for name, some in lived.asked.items()} == {
        "scale-1": 5,
        "scale-12": 3,
        "": 2,
    }


def test_what_is_about_no_job_counts_for_all_of_them(lived: Lived) -> None:
    assert lived.calls_to_the_job == pytest.approx((3.5 + 2.5) / 2 + 2 / 2), "a shared list halved"
    assert lived.writes == 4 / 2, "one that was refused counts, too"
    assert (lived.per_second, lived.cpu_ms) == (0.5, 250)
    assert requests.kinds(lived.all_asked, 2)["list limitranges"] == 1


def test_requests_of_several_are_read_in_their_order(tmp_path: Path) -> None:
    log = tmp_path / "audit.log"
    log.write_text("\n".join(LIFE) + "\n")
    both = [each.about.split()[0] for each in requests.read(log, 0, USER, USER + "-2")]
    assert both[-2:] == ["scale-1", "scale-2-train-1"]
    assert len(both) == len(list(requests.read(log, 0, USER))) + 1


def test_a_job_that_was_never_made_has_no_number() -> None:
    with pytest.raises(ValueError, match="no Job"):
        requests.to_the_job([requests.Asked("list", "jobs", "", 200)])


def test_a_percentile_is_a_value_that_came() -> None:
    assert crowd.percentile([3.0, 1.0, 2.0], 0.5) == 2
    assert crowd.percentile([float(n) for n in range(1, 101)], 0.99) == 99


def test_percentiles_of_buckets_are_prometheus() -> None:
    buckets = {0.05: 50, 0.1: 100, math.inf: 100}
    assert crowd.of_buckets(buckets, 0.99) == pytest.approx(0.099)
    assert crowd.of_buckets({0.05: 50, 0.1: 60, math.inf: 100}, 0.99) == 0.1, "it lies beyond"


def test_only_writes_of_dinojobs_status_are_read_of_the_api_servers_metrics() -> None:
    mine = f'{crowd.DURATION}{{resource="dinojobs",subresource="status",verb="APPLY",le="%s"}} %s'
    page = [mine % ("0.1", "1e+02"), mine % ("+Inf", "120"), mine.replace("APPLY", "GET") % (1, 7)]
    page += [mine.replace("dinojobs", "pods") % ("0.1", "3")]
    assert crowd.read_buckets("\n".join(page)) == {0.1: 100, math.inf: 120}


@pytest.mark.parametrize("stage", [Stage.PREFLIGHT, Action.TRAIN, Action.GEN_TRT_ENGINE])
def test_played_pods_end_in_words_that_the_operator_reads(stage: str) -> None:
    told = Result.from_termination_message(json.dumps(words(stage)))
    assert told is not None
    assert told.action == stage
    assert not told.lost


def test_the_peer_says_of_a_dinojob_what_its_job_says() -> None:
    assert naive_operator.status_of({}) == {}
    runs = {"active": 1, "startTime": AT}
    assert naive_operator.status_of(runs) == {"phase": "Running", "startTime": AT}
    ended = naive_operator.status_of(complete(AT, AT))
    assert (ended["phase"], ended["completionTime"]) == ("Complete", AT)
    assert ApiObject({"status": ended}).is_finished


def test_the_peer_makes_one_job_that_the_player_plays() -> None:
    job = naive_operator.a_job("x", without_data("x")["spec"])
    assert job["metadata"]["name"] == "x-gen-trt-engine-1"
    labels = job["spec"]["template"]["metadata"]["labels"]
    assert labels == job["metadata"]["labels"]
    assert labels[names.MANAGED_BY_LABEL] == names.MANAGED_BY
    assert labels[Label.JOB.value] == "x"
