"""Names that reach a cluster are written once, in dino_api.names."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from dino_api import names
from dino_api.failures import TABLE, by_exit_code, by_reason

ROOT = Path(__file__).resolve().parents[2]
DESCRIBED = (
    names.Phase,
    names.ConditionType,
    names.ConditionReason,
    names.FailureReason,
    names.EventReason,
)
# Words that are also Kubernetes' own for pods and Jobs, or S3's for its errors.
ORDINARY = {"Failed", "Running", "Complete", "Pending", "Suspended", "Queued", "Completed"}
ORDINARY |= {"Started", "Finished", "DeadlineExceeded", "BackoffLimitExceeded", "AccessDenied"}
ORDINARY |= {"Stopped"}  # a state of trials as well
ORDINARY |= {"Katib", "Embedded"}  # as the API spells the engines
ORDINARY |= {"MetricsUnavailable"}  # Katib's own condition of a trial
# The operator has an option of this name itself.
ORDINARY |= {names.Env.S3_PATH_STYLE.value}


WITHIN = (names.METRIC, names.TERMINATION_LOG)
"""Nor may they stand within a longer text."""


def reserved() -> set[str]:
    """Values that only dino_api.names may spell."""
    words = {member.value for kind in (*DESCRIBED, names.Label) for member in kind}
    words |= {member.value for member in names.Env if member.value.startswith("DINO_")}
    words |= {names.PROGRESS_CLUSTER_ROLE, names.API_VERSION, names.MANAGED_BY_LABEL}
    return words - ORDINARY


def literals(path: Path) -> list[tuple[int, str]]:
    """Line and value of each string in a Python file, docstrings left out."""
    tree = ast.parse(path.read_text())
    alone = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    return [
        (node.lineno, node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in alone
    ]


def sources() -> list[Path]:
    return [
        path
        for folder in ("operator/dino_operator", "trainer_image/dino_trainer")
        for path in sorted((ROOT / folder).rglob("*.py"))
    ]


def test_no_name_is_spelt_outside_of_names() -> None:
    words = reserved()
    found = [
        f"{path.relative_to(ROOT)}:{line}: {text!r}"
        for path in sources()
        for line, text in literals(path)
        if text in words or any(part in text for part in WITHIN)
    ]
    assert not found, "use dino_api.names instead:\n" + "\n".join(found)


@pytest.mark.parametrize("kind", DESCRIBED)
def test_every_name_says_when_it_appears(kind: type[names.Described]) -> None:
    for member in kind:
        assert len(member.when) > 15, member
        assert member.value[0].isupper()
        assert member.value.isalnum(), "reasons are CamelCase"


def test_every_failure_reason_has_one_rule_with_a_remedy() -> None:
    assert [rule.reason for rule in TABLE] == list(dict.fromkeys(rule.reason for rule in TABLE))
    assert {rule.reason for rule in TABLE} == set(names.FailureReason)
    assert all(rule.remedy.endswith(".") for rule in TABLE)


def test_exit_codes_and_reasons_find_their_rule() -> None:
    assert by_exit_code(0) is None
    assert by_exit_code(1) is None
    for rule in TABLE:
        assert by_reason(rule.reason) is rule
        if rule.exit_code is not None:
            assert by_exit_code(rule.exit_code) is rule
    assert by_exit_code(143).retry == "free"
    assert by_exit_code(64).retry == "never"


def test_labels_are_valid_kubernetes_names() -> None:
    for label in names.Label:
        prefix, _, name = label.value.partition("/")
        assert prefix == names.GROUP
        assert 0 < len(name) <= 63
