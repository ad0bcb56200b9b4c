"""The one catalogue: everything that is checked anywhere is in it, with a way out."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from typing import Any

import pytest

from dino_api import failures
from dino_api.generate.crd import root_schema
from dino_api.loading import load
from dino_api.problem import SpecErrors
from dino_api.result import TERMINATION_LIMIT, Artifact, Dataset, Result
from dino_api.rules.catalogue import CatalogueEntry, catalogue
from dino_api.rules.data import DATA_RULES, data_rule
from dino_api.rules.experiment import RULES
from dino_api.rules.resource.dinojob import RESOURCE_RULES
from dino_trainer.command.cli import main

ENTRIES = catalogue()
BY_ID = {entry.id: entry for entry in ENTRIES}


def test_it_joins_all_tables() -> None:
    ids = set(BY_ID)
    assert {rule.id for rule in RESOURCE_RULES} <= ids | {
        id.removeprefix("resource-") for id in ids
    }
    for table in (RULES, DATA_RULES):
        assert {rule.id for rule in table} <= ids
    assert {rule.reason.value for rule in failures.TABLE} <= ids


def test_ids_are_unique() -> None:
    assert [id for id, count in Counter(e.id for e in ENTRIES).items() if count > 1] == []


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.id)
def test_every_entry_says_what_and_what_to_do(entry: CatalogueEntry) -> None:
    assert entry.message
    assert entry.remedy or entry.id == "other-action"
    assert entry.where
    assert "release" not in entry.remedy


@pytest.mark.parametrize("rule", DATA_RULES, ids=lambda rule: rule.id)
def test_titles_can_be_followed_by_a_count(rule: Any) -> None:
    assert rule.title[0].isupper()
    assert not rule.title.endswith(".")
    assert rule.remedy.endswith(".")
    assert data_rule(rule.id) is rule
    assert BY_ID[rule.id].where == ("preflight",)


def messages(node: Any) -> list[str]:
    """The sentence of every CEL rule in a schema."""
    if not isinstance(node, dict):
        return []
    own = [rule["message"] for rule in node.get("x-kubernetes-validations", [])]
    return own + [text for inner in node.values() for text in messages(inner)]


def test_every_sentence_of_the_api_server_comes_from_an_entry() -> None:
    """The CRD says no more than the catalogue knows."""
    known = [entry.message.partition(" ")[2] for entry in ENTRIES if "admission" in entry.where]
    said = messages(root_schema())
    assert len(said) > 50
    for sentence in said:
        assert any(statement in sentence for statement in known), sentence


BROKEN: dict[str, dict[str, Any]] = {
    "unknown-key": {"modl": {}},
    "value": {"train": {"num_epochs": "many"}},
    "heads-divide": {"model": {"hidden_dim": 256, "nheads": 7}},
}


@pytest.mark.parametrize("id", BROKEN)
def test_what_reading_a_spec_finds_is_in_it(id: str) -> None:
    with pytest.raises(SpecErrors) as caught:
        load(BROKEN[id])
    assert id in {problem.id for problem in caught.value.problems}
    assert "cli" in BY_ID[id].where


def test_dino_rules_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rules"]) == 0
    text = capsys.readouterr().out
    assert all(entry.id in text for entry in ENTRIES)
    assert main(["rules", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == [entry.to_dict() for entry in ENTRIES]
    assert set(told[0]) == {"id", "severity", "where", "message", "remedy"}


def test_dino_rules_ends_quietly_where_its_reader_does() -> None:
    """`dino rules | head` is the first thing that people type."""
    command = f"{sys.executable} -m dino_trainer rules | head -1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(ENTRIES[0].id)


def test_a_preflight_result_keeps_artifacts_and_warnings_as_long_as_it_can() -> None:
    """The report and what was found matter more than 500 class names."""
    artifacts = [Artifact(name="report.html", uri="s3://b/preflight/report.html")]
    data = Dataset(num_classes=500, class_names=["name" * 9] * 500, warnings=["w" * 300] * 40)
    text = Result(action="preflight", artifacts=artifacts, dataset=data).to_termination_message()
    assert len(text.encode()) <= TERMINATION_LIMIT
    back = Result.from_termination_message(text)
    assert back is not None
    assert (back.action, back.artifacts) == ("preflight", artifacts)
    assert back.dataset is not None
    assert len(back.dataset.warnings) == 13
    assert back.dataset.warnings[-1] == "and 28 more, in the report"
