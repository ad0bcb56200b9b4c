"""Every value of the chart changes what is rendered, and stands in its README."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from charts import generate
from tests.chart.conftest import CHART, KUBE_VERSION, MONITORING, ROOT, Helm

VALUES = {key: json.loads(default) for key, _, default, _ in generate.values()}
PEERS = [{"ipBlock": {"cidr": "10.1.0.0/16"}}]
OTHERS: dict[str, Any] = {
    "image.tag": "v2",
    "image.pullPolicy": "Always",
    "imagePullSecrets": [{"name": "r"}],
    "trainer.image.pullPolicy": "Always",
    "trainer.cpuPerProcess": "6",
    "trainer.imagePullSecrets": [{"name": "r"}],
    "proxy.http": "http://proxy:3128",
    "proxy.https": "http://proxy:3128",
    "extraEnv": [{"name": "A", "value": "b"}],
    "watchNamespaces": ["red"],
    "s3.endpoint": "http://s3.storage:7070",
    "automl.profile.trainUri": "s3://smoke/train",
    "automl.profile.validationUri": "s3://smoke/val",
    "log.level": "debug",
    "log.format": "json",
    "metrics.serviceMonitor.interval": "1m",
    "networkPolicy.apiServer.cidrs": ["10.0.0.1/32"],
    "networkPolicy.dnsPorts": [5353],
    "networkPolicy.metricsFrom": PEERS,
    "networkPolicy.trainer.namespaces": ["red"],
    "networkPolicy.trainer.storage.to": PEERS,
    "networkPolicy.trainer.egress": [{"to": PEERS}],
    "tolerations": [{"operator": "Exists"}],
}
"""Another value where one cannot be made up from the default."""
BESIDE: dict[str, dict[str, Any]] = {
    "crds.keep": {"crds.enabled": True},
    "metrics.service.enabled": {"metrics.serviceMonitor.enabled": False},
}
"""What else must be set for a value to count."""
ON = {key: True for key, default in VALUES.items() if key.endswith("enabled") and not default}
BASE = {**ON, "argocd.healthConfigMap": True, "networkPolicy.trainer.namespaces": ["vision"]}
"""Every object of the chart. The CRDs are left out: they are long, and two values tell of them."""


def other(key: str) -> Any:
    """A value that is not the default."""
    default = VALUES[key]
    if key in OTHERS:
        return OTHERS[key]
    if isinstance(default, bool):
        return not default
    if isinstance(default, int):
        return default + 1
    if isinstance(default, str):
        return "2Gi" if key.startswith("resources.") else f"{default}x"
    return [9999] if isinstance(default, list) else {"a": "b"}


def nested(values: dict[str, Any]) -> dict[str, Any]:
    """Dotted keys as a values file has them."""
    made: dict[str, Any] = {}
    for key, value in values.items():
        *above, last = key.split(".")
        below = made
        for part in above:
            below = below.setdefault(part, {})
        below[last] = value
    return made


def cases() -> dict[str, dict[str, Any]]:
    """For each value what is rendered without it and with it, under an alias of one length."""
    made = {}
    for number, key in enumerate(VALUES):
        without = {"crds.enabled": False, **BASE, **BESIDE.get(key, {})}
        without.setdefault(key, VALUES[key])
        made[f"a{number:03}"] = nested(without)
        changed = not without[key] if isinstance(VALUES[key], bool) else other(key)
        made[f"b{number:03}"] = nested({**without, key: changed})
    return made


@pytest.fixture(scope="session")
def rendered(helm: Helm, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What each case renders: all at once, as dependencies of one chart."""
    parent = tmp_path_factory.mktemp("parent")
    shutil.copytree(CHART, parent / "charts" / CHART.name)
    wanted = cases()
    needed = [{"name": CHART.name, "version": "*", "alias": alias} for alias in wanted]
    chart = {"apiVersion": "v2", "name": "parent", "version": "1.0.0", "dependencies": needed}
    (parent / "Chart.yaml").write_text(yaml.safe_dump(chart))
    (parent / "values.yaml").write_text(yaml.safe_dump(wanted))
    words = [word for each in MONITORING for word in ("--api-versions", each)]
    done = helm("template", "x", str(parent), "--kube-version", KUBE_VERSION, *words)
    assert done.returncode == 0, done.stderr
    return sorted_by_alias(done.stdout, list(wanted))


def sorted_by_alias(text: str, aliases: list[str]) -> dict[str, str]:
    """The documents of each dependency, without its alias."""
    found: dict[str, list[str]] = {alias: [] for alias in aliases}
    for document in text.removeprefix("---\n").rstrip().split("\n---\n"):
        source = re.search(r"# Source: parent/charts/([ab]\d{3})/", document)
        assert source, document[:200]
        found[source[1]].append(document.strip().replace(source[1], "chart"))
    return {alias: "\n".join(sorted(documents)) for alias, documents in found.items()}


@pytest.mark.parametrize("key", VALUES)
def test_every_value_changes_what_is_rendered(rendered: dict[str, str], key: str) -> None:
    number = list(VALUES).index(key)
    before, after = rendered[f"a{number:03}"], rendered[f"b{number:03}"]
    assert "kind: Deployment" in before
    assert before != after, f"{key} has no effect"


def test_nothing_but_values_makes_a_difference(rendered: dict[str, str]) -> None:
    """Else every value would seem to have an effect."""
    plain = [n for n, key in enumerate(VALUES) if key not in BESIDE]
    assert len({rendered[f"a{number:03}"] for number in plain}) == 1


SECTIONS = "|".join({key.partition(".")[0] for key in VALUES if "." in key} - {"resources"})
"""Values below others. A DinoJob has `resources`, too."""
NAMED = re.compile(rf"`((?:{SECTIONS})(?:\.\w+)+)(?=[`:])|--set ([\w.]+)=")
PAGES = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_names_values_that_the_chart_has(page: Path) -> None:
    named = {a or b for a, b in NAMED.findall(page.read_text())} - {"metrics.json"}
    known = set(VALUES) | {"metrics.prometheusRule", "automl.profile"}
    assert named <= known


def test_pages_name_values() -> None:
    assert sum(len(NAMED.findall(page.read_text())) for page in PAGES) > 60


def test_the_readme_has_every_value_of_the_chart() -> None:
    """Those of values.yaml, by another way than the generator's."""

    def keys(values: Any, above: str = "") -> list[str]:
        if not isinstance(values, dict) or not values or above in LABELS:
            return [above]
        return [
            key
            for name, below in values.items()
            for key in keys(below, f"{above}.{name}".lstrip("."))
        ]

    whole = yaml.safe_load((CHART / "values.yaml").read_text())
    assert keys(whole) == list(VALUES)
    text = (CHART / "README.md").read_text()
    assert all(f"\n| {key} | " in text for key in VALUES)


LABELS = ("metrics.dashboard.labels",)
"""Values that are maps with a default."""
