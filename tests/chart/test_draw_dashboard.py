"""The dashboard drawn from a Prometheus: every panel by its own queries, gaps and faults."""

from __future__ import annotations

import json
import re
import threading
import xml.etree.ElementTree as Xml
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from charts import draw_dashboard
from charts.draw_dashboard import DASHBOARD, written

Object = dict[str, Any]
Answer = Callable[[str, dict[str, list[str]]], tuple[int, Any]]
PANELS = json.loads(DASHBOARD.read_text())["panels"]
LABELS = dict.fromkeys(
    ("phase", "reason", "kind", "result", "verb", "code", "job_namespace", "job_name"), "x<y"
)


def series(what: str, words: dict[str, list[str]]) -> tuple[int, Object]:
    """One series for every query, as Prometheus writes it; its first half is no number."""
    if what == "query":
        return 200, {"data": {"result": [{"metric": LABELS, "value": [9, "7200"]}]}}
    start, end, step = (float(words[each][0]) for each in ("start", "end", "step"))
    values = [[start, "NaN"], [end - 2 * step, "1"], [end - step, "3"], [end, "2"]]
    return 200, {"data": {"result": [{"metric": LABELS, "values": values}]}}


@pytest.fixture
def prometheus() -> Iterator[Callable[[Answer], str]]:
    """Starts a double that answers so, and returns its address."""
    servers = []

    def start(answer: Answer) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked = urlsplit(self.path)
                status, said = answer(asked.path.rpartition("/")[2], parse_qs(asked.query))
                self.send_response(status)
                self.end_headers()
                self.wfile.write(json.dumps(said).encode())

            def log_message(self, *_: object) -> None:
                """Nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def texts(svg: Path) -> list[str]:
    """What is written in the picture, which is well-formed."""
    words = Xml.parse(svg).getroot().iter("{http://www.w3.org/2000/svg}text")
    return [each.text or "" for each in words]


def test_every_panel_is_drawn_with_its_title_legend_and_unit(
    prometheus: Callable[[Answer], str], tmp_path: Path
) -> None:
    svg = tmp_path / "dashboard.svg"
    assert draw_dashboard.main([prometheus(series), str(svg)]) == 0
    said = texts(svg)
    assert {each["title"] for each in PANELS} <= set(said)
    assert "search: x<y" in said, "Failures by reason"
    assert "x<y/x<y" in said, "GPU hours by DinoJob"
    assert "7.2e+03 h" in said
    assert "No data" not in said
    assert "nan" not in svg.read_text().lower()


def test_a_panel_without_data_is_named(
    prometheus: Callable[[Answer], str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def none_of_gpus(what: str, words: dict[str, list[str]]) -> tuple[int, Object]:
        if "gpu_seconds" in words["query"][0]:
            return 200, {"data": {"result": []}}
        return series(what, words)

    svg = tmp_path / "dashboard.svg"
    assert draw_dashboard.main([prometheus(none_of_gpus), str(svg)]) == 1
    assert capsys.readouterr().err.splitlines() == [
        "error: 'GPUs in use, by namespace' has no data",
        "error: 'GPU hours of the day before, by DinoJob' has no data",
    ]
    assert texts(svg).count("No data") == 2


def test_a_query_that_is_refused_and_a_server_that_is_none_end_in_a_sentence(
    prometheus: Callable[[Answer], str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refuses = prometheus(lambda what, words: (400, {"error": "parse error"}))
    for url, expected in (
        (refuses, r"refuses 'sum by \(phase\) \(dino_jobs\)': .*parse error"),
        (prometheus(lambda what, words: (200, {"hello": 1})), "does not answer as a Prometheus"),
        (prometheus(lambda what, words: (200, [1])), "does not answer as a Prometheus"),
        ("http://127.0.0.1:1", "does not answer as a Prometheus: .*refused"),
        ("nowhere", "does not answer as a Prometheus: unknown url type"),
    ):
        assert draw_dashboard.main([url, str(tmp_path / "none.svg")]) == 1
        assert re.search(rf"^error: {url} {expected}", capsys.readouterr().err)
    assert draw_dashboard.main([prometheus(series), str(tmp_path / "no" / "x.svg")]) == 1
    assert "No such file" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("value", "unit", "said"),
    [
        (0, "s", "0 s"),
        (0.0125, "s", "12.5 ms"),
        (90, "s", "1.5 min"),
        (7200, "s", "2 h"),
        (259200, "s", "3 d"),
        (0.8057, "percentunit", "80.6 %"),
        (0.25, "ops", "0.25/s"),
        (3, "short", "3"),
        (1.5, "h", "1.5 h"),
    ],
)
def test_values_are_written_in_their_unit(value: float, unit: str, said: str) -> None:
    assert written(value, unit) == said


def test_a_line_is_broken_where_nothing_was_read() -> None:
    path = draw_dashboard._path([(0, 0, 5), (1, 1, 6), (9, 9, 6)], gap=1.5)
    assert path == "M0.0 5.0h1L1.0 6.0M9.0 6.0h1"


def test_points_on_a_level_line_are_left_out() -> None:
    level = [(at, at, 5.0) for at in range(100)]
    assert draw_dashboard._path(level, gap=1.5) == "M0.0 5.0h1L99.0 5.0"


def test_units_of_the_dashboard_are_known() -> None:
    units = {each["fieldConfig"]["defaults"]["unit"] for each in PANELS}
    assert units <= {*draw_dashboard.UNITS, "s", "short"}


def test_panels_of_one_value_ask_for_that_of_now() -> None:
    """A range would show what ended hours ago, and more than the twenty of a `topk`."""
    for panel in PANELS:
        for target in panel["targets"]:
            instant = (target.get("instant", False), target.get("range", True))
            assert instant == ((True, False) if panel["type"] != "timeseries" else (False, True))


def test_what_is_counted_over_a_time_is_whole() -> None:
    """Prometheus guesses what the edges lack: one failure of an hour would be 1.02."""
    counts = [
        target["expr"]
        for panel in PANELS
        if panel["title"] in ("Failures by reason", "Ended in the day before")
        for target in panel["targets"]
    ]
    assert len(counts) == 6
    assert all(each.startswith("round(") for each in counts)


def test_jobs_that_failed_before_a_pod_ran_are_among_the_ended() -> None:
    """`dino_job_duration_seconds` begins with a pod's start and knows nothing of them."""
    (panel,) = [each for each in PANELS if each["title"] == "Ended in the day before"]
    asked = [each["expr"] for each in panel["targets"] if "Failed" in each["legendFormat"]]
    assert len(asked) == 2
    assert all("_failures_total[1d]" in each for each in asked)
