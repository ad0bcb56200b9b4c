"""What a real API server refuses, and what it says: by `kubectl apply` and by the Python client."""

from __future__ import annotations

from typing import Any

import pytest

from dino_api.rules import RULES, Rule
from tests.api.admission_cases import BAD, MODEL, TRAIN, changed, is_refused
from tests.unit.api_rule_cases import CASES


@pytest.mark.parametrize(("path", "value", "field", "part"), BAD.values(), ids=BAD.keys())
def test_a_bad_manifest_is_refused_by_a_message_that_names_the_field(
    kubectl: Any, dinojobs: Any, path: str, value: Any, field: str, part: str
) -> None:
    manifest = changed((path, value))
    applied = kubectl.apply(manifest)
    assert applied.returncode != 0
    assert field.removeprefix("metadata.") in applied.stderr
    assert part in applied.stderr
    is_refused(dinojobs, manifest, field, part)


def test_there_are_enough_kinds_of_bad_manifest() -> None:
    assert len(BAD) + sum(bool(rule.cel) for rule in RULES) >= 60


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule.cel], ids=lambda rule: rule.id)
def test_the_api_server_and_the_loader_judge_alike(dinojobs: Any, rule: Rule) -> None:
    case = CASES[rule.id]
    classes = [("spec.numClasses", case.classes)] if case.classes else []
    broken = changed(("spec.experiment", case.broken), *classes)
    is_refused(dinojobs, broken, f"spec.experiment.{rule.path}", rule.message)
    dinojobs.create(changed(("spec.experiment", case.fine), *classes))


def test_every_problem_of_a_manifest_is_listed_at_once(kubectl: Any) -> None:
    applied = kubectl.apply(
        changed(
            (f"{MODEL}.hidden_dim", 200),
            (f"{TRAIN}.validation_interval", 20),
            (f"{TRAIN}.distributed_strategy", "fsdp"),
            ("spec.output.uri", "aws://bucket/x"),
        )
    )
    for field in ("hidden_dim", "validation_interval", "distributed_strategy", "spec.output.uri"):
        assert field in applied.stderr
