"""The command's options, its logs, its HTTP pages, and the renderer's YAML and names."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import kopf
import pytest
import yaml
from aiohttp import ClientSession, web
from hypothesis import given, settings
from hypothesis import strategies as st
from kubernetes.aio import config

from dino_api.kubectl_yaml.reader import read
from dino_operator import handlers, main
from dino_operator.plan.model import Settings
from dino_operator.plan.observed.resource import DinoJob
from dino_operator.plan.rendered import names, spec_file
from dino_operator.plan.rendered.spec_file import to_yaml
from dino_operator.runtime import loop
from dino_operator.runtime.client import ApiError, Client, configuration, path
from dino_operator.runtime.keys import Key, Kind
from dino_operator.runtime.lease import Lease, Terms
from dino_operator.runtime.loop import Operator, Options
from dino_operator.runtime.metrics import OperatorMetrics
from dino_operator.runtime.reconcile import Reconciler
from dino_operator.runtime.server import Server
from tests.builders import a_job
from tests.statuses import (
    RUNNING,
)
from tests.unit.plan_searches import a_search_for


def test_the_environment_holds_the_defaults() -> None:
    known = {
        "DINO_TRAINER_IMAGE": "trainer:2",
        "DINO_S3_PATH_STYLE": "true",
        "DINO_WATCH_NAMESPACES": "a, b",
        "DINO_METRICS_PORT": "9",
    }
    options = main.parser(known).parse_args([])
    assert options.trainer_image == "trainer:2"
    assert options.tensorrt_image == "", "the trainer's"
    assert options.s3_path_style is True
    assert options.watch_namespaces == ("a", "b")
    assert options.metrics_port == 9
    assert main.parser(known).parse_args(["--trainer-image", "x"]).trainer_image == "x"


def test_empty_variables_are_as_good_as_none() -> None:
    options = main.parser({"DINO_WATCH_NAMESPACES": "", "DINO_S3_REGION": ""}).parse_args([])
    assert options.watch_namespaces == ()
    assert options.s3_region == "us-east-1"


def test_searches_are_asked_for_by_the_environment() -> None:
    known = {
        "DINO_AUTOML": "false",
        "DINO_AUTOML_TRIALS": "7",
        "DINO_AUTOML_PARALLEL_TRIALS": "3",
        "DINO_AUTOML_PROFILE": '{"trainUri": "s3://smoke/train"}',
    }
    options = main.parser(known).parse_args([])
    assert (options.automl, options.routed_trials, options.routed_parallel) == (False, 7, 3)
    assert options.profile.train_uri == "s3://smoke/train"
    assert main.parser({}).parse_args([]).automl is True


def test_help_names_every_variable(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main.parser({}).parse_args(["--help"])
    text = capsys.readouterr().out
    words = (
        "DINO_TRAINER_IMAGE",
        "DINO_TENSORRT_IMAGE",
        "DINO_S3_SECRET",
        "DINO_METRICS_PORT",
        "DINO_AUTOML_PROFILE",
    )
    for word in (*words, "Ctrl-C"):
        assert word in text


@pytest.mark.parametrize(
    "arguments, said",
    [
        ([], "no trainer image"),
        (["--s3-path-style", "maybe"], "neither true nor false"),
        (["--metrics-port", "many"], "'many' is not a port"),
        (["--metrics-port", "65536"], "'65536' is not a port"),
        (["--workers", "0"], "not a whole number of 1 or more"),
        (["--resync-seconds", "nan"], "'nan' is not a number of seconds above 0"),
        (["--recheck-seconds", "-1"], "'-1' is not a number of seconds above 0"),
        (["--log-level", "loud"], "'loud' is none of debug, info, warning, error"),
        (["--image-pull-policy", "Sometimes"], "'Sometimes' is none of Always, IfNotPresent"),
        (["--automl-trials", "0"], "not a whole number of 1 or more"),
        (["--automl-profile", "["], "not a JSON object"),
        (["--automl-profile", '{"epoch": 1}'], "there is no key epoch"),
        (["--automl-profile", '{"epochs": 0}'], "epochs: Input should be greater than"),
    ],
)
def test_wrong_options_end_in_a_sentence(
    arguments: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("DINO_TRAINER_IMAGE", raising=False)
    with pytest.raises(SystemExit) as ended:
        main.main(arguments)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("variable", ["DINO_IMAGE_PULL_POLICY", "DINO_LOG_FORMAT", "DINO_WORKERS"])
def test_a_wrong_variable_is_as_wrong_as_an_option(
    variable: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main.parser({variable: "sometimes"}).parse_args([])
    assert "'sometimes' is no" in capsys.readouterr().err


def test_without_a_cluster_it_says_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    assert main.main(["--trainer-image", "x", "--metrics-port", "0"]) == 1
    assert "cannot reach a cluster" in capsys.readouterr().err


def test_json_logs_are_one_object_a_line() -> None:
    record = logging.LogRecord("a", logging.INFO, "f", 1, "said %s", ("this",), None)
    line = main.JsonLines().format(record)
    assert json.loads(line)["message"] == "said this"
    assert "\n" not in line


def test_kopf_is_kept_quiet_and_frugal() -> None:
    made = handlers.settings()
    assert made.posting.enabled is False
    assert made.scanning.disabled is True
    assert made.queueing.worker_limit is None
    assert made.peering.standalone is True
    kept = made.persistence.diffbase_storage
    body = kopf.Body({"spec": {"action": "train"}, "metadata": {"labels": {"a": "b"}}})
    assert kept.build(body=body) == {}, "kopf copies whole objects else"
    assert kept.fetch(body=body) is None


class NoApi:
    """An API server that is not there."""

    async def served(self) -> bool:
        raise ApiError(0, "Unreachable", "nobody")

    async def finish_writes(self) -> None:
        """Nothing was written."""

    async def close(self) -> None:
        """Nothing to close."""


async def test_pages() -> None:
    operator = Operator(NoApi(), Settings("t"), Options(), OperatorMetrics())  # type: ignore[arg-type]
    job = a_job().status(RUNNING).obj()
    operator.cache.put(Kind.DINOJOBS, job)
    operator.cache.put(Kind.DINOAUTOMLS, a_search_for(a_job()).told("Complete").obj())
    server = Server(operator, 0, "127.0.0.1")
    await server.start()
    try:
        async with ClientSession(f"http://127.0.0.1:{server.port}") as session:
            async with session.get("/healthz") as answer:
                assert (answer.status, await answer.text()) == (200, "ok")
            async with session.get("/readyz") as answer:
                assert answer.status == 503
            async with session.get("/metrics") as answer:
                assert answer.headers["Connection"] == "close", "or kopf waits for it at its end"
                text = await answer.text()
    finally:
        await server.stop()
    assert 'dino_jobs{phase="Running"} 1.0' in text
    assert 'dino_automls{phase="Complete"} 1.0' in text
    for name in (
        "dino_operator_reconcile_total",
        "dino_operator_reconcile_duration_seconds",
        "dino_operator_leader",
        "dino_operator_queue_depth",
        "dino_operator_queue_working",
        "dino_operator_queue_oldest_seconds",
        "dino_operator_apiserver_requests_total",
        "dino_job_duration_seconds",
        "dino_job_failures_total",
        "dino_automl_duration_seconds",
        "dino_automl_failures_total",
        "dino_watch_last_event_timestamp_seconds",
    ):
        assert name in text


async def test_one_that_stands_by_is_alive_and_ready() -> None:
    """An upgrade waits for pods to be ready, and one that waits for a Lease is as it should be."""
    operator = Operator(NoApi(), Settings("t"), Options(), OperatorMetrics())  # type: ignore[arg-type]
    lease = Lease(NoApi(), Terms("dino-system", "dino-operator", "one"))  # type: ignore[arg-type]
    server = Server(operator, 0, "127.0.0.1", lease)
    await server.start()
    try:
        async with ClientSession(f"http://127.0.0.1:{server.port}") as session:
            async with session.get("/readyz") as answer:
                assert answer.status == 503, "the API server has not answered so far"
            lease.holder = "two"
            async with session.get("/readyz") as answer:
                assert (answer.status, await answer.text()) == (200, "standing by: two leads")
            async with session.get("/healthz") as answer:
                assert (answer.status, await answer.text()) == (200, "ok")
    finally:
        await server.stop()


async def test_a_stuck_key_is_trouble() -> None:
    options = Options(stuck_after=-1)
    operator = Operator(NoApi(), Settings("t"), options, OperatorMetrics())  # type: ignore[arg-type]
    assert "has waited" in operator.trouble
    await operator.stop()


class NothingThere(NoApi):
    """An API server with all kinds and no objects."""

    async def served(self) -> frozenset[Kind]:  # type: ignore[override]
        return frozenset(Kind)

    async def pages(
        self, kind: Kind, namespace: str | None
    ) -> AsyncIterator[tuple[list[Any], int]]:
        yield [], 1


@pytest.mark.parametrize("status, tried", [(0, 4), (500, 100)])
async def test_where_nobody_answers_not_every_key_is_tried(
    status: int, tried: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "UNREACHABLE_PAUSE", 3600)
    options = Options(workers=4)
    operator = Operator(NothingThere(), Settings("t"), options, OperatorMetrics())  # type: ignore[arg-type]
    asked = set[Key]()

    async def refuse(self: Reconciler, key: Key) -> None:
        asked.add(key)
        raise ApiError(status, "", "")

    monkeypatch.setattr(Reconciler, "reconcile", refuse)
    await operator.start()
    for number in range(100):
        operator.queue.add(Key(Kind.DINOJOBS, "n", f"job-{number}"))
    for _ in range(1000):
        await asyncio.sleep(0)
    await operator.stop()
    assert len(asked) == tried


def test_paths() -> None:
    assert path("jobs", "n", "x") == "/apis/batch/v1/namespaces/n/jobs/x"
    assert path("pods", None) == "/api/v1/pods"
    status = path("dinojobs", "n", "x", "status")
    assert status == "/apis/dino-operator.io/v1alpha1/namespaces/n/dinojobs/x/status"


@settings(deadline=None)
@given(st.text("abcdefghijklmnopqrstuvwxyz0123456789-.", min_size=1, max_size=253))
def test_child_names_are_short_distinct_and_stable(name: str) -> None:
    first, second = names.job_name(name, "train", 1), names.job_name(name, "train", 2)
    assert first == names.job_name(name, "train", 1) != second
    assert len(first) <= 63
    assert first.endswith("-train-1")
    assert names.job_name(f"{name}a", "train", 1) != first
    assert len(names.config_name(name, "train", "uid", "text")) <= 63


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=50), inner),
    max_leaves=8,
)


ODD = st.one_of(
    st.text(max_size=40),
    st.text(" \n\r\t019_+-.:eExobnyYtrufalsONF#'\"\\|>&*!~,[]{}\u2028é", max_size=12),
)


@settings(deadline=None)
@given(st.dictionaries(st.text(max_size=50), VALUES))
def test_every_yaml_reader_reads_what_was_written(value: dict[str, Any]) -> None:
    assert yaml.safe_load(to_yaml(value)) == value


@settings(deadline=None)
@given(st.dictionaries(ODD, ODD | st.lists(ODD)))
def test_and_ours_reads_texts_as_texts(value: dict[str, Any]) -> None:
    """It reads as kubectl does, to which 1e3, 0o17 and y are no texts."""
    assert read(to_yaml(value)) == value


def test_the_file_is_written_where_a_child_needs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look at a job reads its spec, and few of them make anything."""
    monkeypatch.setattr(spec_file, "to_yaml", lambda _: pytest.fail("it was written"))
    job = DinoJob(a_job().obj())
    resolved = spec_file.read_spec(job)
    monkeypatch.undo()
    assert read(resolved.content)["results_dir"] == job.output


def test_a_learning_rate_stays_a_number() -> None:
    text = to_yaml({"train": {"optim": {"lr": 1e-05, "steps": [11]}}, "name": "on"})
    assert text == "train:\n  optim:\n    lr: 1.0e-05\n    steps:\n    - 11\nname: 'on'\n"
    with pytest.raises(yaml.YAMLError, match="cannot represent"):
        to_yaml({"x": object()})


def test_a_long_path_stays_on_its_line() -> None:
    uri = f"s3://bucket/{'a folder/' * 100}"
    assert to_yaml({"uri": uri}) == f"uri: {uri}\n"


async def test_the_proxy_of_the_environment_is_not_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.json_response({"resources": [{"name": "dinojobs"}]})

    app = web.Application()
    app.router.add_get("/{tail:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    known = {"cluster": {"server": f"http://127.0.0.1:{runner.addresses[0][1]}"}, "name": "c"}
    kubeconfig = {
        "clusters": [known],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "current-context": "c",
    }
    path_of = tmp_path / "kubeconfig"
    path_of.write_text(yaml.safe_dump(kubeconfig))
    monkeypatch.setattr(config.kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(path_of))
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    client = Client(await configuration(), OperatorMetrics())
    assert await client.served() == {"dinojobs"}
    await client.close()
    await runner.cleanup()
