"""`kubectl dino report`: pages of a real S3 server, and what is said where they cannot be had."""

from __future__ import annotations

import json
import webbrowser
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dino_api.names import Env, Label
from dino_operator.kubectl import main, report, stored
from dino_operator.kubectl.cluster import Cluster
from dino_operator.kubectl.ending import CommandExit
from tests import statuses
from tests.builders import Object, at
from tests.unit.kubectl_resources import a_job, a_search
from tests.unit.s3_server import ACCESS_KEY, BUCKET, SECRET_KEY, S3Server, free_port

KEYS = (Env.S3_ACCESS_KEY, Env.S3_SECRET_KEY)
REFERENCE = {"secretKeyRef": {"name": "dino-s3", "key": Env.S3_ACCESS_KEY.value}}
Said = tuple[int, str, str]


def a_pods_job(**environment: Any) -> Object:
    """A Job whose trainer has those variables."""
    texts = {name: each for name, each in environment.items() if isinstance(each, str)}
    env = [{"name": name, "value": each} for name, each in texts.items()]
    env += [{"name": n, "valueFrom": e} for n, e in environment.items() if n not in texts]
    container = {"name": "trainer", "env": env}
    return {
        "metadata": {"name": "cells-train-1", "creationTimestamp": at(0)},
        "spec": {"template": {"spec": {"containers": [container]}}},
    }


class ReportCommand:
    """The command beside a cluster of one job, in a folder of its own."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.capsys = folder, capsys
        self.job = a_job(statuses.COMPLETE)
        self.jobs: list[Object] = []
        self.secrets: dict[str, dict[str, str]] = {}
        self.labels: list[str] = []
        self.trials: list[Object] = []
        self.search_is_there, self.with_jobs = True, ""

    def get(self, name: str) -> Object:
        if not name.startswith("dinoautoml/"):
            return self.job
        if not self.search_is_there:
            raise CommandExit(66, f"There is no {name}.")
        return a_search()

    def list_jobs(self, selector: str) -> list[Object]:
        self.labels.append(selector)
        return self.jobs if self.with_jobs in selector else []

    def all_of(self, kind: str) -> list[Object]:
        return self.trials

    def secret(self, name: str) -> dict[str, str]:
        return self.secrets[name]

    def __call__(self, *words: str) -> Said:
        status = main(["report", "cells", "--to", str(self.folder), *words])
        said = self.capsys.readouterr()
        return status, said.out, said.err


@pytest.fixture
def lab(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> ReportCommand:
    made = ReportCommand(tmp_path / "pages", capsys)

    class OneJobCluster:
        def __init__(self, options: Any) -> None:
            self.get, self.jobs, self.secret = made.get, made.list_jobs, made.secret
            self.all_of = made.all_of

    monkeypatch.setattr(report, "Cluster", OneJobCluster)
    for name in (*Env, "AWS_PROFILE", "AWS_DEFAULT_REGION", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(str(name), raising=False)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return made


@pytest.fixture
def stocked(
    lab: ReportCommand, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> ReportCommand:
    """Pages in the output, at the server that the job's pods know; this machine has the keys."""
    for name in Env:
        if name not in KEYS:
            monkeypatch.delenv(name, raising=False)
    output = f"{tmp_path.name}/cells"
    lab.job = a_job(statuses.COMPLETE, output={"uri": f"s3://{BUCKET}/{output}"})
    client = s3_server.client()
    for place in ("preflight/report.html", "train/validation.png"):
        client.put_object(Bucket=BUCKET, Key=f"{output}/{place}", Body=place.encode())
    endpoint = {Env.S3_ENDPOINT.value: s3_server.endpoint, Env.S3_PATH_STYLE.value: "true"}
    lab.jobs = [a_pods_job(**endpoint, **{Env.S3_ACCESS_KEY.value: REFERENCE})]
    return lab


def test_every_page_that_is_there_is_saved(stocked: ReportCommand) -> None:
    status, out, err = stocked()
    saved = {each.name: each.read_text() for each in sorted(stocked.folder.iterdir())}
    assert (status, err) == (0, "")
    assert saved == {
        "cells-preflight-report.html": "preflight/report.html",
        "cells-train-validation.png": "train/validation.png",
    }
    assert out.splitlines() == [f"cells: {stocked.folder / name}" for name in saved]
    assert stocked.labels == ["dino-operator.io/job-uid=u"]


def test_as_data(stocked: ReportCommand) -> None:
    found = json.loads(stocked("-o", "json")[1])
    assert [set(each) for each in found] == [{"uri", "file"}] * 2
    assert all(Path(each["file"]).exists() for each in found)


def test_opened_in_a_browser(stocked: ReportCommand, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    assert stocked("--open")[0] == 0
    assert opened == [each.resolve().as_uri() for each in sorted(stocked.folder.iterdir())]


def test_the_keys_of_the_jobs_secret_are_taken_where_that_is_asked_for(
    stocked: ReportCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    for each in KEYS:
        monkeypatch.delenv(each)
    assert stocked()[0] == 77
    stocked.secrets["dino-s3"] = {KEYS[0]: ACCESS_KEY, KEYS[1]: SECRET_KEY}
    status, out, err = stocked("--secret")
    assert status == 0
    assert SECRET_KEY not in out + err
    stocked.secrets["dino-s3"] = {}
    status, _, err = stocked("--secret")
    assert (status, err) == (
        77,
        "kubectl-dino: Secret dino-s3 lacks AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.\n",
    )
    stocked.jobs = []
    status, _, err = stocked("--secret", "--endpoint", "http://localhost:1")
    assert status == 77
    assert "Leave --secret out" in err


def test_without_credentials_it_says_what_would_do(
    stocked: ReportCommand, monkeypatch: pytest.MonkeyPatch, s3_server: S3Server
) -> None:
    for each in KEYS:
        monkeypatch.delenv(each)
    status, _, err = stocked()
    assert status == 77
    assert "There are no credentials for s3://data/" in err
    assert "kubectl dino report cells --secret" in err
    assert f"--endpoint-url {s3_server.endpoint}" in err


def test_with_credentials_that_are_refused(
    stocked: ReportCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEYS[1], "wrong")
    status, _, err = stocked()
    assert status == 77
    assert "may not be read at http://127.0.0.1" in err
    assert "aws s3 cp s3://data/" in err
    assert "wrong" not in err


def test_a_bucket_that_is_not_there(stocked: ReportCommand) -> None:
    stocked.job = a_job(statuses.COMPLETE, output={"uri": "s3://nowhere-at-all/cells"})
    status, _, err = stocked()
    assert status == 66
    assert "There is no bucket of s3://nowhere-at-all/cells" in err


def test_a_job_that_has_left_nothing_yet(stocked: ReportCommand) -> None:
    stocked.job = a_job(output={"uri": f"s3://{BUCKET}/nothing"}, action="evaluate")
    status, _, err = stocked()
    assert status == 66
    assert "DinoJob cells (not looked at yet) has left no page so far" in err
    assert f"s3://{BUCKET}/nothing/evaluate/preflight/report.html" in err


def test_a_folder_that_cannot_be_written(stocked: ReportCommand, tmp_path: Path) -> None:
    (tmp_path / "pages").write_text("a file")
    status, _, err = stocked()
    assert status == 73
    assert "cannot be written" in err


def test_an_endpoint_that_this_machine_does_not_reach(
    lab: ReportCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name of the cluster has the command that forwards a port."""
    for each in KEYS:
        monkeypatch.setenv(each, "x")
    lab.jobs = [a_pods_job(**{Env.S3_ENDPOINT.value: f"http://localhost:{free_port()}"})]
    status, _, err = lab()
    assert status == 69
    assert "port-forward" not in err
    store = stored.ObjectStore(stored.Access("http://minio.storage.svc:9001"), "cells")
    assert "kubectl -n storage port-forward service/minio 9000:9001" in store._forward()
    assert "kubectl dino report cells --endpoint http://localhost:9000" in store._forward()


SEARCHED = a_job({**statuses.COMPLETE, "automl": "cells"})
EXPORTED = a_job({"artifacts": [{"name": "a.html", "uri": "s3://other/a.html"}]}, action="export")
PLACES = {
    "a training": (a_job(), ["preflight/report.html", "train/report.html", "train/validation.png"]),
    "an evaluation": (
        a_job(action="evaluate"),
        [f"evaluate/{each}" for each in ("preflight/report.html", "report.html", "validation.png")],
    ),
    "a search": (a_search(), ["report.html"]),
    "a job that is searched for": (SEARCHED, ["report.html"]),
}


@pytest.mark.parametrize(("resource", "places"), PLACES.values(), ids=PLACES.keys())
def test_where_pages_lie(resource: Object, places: list[str]) -> None:
    assert report.pages(resource) == [f"s3://results/cells/{each}" for each in places]


def test_pages_that_the_status_names_are_fetched_wherever_they_lie() -> None:
    assert report.pages(EXPORTED)[0] == "s3://other/a.html"
    assert report.file_name(EXPORTED, "s3://other/a.html") == "cells-other-a.html"


PODS = {Env.S3_ENDPOINT.value: "http://pods", Env.S3_PATH_STYLE.value: "false"}
OWN = {"storage": {"endpoint": "http://spec", "pathStyle": True, "region": "eu", "secretName": "s"}}
FOUND = {
    "nothing is known": ({}, {}, "", {}, stored.Access()),
    "the spec": ({}, OWN, "", {}, stored.Access("http://spec", "eu", True)),
    "the template of a search": (
        {},
        {"template": OWN},
        "",
        {},
        stored.Access("http://spec", "eu", True),
    ),
    "the pods before the spec": (PODS, OWN, "", {}, stored.Access("http://pods", "eu", False)),
    "this machine before the pods": (
        PODS,
        OWN,
        "",
        {Env.S3_ENDPOINT.value: "http://here", Env.S3_PATH_STYLE.value: "true"},
        stored.Access("http://here", "eu", True),
    ),
    "what is asked for first": (
        PODS,
        {},
        "http://asked",
        {Env.S3_ENDPOINT.value: "http://here"},
        stored.Access("http://asked", "us-east-1", False),
    ),
}


@pytest.mark.parametrize("case", FOUND.values(), ids=FOUND.keys())
def test_where_the_object_store_is(case: tuple[Any, ...]) -> None:
    pods, spec, endpoint, environ, place = case
    assert stored.access_of(pods, spec, endpoint, environ) == place


def test_the_secret_is_the_pods_or_the_specs() -> None:
    assert stored.secret_name({Env.S3_ACCESS_KEY.value: REFERENCE}, OWN) == "dino-s3"
    assert stored.secret_name({}, OWN) == "s"
    assert stored.secret_name({}, {}) == ""


def test_without_boto3_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(CommandExit, match=r"uv tool install '\.\[kubectl\]'") as ended:
        stored.ObjectStore(stored.Access(), "cells")
    assert ended.value.status == 69


def test_where_no_pod_tells_the_object_store_none_is_guessed(
    stocked: ReportCommand, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else Amazon's would be asked for a bucket of somebody else."""
    stocked.jobs = []
    status, _, err = stocked()
    assert status == 64
    assert "Give --endpoint URL, or --endpoint aws" in err
    assert stocked("--endpoint", s3_server.endpoint)[0] == 0
    monkeypatch.setenv(Env.S3_ENDPOINT, s3_server.endpoint)
    assert stocked()[0] == 0
    assert stored.access_of({}, {}, "aws", {}).endpoint == ""


def test_a_search_without_jobs_of_its_own_has_those_of_its_trials(stocked: ReportCommand) -> None:
    stocked.job["status"] = {**statuses.COMPLETE, "automl": "cells"}
    stocked.trials = [a_job(), a_job()]
    stocked.trials[1]["metadata"] |= {"uid": "t", "labels": {Label.AUTOML_UID.value: "u"}}
    stocked.with_jobs = "in (t)"
    assert stocked()[0] == 66  # the server was asked, and has no report.html
    assert stocked.labels[-1] == "dino-operator.io/job-uid in (t)"


def test_a_search_that_was_deleted_has_left_its_pages(
    stocked: ReportCommand, s3_server: S3Server
) -> None:
    stocked.job["status"] = {**statuses.COMPLETE, "automl": "cells"}
    stocked.jobs, stocked.search_is_there = [], False
    client, key = s3_server.client(), report.output_of(stocked.job).partition(f"{BUCKET}/")[2]
    client.put_object(Bucket=BUCKET, Key=f"{key}/report.html", Body=b"page")
    assert stocked("--endpoint", s3_server.endpoint)[0] == 0


def test_a_refusal_of_one_page_leaves_the_others(
    stocked: ReportCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the right to list a bucket S3 refuses what is not there."""
    read = stored.ObjectStore.read

    def refusing(self: stored.ObjectStore, uri: str) -> bytes | None:
        if (text := read(self, uri)) is None:
            raise stored.StoreAccessError(77, f"{uri} may not be read.")
        return text

    monkeypatch.setattr(stored.ObjectStore, "read", refusing)
    status, _, err = stocked()
    assert (status, err) == (0, "")
    gone = {"name": "a", "uri": f"s3://{BUCKET}/gone.html"}
    stocked.job["status"] = {**statuses.COMPLETE, "artifacts": [gone]}
    status, _, err = stocked()
    assert (status, err) == (0, f"kubectl-dino: s3://{BUCKET}/gone.html may not be read.\n")
    stocked.job["spec"]["output"]["uri"] = f"s3://{BUCKET}/empty"
    assert stocked()[0] == 77


def test_settings_that_cannot_be_used_end_in_a_sentence(
    stocked: ReportCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    status, _, err = stocked("--endpoint", "localhost:9000")
    assert status == 64
    assert "localhost:9000 is no URL of an object store" in err
    monkeypatch.setenv("AWS_PROFILE", "nope")
    status, _, err = stocked()
    assert status == 64
    assert "nope" in err
    assert "AWS_PROFILE" in err


@pytest.mark.parametrize("text", ["word", "a: [", "[1]", "clusters: 3", "\0", ""])
def test_a_kubeconfig_that_is_none(text: str, tmp_path: Path) -> None:
    (tmp_path / "config").write_text(text)
    chosen = Namespace(kubeconfig=str(tmp_path / "config"), context=None, namespace=None)
    with pytest.raises(CommandExit, match="There is no cluster to ask") as ended:
        Cluster(chosen)
    assert ended.value.status == 69


def test_a_secret_may_have_keys_that_are_no_text() -> None:
    cluster = Cluster.__new__(Cluster)
    cluster.namespace = "team"
    held = SimpleNamespace(data={"a": "dGV4dA==", "b": "/w=="})
    cluster._core = SimpleNamespace(read_namespaced_secret=lambda *_: held)
    assert cluster.secret("dino-s3")["a"] == "text"
