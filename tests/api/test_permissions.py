"""The operator's rights, by the API server's audit log of all tests of this folder.

Each of them runs the operator with the chart's rights and no others (`Cluster.grant`). This one
comes last, and judges only where all of them have run.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from charts import generate
from charts.generate import Right
from tests.api import audit
from tests.api.audit import Request
from tests.api.operator_cluster import ACCOUNT


def allows(right: Right, request: Request) -> bool:
    """Whether the rule is the one for this request."""
    if request.group not in right.groups or request.resource not in right.resources:
        return False
    named = not right.names or request.name in right.names
    return right.verb == request.verb and named


def unused(rights: Iterable[Right], seen: set[Request]) -> list[str]:
    """The verbs, by resource, that no allowed request needed."""
    return [
        f"{right.verb} {resource}.{group or 'core'}: {right.why}"
        for right in rights
        if right.makes_a_request
        for group in right.groups
        for resource in right.resources
        if not any(
            each.allowed
            and (each.group, each.resource) == (group, resource)
            and allows(right, each)
            for each in seen
        )
    ]


def denied(rights: Iterable[Right], seen: set[Request]) -> list[str]:
    """Requests that were refused, and that no rule of the chart would allow.

    Some tests take a right away, to see what the operator says then: those are no fault.
    """
    known = list(rights)
    refused = [each for each in seen if not each.allowed]
    return sorted(str(each) for each in refused if not any(allows(one, each) for one in known))


@pytest.mark.alone
def test_no_verb_is_in_vain_and_none_is_missing(
    audited_since: int, request: pytest.FixtureRequest
) -> None:
    if not audit.log().exists():
        pytest.skip(
            f"no audit log in {audit.log()}: the API server was started before it wrote one "
            f"(devcluster/cluster down, then up), or is another's ({audit.VARIABLE} names its log)"
        )
    seen = audit.requests(audited_since)
    rights = list(generate.rights())
    assert denied(rights, seen) == []
    here = Path(__file__).parent
    ran = {item.path for item in request.session.items}
    left_out = sorted(path.name for path in here.glob("test_*.py") if path not in ran)
    vain = unused(rights, seen)
    chosen = request.config.option.keyword or request.config.option.markexpr
    if (left_out or chosen) and audit.SINCE not in os.environ:
        print("not used so far:", *vain, sep="\n  ")
        pytest.skip(f"not all tests of this folder were run: {len(vain)} verbs were not used")
    assert vain == []


def logged(name: str) -> str:
    """A line of the log: an operator reads a ConfigMap of that name."""
    about = {"resource": "configmaps", "name": name}
    who = {"username": f"{audit.OURS}here:{ACCOUNT}"}
    return json.dumps({"objectRef": about, "user": who, "verb": "get"}) + "\n"


def test_a_log_that_was_full_is_read_on_in_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "audit.log"
    monkeypatch.setenv(audit.VARIABLE, str(log))
    log.write_text(logged("earlier") * 3)
    since = audit.size()
    with log.open("a") as text:
        text.write(logged("one"))
    assert {each.name for each in audit.requests(since)} == {"one"}
    log.rename(tmp_path / "audit-2026-12-01T05-00-00.000.log")
    (tmp_path / "audit-2026-11-30T05-00-00.000.log").write_text(logged("long ago"))
    log.write_text(logged("two"))
    assert {each.name for each in audit.requests(since)} == {"one", "two"}
    for each in tmp_path.glob("audit-*.log"):
        each.unlink()
    with pytest.raises(AssertionError, match="was begun anew"):
        audit.requests(since)


WATCH = Right(("",), ("pods",), (), "watch", "to see")
OWN = Right(("",), ("configmaps",), ("mine",), "get", "to read")
BIND = Right(("",), ("clusterroles",), ("mine",), "bind", "no request: looked up")


def test_a_verb_that_nobody_used_is_found() -> None:
    seen = {Request("", "pods", "list", "", True), Request("", "pods", "watch", "", False)}
    assert unused([WATCH, OWN, BIND], seen) == [
        "watch pods.core: to see",
        "get configmaps.core: to read",
    ]
    used = {Request("", "pods", "watch", "", True), Request("", "configmaps", "get", "mine", True)}
    assert unused([WATCH, OWN, BIND], used) == []


def test_what_no_rule_allows_is_found() -> None:
    seen = {
        Request("", "pods", "watch", "", False),
        Request("", "configmaps", "get", "another", False),
        Request("", "secrets", "list", "", False),
        Request("", "configmaps", "get", "mine", True),
    }
    found = denied([WATCH, OWN], seen)
    assert found == ["get configmaps.core another", "list secrets.core"]
