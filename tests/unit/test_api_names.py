"""What users, operator and trainer agree on by its spelling is written once, in dino_api."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from functools import cache
from itertools import chain
from pathlib import Path

import pytest

from dino_api import metric, names
from dino_api.failures import TABLE, by_exit_code, by_reason, exit_code

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


WITHIN = (names.METRIC, names.TERMINATION_LOG, names.DEFAULT_REGION)
"""Nor may they stand within a longer text."""
OPERATOR, TRAINER = "operator/dino_operator", "trainer_image/dino_trainer"
THE_PROJECT = {"dino-operator"}
"""Names a package, a program and a user agent as well."""
OF_OTHERS = {"--version", "-c", "/apis/", "/namespaces/", "Content-Type", "utf-8"}
OF_OTHERS |= {"application/apply-patch+yaml"}
"""Are agreed on by more than operator and trainer: Kubernetes, HTTP, Python."""
OF_KUBECTL = re.compile(r"operator/dino_operator/kubectl/terminal\.py:\d+: '--output'")
"""The plugin's own option, which is called as kubectl's is."""
PUNCTUATED = re.compile(r"[\w./:-]+[./:-][\w./:-]*\w{2}|--?[\w-]+")
"""A path, a file, an option, a version: not a word, a field of a model or a piece of a sentence."""


def reserved() -> set[str]:
    """Values that only dino_api.names may spell."""
    words = {member.value for kind in (*DESCRIBED, names.Label) for member in kind}
    words |= {member.value for member in names.Env if member.value.startswith("DINO_")}
    words |= {names.PROGRESS_CLUSTER_ROLE, names.API_VERSION, names.MANAGED_BY_LABEL}
    return words - ORDINARY


@cache
def literals(path: Path) -> list[tuple[int, str]]:
    """Line and value of each string in a Python file, docstrings left out."""
    tree = ast.parse(path.read_text())
    alone = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    return [
        (node.lineno, node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in alone
    ]


def sources(*folders: str) -> list[Path]:
    return sorted(chain.from_iterable((ROOT / each).rglob("*.py") for each in folders))


def places(wanted: Callable[[str], bool], *folders: str) -> list[str]:
    """Where a string stands for which that holds."""
    return [
        f"{path.relative_to(ROOT)}:{line}: {text!r}"
        for path in sources(*folders)
        for line, text in literals(path)
        if wanted(text)
    ]


def is_spelt(text: str) -> bool:
    """Whether it is no ordinary word or sentence, but must be spelt alike wherever it stands."""
    return re.fullmatch(r"(?=.*[A-Za-z])(?=.*[^A-Za-z])\S+", text) is not None


def constants() -> Iterator[str]:
    """The values of public constants of dino_api that are one string each."""
    for path in sources("api/dino_api"):
        for node in ast.parse(path.read_text()).body:
            target = node.target if isinstance(node, ast.AnnAssign) else None
            target = node.targets[0] if isinstance(node, ast.Assign) else target
            value = getattr(node, "value", None)
            public = isinstance(target, ast.Name) and not target.id.startswith("_")
            if public and isinstance(value, ast.Constant) and isinstance(value.value, str):
                yield value.value


def test_no_name_is_spelt_outside_of_names() -> None:
    words = reserved()
    found = places(
        lambda text: text in words or any(part in text for part in WITHIN), OPERATOR, TRAINER
    )
    assert not found, "use dino_api.names instead:\n" + "\n".join(found)


def test_no_constant_of_the_contract_is_spelt_again() -> None:
    words = set(filter(is_spelt, constants())) - THE_PROJECT
    words |= {member.value for member in names.Option}
    assert {"report.html", "us-east-1", "timm/tf_efficientnet_lite0", "int8"} <= words
    found = [
        each for each in places(words.__contains__, OPERATOR, TRAINER) if not OF_KUBECTL.match(each)
    ]
    assert not found, "dino_api has a constant for it:\n" + "\n".join(found)


def test_what_operator_and_trainer_both_spell_is_a_constant_of_the_contract() -> None:
    of_operator, of_trainer = (
        {text for path in sources(each) for _, text in literals(path) if PUNCTUATED.fullmatch(text)}
        for each in (OPERATOR, TRAINER)
    )
    both = of_operator & of_trainer - OF_OTHERS - THE_PROJECT
    found = places(both.__contains__, OPERATOR, TRAINER)
    assert not found, "give dino_api a constant for it:\n" + "\n".join(found)


def test_a_metric_is_written_by_one_function() -> None:
    digits = f".{metric.DIGITS}f"
    found = places(digits.__eq__, OPERATOR, TRAINER)
    assert not found, "use dino_api.metric instead:\n" + "\n".join(found)
    assert metric.text(0.41) == "0.4100"
    assert metric.text(None) == ""


@pytest.mark.parametrize("kind", DESCRIBED)
def test_every_name_says_when_it_appears(kind: type[names.DocumentedName]) -> None:
    for member in kind:
        assert len(member.when) > 15, member
        assert member.value[0].isupper()
        assert member.value.isalnum(), "reasons are CamelCase"


def test_every_failure_reason_has_one_rule_with_a_remedy() -> None:
    assert [rule.reason for rule in TABLE] == list(dict.fromkeys(rule.reason for rule in TABLE))
    assert {rule.reason for rule in TABLE} == set(names.FailureReason)
    assert all(rule.remedy.endswith(".") for rule in TABLE)


def test_no_two_failures_end_with_one_exit_code() -> None:
    """The operator reads the reason from the code."""
    reasons: dict[int, list[str]] = {}
    for rule in TABLE:
        if rule.exit_code is not None:
            reasons.setdefault(rule.exit_code, []).append(rule.reason.value)
    assert {code: own for code, own in reasons.items() if len(own) > 1} == {}


def test_the_plan_takes_exit_codes_from_the_catalogue() -> None:
    codes = {rule.exit_code for rule in TABLE} - {None, 64}  # 64 is a usual number
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in sources("operator/dino_operator/plan")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and type(node.value) is int and node.value in codes
    ]
    assert not found, "use dino_api.failures.exit_code instead"
    assert exit_code(names.FailureReason.PREEMPTED) == 143
    with pytest.raises(ValueError, match="Stopped has no exit code"):
        exit_code(names.FailureReason.STOPPED)


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
