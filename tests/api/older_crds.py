"""The CRDs of this checkout, and those of a release that asked for less: put in force.

They are replaced as a whole, whoever wrote them before.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import yaml

from dino_api.generate.crd import KINDS, crd

from .clients import Kubectl
from .operator_process import eventually

Object = dict[str, Any]
LATELY = "validation must be given"
"""How the sentences begin of the rules that the last release did not have."""


def ours() -> list[Object]:
    """As they are in this checkout."""
    return [crd(kind) for kind in KINDS]


def older() -> list[Object]:
    """Without the rules that came lately. Fails where one of the kinds has none of them."""
    found = copy.deepcopy(ours())
    for each in found:
        schema = each["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        assert _without_lately(schema), f"{each['metadata']['name']} has no such rule"
    return found


def _without_lately(node: Any) -> int:
    """How many rules were taken out of it, in place."""
    if isinstance(node, list):
        return sum(map(_without_lately, node))
    if not isinstance(node, dict):
        return 0
    rules = node.get("x-kubernetes-validations", [])
    kept = [each for each in rules if LATELY not in each["message"]]
    if rules:
        node["x-kubernetes-validations"] = kept
    return len(rules) - len(kept) + sum(map(_without_lately, node.values()))


def install(kubectl: Kubectl, crds: list[Object]) -> None:
    """Makes them what the API server has."""
    for each in crds:
        text = yaml.safe_dump(each)
        done = kubectl("replace", "-f", "-", stdin=text)
        if "NotFound" in done.stderr:
            done = kubectl("create", "-f", "-", stdin=text)
        assert done.returncode == 0, done.stderr
    names = [f"crd/{each['metadata']['name']}" for each in crds]
    waited = kubectl("wait", "--for=condition=Established", "--timeout=60s", *names)
    assert waited.returncode == 0, waited.stderr


def in_force(takes: Callable[[], bool], wanted: bool) -> None:
    """A CRD is in force a moment after it was written. takes: whether a manifest is taken now."""
    eventually(lambda: takes() == wanted, "the other CRD in force")
