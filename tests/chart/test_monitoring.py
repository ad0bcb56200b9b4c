"""Alerts, recorded rules and the dashboard: of metrics that there are, and fired by promtool."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from dino_api.names import AUTOML_KIND, KIND, Phase
from dino_operator.runtime.metrics import OperatorMetrics
from tests.chart import prometheus
from tests.chart.conftest import CHART, KUBE_VERSION, MONITORING, ROOT, Helm, Objects

Render = Callable[..., Objects]
Object = dict[str, Any]
NAME = re.compile(r"\b(dino_\w+(?::\w+)*)")


def of_kind(objects: Objects, kind: str) -> Object:
    (found,) = [one for one in objects if one["kind"] == kind]
    return found


@pytest.fixture(scope="session")
def groups(render: Render) -> Object:
    """The rules, as a file of Prometheus'."""
    return dict(of_kind(render("metrics.prometheusRule.enabled=true"), "PrometheusRule")["spec"])


def rules(groups: Object, kind: str) -> dict[str, Object]:
    return {one[kind]: one for group in groups["groups"] for one in group["rules"] if kind in one}


def series() -> dict[str, set[str]]:
    """Names and labels of the series that an operator with one resource of each kind serves."""
    metrics = OperatorMetrics()
    status = {"gpus": 1, "metrics": {"mAP50": 0.5}, "best": {"mAP50": 0.5}}
    resource = {"metadata": {"namespace": "n", "name": "x", "uid": "u"}, "status": status}
    resource["metadata"]["creationTimestamp"] = TIME
    for kind in (KIND, AUTOML_KIND):
        metrics.watch(kind, lambda: [resource])
        metrics.reconciled(kind, "ok", 1)
        status = {"phase": "Failed", "startTime": TIME, "completionTime": TIME}
        metrics.ended(kind, status)
    metrics.requests.labels("get", "200").inc()
    metrics.last_event.labels("dinojobs").set(1)
    lines = [line for line in metrics.text().decode().splitlines() if line[0] != "#"]
    return {re.split("[{ ]", line)[0]: set(re.findall(r'(\w+)="', line)) for line in lines}


def served() -> set[str]:
    """The names alone."""
    return set(series())


def base(name: str) -> str:
    """A metric, of which a histogram or a counter has several series."""
    return re.sub(r"_(bucket|count|sum|created|total)$", "", name)


TIME = "2026-01-01T12:00:00Z"


def test_every_rule_asks_for_what_there_is(groups: Object) -> None:
    recorded = set(rules(groups, "record"))
    asked = {
        name
        for kind in ("record", "alert")
        for one in rules(groups, kind).values()
        for name in NAME.findall(one["expr"])
    }
    assert asked - recorded
    assert asked <= served() | recorded


def test_the_dashboard_asks_for_what_there_is(render: Render) -> None:
    text = (CHART / "files" / "dashboard.json").read_text()
    (made,) = [
        one
        for one in render("metrics.dashboard.enabled=true")
        if one["metadata"]["name"] == "dino-operator-dashboard"
    ]
    assert made["data"] == {"dino-operator.json": text}
    assert made["metadata"]["labels"]["grafana_dashboard"] == "1"
    panels = json.loads(text)["panels"]
    asked = {
        name
        for panel in panels
        for target in panel["targets"]
        for name in NAME.findall(target["expr"])
    }
    assert asked <= served()
    bases = {base(name) for name in served() if name.startswith("dino_")}
    assert {base(name) for name in asked} == bases, "every metric is shown"
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels]
    assert len(set(places)) == len(places)


def test_the_page_has_every_metric_with_its_labels_every_rule_and_alert(groups: Object) -> None:
    rows = (ROOT / "docs" / "platform.md").read_text().split("\n| ")
    cells = [row.split(" | ") for row in rows]
    shown = {
        name: set(re.findall(r"`(\w+)`", each[1]))
        for each in cells
        if each[0].startswith("`dino_")
        for name in NAME.findall(each[0])
    }
    wanted: dict[str, set[str]] = {}
    for name, labels in series().items():
        if name.startswith("dino_"):
            wanted.setdefault(base(name), set()).update(labels - {"le"})
    assert {base(name): shown[name] for name in shown if ":" not in name} == wanted
    assert {name for name in shown if ":" in name} == set(rules(groups, "record"))
    alerts = {name for each in cells for name in re.findall(r"`(Dino\w+)`", each[0])}
    assert alerts == set(rules(groups, "alert"))


def test_every_alert_has_a_severity_and_says_what_to_do(groups: Object) -> None:
    for name, alert in rules(groups, "alert").items():
        assert alert["labels"]["severity"] in ("warning", "critical"), name
        assert set(alert["annotations"]) == {"summary", "description"}, name


def test_bounds_are_values(render: Render) -> None:
    values = ("stuckSeconds=777", "stalledSeconds=888", "failuresInAnHour=99")
    sets = [f"metrics.prometheusRule.{each}" for each in values]
    found = of_kind(render("metrics.prometheusRule.enabled=true", *sets), "PrometheusRule")["spec"]
    alerts = rules(found, "alert")
    assert alerts["DinoJobStuck"]["expr"].endswith("> 777")
    assert alerts["DinoJobProgressStalled"]["expr"].endswith("> 888")
    assert alerts["DinoJobsFailing"]["expr"].endswith(">= 99")


@pytest.mark.parametrize("what", ["serviceMonitor", "prometheusRule"])
def test_what_the_cluster_does_not_serve_is_refused_with_what_to_do(helm: Helm, what: str) -> None:
    value = f"metrics.{what}.enabled"
    words = ("template", "x", str(CHART), "--kube-version", KUBE_VERSION, "--set", f"{value}=true")
    done = helm(*words)
    (kind,) = [each for each in MONITORING if each.lower().endswith(what.lower())]
    assert done.returncode != 0
    assert f"{value} is set, and the cluster does not serve {kind}: install its CRD" in done.stderr


def test_the_service_monitor_finds_the_service_and_its_port(render: Render) -> None:
    objects = render("metrics.serviceMonitor.enabled=true", "metrics.serviceMonitor.labels.p=q")
    monitor, service = of_kind(objects, "ServiceMonitor"), of_kind(objects, "Service")
    wanted = monitor["spec"]["selector"]["matchLabels"]
    assert wanted.items() <= service["metadata"]["labels"].items()
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint["port"] in [port["name"] for port in service["spec"]["ports"]]
    assert monitor["metadata"]["labels"]["p"] == "q"


# ---- fired, by promtool ------------------------------------------------------------------------

OK = 'dino_operator_reconcile_total{kind="DinoJob", result="ok"}'
BAD = 'dino_operator_reconcile_total{kind="DinoJob", result="error"}'
BUG = 'dino_operator_reconcile_total{kind="DinoJob", result="bug"}'
LEADER, OLDEST = "dino_operator_leader", "dino_operator_queue_oldest_seconds"
HEARD = 'dino_watch_last_event_timestamp_seconds{kind="jobs"}'


def silent(phase: Phase) -> str:
    return f'dino_job_unchanged_seconds{{phase="{phase.value}"}}'


def failures(reason: str, kind: str = "job") -> str:
    return f'dino_{kind}_failures_total{{reason="{reason}"}}'


@dataclass
class Fired:
    """An alert that fires by these series at that time, in minutes, once for each of `labels`."""

    alert: str
    series: dict[str, str]
    minutes: int
    labels: tuple[Object, ...] = ({},)
    also: dict[str, str] = field(default_factory=lambda: {LEADER: "1x600"})


QUIET = ()
CASES = {
    "an operator is there": Fired("DinoOperatorAbsent", {}, 60, QUIET),
    "it is away for a restart": Fired(
        "DinoOperatorAbsent", {LEADER: "1 1 _x8 1x60"}, 12, QUIET, {}
    ),
    "it is away": Fired("DinoOperatorAbsent", {LEADER: "1x5"}, 30, ({},), {}),
    "all stand by": Fired("DinoOperatorAbsent", {LEADER: "0x60"}, 30, ({},), {}),
    "a long list of plans": Fired("DinoOperatorQueueStuck", {OLDEST: "0+10x20 0x60"}, 40, QUIET),
    "a plan that waits": Fired("DinoOperatorQueueStuck", {OLDEST: "0+60x60"}, 20),
    "heard by resyncs": Fired("DinoOperatorWatchSilent", {HEARD: "1+60x100"}, 60, QUIET),
    "not heard": Fired("DinoOperatorWatchSilent", {HEARD: "1x100"}, 60, ({"kind": "jobs"},)),
    "one error of many": Fired("DinoOperatorErrors", {OK: "0+60x60", BAD: "0+1x60"}, 40, QUIET),
    "errors of many kinds": Fired("DinoOperatorErrors", {OK: "0+60x60", BAD: "0+30x60"}, 40),
    "no bug": Fired("DinoOperatorBug", {OK: "0+60x60", BUG: "0x60"}, 40, QUIET),
    "a bug": Fired("DinoOperatorBug", {BUG: "0x20 1x20"}, 30, ({"kind": "DinoJob"},)),
    "one waits for two hours": Fired(
        "DinoJobStuck", {silent(Phase.QUEUED): "0+60x600"}, 120, QUIET
    ),
    "one waits for seven hours": Fired(
        "DinoJobStuck", {silent(Phase.QUEUED): "0+60x600"}, 420, ({"phase": "Queued"},)
    ),
    "the data is checked for ever": Fired(
        "DinoJobStuck", {silent(Phase.PREPARING): "0+60x600"}, 420, ({"phase": "Preparing"},)
    ),
    "a training runs and tells": Fired(
        "DinoJobProgressStalled", {silent(Phase.RUNNING): "0+1x600"}, 420, QUIET
    ),
    "a training is silent": Fired(
        "DinoJobProgressStalled", {silent(Phase.RUNNING): "0+60x600"}, 70
    ),
    "two of old failed": Fired("DinoJobsFailing", {failures("Crashed"): "7x200"}, 100, QUIET),
    "one more failed": Fired("DinoJobsFailing", {failures("Crashed"): "7x60 8x200"}, 100, QUIET),
    "many failed, each otherwise": Fired(
        "DinoJobsFailing",
        {failures(each): f"0x60 1x{n}" for n, each in enumerate(("A", "B", "C", "D"), 100)},
        100,
    ),
    "a search failed": Fired(
        "DinoAutoMLFailing",
        {failures("KatibFailed", "automl"): "0x60 1x100"},
        100,
        ({"reason": "KatibFailed"},),
    ),
    "a search failed yesterday": Fired(
        "DinoAutoMLFailing", {failures("KatibFailed", "automl"): "1x300"}, 200, QUIET
    ),
}


def a_test(case: Fired, alert: Object) -> Object:
    """As promtool reads it."""
    expected = [{"exp_labels": {**alert["labels"], **labels}} for labels in case.labels]
    series = [{"series": k, "values": v} for k, v in (case.also | case.series).items()]
    return {
        "interval": "1m",
        "input_series": series,
        "alert_rule_test": [
            {"eval_time": f"{case.minutes}m", "alertname": case.alert, "exp_alerts": expected}
        ],
    }


@pytest.fixture(scope="session")
def promtool() -> str:
    try:
        return prometheus.promtool()
    except prometheus.NoPromtool as error:
        pytest.skip(f"{error}. Elsewhere: a release of Prometheus, in PATH")


def without_words(groups: Object) -> Object:
    """The same rules without annotations, whose numbers promtool would compare."""
    bare = json.loads(json.dumps(groups))
    for group in bare["groups"]:
        for rule in group["rules"]:
            rule.pop("annotations", None)
    return dict(bare)


def test_promtool_takes_the_rules(promtool: str, groups: Object, tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(groups))
    done = run(
        promtool, "check", "rules", "--lint=all", "--lint-fatal", str(tmp_path / "rules.yaml")
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_fires_when_it_should_and_only_then(
    promtool: str, groups: Object, tmp_path: Path
) -> None:
    alerts = rules(groups, "alert")
    for fires in (True, False):
        assert {c.alert for c in CASES.values() if bool(c.labels) == fires} == set(alerts)
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(without_words(groups)))
    tests = [{"name": name, **a_test(case, alerts[case.alert])} for name, case in CASES.items()]
    whole = {"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": tests}
    (tmp_path / "tests.yaml").write_text(yaml.safe_dump(whole))
    done = run(promtool, "test", "rules", str(tmp_path / "tests.yaml"))
    assert done.returncode == 0, done.stdout + done.stderr


@dataclass
class Recorded:
    """What a query answers at that time, in minutes, by labels, from these series."""

    series: dict[str, str]
    query: str
    minutes: int
    samples: dict[str, float]


def gpu_seconds(namespace: str, name: str, pod: str = "one") -> str:
    labels = f'job_namespace="{namespace}",job_name="{name}",pod="{pod}"'
    return f"dino_job_gpu_seconds_total{{{labels}}}"


# Prometheus guesses what an hour's edges lack, in each release a little otherwise.
TEN_MINUTES = "round(dino_namespace:gpu_seconds:increase1h / 600)"
RECORDED = {
    "a namespace's GPU-seconds are those of its jobs": Recorded(
        {
            gpu_seconds("a", "x"): "0+60x60",
            gpu_seconds("a", "y"): "0+120x20 2400x40",  # it ends and stays as it is
            gpu_seconds("b", "x"): "0+240x60",
        },
        TEN_MINUTES,
        60,
        {'{job_namespace="a"}': 10, '{job_namespace="b"}': 24},
    ),
    "a new pod of the operator begins nothing anew": Recorded(
        {
            gpu_seconds("a", "x"): "0+60x29 _x31",
            gpu_seconds("a", "x", "two"): "_x30 1800+60x30",
        },
        TEN_MINUTES,
        60,
        {'{job_namespace="a"}': 6},
    ),
    "nor do two of them at the same time": Recorded(
        {gpu_seconds("a", "x"): "0+60x60", gpu_seconds("a", "x", "two"): "0+60x60"},
        TEN_MINUTES,
        60,
        {'{job_namespace="a"}': 6},
    ),
    "a job that is found with GPU-seconds has not spent them now": Recorded(
        {gpu_seconds("a", "x"): "_x30 90000x30"}, TEN_MINUTES, 60, {'{job_namespace="a"}': 0}
    ),
    "a job of that name that is made anew begins with 0": Recorded(
        {gpu_seconds("a", "x"): "0+60x29 0+60x30"}, TEN_MINUTES, 60, {'{job_namespace="a"}': 6}
    ),
}


def test_recorded_rules_have_the_right_values(
    promtool: str, groups: Object, tmp_path: Path
) -> None:
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(without_words(groups)))
    tests = [
        {
            "name": name,
            "interval": "1m",
            "input_series": [{"series": k, "values": v} for k, v in case.series.items()],
            "promql_expr_test": [
                {
                    "expr": case.query,
                    "eval_time": f"{case.minutes}m",
                    "exp_samples": [{"labels": k, "value": v} for k, v in case.samples.items()],
                }
            ],
        }
        for name, case in RECORDED.items()
    ]
    whole = {"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": tests}
    (tmp_path / "tests.yaml").write_text(yaml.safe_dump(whole))
    done = run(promtool, "test", "rules", str(tmp_path / "tests.yaml"))
    assert done.returncode == 0, done.stdout + done.stderr


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=600)
